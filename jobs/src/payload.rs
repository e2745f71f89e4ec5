//! Reading a job's payload. It holds ids and codes only; yet no list and no page shows one: who wants to read it is an operator,
//! says why, and is kept with both.

use sqlx::PgConnection;

use crate::{
    audit::Entry,
    id::{self, Id},
    operate::{self, OperateError, Operator},
    queue,
};

/// The payload, in the transaction that keeps who read it and why.
pub async fn read(
    tx: &mut PgConnection,
    job: Id<id::Job>,
    operator: Operator<'_>,
) -> Result<serde_json::Value, OperateError> {
    let by = operate::said(operator)?;
    let (entry, payload) = wherever(tx, job, operator, Entry::new("operator", "job.payload", "seen")).await?;
    queue::note_act(tx, "job.payload", "seen", &job.to_string(), by, entry).await?;
    Ok(payload)
}

/// The payload of a job, waiting, dead or archived, and the entry with what it says of the job: its kind, its id and whose it is.
pub(crate) async fn wherever(
    tx: &mut PgConnection,
    job: Id<id::Job>,
    operator: Operator<'_>,
    entry: Entry,
) -> Result<(Entry, serde_json::Value), OperateError> {
    let row = sqlx::query!(
        r#"select kind as "kind!", tenant, payload as "payload!" from (
            select kind, tenant, payload, 0 as place from safelight.jobs where id = $1
            union all select kind, tenant, payload, 1 from safelight.dead_letters where id = $1
            union all select kind, tenant, payload, 2 from safelight.jobs_archive where id = $1) j
        where $2::text is null or tenant = $2 order by place limit 1"#,
        job.uuid(),
        operator.tenant
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| OperateError::NotFound(job.to_string()))?;
    let entry = entry.job(&row.kind, job);
    Ok((if let Some(tenant) = row.tenant { entry.tenant(tenant) } else { entry }, row.payload))
}
