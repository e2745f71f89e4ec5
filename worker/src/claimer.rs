//! Claims jobs of one queue for one apalis worker, as a task of its own. Database errors stay in here: they are logged and
//! tried again, and the worker never sees one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use safelight_jobs::{
    job::Queue,
    queue::{self, Claimed},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{backend::give_back, config::WorkerConfig, keeper::Keeper};

/// Claimed and not yet settled, of one worker. Bounds what is in flight, and tells when a graceful stop is over.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<(AtomicUsize, Notify)>);

impl InFlight {
    pub(crate) fn add(&self, count: usize) {
        self.0.0.fetch_add(count, Ordering::AcqRel);
    }
    pub(crate) fn sub(&self, count: usize) {
        self.0.0.fetch_sub(count, Ordering::AcqRel);
        self.0.1.notify_waiters();
        self.0.1.notify_one();
    }
    pub(crate) fn count(&self) -> usize {
        self.0.0.load(Ordering::Acquire)
    }
    pub(crate) async fn changed(&self) {
        self.0.1.notified().await;
    }
}

pub(crate) struct Claimer {
    pub(crate) pool: sqlx::PgPool,
    pub(crate) queue: Queue,
    pub(crate) worker: String,
    pub(crate) config: WorkerConfig,
    pub(crate) bell: Arc<Notify>,
    pub(crate) keeper: Keeper,
    pub(crate) in_flight: InFlight,
    pub(crate) jobs: mpsc::Sender<Claimed>,
    pub(crate) stop: CancellationToken,
}

impl Claimer {
    pub(crate) async fn run(self) {
        let most = self.config.concurrency;
        let mut trouble = 0_u32;
        while !self.stop.is_cancelled() {
            let room = most.saturating_sub(self.in_flight.count());
            if room == 0 {
                tokio::select! {
                    () = self.stop.cancelled() => break,
                    () = self.in_flight.changed() => continue,
                }
            }
            let batch = i64::try_from(room).unwrap_or(i64::MAX);
            let claimed =
                queue::claim(&self.pool, self.queue, &self.worker, batch, self.config.lease.as_secs_f64()).await;
            match claimed {
                Ok(claimed) if claimed.is_empty() => {
                    trouble = 0;
                    self.rest(self.config.poll).await;
                }
                Ok(claimed) => {
                    trouble = 0;
                    self.in_flight.add(claimed.len());
                    let mut unsent = Vec::new();
                    for job in claimed {
                        self.keeper.add(job.lease);
                        // A closed channel: the worker stops. What it was not given goes back.
                        if let Err(mpsc::error::SendError(job)) = self.jobs.send(job).await {
                            unsent.push(job.lease);
                        }
                    }
                    give_back(&self.pool, &self.keeper, &self.in_flight, &unsent).await;
                }
                Err(error) => {
                    trouble = trouble.saturating_add(1);
                    tracing::warn!(queue = self.queue.as_str(), %error, "could not claim; trying again");
                    self.rest(Duration::from_millis(100).saturating_mul(trouble.min(20))).await;
                }
            }
        }
    }

    /// Until the bell rings or the time is over.
    async fn rest(&self, time: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.bell.notified() => {}
            () = tokio::time::sleep(time) => {}
        }
    }
}
