//! One order as jobs read it, and the ways in which its state changes.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    id::{Artifact, Batch, Id, Order, Subject},
    purge_call::PurgeCall,
    run::{Run, Tx},
    stop::Stop,
};

/// One order.
#[derive(Debug, Clone)]
pub struct OrderRow {
    /// Its id.
    pub id: Id<Order>,
    /// Whose customer.
    pub tenant: String,
    /// The buyer.
    pub subject: Id<Subject>,
    /// The photos it is made from.
    pub batch: Id<Batch>,
    /// Which plan of the tenant's policy.
    pub plan: String,
    /// Where it stands.
    pub state: String,
    /// Does a model have to be trained?
    pub needs_model: bool,
    /// How many images were bought.
    pub images_wanted: i32,
    /// The agreed price in minor units.
    pub amount_cents: i64,
    /// Lower-case code.
    pub currency: String,
    /// The payment session.
    pub checkout_session: Option<String>,
    /// The buyer's words, sealed.
    pub prompt_sealed: Option<Vec<u8>>,
    /// When it was paid.
    pub paid_at: Option<DateTime<Utc>>,
    /// When the selfies were measured.
    pub selfies_measured_at: Option<DateTime<Utc>>,
}

/// The same as [`load`], outside a transaction.
pub async fn read(run: &Run, order: Id<Order>) -> Result<OrderRow, Stop> {
    let mut connection = run.reads().await?;
    load(&mut connection, order).await
}

/// Read an order. One that is gone ends the job: its person was erased.
pub async fn load(connection: &mut PgConnection, order: Id<Order>) -> Result<OrderRow, Stop> {
    let row = sqlx::query!(
        r#"select id, tenant, subject_id, batch_id, plan, state, needs_model, images_wanted, amount_cents, currency,
            checkout_session, prompt_sealed, paid_at, selfies_measured_at from safelight.orders where id = $1"#,
        order.uuid()
    )
    .fetch_optional(connection)
    .await?
    .ok_or_else(|| Stop::give_up("order_gone", format!("{order} does not exist any more")))?;
    Ok(OrderRow {
        id: row.id.into(),
        tenant: row.tenant,
        subject: row.subject_id.into(),
        batch: row.batch_id.into(),
        plan: row.plan,
        state: row.state,
        needs_model: row.needs_model,
        images_wanted: row.images_wanted,
        amount_cents: row.amount_cents,
        currency: row.currency,
        checkout_session: row.checkout_session,
        prompt_sealed: row.prompt_sealed,
        paid_at: row.paid_at,
        selfies_measured_at: row.selfies_measured_at,
    })
}

/// Take the order's row for this transaction, so that two jobs of one order decide one after the other.
pub async fn lock(tx: &mut PgConnection, order: Id<Order>) -> Result<(), sqlx::Error> {
    sqlx::query!("select id from safelight.orders where id = $1 for no key update", order.uuid())
        .fetch_optional(tx)
        .await?;
    Ok(())
}

/// Move an order on, only from one of the expected states. Answers whether it moved.
pub async fn advance(tx: &mut PgConnection, order: Id<Order>, from: &[&str], to: &str) -> Result<bool, sqlx::Error> {
    let from: Vec<String> = from.iter().map(|&state| state.to_owned()).collect();
    let done = sqlx::query!(
        "update safelight.orders set state = $3 where id = $1 and state = any ($2)",
        order.uuid(),
        &from,
        to
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stop an order with a problem that has a name: `refused` before it was paid, `refund_review` after.
pub async fn stop(tx: &mut PgConnection, order: Id<Order>, problem: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        r#"update safelight.orders set state = case when paid_at is null then 'refused' else 'refund_review' end, problem = $2,
            payment_pending_at = null
        where id = $1 and state not in ('refused', 'expired', 'refund_review', 'delivered')"#,
        order.uuid(),
        problem
    )
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 1 {
        end_undelivered(&mut *tx, order).await?;
    }
    Ok(done.rows_affected() == 1)
}

/// What an order never delivered has no term: it ends now (K27, D2).
pub(crate) async fn end_undelivered(tx: &mut PgConnection, order: Id<Order>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"update safelight.artifacts set delete_after = least(delete_after, safelight.now())
        where order_id = $1 and (class = 'bundle' or class = 'image' and delivered_at is null)"#,
        order.uuid()
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What an order waits for will never come: an order that is still where this work belongs stops with the same code, so
/// that a person looks at the money. Answers the word to give back.
pub(crate) async fn stop_with(run: &Run, order: Id<Order>, during: &str, stop: Stop) -> Stop {
    let Stop::GiveUp { code, .. } = &stop else { return stop };
    match stop_during(run, order, during, code).await {
        Ok(()) => stop,
        Err(not_now) => not_now,
    }
}

async fn stop_during(run: &Run, order: Id<Order>, during: &str, code: &'static str) -> Result<(), Stop> {
    let mut tx = run.begin_alone().await?;
    lock(&mut tx, order).await?;
    let is_there = sqlx::query_scalar!(
        r#"select exists (select from safelight.orders where id = $1 and state = $2) as "there!""#,
        order.uuid(),
        during
    )
    .fetch_one(&mut *tx)
    .await?;
    if is_there {
        halt(&mut tx, order, code).await?;
        run.note("order.stopped", code).write(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The work of a paid order ends, and a person looks at its money: what is in flight is cancelled and purged. The caller owns the
/// person's lock.
pub(crate) async fn halt(tx: &mut Tx, order: Id<Order>, problem: &str) -> Result<(), Stop> {
    let calls = sqlx::query_scalar!(r#"select safelight.halt_order($1, $2) as "calls!""#, order.uuid(), problem)
        .fetch_one(&mut **tx)
        .await?;
    for call in calls {
        tx.enqueue(&PurgeCall { call: Id::from(call) }).await?;
    }
    Ok(())
}

/// The customer is through and the bank has not decided, or it has: an order that waits for its bank does not run out.
pub(crate) async fn is_at_the_bank(tx: &mut PgConnection, order: Id<Order>, waits: bool) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"update safelight.orders set payment_pending_at = case when $2 then coalesce(payment_pending_at, safelight.now()) end
        where id = $1 and state = 'placed' and (payment_pending_at is not null) <> $2"#,
        order.uuid(),
        waits
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// One photo that may be read now.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its id.
    pub id: Id<Artifact>,
    /// Where its bytes are.
    pub key: String,
    /// Its media type.
    pub content_type: String,
}

/// The live photos of an act of uploading, oldest first. Whether they may be read for a purpose, the gate says.
pub async fn live_uploads(connection: &mut PgConnection, batch: Id<Batch>) -> Result<Vec<Upload>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select a.id, a.storage_key, a.content_type from safelight.artifacts a
        where a.batch_id = $1 and a.class = 'upload' and safelight.readable(a) order by a.id"#,
        batch.uuid()
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Upload {
            id: row.id.into(),
            key: row.storage_key,
            content_type: row.content_type.unwrap_or_default(),
        })
        .collect())
}
