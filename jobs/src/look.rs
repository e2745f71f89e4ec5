//! A look at one person's case: kept with who and what for, like an act. For the console and the command line.
//!
//! Never: shows anything itself, or keeps a look at work of the house that no search narrowed to a person or an order.

use sqlx::PgConnection;

use crate::{
    audit::Entry,
    id::{self, Id},
    operate::{OperateError, Operator, said},
    payload,
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
    let (entry, _) = payload::wherever(tx, job, operator, entry()).await?;
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
