//! What a job holds while it runs: its lease, its transactions, its recorded steps, and the clients.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{PgConnection, PgPool, Postgres, Transaction, pool::PoolConnection};
use tokio::{sync::Notify, task::AbortHandle};

use crate::{
    audit::Entry,
    db,
    gate::{self, Allowed, Ask, For},
    id,
    id::{Id, Order, Subject},
    job::{Job, Queue},
    queue::{self, Bell, Claimed, Enqueued, Lease},
    services::Services,
    stop::{Done, Ending, Stop},
};

/// A transaction of an attempt that took longer than this extends the lease when it commits.
const LONG: Duration = Duration::from_secs(1);

/// One attempt of one job.
#[derive(Clone)]
pub struct Run {
    /// The job's stored name.
    pub kind: &'static str,
    /// Attempts spent before this one.
    pub attempt: i32,
    lease: Lease,
    subject: Option<Id<Subject>>,
    order: Option<Id<Order>>,
    /// The trace that the job belongs to; its follow-ups belong to it too.
    traceparent: Option<String>,
    pool: PgPool,
    bell: Bell,
    /// Told when the database has not answered this attempt for too long.
    silence: Arc<Notify>,
    /// The clients and the configuration.
    pub services: Arc<Services>,
}

impl Run {
    /// For the worker, once per attempt.
    pub fn new(kind: &'static str, claimed: &Claimed, pool: PgPool, bell: Bell, services: Arc<Services>) -> Self {
        Self {
            kind,
            attempt: claimed.attempt,
            lease: claimed.lease,
            subject: claimed.subject,
            order: claimed.order,
            traceparent: claimed.traceparent.clone(),
            pool,
            bell,
            silence: Arc::new(Notify::new()),
            services,
        }
    }

    /// The job's id.
    pub fn job(&self) -> Id<id::Job> {
        self.lease.job
    }

    /// For reading. What is written goes through [`Run::begin`].
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The same, as one connection, for some statements of one moment. Dropped before a provider is called.
    pub async fn reads(&self) -> Result<Reads, sqlx::Error> {
        let watch = Watch::start(&self.silence);
        Ok(Reads { inner: self.pool.acquire().await?, _watch: watch })
    }

    /// Ends when a transaction or a read of this attempt has taken longer than [`db::ANSWER`]: its connection may be half
    /// open, and then no answer ever comes. Who drops the attempt at that closes the connection.
    pub(crate) async fn silent(&self) -> Stop {
        self.silence.notified().await;
        sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database does not answer any more"))
            .into()
    }

    /// A transaction that proves the lease first: a zombie gets none. The subject is locked before the job's row, in
    /// the order in which a withdrawal takes them.
    pub async fn begin(&self) -> Result<Tx, Stop> {
        let mut tx = self.begin_watched().await?;
        if let Some(subject) = self.subject {
            sqlx::query!("select safelight.share_subject($1)", subject.uuid()).fetch_one(&mut *tx).await?;
        }
        self.prove(tx).await
    }

    /// The same, with the person's lock to itself: for what ends other work of this person.
    pub(crate) async fn begin_alone(&self) -> Result<Tx, Stop> {
        let mut tx = self.begin_watched().await?;
        if let Some(subject) = self.subject {
            sqlx::query!("select safelight.own_subject($1)", subject.uuid()).fetch_one(&mut *tx).await?;
        }
        self.prove(tx).await
    }

    async fn prove(&self, mut tx: Tx) -> Result<Tx, Stop> {
        if !self.lease.holds(&mut tx).await? {
            return Err(Stop::retry(
                "lease_lost",
                anyhow::anyhow!("{} is run by somebody else by now, or was cancelled", self.lease.job),
            ));
        }
        tx.proved = Some((self.lease, Instant::now()));
        Ok(tx)
    }

    /// A transaction that asks for no lease, for the one fact that must not be lost with it: a provider has accepted. What
    /// is recorded in it asks its gate.
    pub(crate) async fn begin_without_lease(&self) -> Result<Tx, Stop> {
        let mut tx = self.begin_watched().await?;
        if let Some(subject) = self.subject {
            sqlx::query!("select safelight.share_subject($1)", subject.uuid()).fetch_one(&mut *tx).await?;
        }
        Ok(tx)
    }

    async fn begin_watched(&self) -> Result<Tx, Stop> {
        let watch = Watch::start(&self.silence);
        let mut tx = Tx::begin(&self.pool, &self.bell).await?.traced(self.traceparent.clone());
        tx.watch = Some(watch);
        Ok(tx)
    }

    /// Commit the last effects and the job's end as one.
    pub async fn finish(&self, mut tx: Tx) -> Result<Done, Stop> {
        if !queue::settle_within(&mut tx, self.lease).await? {
            return Err(Stop::retry(
                "lease_lost",
                anyhow::anyhow!("{} is run by somebody else by now", self.lease.job),
            ));
        }
        tx.commit().await?;
        Ok(Done(Ending::Committed))
    }

