//! Listens for the bell of one process's queues, on one connection. A lost connection is made again; meanwhile the
//! claimers poll. Hearing nothing costs time, never a job.
//!
//! Behind a pooler in transaction mode there is no session that could listen: there the claimers only poll.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use safelight_jobs::{
    db,
    job::Queue,
    queue::{Bell, CHANNEL},
};
use sqlx::{AssertSqlSafe, Executor, postgres::PgListener};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// After so long without a ring the connection is asked whether it is still there.
const QUIET: Duration = Duration::from_secs(10);
/// The longest that the database takes to answer that.
const ANSWER: Duration = Duration::from_secs(5);

/// One waker a queue.
pub(crate) type Wakers = Arc<BTreeMap<Queue, Arc<Notify>>>;

pub(crate) fn wakers(queues: &[Queue]) -> Wakers {
    Arc::new(queues.iter().map(|&queue| (queue, Arc::new(Notify::new()))).collect())
}

/// Rings of `bell` itself are not heard: it has woken the claimers of its process already.
pub(crate) async fn listen(pool: sqlx::PgPool, wakers: Wakers, bell: Bell, stop: CancellationToken) {
    if !db::keeps_session(&pool) {
        return;
    }
    while !stop.is_cancelled() {
        let heard = tokio::select! {
            () = stop.cancelled() => return,
            heard = hear(&pool, &wakers, &bell) => heard,
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

async fn hear(pool: &sqlx::PgPool, wakers: &Wakers, bell: &Bell) -> Result<(), sqlx::Error> {
    // A pool of its own: a listener that is dropped waits for an answer, and on a half-open connection it would keep its
    // place for ever.
    let own = db::beside(pool, 1);
    let mut listener = PgListener::connect_with(&own).await?;
    listener.eager_reconnect(false);
    db::answered(ANSWER, listener.listen(CHANNEL)).await?;
    // What rang while nobody listened is found now.
    for waker in wakers.values() {
        waker.notify_one();
    }
    loop {
        let Ok(heard) = tokio::time::timeout(QUIET, listener.try_recv()).await else {
            let again = AssertSqlSafe(format!(r#"listen "{CHANNEL}""#));
            db::answered(ANSWER, listener.execute(again)).await?;
            continue;
        };
        // `None`: the connection was lost. Make another one and look again, instead of trusting what came between.
        let Some(ring) = heard? else { return Ok(()) };
        if !bell.sent(ring.process_id()) {
            wake(wakers, ring.payload());
        }
    }
}

/// A ring that nobody waits for yet, because its claimer is just claiming, is heard when it rests.
fn wake(wakers: &Wakers, queue: &str) {
    if let Some(waker) = Queue::named(queue).and_then(|queue| wakers.get(&queue)) {
        waker.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ring_that_comes_while_a_claimer_claims_is_heard_when_it_rests() {
        let wakers = wakers(&[Queue::Sweeps, Queue::Faces]);
        wake(&wakers, "sweeps");
        wake(&wakers, "a queue of another version");
        let heard = |queue: Queue| wakers[&queue].notified();
        tokio::time::timeout(Duration::from_secs(20), heard(Queue::Sweeps)).await.expect("the ring is lost");
        let other = tokio::time::timeout(Duration::from_millis(1), heard(Queue::Faces)).await;
        assert!(other.is_err(), "nobody rang for it");
    }
}
