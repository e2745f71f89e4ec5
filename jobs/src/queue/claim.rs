//! Claim: take ready jobs under a lease.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    db, id,
    id::{Id, Order, Subject},
    job::Queue,
    queue::Lease,
};

/// A job that this worker runs now.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The proof that it may.
    pub lease: Lease,
    /// Stored name of the job.
    pub kind: String,
    /// Version of the payload.
    pub version: i16,
    /// Ids only.
    pub payload: serde_json::Value,
    /// Attempts spent before this one.
    pub attempt: i32,
    /// How many may be spent.
    pub max_attempts: i32,
    /// Whose work it is.
    pub tenant: Option<String>,
    /// Whose work it is.
    pub subject: Option<Id<Subject>>,
    /// Which order.
    pub order: Option<Id<Order>>,
    /// The trace that it belongs to, as the W3C writes it.
    pub traceparent: Option<String>,
    /// Its deadline is over: it is not run any more.
    pub late: bool,
    /// Where it stood in the queue's order.
    pub rank: DateTime<Utc>,
}

/// Take up to `batch` ready jobs of one queue. One fencing token per call: the fence is the pair of job id and token.
/// Due times follow the system's clock, leases the unshifted clock of the database. A life of the database that must be
/// compared with the erasure ledger first has nothing to claim (`crate::restore`).
pub async fn claim(
    pool: &PgPool,
    queue: Queue,
    worker: &str,
    batch: i32,
    lease_seconds: f64,
) -> Result<Vec<Claimed>, sqlx::Error> {
    claim_from(&mut db::Line::of(pool.clone()), queue, worker, Uuid::new_v4(), batch, lease_seconds, None).await
}

/// The same without looking at ranks before `floor`: for a worker that empties a long queue and knows that it has taken
/// what stood there. Without this it would step over the rows that it deleted, again and again, while an old snapshot
/// keeps them from being cleared.
pub async fn claim_from(
    line: &mut db::Line,
    queue: Queue,
    worker: &str,
    token: Uuid,
    batch: i32,
    lease_seconds: f64,
    floor: Option<DateTime<Utc>>,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let mut write = line.write().await?;
    let rows = sqlx::query!(
        r#"select id as "id!", kind as "kind!", version as "version!", payload as "payload!", attempt as "attempt!",
            max_attempts as "max_attempts!", tenant, subject_id, order_id, traceparent, rank as "rank!",
            coalesce(deadline_at <= safelight.now(), false) as "late!"
        from (select where safelight.may_claim()) open cross join lateral safelight.claim($1, $2, $3, $4, $5, $6)"#,
        queue.as_str(),
        batch,
        worker,
        token,
        lease_seconds,
        floor,
    )
    .fetch_all(&mut *write)
    .await?;
    line.commit(write).await?;
    Ok(rows
        .into_iter()
        .map(|row| Claimed {
            lease: Lease { job: Id::<id::Job>::from(row.id), token },
            kind: row.kind,
            version: row.version,
            payload: row.payload,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            tenant: row.tenant,
            subject: row.subject_id.map(Id::from),
            order: row.order_id.map(Id::from),
            traceparent: row.traceparent,
            late: row.late,
            rank: row.rank,
        })
        .collect())
}
