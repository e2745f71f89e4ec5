//! The schedule: ticks by apalis-cron, each enqueued under a key that names its tick. However many processes tick, one
//! job runs; a missed tick costs nothing, because every sweep asks the rows what is due.

use std::str::FromStr;

use apalis::prelude::{BoxDynError, Data, WorkerBuilder, WorkerError};
use apalis_cron::{CronScheduler, Tick};
use cron::Schedule;
use safelight_jobs::{
    db, expire_consents::ExpireConsents, job::Job, queue::Bell, reconcile_calls::ReconcileCalls,
    reconcile_money::ReconcileMoney, run::Tx, sweep_retention::SweepRetention,
};
use tokio_util::sync::CancellationToken;

/// Once a minute, at its first second.
const EVERY_MINUTE: &str = "0 * * * * *";
/// How far back the books are compared once a day, in hours: longer than any bank takes.
const FORTY_DAYS: u32 = 960;

#[derive(Clone)]
struct Hands {
    pool: sqlx::PgPool,
    bell: Bell,
}

/// Tick until `stop` is cancelled.
pub async fn run(pool: sqlx::PgPool, stop: CancellationToken) -> anyhow::Result<()> {
    let schedule = Schedule::from_str(EVERY_MINUTE)?;
    let bell = Bell::start(pool.clone());
    tracing::info!("ticking once a minute");
    WorkerBuilder::new("schedule")
        .backend(CronScheduler::new(schedule))
        .data(Hands { pool, bell })
        .build(tick)
        .run_until(async move {
            stop.cancelled().await;
            Ok::<(), WorkerError>(())
        })
        .await
        .map_err(|error| anyhow::anyhow!("the schedule ended: {error}"))
}

async fn tick(tick: Tick, hands: Data<Hands>) -> Result<(), BoxDynError> {
    let because = format!("tick:{}", tick.get_timestamp() / 60);
    let mut failed = false;
    failed |= enqueue(&hands, &SweepRetention { because: because.clone() }).await;
    failed |= enqueue(&hands, &ReconcileCalls { because: because.clone(), grace_seconds: None }).await;
    failed |= enqueue(&hands, &ExpireConsents { because }).await;
    // Each hour and each day have a key, so the other ticks of it ask for nothing new.
    let (hour, day) = (tick.get_timestamp() / 3600, tick.get_timestamp() / 86_400);
    failed |= enqueue(&hands, &ReconcileMoney { because: format!("hour:{hour}"), hours: None }).await;
    failed |= enqueue(&hands, &ReconcileMoney { because: format!("day:{day}"), hours: Some(FORTY_DAYS) }).await;
    if failed {
        tracing::warn!("a tick was not enqueued whole; the next one asks again");
    }
    Ok(())
}

async fn enqueue<J: Job>(hands: &Hands, job: &J) -> bool {
    let done = async {
        let mut tx = Tx::begin(&hands.pool, &hands.bell).await?;
        tx.enqueue(job).await?;
        tx.commit().await?;
        Ok::<(), BoxDynError>(())
    };
    // The next tick must not wait behind this one.
    let done = match tokio::time::timeout(db::ANSWER, done).await {
        Ok(done) => done,
        Err(late) => Err(late.into()),
    };
    if let Err(error) = &done {
        tracing::warn!(job.name = J::NAME, %error, "could not enqueue");
    }
    done.is_err()
}
