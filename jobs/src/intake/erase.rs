//! Erasure: the fence is committed alone and at once; the deleting follows in a job.

use chrono::{DateTime, Utc};

use crate::{
    delete_data::DeleteData,
    id::{Deletion, Id, Subject},
    run::Tx,
};

use super::{IntakeError, entry};

/// An erasure that has begun.
#[derive(Debug, Clone)]
pub struct ErasureStarted {
    /// Its id; the same one however often it is asked for.
    pub deletion: Id<Deletion>,
    /// One calendar month after the request was received.
    pub answer_due: DateTime<Utc>,
    /// It had begun before.
    pub already: bool,
}

/// Fence a person and enqueue the deletion. Accepted in every state, also while work is running: running attempts lose
/// their leases with this commit, and whatever is recorded later meets a closed gate. `by`: who of the house begins it, as a code;
/// none: the person, at the tenant's backend.
///
/// # Errors
/// Nobody of this id at this tenant; a `by` that is no code.
pub async fn erase(
    tx: &mut Tx,
    tenant: &str,
    subject: Id<Subject>,
    by: Option<&str>,
) -> Result<ErasureStarted, IntakeError> {
    super::subject_of(tx, tenant, subject).await?;
    let new = sqlx::query_scalar!(r#"select safelight.fence_subject($1) as "new!""#, subject.uuid())
        .fetch_one(&mut **tx)
        .await?;
    if !new {
        let known = sqlx::query!(
            "select id, answer_due from safelight.deletions where subject_id = $1 and trigger = 'erasure'",
            subject.uuid()
        )
        .fetch_one(&mut **tx)
        .await?;
        return Ok(ErasureStarted { deletion: known.id.into(), answer_due: known.answer_due, already: true });
    }
    let deletion = Id::<Deletion>::new();
    let answer_due = sqlx::query_scalar!(
        r#"insert into safelight.deletions (id, tenant, subject_id, trigger, answer_due)
        values ($1, $2, $3, 'erasure', safelight.now() + interval '1 month') returning answer_due"#,
        deletion.uuid(),
        tenant,
        subject.uuid()
    )
    .fetch_one(&mut **tx)
    .await?;
    tx.enqueue(&DeleteData { deletion }).await?;
    entry("erasure.requested", "fenced", by)?.subject(subject).write(tx).await?;
    Ok(ErasureStarted { deletion, answer_due, already: false })
}
