//! The workers' side: run what is there, and measure how soon a job starts.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::bail;
use safelight_jobs::{db, queue::Bell, stop::Done};
use safelight_worker::{Perform, config::WorkerConfig};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, QUEUE, enqueueing, machine};
use crate::process::say;

fn micros() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}

fn worker(conc: u64) -> anyhow::Result<WorkerConfig> {
    Ok(WorkerConfig { queues: vec![QUEUE], concurrency: usize::try_from(conc)?, ..WorkerConfig::default() })
}

/// One drain and what it cost.
pub(super) struct Drained {
    pub(super) n: u64,
    pub(super) runs: u64,
    pub(super) took: Duration,
    pub(super) conc: u64,
    /// Megabytes that the worker held at most.
    pub(super) peak: Option<f64>,
    /// Processor microseconds a job: of the worker, and of the whole machine.
    pub(super) cpu: Option<(f64, f64)>,
    /// Bytes of write-ahead log a job.
    pub(super) wal: f64,
}

impl Drained {
    pub(super) fn per_s(&self) -> f64 {
        self.n as f64 / self.took.as_secs_f64()
    }
    pub(super) fn line(&self) -> Value {
        json!({ "test": "drain", "n": self.n, "runs": self.runs, "left": 0, "secs": self.took.as_secs_f64(),
            "per_s": self.per_s(), "conc": self.conc, "peak_mb": self.peak, "worker_cpu_us": self.cpu.map(|(own, _)| own),
            "machine_cpu_us": self.cpu.map(|(_, all)| all), "wal_bytes": self.wal.round() })
    }
}

/// Run what is due in the queue until nothing is ready or running: the time includes the last settled outcome. Two
/// processes may drain the same queue; each tells its own runs, and both end when it is empty.
pub(super) async fn drain(url: &str, pool: &PgPool, conc: u64) -> anyhow::Result<Drained> {
    let n = u64::try_from(
        sqlx::query_scalar::<_, i64>("select count(*) from safelight.jobs where state = 0").fetch_one(pool).await?,
    )?;
    let ran = Arc::new(AtomicU64::new(0));
    let counted = ran.clone();
    let perform: Perform = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(Ok(Done::nothing_more()))))
    });
    let queue_pool = db::connect_queue(url, 6).await?;
    let looking = db::connect_queue(url, 1).await?;
    let (stop, bell) = (CancellationToken::new(), Bell::start(pool.clone()));
    machine::forget_peak();
    let (began, used, wal) = (Instant::now(), machine::Used::now(), machine::write_ahead(pool).await?);
    let working = tokio::spawn(safelight_worker::run_with(worker(conc)?, queue_pool, bell, perform, stop.clone()));
    let mut looks = 0_u32;
    let took = loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        looks += 1;
        // A look costs the database time, so before everything ran there are few.
        if (ran.load(Ordering::Relaxed) >= n || looks.is_multiple_of(20)) && is_empty(&looking).await? {
            break began.elapsed();
        }
        if began.elapsed() > PATIENCE {
            bail!("{} of {n} jobs ran within {PATIENCE:?}", ran.load(Ordering::Relaxed));
        }
    };
    let cpu = machine::Used::now().zip(used).map(|(now, then)| now.since(then, n));
    let wal = (machine::write_ahead(pool).await? - wal) / n.max(1) as f64;
    let peak = machine::peak_megabytes();
    stop.cancel();
    working.await??;
    Ok(Drained { n, runs: ran.load(Ordering::Relaxed), took, conc, peak, cpu, wal })
}

/// From the live ends of the indexes: a look that stepped over all that has ended would be part of what is measured.
async fn is_empty(pool: &PgPool) -> anyhow::Result<bool> {
    let live = sqlx::query_scalar::<_, bool>(
        "select exists (select from (select from safelight.jobs where state = 0 and queue = $1
                order by queue desc, coalesce(tenant, '') desc, rank desc, id desc limit 1) ready)
            or exists (select from (select from safelight.jobs where state = 1 order by started_at desc limit 1) running)",
    )
    .bind(QUEUE.as_str())
    .fetch_one(pool)
    .await?;
    Ok(!live)
}

/// Which wait is measured.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// One job after the other.
    Alone,
    /// So many a second, whatever the queue does.
    Load,
}

