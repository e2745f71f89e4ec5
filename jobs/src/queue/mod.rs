//! The queue: the only SQL that writes the job tables.
//!
//! A job is ready, running under a lease, held by a person, scheduled for later, or set aside until there is room; when it
//! ends it leaves the hot table for the archive or the dead letters. Every write of a running attempt proves that its lease still holds; a zombie writes nothing. No provider
//! is ever called in here.

mod bell;
mod bulk;
mod claim;
mod control;
mod enqueue;
mod fleet;
mod gather;
mod history;
pub(crate) mod kinds;
mod lease;
mod numbers;
mod own_keys;
pub mod search;
mod settle;
mod workers;

pub use bell::{Bell, CHANNEL};
pub use bulk::{enqueue_all, enqueue_bulk, enqueue_wishes};
pub use claim::{Claimed, claim, claim_from};
pub(crate) use control::share_subjects_of;
pub use control::{
    DeadGroup, Filter, cancel, cancel_all, dead_letters, discard_all, discard_these, hold, hold_all, redrive,
    redrive_all, redrive_these, release, release_all, wake, wake_all, wake_order,
};
pub(crate) use enqueue::forget_key;
pub use enqueue::{EnqueueError, Enqueued, Wish, enqueue, enqueue_later};
pub use fleet::{
    Breaker, By, Change, Control, Explanation, FleetError, Scope, breakers, change, close_breaker, controls, explain,
    keep_act, note_act,
};
pub use gather::Gatherer;
pub use history::{prune_answers, prune_history, turn_archive};
pub use lease::{Kept, Lease, disown, forget_worker, give_back, keep, open_lanes, register_worker, rescue};
pub use numbers::{COUNTED, ProviderLoad, QueueNumbers, REFUSED_US, numbers, provider_loads, refused_us};
pub use own_keys::OwnKey;
pub use settle::{KEY_LIFETIME_HOURS, Outcome, Verdict, provider_is_well, settle, settle_within};
pub use workers::{SILENT_SECONDS, Worker, workers};
