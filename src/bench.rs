//! `safelight bench`: how fast the queue is, as ratios beside peers in one run.
//!
//! No-op jobs through the real path: stored leases, fencing tokens, the archive, the apalis worker. The verbs and the lines
//! that they print are those of `bench/run.sh`, so that one script measures us and the peers.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use safelight_jobs::{
    db::{self, Role},
    job::Queue,
    queue::{self, Bell},
    stop::Done,
};
use safelight_worker::{Perform, config::WorkerConfig};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{config, process::say};

/// A queue that nothing of the domain uses while a benchmark runs.
const QUEUE: Queue = Queue::Sweeps;
const KIND: &str = "bench_nothing";
/// The longest that one measurement may take.
const PATIENCE: Duration = Duration::from_secs(170);

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The queue alone, on the database in DATABASE_URL: everything in its job tables goes
    Queue {
        /// What to do
        verb: Verb,
        /// name=value, as `bench/run.sh` gives them: n, b, p, gap_ms, rate, secs, conc
        settings: Vec<String>,
        #[command(flatten)]
        database: config::Database,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Verb {
    /// Bring the schema up to date
    Setup,
    /// Empty the job tables
    Clean,
    /// Enqueue n jobs, b in one statement, one producer
    Bulk,
    /// Enqueue n jobs one by one, p producers
    Single,
    /// Run what is there, until nothing is left
    Drain,
    /// Enqueue n jobs gap_ms apart and measure enqueue to start
    Idle,
    /// Enqueue rate jobs a second for secs seconds and measure enqueue to start
    Load,
}

struct Settings(Vec<(String, u64)>);

impl Settings {
    fn read(words: &[String]) -> anyhow::Result<Self> {
        let pairs = words.iter().map(|word| {
            let (name, value) = word.split_once('=').with_context(|| format!("`{word}` is not name=value"))?;
            Ok((name.to_owned(), value.parse().with_context(|| format!("`{word}`: the value is not a whole number"))?))
        });
        Ok(Self(pairs.collect::<anyhow::Result<_>>()?))
    }
    fn get(&self, name: &str, default: u64) -> u64 {
        self.0.iter().find(|(known, _)| known == name).map_or(default, |(_, value)| *value)
    }
}

impl Bench {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let What::Queue { verb, settings, database } = self.what;
        let (settings, url) = (Settings::read(&settings)?, database.database_url);
        let pool = db::connect(&url, Role::Owner, 20).await?;
        match verb {
            Verb::Setup => {
                db::migrate(&pool).await?;
                say(json!({ "test": "setup" }));
            }
            Verb::Clean => {
                sqlx::query("truncate safelight.jobs, safelight.job_keys, safelight.job_steps, safelight.job_attempts, safelight.jobs_archive, safelight.dead_letters")
                    .execute(&pool)
                    .await?;
            }
            Verb::Bulk => bulk(&pool, settings.get("n", 100_000), settings.get("b", 1000)).await?,
            Verb::Single => single(&pool, settings.get("n", 10_000), settings.get("p", 16)).await?,
            Verb::Drain => drain(&url, &pool, settings.get("conc", 1000)).await?,
            Verb::Idle => {
                let (n, gap) = (settings.get("n", 200), settings.get("gap_ms", 50));
                latency("idle", &url, &pool, n, Duration::from_millis(gap), settings.get("conc", 100)).await?;
            }
            Verb::Load => {
                let (rate, secs) = (settings.get("rate", 200).max(1), settings.get("secs", 10));
                latency(
                    "load",
                    &url,
                    &pool,
                    rate * secs,
                    Duration::from_secs(1) / u32::try_from(rate)?,
                    settings.get("conc", 100),
                )
                .await?;
            }
        }
        Ok(())
    }
}

fn micros() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}

fn rate(test: &str, n: u64, took: Duration, more: &[(&str, Value)]) {
    let mut line = json!({ "test": test, "n": n, "secs": took.as_secs_f64(), "per_s": n as f64 / took.as_secs_f64() });
    for (name, value) in more {
        line[*name] = value.clone();
    }
    say(line);
}

