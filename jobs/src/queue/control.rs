//! Control: cancel, release, wake, redrive. Each works on queued and running jobs of the whole fleet at once, because
//! it works on their rows.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    id,
    id::{Id, Order},
};

/// Take one job out of the queue. A running attempt loses its lease, is dropped at its worker's next heartbeat, and
/// writes nothing in between. Answers whether the job was there.
pub async fn cancel(tx: &mut PgConnection, job: Id<id::Job>, code: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        r#"with gone as (delete from safelight.jobs where id = $1 returning *),
        freed as (update safelight.job_keys k set expires_at = safelight.now() from gone where k.key = gone.key),
        noted as (
            insert into safelight.job_attempts (job_id, subject_id, attempt, verdict, code, worker)
            select id, subject_id, attempt, 'cancelled', $2, worker from gone
        )
        insert into safelight.jobs_archive (id, queue, kind, version, payload, tenant, subject_id, order_id, key, attempt, waits,
            outcome, code, run_at, created_at, started_at, finished_at)
        select id, queue, kind, version, payload, tenant, subject_id, order_id, key, attempt, waits,
            'cancelled', $2, run_at, created_at, started_at, clock_timestamp() from gone"#,
        job.uuid(),
        code,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Let a held job run.
pub async fn release(tx: &mut PgConnection, job: Id<id::Job>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update safelight.jobs set state = 0, why = null, run_at = safelight.now() where id = $1 and state = 2",
        job.uuid()
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What jobs of one order wait for may have happened: let them look again now.
pub async fn wake_order(tx: &mut PgConnection, order: Id<Order>) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "update safelight.jobs set run_at = safelight.now(), why = null where order_id = $1 and state = 0 and waits > 0 and run_at > safelight.now()",
        order.uuid()
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Give a dead letter another life under its old id and key, with all its attempts back.
pub async fn redrive(tx: &mut PgConnection, job: Uuid) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        r#"with risen as (delete from safelight.dead_letters where id = $1 returning *)
        insert into safelight.jobs (id, queue, kind, version, payload, tenant, subject_id, order_id, key, priority, run_at,
            max_attempts, traceparent, created_at)
        select id, queue, kind, version, payload, tenant, subject_id, order_id, key, priority, safelight.now(),
            max_attempts, traceparent, created_at from risen"#,
        job
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
