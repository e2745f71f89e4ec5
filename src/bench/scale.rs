//! `safelight bench scale`: what a long history and a full schedule cost the queue. One line a step.
//!
//! The archive is filled by the database itself, in pieces that commit, so that no step holds more than one piece in its
//! write-ahead log; ten million archived jobs take about three gigabytes.

use std::time::{Duration, Instant};

use safelight_jobs::{db, queue};
use serde_json::{Map, Value, json};
use sqlx::PgPool;

use super::{
    KIND, QUEUE, clean, enqueueing,
    working::{self, percentile},
};
use crate::process::say;

/// Archived jobs of one statement.
const PIECE: i64 = 500_000;
/// Claims of one job each that are timed.
const CLAIMS: usize = 1000;

pub(super) struct Sizes {
    pub(super) archived: Vec<i64>,
    pub(super) scheduled: i64,
    pub(super) drain: u64,
    pub(super) times: usize,
}

pub(super) async fn measure(url: &str, pool: &PgPool, sizes: &Sizes) -> anyhow::Result<()> {
    clean(pool).await?;
    for &archived in &sizes.archived {
        // Earlier drains are in the archive, too.
        let there: i64 = sqlx::query_scalar("select count(*) from safelight.jobs_archive").fetch_one(pool).await?;
        archive(pool, archived - there).await?;
        step(url, pool, sizes, archived, 0).await?;
    }
    if sizes.scheduled > 0 {
        clean(pool).await?;
        schedule(pool, sizes.scheduled).await?;
        step(url, pool, sizes, 0, sizes.scheduled).await?;
    }
    clean(pool).await
}

/// Finished jobs of the last twenty days, as the worker leaves them.
async fn archive(pool: &PgPool, count: i64) -> anyhow::Result<()> {
    let mut left = count;
    while left > 0 {
        let now = left.min(PIECE);
        sqlx::query(
            r#"insert into safelight.jobs_archive (id, queue, kind, version, payload, attempt, waits, outcome,
                run_at, created_at, started_at, finished_at, prune_on)
            select safelight.uuid_v7(), $1, $2, 1, '{"t": 0}', 0, 0, 'done', at, at, at, at, at::date + 21
            from (select clock_timestamp() - interval '20 days' * random() as at from generate_series(1, $3) offset 0) finished"#,
        )
        .bind(QUEUE.as_str())
        .bind(KIND)
        .bind(now)
        .execute(pool)
        .await?;
        left -= now;
    }
    settle_down(pool).await
}

/// Jobs that are due in a month.
async fn schedule(pool: &PgPool, count: i64) -> anyhow::Result<()> {
    let mut left = count;
    while left > 0 {
        let now = left.min(PIECE);
        sqlx::query(
            r#"insert into safelight.jobs (id, queue, kind, payload, state, run_at, rank, max_attempts, created_at)
            select safelight.uuid_v7(), $1, $2, '{"t": 0}', 3, at, at, 5, now
            from (select now, now + interval '30 days' + i * interval '1 second' as at
                from generate_series(1, $3) i, (select safelight.now() as now offset 0) clock offset 0) planned"#,
        )
        .bind(QUEUE.as_str())
        .bind(KIND)
        .bind(now)
        .execute(pool)
        .await?;
        left -= now;
    }
    settle_down(pool).await
}

/// What autovacuum and the checkpointer would have done long since.
async fn settle_down(pool: &PgPool) -> anyhow::Result<()> {
    sqlx::query("vacuum analyze safelight.jobs, safelight.jobs_archive").execute(pool).await?;
    sqlx::query("checkpoint").execute(pool).await?;
    Ok(())
}

async fn step(url: &str, pool: &PgPool, sizes: &Sizes, archived: i64, scheduled: i64) -> anyhow::Result<()> {
    let claims = claims(url, pool).await?;
    let (mut speeds, mut peak, mut cpu, mut wal) = (Vec::new(), 0.0_f64, Vec::new(), 0.0);
    for _ in 0..sizes.times.max(1) {
        enqueueing::fill(pool, sizes.drain).await?;
        let drained = working::drain(url, pool, 1000).await?;
        speeds.push(drained.per_s());
        peak = peak.max(drained.peak.unwrap_or(0.0));
        cpu.extend(drained.cpu.map(|(_, all)| all));
        wal = drained.wal;
    }
    speeds.sort_by(f64::total_cmp);
    cpu.sort_by(f64::total_cmp);
    say(json!({
        "test": "scale", "archived": archived, "scheduled": scheduled, "drained": sizes.drain,
        "drain_per_s": percentile(&speeds, 0.5), "drain_min": speeds.first(), "drain_max": speeds.last(),
        "claim_p50_ms": millis(percentile(&claims, 0.5)), "claim_p99_ms": millis(percentile(&claims, 0.99)),
        "machine_cpu_us": percentile(&cpu, 0.5), "wal_bytes": wal.round(), "peak_mb": peak, "table_bytes": table_sizes(pool).await?,
    }));
    Ok(())
}

fn millis(time: Option<Duration>) -> Option<f64> {
    time.map(|time| (time.as_secs_f64() * 1e6).round() / 1000.0)
}

/// How long it takes to claim one job of many that are ready, in a session like a worker's.
async fn claims(url: &str, pool: &PgPool) -> anyhow::Result<Vec<Duration>> {
    enqueueing::fill(pool, 10 * CLAIMS as u64).await?;
    let queue_pool = db::connect_queue(url, 1).await?;
    let mut took = Vec::with_capacity(CLAIMS);
    for _ in 0..CLAIMS {
        let began = Instant::now();
        let claimed = queue::claim(&queue_pool, QUEUE, "bench", 1, 60.0).await?;
        took.push(began.elapsed());
        anyhow::ensure!(claimed.len() == 1, "one job was ready, {} were claimed", claimed.len());
    }
    took.sort_unstable();
    // The ready ones and the claimed ones go; the scheduled ones stay.
    sqlx::query("delete from safelight.jobs where state in (0, 1)").execute(pool).await?;
    settle_down(pool).await?;
    Ok(took)
}

/// Bytes with indexes of every table of the queue; a partitioned one is the sum of its parts.
async fn table_sizes(pool: &PgPool) -> anyhow::Result<Map<String, Value>> {
    let sizes: Vec<(String, i64)> = sqlx::query_as(
        r#"select name, coalesce((select nullif(sum(pg_total_relation_size(relid)), 0) from pg_partition_tree(('safelight.' || name)::regclass)),
            pg_total_relation_size(('safelight.' || name)::regclass))::bigint
        from unnest(array['jobs', 'jobs_archive', 'job_keys', 'dead_letters']) name"#,
    )
    .fetch_all(pool)
    .await?;
    Ok(sizes.into_iter().map(|(name, bytes)| (name, Value::from(bytes))).collect())
}
