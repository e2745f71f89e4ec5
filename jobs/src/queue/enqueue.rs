//! Enqueue: in the caller's transaction, idempotent by key.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{OwnKey, enqueue_wishes};
use crate::{
    id,
    id::Id,
    job::{Effect, Job, Queue, Scope},
};

/// What became of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    /// The job; the same one for the same wish.
    pub id: Id<id::Job>,
    /// The wish was known.
    pub already: bool,
    /// Whose bell to ring after the commit.
    pub queue: Queue,
}

/// Why a wish was not taken.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// 409. The key is known with another payload.
    #[error(
        "the job key `{key}` was used before with another payload; use another key, or send the first payload again"
    )]
    Conflict {
        /// The key.
        key: String,
    },
    /// The database did not take it.
    #[error("the job could not be stored")]
    Database(#[from] sqlx::Error),
    /// The payload has no JSON form.
    #[error("the payload could not be written as JSON")]
    Payload(#[from] serde_json::Error),
}

impl From<EnqueueError> for crate::stop::Stop {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::Database(error) => error.into(),
            EnqueueError::Conflict { .. } | EnqueueError::Payload(_) => {
                Self::give_up("enqueue_refused", error.to_string())
            }
        }
    }
}

/// A wish as it is stored: what a typed job and a foreign caller have in common.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The job's stored name.
    pub kind: &'static str,
    /// Ids only.
    pub payload: serde_json::Value,
    /// The pool.
    pub queue: Queue,
    /// Idempotency key, as the kind makes it.
    pub key: String,
    /// The caller's own, beside it.
    pub own_key: Option<OwnKey>,
    /// Not before this instant; now if none.
    pub run_at: Option<DateTime<Utc>>,
    /// Lower runs first.
    pub priority: i16,
    /// How many attempts may be spent.
    pub max_attempts: i32,
    /// Version of the payload.
    pub version: i16,
    /// Jobs of one lane do not run beside each other.
    pub lane: Option<String>,
    /// The trace that it belongs to, as the W3C writes it.
    pub traceparent: Option<String>,
    /// Whose work it is.
    pub scope: Scope,
}

impl Wish {
    /// The stored form of a typed job.
    pub fn of<J: Job>(job: &J) -> Result<Self, serde_json::Error> {
        Ok(Self {
            kind: J::NAME,
            payload: serde_json::to_value(job)?,
            queue: J::QUEUE,
            key: job.key().as_str().to_owned(),
            own_key: None,
            run_at: None,
            priority: 0,
            max_attempts: match J::EFFECT {
                Effect::UntilVerified => i32::MAX,
                Effect::Reconcile | Effect::Repeatable => J::RETRY.attempts,
            },
            version: J::VERSION,
            lane: job.lane().filter(|_| J::LANE_MOST.is_some()).map(|lane| lane.as_str().to_owned()),
            traceparent: None,
            scope: job.scope(),
        })
    }

    /// Store it in the caller's transaction.
    pub async fn enqueue(&self, tx: &mut PgConnection) -> Result<Enqueued, EnqueueError> {
        if self.own_key.is_some() {
            let conflict = || Err(EnqueueError::Conflict { key: self.key.clone() });
            return enqueue_wishes(tx, std::slice::from_ref(self)).await?.pop().unwrap_or_else(conflict);
        }
        let (order, subject) = self.whose(tx).await?;
        let row = sqlx::query!(
            r#"select job_id, already as "already!" from safelight.enqueue(
                p_kind => $1, p_payload => $2, p_queue => $3, p_key => $4, p_run_at => $5, p_priority => $6,
                p_max_attempts => $7, p_version => $8, p_subject => $9, p_order => $10, p_id => $11, p_lane => $12,
                p_traceparent => $13)"#,
            self.kind,
            self.payload,
            self.queue.as_str(),
            self.key,
            self.run_at,
            self.priority,
            self.max_attempts,
            self.version,
            subject,
            order,
            Id::<id::Job>::new().uuid(),
            self.lane,
            self.traceparent,
        )
        .fetch_one(tx)
        .await?;
        // The id of a conflict is nobody's: the caller's transaction goes on, its wish does not.
        let id = row.job_id.ok_or_else(|| EnqueueError::Conflict { key: self.key.clone() })?;
        Ok(Enqueued { id: id.into(), already: row.already, queue: self.queue })
    }

    /// The order and the person of the wish's scope.
    pub(super) async fn whose(&self, tx: &mut PgConnection) -> Result<(Option<Uuid>, Option<Uuid>), sqlx::Error> {
        Ok(match self.scope {
            Scope::Order(order) => (Some(order.uuid()), None),
            Scope::Call(call) => {
                sqlx::query!("select order_id, subject_id from safelight.provider_calls where id = $1", call.uuid())
                    .fetch_optional(&mut *tx)
                    .await?
                    .map_or((None, None), |row| (row.order_id, Some(row.subject_id)))
            }
            Scope::Artifact(artifact) => {
                sqlx::query!("select order_id, subject_id from safelight.artifacts where id = $1", artifact.uuid())
                    .fetch_optional(&mut *tx)
                    .await?
                    .map_or((None, None), |row| (row.order_id, Some(row.subject_id)))
            }
            Scope::Notice(notice) => {
                sqlx::query!("select order_id, subject_id from safelight.notices where id = $1", notice.uuid())
                    .fetch_optional(&mut *tx)
                    .await?
                    .map_or((None, None), |row| (row.order_id, Some(row.subject_id)))
            }
            Scope::Deletion(deletion) => (
                None,
                sqlx::query_scalar!("select subject_id from safelight.deletions where id = $1", deletion.uuid())
                    .fetch_optional(&mut *tx)
                    .await?,
            ),
            Scope::Subject(subject) => (None, Some(subject.uuid())),
            Scope::System => (None, None),
        })
    }
}

/// Store one job in the caller's transaction. Ring the bell of its queue after the commit.
pub async fn enqueue<J: Job>(tx: &mut PgConnection, job: &J) -> Result<Enqueued, EnqueueError> {
    Wish::of(job)?.enqueue(tx).await
}

/// The same, to run at a later instant of the system's clock.
pub async fn enqueue_later<J: Job>(
    tx: &mut PgConnection,
    job: &J,
    run_at: DateTime<Utc>,
) -> Result<Enqueued, EnqueueError> {
    let mut wish = Wish::of(job)?;
    wish.run_at = Some(run_at);
    wish.enqueue(tx).await
}

/// Let a wish be made anew whose job has ended without what was wished for.
pub(crate) async fn forget_key(tx: &mut PgConnection, key: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from safelight.job_keys where key = $1", key).execute(tx).await?;
    Ok(())
}
