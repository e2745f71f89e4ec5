//! The layer around every attempt: cuts it when its lease is lost, and tells the settler how it ended.
//!
//! An attempt that is dropped unfinished (a stop past its bound) settles nothing: its lease is given back by the pool.

use std::task::{Context, Poll};

use apalis_core::{error::BoxDynError, task::Task};
use futures::future::BoxFuture;
use safelight_jobs::{
    policy::Processor,
    queue::{Claimed, Lease, Verdict},
    registry,
};
use tokio::sync::mpsc;
use tower::{Layer, Service};

use crate::{claimer::InFlight, keeper::Keeper, settler::Ended, verdict::is_well};

/// What a handler answers: a verdict to write, or nothing when the job's end is committed.
#[derive(Debug)]
pub(crate) struct Answer {
    verdict: Option<Verdict>,
    /// The provider that the attempt asked and that is well.
    well: Option<&'static str>,
}

impl Answer {
    pub(crate) fn new(kind: &str, verdict: Option<Verdict>) -> Self {
        let well = is_well(verdict.as_ref());
        let provider = registry::known(kind).and_then(|known| known.provider);
        Self { verdict, well: provider.filter(|_| well).map(Processor::as_str) }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SettleLayer {
    pub(crate) keeper: Keeper,
    pub(crate) in_flight: InFlight,
    pub(crate) ended: mpsc::UnboundedSender<Ended>,
}

impl<S> Layer<S> for SettleLayer {
    type Service = Settle<S>;
    fn layer(&self, inner: S) -> Settle<S> {
        Settle { inner, layer: self.clone() }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Settle<S> {
    inner: S,
    layer: SettleLayer,
}

impl<S> Service<Task<Claimed>> for Settle<S>
where
    S: Service<Task<Claimed>, Response = Answer, Error = BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<(), BoxDynError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, task: Task<Claimed>) -> Self::Future {
        let lease = task.args.lease;
        let lost = self.layer.keeper.lost(lease);
        let mut end = End { lease, layer: self.layer.clone(), verdict: None, well: None, told: false };
        let attempt = self.inner.call(task);
        Box::pin(async move {
            tokio::select! {
                biased;
                () = lost.cancelled() => {
                    end.told();
                    Err("the lease is lost".into())
                }
                answer = attempt => {
                    end.verdict = match answer {
                        Ok(Answer { verdict, well }) => {
                            end.well = well;
                            verdict
                        }
                        // The handler translates errors itself; one from outside it may pass.
                        Err(error) => {
                            tracing::warn!(job.id = %lease.job, %error, "an attempt ended outside its handler");
                            Some(Verdict::Retry { delay: std::time::Duration::from_secs(5), code: "runtime".to_owned() })
                        }
                    };
                    end.told();
                    Ok(())
                }
            }
        })
    }
}

/// Tells the settler exactly once; when dropped unfinished it only frees the place.
struct End {
    lease: Lease,
    layer: SettleLayer,
    verdict: Option<Verdict>,
    well: Option<&'static str>,
    told: bool,
}

impl End {
    fn told(&mut self) {
        self.told = true;
        self.layer.in_flight.ended();
        let ended = Ended {
            lease: self.lease,
            verdict: self.verdict.take(),
            well: self.well,
            in_flight: self.layer.in_flight.clone(),
        };
        if self.layer.ended.send(ended).is_err() {
            tracing::warn!(job.id = %self.lease.job, "nobody settles any more; the lease will run out");
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.told {
            self.layer.in_flight.sub(1);
        }
    }
}
