//! The gatherer: single wishes of one process, committed together.
//!
//! For callers outside a transaction: each waits until its own job is durable, as if it were alone. While one commit is on
//! its way the wishes that come meanwhile gather into the next, so no timer is needed and a lone wish waits for nobody.
//! Never: answers before the commit, or lets one wish that cannot be stored fail another.

use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use crate::{
    db, id,
    id::Id,
    job::Queue,
    queue::{Bell, EnqueueError, bulk},
};

/// The most wishes of one commit.
const AT_ONCE: usize = 500;
/// The most that may wait; a producer that is faster waits with its next one.
const WAITING: usize = 4 * AT_ONCE;
/// Commits under way at once: while one is flushed the other is written.
const LANES: usize = 2;

struct Item {
    wish: bulk::Bare,
    answer: oneshot::Sender<Result<(), sqlx::Error>>,
}

/// A handle to enqueue with; cheap to clone. Ends when the last one is dropped, after what was wished for is stored.
#[derive(Debug, Clone)]
pub struct Gatherer(mpsc::Sender<Item>);

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Item").field("kind", &self.wish.kind).finish_non_exhaustive()
    }
}

impl Gatherer {
    /// A gatherer that stores by `pool` and rings `bell` after each commit.
    pub fn start(pool: PgPool, bell: Bell) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(receiver));
        for _ in 0..LANES {
            tokio::spawn(lane(pool.clone(), bell.clone(), receiver.clone()));
        }
        Self(sender)
    }

    /// Store one job without a key and answer when it is durable. Dropped while it waits, the job may be stored or not,
    /// as with any call whose answer is lost.
    ///
    /// # Errors
    /// Those of the database, of this wish alone.
    pub async fn enqueue(&self, queue: Queue, kind: &str, payload: Value) -> Result<Id<id::Job>, EnqueueError> {
        let id = Id::<id::Job>::new();
        let (answer, answered) = oneshot::channel();
        let gone = || EnqueueError::Database(sqlx::Error::WorkerCrashed);
        let wish = bulk::Bare { id: id.uuid(), queue, kind: kind.to_owned(), payload };
        self.0.send(Item { wish, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())??;
        Ok(id)
    }
}

async fn lane(pool: PgPool, bell: Bell, wishes: std::sync::Arc<tokio::sync::Mutex<mpsc::Receiver<Item>>>) {
    let mut items = Vec::with_capacity(AT_ONCE);
    loop {
        {
            let mut wishes = wishes.lock().await;
            if wishes.recv_many(&mut items, AT_ONCE).await == 0 {
                return;
            }
            // Those whose callers were woken by the last commit are on their way: let them come.
            tokio::task::yield_now().await;
            while items.len() < AT_ONCE
                && let Ok(item) = wishes.try_recv()
            {
                items.push(item);
            }
        }
        store(&pool, &bell, std::mem::take(&mut items)).await;
    }
}

/// Durable when it answers, and answered within a bound: who waits behind a silent connection is told so.
async fn stored(pool: &PgPool, wishes: &[bulk::Bare]) -> Result<(), sqlx::Error> {
    let store = async {
        let mut write = db::write(pool).await?;
        bulk::store(&mut *write, wishes).await?;
        write.commit().await
    };
    db::answered(db::ANSWER, store).await
}

async fn store(pool: &PgPool, bell: &Bell, items: Vec<Item>) {
    let (wishes, answers): (Vec<_>, Vec<_>) = items.into_iter().map(|item| (item.wish, item.answer)).unzip();
    match stored(pool, &wishes).await {
        Ok(()) => {
            for queue in wishes.iter().map(|wish| wish.queue).collect::<std::collections::BTreeSet<_>>() {
                bell.ring(queue);
            }
            for answer in answers {
                let _ = answer.send(Ok(()));
            }
        }
        // One that the database refuses fails alone: the others are stored one by one.
        Err(sqlx::Error::Database(_)) if wishes.len() > 1 => {
            for (wish, answer) in wishes.into_iter().zip(answers) {
                let queue = wish.queue;
                let stored = stored(pool, &[wish]).await;
                if stored.is_ok() {
                    bell.ring(queue);
                }
                let _ = answer.send(stored);
            }
        }
        Err(error) => {
            let mut error = Some(error);
            for answer in answers {
                // An error cannot be copied: the first caller gets it, the others hear that the connection failed.
                let said = error.take().unwrap_or_else(|| sqlx::Error::Io(std::io::Error::other("the commit failed")));
                let _ = answer.send(Err(said));
            }
        }
    }
}
