//! The bell: tells waiting workers, after a commit, that a queue has work.
//!
//! It rings from a connection of its own, never inside an enqueuing transaction: a NOTIFY there holds one global lock
//! through the commit and caps the whole database at a fifth of its commits. The first ring goes out at once; while it
//! is on its way further rings gather into the next. A lost ring costs a poll interval, never a job.
//!
//! Claimers of the process that rings are woken at once, without the way over the database, and do not look a second time when
//! the ring comes back to them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sqlx::PgPool;
use tokio::sync::Notify;

use crate::{db, job::Queue};

/// The channel that workers listen on; the message is a queue's name.
pub const CHANNEL: &str = "safelight_bell";

/// A ring that takes longer is given up: by now the claimers have polled.
const LOUD: Duration = Duration::from_secs(2);

/// After a ring the next one waits so long, for what comes meanwhile to go with it. Shorter than the pauses of a producer that
/// is not in a hurry, or each of its jobs would wait for the ring before its own.
const HOLD: Duration = Duration::from_micros(500);

/// A ring for a queue that this process serves itself goes out so much later: its own claimers are under way already, and the
/// others' would only step on their feet. If the own ones have no place left, the others hear of it soon enough.
const OURS_FIRST: Duration = Duration::from_millis(2);

/// A handle to ring with; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<BTreeSet<Queue>>,
    wake: Notify,
    /// The claimers of this process.
    here: Mutex<Vec<(Queue, Arc<Notify>)>>,
    /// Which backend of Postgres rang last for this bell; 0: none yet.
    backend: AtomicU32,
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, BTreeSet<Queue>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn here(&self) -> MutexGuard<'_, Vec<(Queue, Arc<Notify>)>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn serves_all_that_waits(&self) -> bool {
        let waiting = self.waiting();
        !waiting.is_empty() && waiting.iter().all(|queue| self.here().iter().any(|(served, _)| served == queue))
    }
}

impl Bell {
    /// A bell for the database of `pool`, until it is dropped everywhere else. Its connection is its own: always warm, and
    /// never the one that a wish waits for.
    pub fn start(pool: PgPool) -> Self {
        let bell = Self::default();
        let mut line = db::Line::of(db::beside(&pool, 1));
        let inner = Arc::downgrade(&bell.0);
        let first = bell.0.clone();
        tokio::spawn(async move {
            let mut strong = Some(first);
            while let Some(inner) = strong.take().or_else(|| inner.upgrade()) {
                // Looks again from time to time so that the task ends when nobody holds the bell any more.
                let _ = tokio::time::timeout(Duration::from_secs(5), inner.wake.notified()).await;
                if inner.serves_all_that_waits() {
                    tokio::time::sleep(OURS_FIRST).await;
                }
                let queues = std::mem::take(&mut *inner.waiting());
                if queues.is_empty() {
                    continue;
                }
                let names: Vec<String> = queues.iter().map(|queue| queue.as_str().to_owned()).collect();
                match db::answered(LOUD, ring(&mut line, &names)).await {
                    Ok(backend) => inner.backend.store(backend, Ordering::Relaxed),
                    Err(error) => {
                        tracing::debug!(%error, "the bell did not ring; workers will find the work by polling");
                    }
                }
                tokio::time::sleep(HOLD).await;
            }
        });
        bell
    }

    /// Ring for one queue. Call it after the commit. Never waits, never fails.
    pub fn ring(&self, queue: Queue) {
        for (served, claimer) in self.0.here().iter() {
            if *served == queue {
                claimer.notify_one();
            }
        }
        self.0.waiting().insert(queue);
        self.0.wake.notify_one();
    }

    /// A claimer of this process: each ring for its queue wakes it at once.
    pub fn wakes(&self, queue: Queue, claimer: Arc<Notify>) {
        self.0.here().push((queue, claimer));
    }

    /// Is a ring that backend `process_id` of Postgres sent one of this bell, so that its claimers know of it already?
    #[must_use]
    pub fn sent(&self, process_id: u32) -> bool {
        self.0.backend.load(Ordering::Relaxed) == process_id
    }
}

/// Answers which backend of Postgres rang.
async fn ring(line: &mut db::Line, names: &[String]) -> Result<u32, sqlx::Error> {
    let mut write = line.write().await?;
    // Without a flush: a ring that a crash of the server loses is found by polling, and the flush would be the longest part
    // of a job's way to its worker.
    let rung = sqlx::query!(
        r#"select pg_backend_pid() as "backend!", set_config('synchronous_commit', 'off', true), pg_notify($1, q)
        from unnest($2::text[]) q"#,
        CHANNEL,
        names
    )
    .fetch_all(&mut *write)
    .await?;
    line.commit(write).await?;
    Ok(rung.first().and_then(|ring| u32::try_from(ring.backend).ok()).unwrap_or(0))
}
