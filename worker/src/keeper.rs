//! Keeps the leases of everything that this process has claimed, with one heartbeat for all, and cuts attempts whose
//! lease is lost: their job was cancelled, or is somebody else's by now.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use safelight_jobs::{
    db,
    queue::{self, Lease},
};
use tokio_util::sync::CancellationToken;

use crate::{bounds, config::WorkerConfig};

/// The leases of this process; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keeper(Arc<Mutex<HashMap<Lease, CancellationToken>>>);

impl Keeper {
    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Lease, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn add(&self, leases: impl Iterator<Item = Lease>) {
        self.held().extend(leases.map(|lease| (lease, CancellationToken::new())));
    }
    pub(crate) fn remove(&self, leases: impl Iterator<Item = Lease>) {
        let mut held = self.held();
        for lease in leases {
            held.remove(&lease);
        }
    }
    /// Cancelled when the lease is lost. A lease that is not held any more is lost already.
    pub(crate) fn lost(&self, lease: Lease) -> CancellationToken {
        self.held().get(&lease).cloned().unwrap_or_else(|| {
            let lost = CancellationToken::new();
            lost.cancel();
            lost
        })
    }
    /// Everything that is held.
    pub(crate) fn all(&self) -> Vec<Lease> {
        self.held().keys().copied().collect()
    }

    pub(crate) async fn run(self, pool: sqlx::PgPool, config: WorkerConfig, stop: CancellationToken) {
        // Beats more often than leases need, so that a cancelled job stops soon.
        let mut beat = tokio::time::interval(config.heartbeat().min(Duration::from_secs(1)));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = beat.tick() => {}
            }
            let leases = self.all();
            if leases.is_empty() {
                continue;
            }
            let kept =
                db::answered(bounds::beat(&config), queue::keep(&pool, &leases, config.lease.as_secs_f64())).await;
            match kept {
                Ok(kept) => {
                    for lease in kept.lost {
                        if let Some(token) = self.held().get(&lease) {
                            tracing::info!(job.id = %lease.job, "the lease is lost; the attempt stops");
                            token.cancel();
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, leases = leases.len(), "no heartbeat; trying again");
                    // Not only at the next beat: the lease runs, and another connection may do.
                    beat.reset_after(bounds::BEAT_AGAIN);
                }
            }
        }
    }
}
