//! Leases: kept by heartbeat, given back by a graceful stop, taken away after a crash.

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{db, id, id::Id, job::Queue};

/// The right to run one attempt of one job and to write its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job: Id<id::Job>,
    /// The fencing token of this attempt.
    pub token: Uuid,
}

impl Lease {
    /// Asked at the start of every transaction that writes for this attempt. Locks the job's row in share mode: a
    /// rescue or a cancel waits until the transaction ends.
    pub async fn holds(&self, tx: &mut PgConnection) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar!(r#"select safelight.holds_lease($1, $2) as "holds!""#, self.job.uuid(), self.token)
            .fetch_one(tx)
            .await
    }

    /// Extend it at the end of a long transaction that has proved it, until the next heartbeats come through.
    pub(crate) async fn keep_within(&self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "update safelight.jobs set lease_until = greatest(lease_until, clock_timestamp() + interval '5 seconds')
            where id = $1 and lease_token = $2",
            self.job.uuid(),
            self.token
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// What a heartbeat found.
#[derive(Debug, Default)]
pub struct Kept {
    /// Leases that are ours no more: their attempts must stop.
    pub lost: Vec<Lease>,
}

/// Extend leases. A row that a transaction of the attempt itself has locked is left for the next beat.
pub async fn keep(pool: &PgPool, leases: &[Lease], lease_seconds: f64) -> Result<Kept, sqlx::Error> {
    let ids: Vec<Uuid> = leases.iter().map(|lease| lease.job.uuid()).collect();
    let tokens: Vec<Uuid> = leases.iter().map(|lease| lease.token).collect();
    let mut write = db::write(pool).await?;
    let held = sqlx::query!(
        r#"with mine as materialized (
            select j.id, j.lease_token from unnest($1::uuid[], $2::uuid[]) l(id, token)
            join safelight.jobs j on j.id = l.id and j.lease_token = l.token
        ), free as materialized (
            select j.id from safelight.jobs j join mine on mine.id = j.id where j.lease_token = mine.lease_token
            for no key update of j skip locked
        ), extended as (
            update safelight.jobs j set lease_until = clock_timestamp() + make_interval(secs => $3)
            from free where j.id = free.id
        )
        select id as "id!", lease_token as "token!" from mine"#,
        &ids,
        &tokens,
        lease_seconds,
    )
    .fetch_all(&mut *write)
    .await?;
    write.commit().await?;
    let held: std::collections::HashSet<(Uuid, Uuid)> = held.into_iter().map(|row| (row.id, row.token)).collect();
    Ok(Kept { lost: leases.iter().filter(|l| !held.contains(&(l.job.uuid(), l.token))).copied().collect() })
}

/// Return jobs that were not started, or that a graceful stop ends: ready at once, no attempt spent.
pub async fn give_back(pool: &PgPool, leases: &[Lease]) -> Result<u64, sqlx::Error> {
    let ids: Vec<Uuid> = leases.iter().map(|lease| lease.job.uuid()).collect();
    let tokens: Vec<Uuid> = leases.iter().map(|lease| lease.token).collect();
    let mut write = db::write(pool).await?;
    let done = sqlx::query!(
        // Ready and in its old place, although its due time is long over.
        r#"update safelight.jobs j set state = 0, lease_token = null, lease_until = null, worker = null, started_at = null
        from unnest($1::uuid[], $2::uuid[]) l(id, token) where j.id = l.id and j.lease_token = l.token"#,
        &ids,
        &tokens,
    )
    .execute(&mut *write)
    .await?;
    write.commit().await?;
    Ok(done.rows_affected())
}

/// Return what claims took whose answers were lost, by the fencing tokens of those claims. Nothing of it was begun, so nothing is
/// spent and no crash is counted; what other claims of the same worker took stays with it.
pub async fn disown(pool: &PgPool, claims: &[Uuid]) -> Result<u64, sqlx::Error> {
    let mut write = db::write(pool).await?;
    let done = sqlx::query!(
        r#"update safelight.jobs set state = 0, lease_token = null, lease_until = null, worker = null, started_at = null
        where state = 1 and lease_token = any ($1)"#,
        claims,
    )
    .execute(&mut *write)
    .await?;
    write.commit().await?;
    Ok(done.rows_affected())
}

/// Take leases away that ran out: their worker died or hangs. A crash is counted; at `max_crashes` the job is a dead
/// letter with the code `crashed`, unless it is one that is tried until verified: a deletion is never given up by a crash.
/// Any worker may do this for all.
pub async fn rescue(pool: &PgPool, max_crashes: i16) -> Result<u64, sqlx::Error> {
    let mut tx = db::begin(pool).await?;
    let crashed = sqlx::query!(
        r#"with late as materialized (
            select id from safelight.jobs where state = 1 and lease_until < clock_timestamp() limit 1000
            for update skip locked
        ), noted as (
            insert into safelight.job_attempts (job_id, subject_id, attempt, verdict, code, worker)
            select j.id, j.subject_id, j.attempt, 'crashed', 'lease_ran_out', j.worker
            from safelight.jobs j join late on late.id = j.id
        )
        update safelight.jobs j set state = 0, lease_token = null, lease_until = null, worker = null, crashes = j.crashes + 1
        from late where j.id = late.id
        returning j.id, j.crashes >= $1 and j.max_attempts < 2147483647 as "poison!""#,
        max_crashes,
    )
    .fetch_all(&mut *tx)
    .await?;
    let poison: Vec<Uuid> = crashed.iter().filter(|row| row.poison).map(|row| row.id).collect();
    if !poison.is_empty() {
        super::settle::bury(&mut tx, &poison, "crashed").await?;
    }
    tx.commit().await?;
    Ok(crashed.len() as u64)
}

/// Let in whoever was set aside for a lane that is empty by now. Answers how many.
pub async fn open_lanes(pool: &PgPool) -> Result<i64, sqlx::Error> {
    let mut write = db::write(pool).await?;
    let opened = sqlx::query_scalar!(r#"select safelight.open_lanes() as "opened!""#).fetch_one(&mut *write).await?;
    write.commit().await?;
    Ok(opened)
}

/// A worker process is there. Names are unique for every process start, so a restart strands nothing.
pub async fn register_worker(pool: &PgPool, name: &str, host: &str, queues: &[Queue]) -> Result<(), sqlx::Error> {
    let queues: Vec<String> = queues.iter().map(|queue| queue.as_str().to_owned()).collect();
    let mut tx = db::begin(pool).await?;
    sqlx::query!(
        r#"insert into safelight.workers (name, host, pid, queues, version) values ($1, $2, $3, $4, $5)
        on conflict (name) do update set seen_at = clock_timestamp()"#,
        name,
        host,
        i32::try_from(std::process::id()).unwrap_or(0),
        &queues,
        env!("CARGO_PKG_VERSION"),
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("delete from safelight.workers where seen_at < clock_timestamp() - interval '1 hour'")
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// A worker process has ended in good order.
pub async fn forget_worker(pool: &PgPool, name: &str) -> Result<(), sqlx::Error> {
    let mut write = db::write(pool).await?;
    sqlx::query!("delete from safelight.workers where name = $1", name).execute(&mut *write).await?;
    write.commit().await
}
