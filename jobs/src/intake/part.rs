//! Deleting a part on request: one photo or image, or what is left of an order that failed. The fence is committed at once, as in
//! an erasure; the deletion engine does the rest and certifies it.

use chrono::{DateTime, Utc};

use crate::{
    delete_data::DeleteData,
    deliver_order::DeliverOrder,
    gate::Refusal,
    id::{Artifact, Deletion, Id, Order, Subject},
    run::Tx,
};

use super::{IntakeError, entry};

/// A deletion that has begun.
#[derive(Debug, Clone)]
pub struct DeletionStarted {
    /// Its id; the same one however often it is asked for.
    pub deletion: Id<Deletion>,
    /// One calendar month after the request was received; the time that the deletion has which took it on before.
    pub answer_due: DateTime<Utc>,
    /// It had begun before.
    pub already: bool,
}

/// Delete one photo that somebody uploaded, or one image that was made for them, before its time. Nobody reads it from this
/// commit on. What was made from a photo goes with it: its vectors, the scores that counted it, its copy for a training.
/// `tenant`: none for the house. `by`: who of the house asks, as a code; none: the person, through the tenant's backend.
///
/// # Errors
/// No such photo of this tenant, a person who is erased, a `by` that is no code.
pub async fn delete_photo(
    tx: &mut Tx,
    tenant: Option<&str>,
    photo: Id<Artifact>,
    by: Option<&str>,
) -> Result<DeletionStarted, IntakeError> {
    let row = sqlx::query!(
        "select deletion, due, already, of_subject, of_order from safelight.fence_photo($1, $2, $3)",
        photo.uuid(),
        tenant,
        Id::<Deletion>::new().uuid()
    )
    .fetch_one(&mut **tx)
    .await?;
    let (Some(deletion), Some(answer_due), Some(subject)) = (row.deletion, row.due, row.of_subject) else {
        return Err(IntakeError::not_found(photo));
    };
    let started = DeletionStarted { deletion: deletion.into(), answer_due, already: row.already.unwrap_or_default() };
    if !started.already {
        tx.enqueue(&DeleteData { deletion: started.deletion }).await?;
        if let Some(order) = row.of_order {
            // The order waited for this image, and does not any more.
            tx.enqueue(&DeliverOrder { order: order.into(), because: started.deletion.to_string() }).await?;
        }
        entry("photo.deletion_asked", "fenced", by)?
            .subject(subject.into())
            .deletion(started.deletion)
            .write(tx)
            .await?;
    }
    Ok(started)
}

/// Delete what is left of an order that came to nothing: what was never delivered, the model, vectors, words, copies at Fal,
/// and the order itself where nothing was sold. `tenant` and `by` as above.
///
/// # Errors
/// No such order of this tenant; one that did not fail; a person who is erased; a `by` that is no code.
pub async fn delete_failed_order(
    tx: &mut Tx,
    tenant: Option<&str>,
    order: Id<Order>,
    by: Option<&str>,
) -> Result<DeletionStarted, IntakeError> {
    let Some((subject, started)) = begin_failed_order(tx, tenant, order).await? else {
        return Err(IntakeError::Conflict {
            code: "order_not_failed",
            why: format!(
                "{order} is neither refused, expired nor in refund review; delete single photos, or erase the person"
            ),
        });
    };
    if !started.already {
        entry("order.deletion_asked", "fenced", by)?
            .subject(subject)
            .order(order)
            .deletion(started.deletion)
            .write(tx)
            .await?;
    }
    Ok(started)
}

/// Fence and enqueue. None: the order did not fail.
pub(crate) async fn begin_failed_order(
    tx: &mut Tx,
    tenant: Option<&str>,
    order: Id<Order>,
) -> Result<Option<(Id<Subject>, DeletionStarted)>, IntakeError> {
    let row = sqlx::query!(
        "select code, deletion, due, already, of_subject from safelight.fence_failed_order($1, $2, $3)",
        order.uuid(),
        tenant,
        Id::<Deletion>::new().uuid()
    )
    .fetch_one(&mut **tx)
    .await?;
    match row.code.as_deref() {
        None => {}
        Some("order_not_failed") => return Ok(None),
        Some("not_found") => return Err(IntakeError::not_found(order)),
        Some(code) => return Err(Refusal::new(code, None).into()),
    }
    let (Some(deletion), Some(answer_due), Some(subject)) = (row.deletion, row.due, row.of_subject) else {
        return Err(IntakeError::not_found(order));
    };
    let started = DeletionStarted { deletion: deletion.into(), answer_due, already: row.already.unwrap_or_default() };
    if !started.already {
        tx.enqueue(&DeleteData { deletion: started.deletion }).await?;
    }
    Ok(Some((subject.into(), started)))
}
