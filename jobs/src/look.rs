//! A look at one person's case: kept with who and what for, like an act. For the console and the command line.
//!
//! Never: shows anything itself, or keeps a look at work of the house that no search narrowed to a person or an order.

use sqlx::PgConnection;

use crate::{
    audit::Entry,
    id::{self, Id},
    operate::{OperateError, Operator, said},
    queue::{self, search::Wanted},
};

/// How a look is named in the trail.
const LOOK: &str = "console.look";

/// Keep it, in the transaction that reads or before it.
pub async fn at_case(
    tx: &mut PgConnection,
    what: &str,
    entry: Entry,
    operator: Operator<'_>,
) -> Result<(), OperateError> {
    let by = said(operator)?;
    Ok(queue::note_act(tx, LOOK, "seen", what, by, entry).await?)
}

/// The entry of a look; who looks at what is added to it.
pub fn entry() -> Entry {
    Entry::new("operator", LOOK, "seen")
}

/// One job, wherever it stands.
pub async fn at_job(tx: &mut PgConnection, job: Id<id::Job>, operator: Operator<'_>) -> Result<(), OperateError> {
    let row = sqlx::query!(
        r#"select kind as "kind!", tenant from (
            select kind, tenant, 0 as place from safelight.jobs where id = $1
            union all select kind, tenant, 1 from safelight.dead_letters where id = $1
            union all select kind, tenant, 2 from safelight.jobs_archive where id = $1) j
        where $2::text is null or tenant = $2 order by place limit 1"#,
        job.uuid(),
        operator.tenant
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| OperateError::NotFound(job.to_string()))?;
    let mut entry = entry().job(&row.kind, job);
    if let Some(tenant) = row.tenant {
        entry = entry.tenant(tenant);
    }
    at_case(tx, &job.to_string(), entry, operator).await
}

/// What of one person's case is looked at by this search; none: nobody's.
pub fn of_search(wanted: &Wanted) -> Option<(String, Entry)> {
    let entry = match (wanted.subject, wanted.order) {
        (Some(subject), _) => entry().subject(subject),
        (None, Some(order)) => entry().order(order),
        (None, None) => return None,
    };
    Some((wanted.case()?, entry))
}
