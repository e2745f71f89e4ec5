//! Control of jobs: cancel, hold, release, wake, redrive, discard. Each works on queued and running jobs of the whole fleet at once,
//! because it works on their rows.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::numbers::COUNTED;
use crate::{
    id,
    id::{Id, Order},
};

/// Take one job out of the queue. A running attempt loses its lease, is dropped at its worker's next heartbeat, and
/// writes nothing in between. Answers whether the job was there.
pub async fn cancel(tx: &mut PgConnection, job: Id<id::Job>, code: &str) -> Result<bool, sqlx::Error> {
    Ok(cancel_all(tx, &[job.uuid()], code).await? == 1)
}

/// The same for many. Answers how many were there. Rows are locked in the order of their ids, here and below, so that two who
/// act on the same jobs never wait for each other in a circle.
pub async fn cancel_all(tx: &mut PgConnection, jobs: &[Uuid], code: &str) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        r#"with mine as materialized (select id from safelight.jobs where id = any($1) order by id for update),
        gone as (delete from safelight.jobs j using mine where j.id = mine.id returning j.*),
        forgotten as (delete from safelight.job_steps s using gone where s.job_id = gone.id),
        freed as (update safelight.job_keys k set expires_at = safelight.now() from gone where k.key = gone.key),
        noted as (
            insert into safelight.job_attempts (job_id, subject_id, attempt, verdict, code, worker)
            select id, subject_id, attempt, 'cancelled', $2, worker from gone
        )
        insert into safelight.jobs_archive (id, queue, kind, version, payload, tenant, subject_id, order_id, key, attempt, waits,
            outcome, code, run_at, created_at, started_at, finished_at, prune_on)
        select id, queue, kind, version, payload, tenant, subject_id, order_id, key, attempt, waits,
            'cancelled', $2, run_at, created_at, started_at, clock_timestamp(), safelight.now()::date + keep_days from gone"#,
        jobs,
        code,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Keep one job from running until somebody releases it; its attempts are frozen. A running attempt loses its lease as by
/// a cancel, and spends nothing. Answers whether the job was there and not held already.
pub async fn hold(tx: &mut PgConnection, job: Id<id::Job>, code: &str) -> Result<bool, sqlx::Error> {
    Ok(hold_all(tx, &[job.uuid()], code).await? == 1)
}

/// The same for many. Answers how many.
pub async fn hold_all(tx: &mut PgConnection, jobs: &[Uuid], code: &str) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        r#"with mine as materialized (select id from safelight.jobs where id = any($1) and state <> 2 order by id for update)
        update safelight.jobs j set state = 2, why = $2, lease_token = null, lease_until = null, worker = null, started_at = null
        from mine where j.id = mine.id"#,
        jobs,
        code
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Let a held job run, not before its due time.
pub async fn release(tx: &mut PgConnection, job: Id<id::Job>) -> Result<bool, sqlx::Error> {
    Ok(release_all(tx, &[job.uuid()]).await? == 1)
}

/// The same for many. Answers how many.
pub async fn release_all(tx: &mut PgConnection, jobs: &[Uuid]) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        r#"with mine as materialized (select id from safelight.jobs where id = any($1) and state = 2 order by id for update)
        update safelight.jobs j set why = null, state = case when run_at > safelight.now() then 3 else 0 end
        from mine where j.id = mine.id"#,
        jobs
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Do not wait any longer: a job that waits for its time is due now. Answers whether it was one.
pub async fn wake(tx: &mut PgConnection, job: Id<id::Job>) -> Result<bool, sqlx::Error> {
    Ok(wake_all(tx, &[job.uuid()]).await? == 1)
}

/// The same for many. Answers how many.
pub async fn wake_all(tx: &mut PgConnection, jobs: &[Uuid]) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        r#"with mine as materialized (select id from safelight.jobs where id = any($1) and state = 3 order by id for update)
        update safelight.jobs j set state = 0, run_at = safelight.now(), rank = safelight.now() + priority * interval '1 minute', why = null
        from mine where j.id = mine.id"#,
        jobs
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Lock the persons of these jobs and dead letters as a gate does, in one order: before their rows, wherever an order may be taken back.
///
/// # Errors
/// Those of the database.
pub(crate) async fn share_subjects_of(tx: &mut PgConnection, jobs: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"select safelight.share_subject(s.id) from (select distinct s.id from (
                select subject_id, order_id from safelight.jobs where id = any ($1)
                union all select subject_id, order_id from safelight.dead_letters where id = any ($1)) w
            left join safelight.orders o on o.id = w.order_id
            join safelight.subjects s on s.id = w.subject_id or s.id = o.subject_id order by s.id) s"#,
        jobs
    )
    .fetch_all(tx)
    .await?;
    Ok(())
}

/// What jobs of one order wait for may have happened: let them look again now.
pub async fn wake_order(tx: &mut PgConnection, order: Id<Order>) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        r#"update safelight.jobs set state = 0, run_at = safelight.now(), rank = safelight.now() + priority * interval '1 minute', why = null
        where order_id = $1 and state = 3 and waits > 0"#,
        order.uuid()
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Which dead letters; what is `None` does not narrow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// One job.
    pub job: Option<Uuid>,
    /// Of one kind.
    pub kind: Option<&'a str>,
    /// With one code.
    pub code: Option<&'a str>,
    /// Of one tenant.
    pub tenant: Option<&'a str>,
}

