//! A look at one person's case, or at what operators did about it: kept with who and what for, like an act. For the console and the command line.
//!
//! Never: shows anything itself, or keeps a look at work of the house that no search narrowed to a person or an order.

use sqlx::PgConnection;

use crate::{
    audit::Entry,
    id::{self, Deletion, Id, Order, Subject},
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

/// Is this search a look at one case? One that is narrowed to no person, no order and no job is a look at nobody's.
pub fn is_one(wanted: &Wanted) -> bool {
    wanted.subject.is_some() || wanted.order.is_some() || wanted.job.is_some()
}

/// Keep what this search looks at, if [`is_one`]. Where there is no such job, nothing is seen.
pub async fn at_search(tx: &mut PgConnection, wanted: &Wanted, operator: Operator<'_>) -> Result<(), OperateError> {
    match (wanted.subject, wanted.order, wanted.job) {
        (Some(subject), ..) => at_case(tx, &subject.to_string(), entry().subject(subject), operator).await,
        (None, Some(order), _) => at_case(tx, &order.to_string(), entry().order(order), operator).await,
        (None, None, Some(job)) => match at_job(tx, job, operator).await {
            Err(OperateError::NotFound(_)) => Ok(()),
            kept => kept,
        },
        (None, None, None) => Ok(()),
    }
}

/// One case, as the trail names what an act was about: its first word.
enum Case {
    Person(Id<Subject>),
    Order(Id<Order>),
    Job(Id<id::Job>),
    Deletion(Id<Deletion>),
}

fn case_in(about: &str) -> Option<Case> {
    let id = about.split_whitespace().next()?;
    let person = id.parse().map(Case::Person).ok();
    let order = || id.parse().map(Case::Order).ok();
    let job = || id.parse().map(Case::Job).ok();
    person.or_else(order).or_else(job).or_else(|| id.parse().map(Case::Deletion).ok())
}

/// Is a search for acts about this a look at one case: at a person, an order, a job or a deletion?
pub fn acts_are_one(about: &str) -> bool {
    case_in(about).is_some()
}

/// Keep a search for acts about this, if [`acts_are_one`]. A job that is gone has acts all the same.
pub async fn at_acts(tx: &mut PgConnection, about: &str, operator: Operator<'_>) -> Result<(), OperateError> {
    match case_in(about) {
        None => Ok(()),
        Some(Case::Person(subject)) => at_case(tx, &subject.to_string(), entry().subject(subject), operator).await,
        Some(Case::Order(order)) => at_case(tx, &order.to_string(), entry().order(order), operator).await,
        Some(Case::Deletion(deletion)) => {
            at_case(tx, &deletion.to_string(), entry().deletion(deletion), operator).await
        }
        Some(Case::Job(job)) => match at_job(tx, job, operator).await {
            Err(OperateError::NotFound(_)) => {
                at_case(tx, &job.to_string(), entry().code("job", job.to_string()), operator).await
            }
            kept => kept,
        },
    }
}