async fn bulk(pool: &PgPool, n: u64, b: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut left = n;
    while left > 0 {
        let now = left.min(b.max(1));
        let payloads: Vec<Value> = (0..now).map(|_| json!({ "t": 0 })).collect();
        let mut tx = db::begin(pool).await?;
        queue::enqueue_bulk(&mut tx, QUEUE, KIND, &payloads).await?;
        tx.commit().await?;
        left -= now;
    }
    rate("bulk", n, began.elapsed(), &[("batch", json!(b))]);
    Ok(())
}

/// As a web backend does it: by the SQL function, one commit a job; the bell rings after it.
async fn single(pool: &PgPool, n: u64, producers: u64) -> anyhow::Result<()> {
    let bell = Bell::start(pool.clone());
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for producer in 0..producers.max(1) {
        let (pool, bell) = (pool.clone(), bell.clone());
        let share = n / producers.max(1) + u64::from(producer < n % producers.max(1));
        tasks.spawn(async move {
            for _ in 0..share {
                one(&pool, 0).await?;
                bell.ring(QUEUE);
            }
            anyhow::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    rate("single", n, began.elapsed(), &[("producers", json!(producers))]);
    Ok(())
}

async fn one(pool: &PgPool, t: u64) -> anyhow::Result<()> {
    sqlx::query("select safelight.enqueue($1, $2, $3)")
        .bind(KIND)
        .bind(json!({ "t": t }))
        .bind(QUEUE.as_str())
        .execute(pool)
        .await?;
    Ok(())
}

fn settings(conc: u64) -> anyhow::Result<WorkerConfig> {
    Ok(WorkerConfig { queues: vec![QUEUE], concurrency: usize::try_from(conc)?, ..WorkerConfig::default() })
}

async fn drain(url: &str, pool: &PgPool, conc: u64) -> anyhow::Result<()> {
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
    let stop = CancellationToken::new();
    let began = Instant::now();
    let worker = tokio::spawn(safelight_worker::run_with(settings(conc)?, queue_pool, perform, stop.clone()));
    let mut took = None;
    while began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(2)).await;
        if ran.load(Ordering::Relaxed) >= n {
            took = Some(began.elapsed());
            break;
        }
    }
    stop.cancel();
    worker.await??;
    let left: i64 = sqlx::query_scalar("select count(*) from safelight.jobs").fetch_one(pool).await?;
    let Some(took) = took else { bail!("{} of {n} jobs ran within {PATIENCE:?}", ran.load(Ordering::Relaxed)) };
    rate(
        "drain",
        n,
        took,
        &[("runs", json!(ran.load(Ordering::Relaxed))), ("left", json!(left)), ("conc", json!(conc))],
    );
    Ok(())
}

async fn latency(test: &str, url: &str, pool: &PgPool, n: u64, gap: Duration, conc: u64) -> anyhow::Result<()> {
    let waits = Arc::new(Mutex::new(Vec::new()));
    let noting = waits.clone();
    let perform: Perform = Arc::new(move |job| {
        let wait = micros().saturating_sub(job.payload["t"].as_u64().unwrap_or(0));
        noting.lock().unwrap_or_else(PoisonError::into_inner).push(wait);
        Box::pin(std::future::ready(Ok(Ok(Done::nothing_more()))))
    });
    let queue_pool = db::connect_queue(url, 6).await?;
    let stop = CancellationToken::new();
    let worker = tokio::spawn(safelight_worker::run_with(settings(conc)?, queue_pool, perform, stop.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bell = Bell::start(pool.clone());
    let mut tick = tokio::time::interval(gap);
    let mut writing = tokio::task::JoinSet::new();
    for _ in 0..n {
        tick.tick().await;
        let (pool, bell) = (pool.clone(), bell.clone());
        writing.spawn(async move {
            one(&pool, micros()).await?;
            bell.ring(QUEUE);
            anyhow::Ok(())
        });
    }
    while let Some(written) = writing.join_next().await {
        written??;
    }
    let began = Instant::now();
    let count = || waits.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
    while count() < n && began.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    worker.await??;
    let mut waits = waits.lock().unwrap_or_else(PoisonError::into_inner).clone();
    waits.sort_unstable();
    let at = |part: f64| {
        waits.get(((waits.len().saturating_sub(1)) as f64 * part) as usize).map_or(0.0, |wait| *wait as f64 / 1000.0)
    };
    say(json!({ "test": test, "n": n, "started": waits.len(),
        "lat": { "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99), "max_ms": at(1.0) } }));
    Ok(())
}
