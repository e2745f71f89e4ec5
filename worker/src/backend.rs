//! The apalis backend over our own queue. `poll_next` only receives: claiming, keeping and settling are tasks beside it,
//! because apalis does not poll a backend while its worker is full, paused or shutting down.
//!
//! It never answers `Err` and never `None`: either would end the worker and drop what is in flight (decision 0001).

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    task::{Task, builder::TaskBuilder, task_id::TaskId},
    worker::context::WorkerContext,
};
use safelight_jobs::{
    db,
    queue::{self, Claimed, Lease},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{bounds, claimer::InFlight, keeper::Keeper, layer::SettleLayer};

/// How long a stopping worker waits for its last outcomes to be written.
const LAST_WORDS: Duration = Duration::from_secs(5);

pub(crate) struct QueueBackend {
    pub(crate) pool: sqlx::PgPool,
    pub(crate) jobs: mpsc::Receiver<Claimed>,
    pub(crate) keeper: Keeper,
    pub(crate) in_flight: InFlight,
    pub(crate) layer: SettleLayer,
    /// Stops the claimer.
    pub(crate) stop: CancellationToken,
    pub(crate) closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Backend for QueueBackend {
    type Task = Task<Claimed>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Option<Result<Self::Task, Infallible>>> {
        match ready!(self.jobs.poll_recv(cx)) {
            Some(job) => {
                let id = TaskId::from(job.lease.job.to_string());
                Poll::Ready(Some(Ok(TaskBuilder::new(job).task_id(id).build())))
            }
            // The claimer has stopped; the worker ends by its own stop, not by an empty stream.
            None => Poll::Pending,
        }
    }

    /// Give back what was claimed and not started, and wait, not for ever, until what ended is settled.
    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        if self.closing.is_none() {
            self.stop.cancel();
            self.jobs.close();
            let mut unstarted: Vec<Lease> = Vec::new();
            while let Ok(job) = self.jobs.try_recv() {
                unstarted.push(job.lease);
            }
            let (pool, keeper, in_flight) = (self.pool.clone(), self.keeper.clone(), self.in_flight.clone());
            self.closing = Some(Box::pin(async move {
                give_back(&pool, &keeper, &in_flight, &unstarted).await;
                let settled = async {
                    while in_flight.count() > 0 {
                        in_flight.changed().await;
                    }
                };
                if tokio::time::timeout(LAST_WORDS, settled).await.is_err() {
                    tracing::warn!(
                        left = in_flight.count(),
                        "stopping although not every outcome is written; leases run out by themselves"
                    );
                }
            }));
        }
        match &mut self.closing {
            Some(closing) => closing.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Back to the queue, no attempt spent.
pub(crate) async fn give_back(pool: &sqlx::PgPool, keeper: &Keeper, in_flight: &InFlight, leases: &[Lease]) {
    if leases.is_empty() {
        return;
    }
    match db::answered(bounds::GOODBYE, queue::give_back(pool, leases)).await {
        Ok(count) => tracing::info!(count, "jobs that had not started were given back"),
        Err(error) => tracing::warn!(%error, "jobs could not be given back; their leases run out by themselves"),
    }
    keeper.remove(leases.iter().copied());
    in_flight.sub(leases.len());
}

impl BackendConfig for QueueBackend {
    type Args = Claimed;
    type Id = TaskId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = SettleLayer;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> SettleLayer {
        self.layer.clone()
    }
}
