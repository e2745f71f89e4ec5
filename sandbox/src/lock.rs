//! Locks that go on after a panic elsewhere: a stand-in keeps answering, as a provider would.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks without caring whether another holder panicked. Held for a few lines only, never across an await.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
