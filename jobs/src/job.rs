//! What a job is. Type, file and stored name are one imperative said three ways: `TrainModel`, `train_model.rs`,
//! `train_model`.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    id::{Artifact, Deletion, Id, Intent, Notice, Order, Subject},
    policy::Processor,
    run::Run,
    stop::{Done, Stop},
};

/// One kind of work. The payload holds ids only: the worker reads the rest when it runs.
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Stored in rows: a contract.
    const NAME: &'static str;
    /// Which pool runs it.
    const QUEUE: Queue;
    /// When it is tried again.
    const RETRY: Retry;
    /// What a second attempt may do.
    const EFFECT: Effect;
    /// Version of the payload. Fields are added as `Option`, so that old payloads still run.
    const VERSION: i16 = 1;
    /// Whom its attempts ask. A pause, a rate and the breaker of that provider hold it back.
    const PROVIDER: Option<Processor> = None;
    /// How long one attempt may take; then it is cut and tried again.
    const TIMEOUT: Duration = Duration::from_secs(600);
    /// How long after it was due the whole job is still tried; without end if none.
    const DEADLINE: Option<Duration> = None;
    /// How many jobs of one [`Job::lane`] run at once in the whole fleet.
    const LANE_MOST: Option<i16> = None;
    /// How many days the finished job stays in the archive. With the week of its partition that is never longer than the
    /// thirty days of what it names.
    const KEEP_DAYS: i16 = 21;
    /// What the gate hands over.
    type Pass: Send;

    /// The same wish gives the same key: two clicks, one job.
    fn key(&self) -> JobKey;
    /// Whose work it is.
    fn scope(&self) -> Scope;
    /// Jobs of one lane do not run beside each other, for a kind that has [`Job::LANE_MOST`].
    fn lane(&self) -> Option<JobKey> {
        None
    }
    /// Asked before every attempt.
    fn gate(&self, run: &Run) -> impl Future<Output = Result<Self::Pass, Stop>> + Send;
    /// The work. Reads like the line `Life:` of the file's header.
    fn run(&self, pass: Self::Pass, run: &Run) -> impl Future<Output = Result<Done, Stop>> + Send;
}

/// A pool of workers. The stored name is a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queue {
    /// Confirms payments.
    Payments,
    /// Starts and collects trainings.
    Training,
    /// Starts and collects images.
    Generation,
    /// Measures faces: uses CPU.
    Faces,
    /// Tells people.
    Notices,
    /// Deletes.
    Deletion,
    /// Looks for what is due.
    Sweeps,
}

impl Queue {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 7] =
        [Self::Payments, Self::Training, Self::Generation, Self::Faces, Self::Notices, Self::Deletion, Self::Sweeps];

    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payments => "payments",
            Self::Training => "training",
            Self::Generation => "generation",
            Self::Faces => "faces",
            Self::Notices => "notices",
            Self::Deletion => "deletion",
            Self::Sweeps => "sweeps",
        }
    }

    /// By its stored name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|queue| queue.as_str() == name)
    }
}

/// Stored backoff: exponential with full jitter.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// How many attempts may be spent.
    pub attempts: i32,
    /// Upper bound of the first delay.
    pub first: Duration,
    /// Upper bound of every delay.
    pub most: Duration,
}

impl Retry {
    /// The delay after `spent` attempts: uniformly random between zero and the exponential bound, so that a herd of
    /// failed jobs does not come back as a herd.
    pub fn delay(&self, spent: i32) -> Duration {
        self.bound(spent).mul_f64(rand::random::<f64>())
    }

    fn bound(&self, spent: i32) -> Duration {
        ExponentialBuilder::default()
            .with_min_delay(self.first)
            .with_max_delay(self.most)
            .with_factor(2.0)
            .without_max_times()
            .build()
            .nth(usize::try_from(spent.max(1) - 1).unwrap_or(0))
            .unwrap_or(self.most)
    }
}

/// What the engine may do when an attempt ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A provider may have been asked: the outcome is looked for, the request is never repeated blindly.
    Reconcile,
    /// Running it again changes nothing more.
    Repeatable,
    /// Tried until what it promises was seen to be so; never ends by having used up its attempts.
    UntilVerified,
}

impl Effect {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reconcile => "reconcile",
            Self::Repeatable => "repeatable",
            Self::UntilVerified => "until_verified",
        }
    }
}

/// Whose work a job is. Tenant, subject and order are looked up when it is enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One order.
    Order(Id<Order>),
    /// The order and person of one provider call.
    Call(Id<Intent>),
    /// The order and person of one stored thing.
    Artifact(Id<Artifact>),
    /// The person of one notice.
    Notice(Id<Notice>),
    /// The person of one deletion.
    Deletion(Id<Deletion>),
    /// One person.
    Subject(Id<Subject>),
    /// The house.
    System,
}

/// Made of the name and domain ids only, no clock and no dice, so the same wish gives the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobKey(String);

impl JobKey {
    /// `train_model:order_…`
    pub fn new(name: &str, parts: &[&dyn std::fmt::Display]) -> Self {
        let mut key = name.to_owned();
        for part in parts {
            key.push(':');
            key.push_str(&part.to_string());
        }
        Self(key)
    }
    /// The stored form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The payload could not be read by this version of the program.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// No job of this name.
    #[error("job {job}: this version knows no job named `{kind}`")]
    UnknownKind {
        /// The job's id.
        job: Uuid,
        /// The stored name.
        kind: String,
    },
    /// The payload does not fit.
    #[error("job {job}: the payload of `{kind}` does not fit: {source}")]
    Payload {
        /// The job's id.
        job: Uuid,
        /// The stored name.
        kind: &'static str,
        /// What does not fit.
        source: serde_json::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_most_and_never_exceed_their_bound() {
        let retry = Retry { attempts: 9, first: Duration::from_secs(2), most: Duration::from_secs(60) };
        assert_eq!(retry.bound(1), Duration::from_secs(2));
        assert_eq!(retry.bound(3), Duration::from_secs(8));
        assert_eq!(retry.bound(30), Duration::from_secs(60));
        assert!((0..1000).all(|_| retry.delay(3) <= Duration::from_secs(8)));
        assert!((0..1000).any(|_| retry.delay(3) < Duration::from_secs(1)), "full jitter reaches down to zero");
    }
}
