//! Takes leases away that ran out, of any worker of the fleet. Every process does this; one statement makes it harmless.

use safelight_jobs::{
    job::Queue,
    queue::{self, Bell},
};
use tokio_util::sync::CancellationToken;

use crate::config::WorkerConfig;

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
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if let Err(error) = queue::register_worker(&pool, &name, &host, &served).await {
            tracing::warn!(%error, "could not report to the database");
        }
        match queue::rescue(&pool, config.max_crashes).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::warn!(count, "leases had run out: their jobs run again");
                for queue in Queue::ALL {
                    bell.ring(queue);
                }
            }
            Err(error) => tracing::warn!(%error, "could not rescue; trying again"),
        }
    }
}
