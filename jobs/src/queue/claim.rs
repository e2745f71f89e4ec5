//! Claim: take ready jobs under a lease.

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
}

/// Take up to `batch` ready jobs of one queue, by priority, then by due time. One fencing token per call: the fence is
/// the pair of job id and token. Due times follow the system's clock, leases the unshifted clock of the database.
pub async fn claim(
    pool: &PgPool,
    queue: Queue,
    worker: &str,
    batch: i64,
    lease_seconds: f64,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let token = Uuid::new_v4();
    let mut write = db::write(pool).await?;
    let rows = sqlx::query!(
        r#"with due as materialized (
            select id from safelight.jobs
            where queue = $1 and state = 0 and run_at <= (select safelight.now())
            order by priority, run_at, id limit $2
            for update skip locked
        )
        update safelight.jobs j set state = 1, lease_token = $3, worker = $4, why = null,
            lease_until = clock_timestamp() + make_interval(secs => $5), started_at = clock_timestamp()
        from due where j.id = due.id
        returning j.id, j.kind, j.payload, j.attempt, j.max_attempts, j.tenant, j.subject_id, j.order_id"#,
        queue.as_str(),
        batch,
        token,
        worker,
        lease_seconds,
    )
    .fetch_all(&mut *write)
    .await?;
    write.commit().await?;
    Ok(rows
        .into_iter()
        .map(|row| Claimed {
            lease: Lease { job: Id::<id::Job>::from(row.id), token },
            kind: row.kind,
            payload: row.payload,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            tenant: row.tenant,
            subject: row.subject_id.map(Id::from),
            order: row.order_id.map(Id::from),
        })
        .collect())
}
