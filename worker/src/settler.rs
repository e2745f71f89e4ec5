//! Settles outcomes, many in one transaction: while one batch is written the next gathers, so no timer is needed.

use std::time::Duration;

use safelight_jobs::{
    db,
    queue::{self, Outcome},
};
use tokio::sync::mpsc;

use crate::{bounds, claimer::InFlight, keeper::Keeper};

const AT_ONCE: usize = 1000;

/// An attempt that ended: with a verdict to write, or with an end that is committed already.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) lease: queue::Lease,
    pub(crate) verdict: Option<queue::Verdict>,
    /// A provider that this attempt has seen to be well.
    pub(crate) well: Option<&'static str>,
    pub(crate) in_flight: InFlight,
}

pub(crate) async fn run(pool: sqlx::PgPool, keeper: Keeper, mut ended: mpsc::UnboundedReceiver<Ended>) {
    let mut batch = Vec::with_capacity(AT_ONCE);
    while ended.recv_many(&mut batch, AT_ONCE).await > 0 {
        let outcomes: Vec<Outcome> = batch
            .iter()
            .filter_map(|end| end.verdict.clone().map(|verdict| Outcome { lease: end.lease, verdict }))
            .collect();
        let mut wait = Duration::from_millis(50);
        // Leases are kept meanwhile, so an outcome that could not be written yet is not lost.
        while !outcomes.is_empty() {
            // Settled already, and only the answer was lost? Then the leases are gone, and a second time changes nothing.
            match db::answered(bounds::SETTLE, queue::settle(&pool, &outcomes)).await {
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, outcomes = outcomes.len(), "could not settle; trying again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(2));
                }
            }
        }
        let mut well: Vec<&'static str> = batch.iter().filter_map(|end| end.well).collect();
        well.sort_unstable();
        well.dedup();
        if !well.is_empty()
            && let Err(error) = queue::provider_is_well(&pool, &well).await
        {
            tracing::debug!(%error, "good news of a provider was not written; the next good news is");
        }
        for end in batch.drain(..) {
            keeper.remove(end.lease);
            end.in_flight.settled(1);
        }
    }
}
