//! The time the stand-ins believe in: the wall clock plus an offset that a test or the demo turns.
//!
//! It decides what has expired (files, results, checkout sessions, idempotency keys). It never touches webhook
//! signatures or signed URLs: those are checked against the wall clock by whoever receives them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Duration, Utc};

/// A shared clock; clones turn together.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The instant the stand-ins take for now.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        wall() + Duration::milliseconds(self.offset_ms.load(Ordering::SeqCst))
    }

    /// Turns the clock by that much; a negative duration turns it back. Returns the new now.
    pub fn turn(&self, by: Duration) -> DateTime<Utc> {
        self.offset_ms.fetch_add(by.num_milliseconds(), Ordering::SeqCst);
        self.now()
    }
}

/// The wall clock, for signatures and logs.
pub(crate) fn wall() -> DateTime<Utc> {
    Utc::now()
}