    /// Ask a gate in a transaction of its own, before anything leaves the house.
    pub async fn pass<P: For>(&self, ask: Ask<'_>) -> Result<Allowed<P>, gate::Closed> {
        let _watch = Watch::start(&self.silence);
        let mut tx = db::begin(&self.pool).await?;
        let allowed = gate::pass(&mut tx, ask).await?;
        tx.commit().await?;
        Ok(allowed)
    }

    /// The recorded answer of a step that an earlier attempt did (the future is dropped unpolled), or the step's answer
    /// now, recorded. The name is stored: a contract.
    pub async fn step<T, F>(&self, name: &'static str, work: F) -> Result<T, Stop>
    where
        T: Serialize + DeserializeOwned + Send,
        F: Future<Output = Result<T, Stop>> + Send,
    {
        let known = sqlx::query_scalar!(
            "select answer from safelight.job_steps where job_id = $1 and name = $2",
            self.lease.job.uuid(),
            name
        )
        .fetch_optional(&mut *self.reads().await?)
        .await?;
        if let Some(answer) = known {
            return serde_json::from_value(answer).map_err(|error| Stop::retry("step_unreadable", error));
        }
        let answer = work.await?;
        let stored = serde_json::to_value(&answer).map_err(|error| Stop::retry("step_unwritable", error))?;
        let mut tx = self.begin().await?;
        sqlx::query!(
            "insert into safelight.job_steps (job_id, name, answer) values ($1, $2, $3) on conflict do nothing",
            self.lease.job.uuid(),
            name,
            stored
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(answer)
    }

    /// An idempotency key for one step of this job, the same for every attempt.
    pub fn key(&self, step: &str) -> String {
        format!("{}:{}:{step}", self.kind, self.lease.job)
    }

    /// An audit entry of this job.
    pub fn note(&self, action: &'static str, outcome: &'static str) -> Entry {
        let mut entry = Entry::new("worker", action, outcome).job(self.kind, self.lease.job);
        if let Some(subject) = self.subject {
            entry = entry.subject(subject);
        }
        if let Some(order) = self.order {
            entry = entry.order(order);
        }
        entry
    }
}

/// A transaction that rings the bells of what it enqueued, after it committed.
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    bell: Bell,
    rings: Vec<Queue>,
    /// The lease that it has proved, and when.
    proved: Option<(Lease, Instant)>,
    watch: Option<Watch>,
    traceparent: Option<String>,
}

impl Tx {
    /// Begin one.
    pub async fn begin(pool: &PgPool, bell: &Bell) -> Result<Self, sqlx::Error> {
        Ok(Self {
            inner: db::begin(pool).await?,
            bell: bell.clone(),
            rings: Vec::new(),
            traceparent: None,
            proved: None,
            watch: None,
        })
    }

    /// What is enqueued in it belongs to this trace, as the W3C writes it.
    #[must_use]
    pub fn traced(mut self, traceparent: Option<String>) -> Self {
        self.traceparent = traceparent;
        self
    }

    /// Enqueue a follow-up; it exists when this transaction commits.
    pub async fn enqueue<J: Job>(&mut self, job: &J) -> Result<Enqueued, queue::EnqueueError> {
        let mut wish = queue::Wish::of(job)?;
        wish.traceparent.clone_from(&self.traceparent);
        let enqueued = wish.enqueue(&mut self.inner).await?;
        self.ring(enqueued.queue);
        Ok(enqueued)
    }

    /// Ring this bell after the commit.
    pub fn ring(&mut self, queue: Queue) {
        self.rings.push(queue);
    }

    /// Commit, then ring. Heartbeats pass by the row that this transaction has locked, so a long one extends its lease
    /// itself: a healthy attempt must not be taken for dead between this commit and the next heartbeat.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        let _watch = self.watch.take();
        if let Some((lease, since)) = self.proved
            && since.elapsed() > LONG
        {
            lease.keep_within(&mut self.inner).await?;
        }
        self.inner.commit().await?;
        for queue in self.rings {
            self.bell.ring(queue);
        }
        Ok(())
    }
}

impl Deref for Tx {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}
impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}

/// A connection to read from, while the attempt is watched.
pub struct Reads {
    inner: PoolConnection<Postgres>,
    _watch: Watch,
}

impl Deref for Reads {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}
impl DerefMut for Reads {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}

/// Runs for as long as something is asked of the database; tells the attempt when that is too long.
struct Watch(AbortHandle);

impl Watch {
    fn start(silence: &Arc<Notify>) -> Self {
        let silence = silence.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep(db::ANSWER).await;
            silence.notify_one();
        });
        Self(task.abort_handle())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}
