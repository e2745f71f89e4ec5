//! How long the tasks beside a worker wait for an answer of the database. None of them waits without a bound: a connection
//! may be half open, and then no answer ever comes. What was asked may have been done all the same; each of them is safe to
//! ask again.

use std::time::Duration;

use crate::config::WorkerConfig;

/// A claim. Shorter than a lease by far, so that a silent connection costs a worker little of its time.
pub(crate) const CLAIM: Duration = Duration::from_secs(5);
/// A heartbeat. A third of the lease, so that two may be lost; but never so short that a new connection could not be made in
/// time, over a slow line or on a busy machine.
pub(crate) fn beat(config: &WorkerConfig) -> Duration {
    config.heartbeat().max(Duration::from_secs(4))
}
/// After a heartbeat that failed, the next one.
pub(crate) const BEAT_AGAIN: Duration = Duration::from_millis(200);
/// A batch of outcomes, a sign of life, or a rescue: longer than the server lets a statement of the queue take, so that one that is only
/// slow is not asked for twice at once.
pub(crate) const SETTLE: Duration = Duration::from_secs(20);
/// A word to the database on the way out.
pub(crate) const GOODBYE: Duration = Duration::from_secs(3);