impl std::fmt::Display for Filter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let job = self.job.map(|job| Id::<id::Job>::from(job).to_string());
        let parts = [("job", job.as_deref()), ("kind", self.kind), ("code", self.code), ("tenant", self.tenant)];
        let said: Vec<_> =
            parts.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={value}"))).collect();
        if said.is_empty() { f.write_str("all") } else { f.write_str(&said.join(" ")) }
    }
}

/// Dead letters of one kind and code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadGroup {
    /// Of which kind.
    pub kind: String,
    /// Why they died.
    pub code: String,
    /// How many, up to [`COUNTED`].
    pub count: i64,
    /// When the first died.
    pub oldest: DateTime<Utc>,
    /// When the last died.
    pub newest: DateTime<Utc>,
}

/// The dead letters that match, counted by kind and code, the largest group first; each group up to [`COUNTED`].
pub async fn dead_letters(pool: &PgPool, filter: Filter<'_>) -> Result<Vec<DeadGroup>, sqlx::Error> {
    if let Some(job) = filter.job {
        return sqlx::query_as!(
            DeadGroup,
            r#"select kind, code, 1::bigint as "count!", died_at as oldest, died_at as newest from safelight.dead_letters
            where id = $1 and ($2::text is null or kind = $2) and ($3::text is null or code = $3) and ($4::text is null or tenant = $4)"#,
            job,
            filter.kind,
            filter.code,
            filter.tenant
        )
        .fetch_all(pool)
        .await;
    }
    sqlx::query_as!(
        DeadGroup,
        r#"select kind as "kind!", code as "code!", letters as "count!", oldest as "oldest!", newest as "newest!"
        from safelight.dead_letter_groups($1, $2, $3, $4) order by letters desc, kind, code"#,
        filter.kind,
        filter.code,
        filter.tenant,
        COUNTED
    )
    .fetch_all(pool)
    .await
}

/// Give a dead letter another life under its old id and key, with all its attempts back.
pub async fn redrive(tx: &mut PgConnection, job: Uuid) -> Result<bool, sqlx::Error> {
    Ok(redrive_all(tx, Filter { job: Some(job), ..Filter::default() }, 1).await? == 1)
}

/// The same for up to `most` that match, the oldest first. Answers how many.
pub async fn redrive_all(tx: &mut PgConnection, filter: Filter<'_>, most: i64) -> Result<u64, sqlx::Error> {
    let chosen = oldest(tx, filter, most, true).await?;
    share_subjects_of(tx, &chosen).await?;
    redrive_these(tx, &chosen).await
}

/// The same for these. Answers how many were there.
pub async fn redrive_these(tx: &mut PgConnection, dead: &[Uuid]) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        r#"with mine as materialized (select id from safelight.dead_letters where id = any($1) order by id for update),
        risen as (delete from safelight.dead_letters d using mine where d.id = mine.id returning d.*)
        insert into safelight.jobs (id, queue, kind, version, payload, tenant, subject_id, order_id, key, lane, priority, run_at, rank,
            max_attempts, traceparent, created_at, deadline_at, keep_days)
        select r.id, r.queue, r.kind, r.version, r.payload, r.tenant, r.subject_id, r.order_id, r.key, r.lane, r.priority, now,
            now + r.priority * interval '1 minute', r.max_attempts, r.traceparent, r.created_at,
            now + k.deadline_seconds * interval '1 second', r.keep_days
        from risen r left join safelight.job_kinds k on k.kind = r.kind, (select safelight.now() as now) clock"#,
        dead
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Give up to `most` that match up for good, the oldest first: they go to the archive as cancelled, and their keys end.
/// Leaves alone what must be tried until it is verified. Answers how many.
pub async fn discard_all(tx: &mut PgConnection, filter: Filter<'_>, most: i64) -> Result<u64, sqlx::Error> {
    let chosen = oldest(tx, filter, most, false).await?;
    discard_these(tx, &chosen).await
}

/// The same for these. Answers how many.
pub async fn discard_these(tx: &mut PgConnection, dead: &[Uuid]) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        r#"with mine as materialized (
            select d.id from safelight.dead_letters d where d.id = any($1)
                and not exists (select from safelight.job_kinds k where k.kind = d.kind and k.effect = 'until_verified')
            order by d.id for update of d
        ), gone as (delete from safelight.dead_letters d using mine where d.id = mine.id returning d.*),
        freed as (update safelight.job_keys k set expires_at = safelight.now() from gone where k.key = gone.key)
        insert into safelight.jobs_archive (id, queue, kind, version, payload, tenant, subject_id, order_id, key, attempt, waits,
            outcome, code, run_at, created_at, started_at, finished_at, prune_on)
        select id, queue, kind, version, payload, tenant, subject_id, order_id, key, attempt, waits,
            'cancelled', code, created_at, created_at, null, clock_timestamp(), safelight.now()::date + keep_days from gone"#,
        dead
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// The oldest dead letters that match; what is done to them locks them. `promises`: those too that must be tried until they are
/// verified.
async fn oldest(
    tx: &mut PgConnection,
    filter: Filter<'_>,
    most: i64,
    promises: bool,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select d.id from safelight.dead_letters d
        where ($1::uuid is null or d.id = $1) and ($2::text is null or d.kind = $2) and ($3::text is null or d.code = $3)
            and ($4::text is null or d.tenant = $4)
            and ($6 or not exists (select from safelight.job_kinds k where k.kind = d.kind and k.effect = 'until_verified'))
        order by d.died_at limit $5"#,
        filter.job,
        filter.kind,
        filter.code,
        filter.tenant,
        most,
        promises
    )
    .fetch_all(tx)
    .await
}
