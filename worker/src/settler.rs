//! Settles outcomes, many in one transaction: while one batch is written the next gathers, so no timer is needed.

use std::time::Duration;

use safelight_jobs::{
    db,
    queue::{self, Outcome},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{bounds, claimer::InFlight, keeper::Keeper};

const AT_ONCE: usize = 1000;
/// Batches that are written at the same time.
const WRITERS: usize = 2;

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
    let mut writing = JoinSet::new();
    let mut open = true;
    while open || !batch.is_empty() {
        // One gathers while one is written. A second beside it only when it is worth a statement of its own: then the
        // processor works on one while the other waits for the disk.
        let worth = !batch.is_empty() && (writing.is_empty() || writing.len() < WRITERS && batch.len() >= AT_ONCE / 2);
        if worth {
            writing.spawn(write(pool.clone(), keeper.clone(), std::mem::take(&mut batch)));
        }
        let room = AT_ONCE - batch.len();
        tokio::select! {
            count = ended.recv_many(&mut batch, room), if open && room > 0 => open = count > 0,
            Some(_) = writing.join_next() => {}
        }
    }
    writing.join_all().await;
}

/// Write one batch, however long the database takes, and let go of its leases.
async fn write(pool: sqlx::PgPool, keeper: Keeper, batch: Vec<Ended>) {
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
    keeper.remove(batch.iter().map(|end| end.lease));
    for (in_flight, count) in of_each_worker(&batch) {
        in_flight.settled(count);
    }
}

/// How many outcomes of a batch belong to each worker of this process: each is told once.
fn of_each_worker(batch: &[Ended]) -> Vec<(&InFlight, usize)> {
    let mut counted: Vec<(&InFlight, usize)> = Vec::new();
    for end in batch {
        match counted.iter_mut().find(|(known, _)| known.is(&end.in_flight)) {
            Some((_, count)) => *count += 1,
            None => counted.push((&end.in_flight, 1)),
        }
    }
    counted
}
