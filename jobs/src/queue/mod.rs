//! The queue: the only SQL that writes the job tables.
//!
//! A job is ready, running under a lease, or held; when it ends it leaves the hot table for the archive or the dead
//! letters. Every write of a running attempt proves that its lease still holds; a zombie writes nothing. No provider
//! is ever called in here.

mod bell;
mod bulk;
mod claim;
mod control;
mod enqueue;
mod gather;
mod lease;
mod settle;

pub use bell::{Bell, CHANNEL};
pub use bulk::enqueue_bulk;
pub use claim::{Claimed, claim};
pub use control::{cancel, redrive, release, wake_order};
pub use enqueue::{EnqueueError, Enqueued, Wish, enqueue, enqueue_all, enqueue_later};
pub use gather::Gatherer;
pub use lease::{Kept, Lease, disown, forget_worker, give_back, keep, register_worker, rescue};
pub use settle::{KEY_LIFETIME_HOURS, Outcome, Verdict, settle, settle_within};
