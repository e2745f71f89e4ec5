//! Listens for the bell of one process's queues, on one connection. A lost connection is made again; meanwhile the
//! claimers poll. Hearing nothing costs time, never a job.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use safelight_jobs::{job::Queue, queue::CHANNEL};
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One waker a queue.
pub(crate) type Wakers = Arc<BTreeMap<Queue, Arc<Notify>>>;

pub(crate) fn wakers(queues: &[Queue]) -> Wakers {
    Arc::new(queues.iter().map(|&queue| (queue, Arc::new(Notify::new()))).collect())
}

pub(crate) async fn listen(pool: sqlx::PgPool, wakers: Wakers, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let heard = tokio::select! {
            () = stop.cancelled() => return,
            heard = hear(&pool, &wakers) => heard,
        };
        if let Err(error) = heard {
            tracing::warn!(%error, "the bell's connection is lost; polling goes on");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

async fn hear(pool: &sqlx::PgPool, wakers: &Wakers) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    // What rang while nobody listened is found now.
    for waker in wakers.values() {
        waker.notify_one();
    }
    loop {
        // `None`: the connection was lost. Make another one and look again, instead of trusting what came between.
        let Some(ring) = listener.try_recv().await? else { return Ok(()) };
        if let Some(waker) = Queue::named(ring.payload()).and_then(|queue| wakers.get(&queue)) {
            waker.notify_one();
        }
    }
}
