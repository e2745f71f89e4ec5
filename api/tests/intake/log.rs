//! What this program logs, kept by the thread that logged it: a test has a thread of its own.

use std::{cell::RefCell, sync::Once};

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// From now on everything is kept, at every level.
pub(crate) fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(|| Log).finish();
        tracing::subscriber::set_global_default(subscriber).expect("the first subscriber");
    });
    LOG.with_borrow_mut(Vec::clear);
}

/// What was logged since.
pub(crate) fn kept() -> String {
    LOG.with_borrow(|log| String::from_utf8_lossy(log).into_owned())
}

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // A thread that ends logs into nothing.
        let _ = LOG.try_with(|log| log.borrow_mut().extend_from_slice(bytes));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
