//! Ticks the schedule, by apalis-cron. What a tick makes is decided in the domain (`safelight_jobs::schedule`), in one
//! commit: however many processes tick, one job runs, and a tick that nobody made is made up for.

use std::str::FromStr;

use apalis::prelude::{BoxDynError, Data, WorkerBuilder, WorkerError};
use apalis_cron::{CronScheduler, Tick};
use cron::Schedule;
use safelight_jobs::{db, queue::Bell, schedule};
use tokio_util::sync::CancellationToken;

/// How often a process looks whether something is due.
const LOOK: &str = "*/5 * * * * *";

#[derive(Clone)]
struct Hands {
    pool: sqlx::PgPool,
    bell: Bell,
}

/// Tick until `stop` is cancelled.
pub async fn run(pool: sqlx::PgPool, stop: CancellationToken) -> anyhow::Result<()> {
    let look = Schedule::from_str(LOOK)?;
    let bell = Bell::start(pool.clone());
    tracing::info!("looking at the schedule every five seconds");
    WorkerBuilder::new("schedule")
        .backend(CronScheduler::new(look))
        .data(Hands { pool, bell })
        .build(tick)
        .run_until(async move {
            stop.cancelled().await;
            Ok::<(), WorkerError>(())
        })
        .await
        .map_err(|error| anyhow::anyhow!("the schedule ended: {error}"))
}

async fn tick(_: Tick, hands: Data<Hands>) -> Result<(), BoxDynError> {
    // The next look must not wait behind this one.
    match tokio::time::timeout(db::ANSWER, schedule::tick(&hands.pool, &hands.bell)).await {
        Ok(Ok(0)) => {}
        Ok(Ok(new)) => tracing::debug!(new, "ticked"),
        Ok(Err(error)) => tracing::warn!(%error, "could not tick; the next look makes up for it"),
        Err(_) => tracing::warn!("the database did not answer; the next look makes up for it"),
    }
    Ok(())
}
