//! Claims jobs of one queue for one apalis worker, as a task of its own. Database errors stay in here: they are logged and
//! tried again, and the worker never sees one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use safelight_jobs::{
    db,
    job::Queue,
    queue::{self, Claimed},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{backend::give_back, bounds, config::WorkerConfig, keeper::Keeper};

/// What one worker has in its hands: attempts that have not ended take its places; what has ended and is not settled yet is
/// bounded on its own, so that claiming and settling do not take turns. Tells when a graceful stop is over.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Hands>);

#[derive(Debug, Default)]
struct Hands {
    open: AtomicUsize,
    unsettled: AtomicUsize,
    news: Notify,
}

impl InFlight {
    /// Take places for a claim, as many as there are up to `most` in all and `at_once` for this one. What the claim does not
    /// need is given back by [`Self::sub`].
    fn reserve(&self, most: usize, at_once: usize) -> usize {
        let mut taken = 0;
        let _ = self.0.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
            taken = self.allowed(most).saturating_sub(open).min(at_once);
            (taken > 0).then_some(open + taken)
        });
        taken
    }
    /// An attempt has ended; its outcome is not written yet.
    pub(crate) fn ended(&self) {
        self.0.unsettled.fetch_add(1, Ordering::AcqRel);
        self.sub(1);
    }
    /// Outcomes were written.
    pub(crate) fn settled(&self, count: usize) {
        self.0.unsettled.fetch_sub(count, Ordering::AcqRel);
        self.tell();
    }
    /// Given back, or dropped without an outcome.
    pub(crate) fn sub(&self, count: usize) {
        self.0.open.fetch_sub(count, Ordering::AcqRel);
        self.tell();
    }
    fn tell(&self) {
        self.0.news.notify_waiters();
        self.0.news.notify_one();
    }
    /// The same worker's?
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
    /// Everything that is not settled.
    pub(crate) fn count(&self) -> usize {
        self.0.open.load(Ordering::Acquire) + self.0.unsettled.load(Ordering::Acquire)
    }
    /// How many more may be claimed.
    fn room(&self, most: usize) -> usize {
        self.allowed(most).saturating_sub(self.0.open.load(Ordering::Acquire))
    }
    /// No more than that, and none at all while outcomes pile up.
    fn allowed(&self, most: usize) -> usize {
        if self.0.unsettled.load(Ordering::Acquire) > most.saturating_mul(4) { 0 } else { most }
    }
    pub(crate) async fn changed(&self) {
        self.0.news.notified().await;
    }
}

/// How far a claimer has come in a long queue. While its claims are full it goes on from the rank that it has reached: the
/// rows before it are its own dead ones, and an old snapshot elsewhere keeps them from being cleared. Now and then it looks
/// at everything, for what came with an earlier rank; the dearer that look, the rarer.
#[derive(Debug, Default)]
struct Place {
    reached: Option<DateTime<Utc>>,
    looked: Option<Instant>,
    dear: Duration,
}

impl Place {
    const LOOK: Duration = Duration::from_millis(250);

    fn floor(&self) -> Option<DateTime<Utc>> {
        let fresh = self.looked.is_some_and(|at| at.elapsed() < Self::LOOK.max(self.dear * 10));
        self.reached.filter(|_| fresh)
    }

    /// `whole`: how long it took, if it looked at everything.
    fn claimed(&mut self, claimed: &[Claimed], asked: usize, whole: Option<Duration>) {
        if let Some(took) = whole {
            self.looked = Some(Instant::now());
            self.dear = took;
        }
        self.reached = if claimed.len() == asked { claimed.iter().map(|job| job.rank).max() } else { None };
    }
}

/// One of a queue's two hands in this process. The left one works only in a long queue: while the right one's claim is on its
/// way it claims as well, so that neither the processor nor the database waits for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hand {
    Right,
    Left,
}

#[derive(Clone)]
pub(crate) struct Claimer {
    pub(crate) hand: Hand,
    /// The right hand's word to the left: this queue is long.
    pub(crate) long: Arc<Notify>,
    pub(crate) pool: sqlx::PgPool,
    pub(crate) queue: Queue,
    pub(crate) worker: String,
    pub(crate) config: WorkerConfig,
    pub(crate) bell: Arc<Notify>,
    pub(crate) keeper: Keeper,
    pub(crate) in_flight: InFlight,
    pub(crate) jobs: mpsc::Sender<Claimed>,
    pub(crate) stop: CancellationToken,
}

