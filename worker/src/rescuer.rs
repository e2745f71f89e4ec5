//! Takes leases away that ran out, of any worker of the fleet. Every process does this; one statement makes it harmless.
//!
//! Not right after the database was away: then the leases of living workers have run out, too. A process that had trouble
//! with the database itself leaves the others the time of one lease to keep theirs, so that an outage is not taken for the
//! crash of every job that ran through it.

use std::time::Instant;

use safelight_jobs::{
    db,
    job::Queue,
    queue::{self, Bell},
    timeline,
};
use tokio_util::sync::CancellationToken;

use crate::{bounds, config::WorkerConfig};

pub(crate) async fn run(
    pool: sqlx::PgPool,
    bell: Bell,
    name: String,
    host: String,
    config: WorkerConfig,
    stop: CancellationToken,
) {
    let served = config.served();
    let mut tick = tokio::time::interval(config.heartbeat().min(std::time::Duration::from_secs(2)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut not_before = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let reported = queue::register_worker(&pool, &name, &host, &served);
        if let Err(error) = db::answered(bounds::SETTLE, reported).await {
            tracing::warn!(%error, "could not report to the database");
            not_before = Instant::now() + config.lease;
        }
        match db::answered(bounds::SETTLE, timeline::note(&pool)).await {
            Ok(None) => {}
            Ok(Some(timeline)) => tracing::warn!(
                timeline,
                "the database was failed over or restored; without synchronous replication its last commits may be lost"
            ),
            Err(error) => tracing::debug!(%error, "could not ask for the database's timeline"),
        }
        if Instant::now() < not_before {
            continue;
        }
        match db::answered(bounds::SETTLE, queue::rescue(&pool, config.max_crashes)).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::warn!(count, "leases had run out: their jobs run again");
                for queue in Queue::ALL {
                    bell.ring(queue);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not rescue; trying again");
                not_before = Instant::now() + config.lease;
            }
        }
        match db::answered(bounds::SETTLE, queue::open_lanes(&pool)).await {
            Ok(0) => {}
            Ok(_) => {
                for queue in Queue::ALL {
                    bell.ring(queue);
                }
            }
            Err(error) => tracing::warn!(%error, "could not look after lanes; trying again"),
        }
    }
}
