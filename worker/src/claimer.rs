//! Claims jobs of one queue for one apalis worker, as a task of its own. Database errors stay in here: they are logged and
//! tried again, and the worker never sees one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use safelight_jobs::{
    db,
    job::Queue,
    queue::{self, Claimed},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{backend::give_back, bounds, config::WorkerConfig, keeper::Keeper};

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
        // A claim without an answer may have been carried out, or still be.
        let mut doubt = None;
        while !self.stop.is_cancelled() {
            let room = most.saturating_sub(self.in_flight.count());
            if room == 0 {
                tokio::select! {
                    () = self.stop.cancelled() => break,
                    () = self.in_flight.changed() => continue,
                }
            }
            if let Some(until) = doubt {
                self.disown().await;
                doubt = Some(until).filter(|&until| Instant::now() < until);
            }
            let batch = i64::try_from(room).unwrap_or(i64::MAX);
            let claim = queue::claim(&self.pool, self.queue, &self.worker, batch, self.config.lease.as_secs_f64());
            let claimed = db::answered(bounds::CLAIM, claim).await;
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
                    doubt = Some(Instant::now() + bounds::SETTLE);
                    trouble = trouble.saturating_add(1);
                    tracing::warn!(queue = self.queue.as_str(), %error, "could not claim; trying again");
                    self.rest(Duration::from_millis(100).saturating_mul(trouble.min(20))).await;
                }
            }
        }
    }

    /// Give back what was claimed without our hearing of it; else it would count as crashed when its lease runs out.
    async fn disown(&self) {
        let held = self.keeper.all();
        let disowned = queue::disown(&self.pool, &self.worker, self.queue, &held);
        match db::answered(bounds::CLAIM, disowned).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(queue = self.queue.as_str(), count, "claims whose answer was lost were given back")
            }
            Err(error) => tracing::debug!(%error, "lost claims could not be given back yet"),
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