impl Claimer {
    /// How long places gather before the next claim in a long queue.
    const GATHER: Duration = Duration::from_millis(2);
    /// After a claim that found less than it had room for the queue was empty, and what comes next rings. So it looks again
    /// only after a moment: at once would be a second statement a job, just when the job itself wants the processor.
    const SOON: Duration = Duration::from_millis(10);

    pub(crate) async fn run(self) {
        let most = self.config.concurrency;
        let mut trouble = 0_u32;
        let mut place = Place::default();
        let mut line = db::Line::of(self.pool.clone());
        // A claim without an answer may have been carried out, or still be: until then, by its token.
        let mut doubt: Vec<(Instant, Uuid)> = Vec::new();
        if self.hand == Hand::Left {
            self.rest(self.config.poll).await;
        }
        while !self.stop.is_cancelled() {
            let mut room = self.in_flight.room(most);
            // In a long queue a claim for every place that becomes free is a statement a job: wait a moment for more.
            if place.reached.is_some() && room > 0 && room < most / 2 {
                let more = async {
                    while room < most / 2 {
                        self.in_flight.changed().await;
                        room = self.in_flight.room(most);
                    }
                };
                let _ = tokio::time::timeout(Self::GATHER, more).await;
            }
            // Half of the places in a long queue, so that the other hand has some.
            let at_once = if place.reached.is_some() { most.div_ceil(2) } else { most };
            let room = self.in_flight.reserve(most, at_once);
            if room == 0 {
                tokio::select! {
                    () = self.stop.cancelled() => break,
                    () = self.in_flight.changed() => continue,
                }
            }
            if !doubt.is_empty() {
                self.disown(&doubt.iter().map(|(_, token)| *token).collect::<Vec<_>>()).await;
                doubt.retain(|(until, _)| Instant::now() < *until);
            }
            let batch = i32::try_from(room).unwrap_or(i32::MAX);
            let lease = self.config.lease.as_secs_f64();
            let (token, floor, began) = (Uuid::new_v4(), place.floor(), Instant::now());
            let claim = queue::claim_from(&mut line, self.queue, &self.worker, token, batch, lease, floor);
            let claimed = db::answered(bounds::CLAIM, claim).await;
            if let Ok(claimed) = &claimed {
                place.claimed(claimed, room, floor.is_none().then(|| began.elapsed()));
                if self.hand == Hand::Right && place.reached.is_some() {
                    self.long.notify_one();
                }
            }
            self.in_flight.sub(room - claimed.as_ref().map_or(0, Vec::len).min(room));
            if let Ok(claimed) = &claimed {
                self.keeper.add(claimed.iter().map(|job| job.lease));
            }
            match claimed {
                // What came before the floor is looked for before it rests.
                Ok(claimed) if claimed.is_empty() && floor.is_some() => trouble = 0,
                Ok(claimed) if claimed.is_empty() => {
                    trouble = 0;
                    self.rest(self.config.poll).await;
                }
                Ok(claimed) => {
                    trouble = 0;
                    let all = claimed.len() < room && floor.is_none();
                    let mut unsent = Vec::new();
                    for job in claimed {
                        // A closed channel: the worker stops. What it was not given goes back.
                        if let Err(mpsc::error::SendError(job)) = self.jobs.send(job).await {
                            unsent.push(job.lease);
                        }
                    }
                    give_back(&self.pool, &self.keeper, &self.in_flight, &unsent).await;
                    if all && self.hand == Hand::Right {
                        self.rest(Self::SOON.min(self.config.poll)).await;
                    }
                }
                Err(error) => {
                    doubt.push((Instant::now() + bounds::SETTLE, token));
                    trouble = trouble.saturating_add(1);
                    tracing::warn!(queue = self.queue.as_str(), %error, "could not claim; trying again");
                    self.rest(Duration::from_millis(100).saturating_mul(trouble.min(20))).await;
                }
            }
        }
    }

    /// Give back what was claimed without our hearing of it; else it would count as crashed when its lease runs out.
    async fn disown(&self, claims: &[Uuid]) {
        match db::answered(bounds::CLAIM, queue::disown(&self.pool, claims)).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(queue = self.queue.as_str(), count, "claims whose answer was lost were given back")
            }
            Err(error) => tracing::debug!(%error, "lost claims could not be given back yet"),
        }
    }

    /// Until the bell rings or the time is over; the left hand, until the right one asks for it.
    async fn rest(&self, time: Duration) {
        if self.hand == Hand::Left {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.long.notified() => {}
            }
            return;
        }
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.bell.notified() => {}
            () = tokio::time::sleep(time) => {}
        }
    }
}