pub(super) async fn latency(
    pace: Pace,
    url: &str,
    pool: &PgPool,
    n: u64,
    gap: Duration,
    conc: u64,
    apart: bool,
) -> anyhow::Result<()> {
    let started = Arc::new(Mutex::new(BTreeMap::new()));
    let noting = started.clone();
    let perform: Perform = Arc::new(move |job| {
        let wished = job.payload["t"].as_u64().unwrap_or(0);
        noting.lock().unwrap_or_else(PoisonError::into_inner).insert(wished, micros());
        Box::pin(std::future::ready(Ok(Ok(Done::nothing_more()))))
    });
    let queue_pool = db::connect_queue(url, 6).await?;
    let (stop, bell) = (CancellationToken::new(), Bell::start(pool.clone()));
    let working =
        tokio::spawn(safelight_worker::run_with(worker(conc)?, queue_pool, bell.clone(), perform, stop.clone()));
    // As long as the peers' adapters give theirs to start.
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Apart: as the bell of another process, which reaches the worker over the database.
    let bell = if apart { Bell::start(pool.clone()) } else { bell };
    let (mut writing, mut committed) = (tokio::task::JoinSet::new(), BTreeMap::new());
    let first = micros();
    let mut tick = tokio::time::interval(gap);
    for i in 0..n {
        tick.tick().await;
        // As the peers' adapters: alone, from the moment of the wish; under load, from when it should have been wished for, so
        // that a producer that is late does not make the queue look faster.
        let wished = match pace {
            Pace::Alone => micros(),
            Pace::Load => first + i * u64::try_from(gap.as_micros())?,
        };
        let (pool, bell) = (pool.clone(), bell.clone());
        writing.spawn(async move {
            let began = micros();
            enqueueing::one(&pool, wished).await?;
            bell.ring(QUEUE);
            anyhow::Ok((wished, Wrote { began, ended: micros() }))
        });
    }
    while let Some(written) = writing.join_next().await {
        let (wished, wrote) = written??;
        committed.insert(wished, wrote);
    }
    let began = Instant::now();
    let count = || started.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
    while count() < n && began.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    working.await??;
    let started = started.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut ways: Vec<Way> = started
        .iter()
        .filter_map(|(&wished, &started)| Some(Way { wished, wrote: *committed.get(&wished)?, started }))
        .collect();
    ways.sort_unstable_by_key(Way::whole);
    let waits: Vec<u64> = ways.iter().map(Way::whole).collect();
    let at = |part: f64| percentile(&waits, part).map_or(0.0, |wait| wait as f64 / 1000.0);
    let slowest = &ways[ways.len() - ways.len().div_ceil(100)..];
    let test = match pace {
        Pace::Alone => "idle",
        Pace::Load => "load",
    };
    say(json!({ "test": test, "n": n, "started": waits.len(), "lat": { "n": waits.len(),
        "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99), "max_ms": at(1.0) },
        "parts": { "all": Way::parts(&ways), "slowest_percent": Way::parts(slowest) } }));
    Ok(())
}

/// When a producer began to store its job, and when it knew that it was stored.
#[derive(Clone, Copy)]
struct Wrote {
    began: u64,
    ended: u64,
}

/// The way of one job from the wish to its start.
struct Way {
    wished: u64,
    wrote: Wrote,
    started: u64,
}

impl Way {
    fn whole(&self) -> u64 {
        self.started.saturating_sub(self.wished)
    }
    /// Means in milliseconds: the producer's timer, its commit, and from there to the start.
    fn parts(ways: &[Self]) -> Value {
        let mean =
            |part: fn(&Self) -> u64| ways.iter().map(part).sum::<u64>() as f64 / ways.len().max(1) as f64 / 1000.0;
        json!({ "timer_ms": mean(|way| way.wrote.began.saturating_sub(way.wished)),
            "commit_ms": mean(|way| way.wrote.ended.saturating_sub(way.wrote.began)),
            "start_ms": mean(|way| way.started.saturating_sub(way.wrote.ended)) })
    }
}

/// The value that a part of all does not exceed, of sorted values.
pub(super) fn percentile<T: Copy>(sorted: &[T], part: f64) -> Option<T> {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let all: Vec<u32> = (1..=200).collect();
        assert_eq!(percentile(&all, 0.5), Some(100));
        assert_eq!(percentile(&all, 0.99), Some(198));
        assert_eq!(percentile(&all, 1.0), Some(200));
        assert_eq!(percentile::<u32>(&[], 0.5), None);
    }
}
