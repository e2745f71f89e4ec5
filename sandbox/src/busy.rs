//! How a test waits for a stand-in without sleeping: a count of what is still under way.

use tokio::sync::watch;

/// Counts pieces of work; clones share the count.
#[derive(Debug, Clone)]
pub(crate) struct Busy {
    count: watch::Sender<usize>,
}

/// One piece of work; dropping it says that it ended.
pub(crate) struct Piece {
    count: watch::Sender<usize>,
}

impl Busy {
    pub(crate) fn new() -> Busy {
        Busy { count: watch::Sender::new(0) }
    }

    pub(crate) fn begin(&self) -> Piece {
        self.count.send_modify(|n| *n += 1);
        Piece { count: self.count.clone() }
    }

    /// Returns when nothing is under way; at once if nothing is.
    pub(crate) async fn idle(&self) {
        let mut seen = self.count.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = seen.wait_for(|n| *n == 0).await;
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.count.send_modify(|n| *n = n.saturating_sub(1));
    }
}
