//! Poolers and failures between workers and Postgres: nothing is stuck, nothing is lost, and each effect happens once.

mod cuts;
mod disk;
mod failover;
mod line;
mod patroni;
mod pooler;
mod silence;
mod slow;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use safelight_jobs::{
    db,
    queue::{self, Claimed},
    stop::{Done, Stop},
};
use safelight_worker::{Perform, config::WorkerConfig};
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::{app::App, pools::quick};

pub const DONE: &str = "select count(*) from safelight.jobs_archive where outcome = 'done'";
pub const LEFT: &str = "select count(*) from safelight.jobs";
pub const RUNNING: &str = "select count(*) from safelight.jobs where state = 1";
pub const CRASHED: &str = "select count(*) from safelight.job_attempts where verdict = 'crashed'";

/// Longer than a statement without an answer is waited for, with the time to run again.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A lease that does not run out only because new connections cost a busy machine some seconds.
pub fn steady() -> WorkerConfig {
    WorkerConfig { lease: Duration::from_secs(20), ..quick() }
}

/// Wait until a number is there, longer than `until` does.
pub async fn until_at_last(db: &PgPool, sql: &'static str, wanted: i64) {
    let began = Instant::now();
    loop {
        let seen = sqlx::query_scalar::<_, i64>(sql).fetch_one(db).await;
        if seen.as_ref().is_ok_and(|&seen| seen == wanted) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "still {seen:?} instead of {wanted}: {sql}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// So many looks of the house: each was done once, and none is left, dead, or has spent an attempt.
pub async fn each_was_done_once(db: &PgPool, looks: i64) {
    let count = async |sql: &'static str| sqlx::query_scalar::<_, i64>(sql).fetch_one(db).await.unwrap();
    assert_eq!(count("select count(*) from safelight.dead_letters").await, 0);
    assert_eq!(count(LEFT).await, 0);
    assert_eq!(count(DONE).await, looks, "nothing is lost");
    assert_eq!(count("select count(distinct asked_by) from safelight.sweeps").await, looks, "each had its effect");
    assert_eq!(count("select count(*) from safelight.sweeps").await, looks, "and had it once");
    assert_eq!(count("select count(*) from safelight.jobs_archive where attempt > 0").await, 0, "no attempt is spent");
}

/// Work that takes as long as the test wants, without a statement under way, and whose effect and end are one commit.
#[derive(Clone, Default)]
pub struct Hands(Arc<Held>);

#[derive(Default)]
struct Held {
    released: AtomicBool,
    release: Notify,
    took: Mutex<Vec<String>>,
}

impl Hands {
    /// All that began, in order: which worker took which look.
    pub fn took(&self) -> Vec<String> {
        self.0.took.lock().unwrap().clone()
    }

    /// From here on work takes no time.
    pub fn release(&self) {
        self.0.released.store(true, Ordering::SeqCst);
        self.0.release.notify_waiters();
    }

    /// The work of one worker, written through `pool`.
    pub fn of(&self, worker: &'static str, pool: PgPool) -> Perform {
        let held = self.0.clone();
        Arc::new(move |job| {
            let (held, pool) = (held.clone(), pool.clone());
            Box::pin(async move {
                let because = job.payload["because"].as_str().unwrap_or("?").to_owned();
                held.took.lock().unwrap().push(format!("{worker}: {because}"));
                let released = held.release.notified();
                if !held.released.load(Ordering::SeqCst) {
                    released.await;
                }
                Ok(ends(&pool, &job, &because).await)
            })
        })
    }
}

async fn ends(pool: &PgPool, job: &Claimed, because: &str) -> Result<Done, Stop> {
    let mut tx = db::begin(pool).await?;
    sqlx::query("insert into safelight.sweeps (id, kind, asked_by) values ($1, 'consents', $2)")
        .bind(uuid::Uuid::new_v4())
        .bind(because)
        .execute(&mut *tx)
        .await?;
    if !queue::settle_within(&mut tx, job.lease).await? {
        return Err(Stop::retry("lease_lost", anyhow::anyhow!("somebody else has it")));
    }
    tx.commit().await?;
    Ok(Done::nothing_more())
}

/// Wait for a fact of this process.
pub async fn until_true(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl App {
    /// So many looks, from a number on.
    pub async fn enqueues_looks(&self, from: usize, to: usize) {
        for number in from..to {
            self.enqueues_work(&format!("look {number}")).await;
        }
    }
}
