//! Seats: so many requests at once. Who finds none is told at once to come again, before anything is asked of the database; a
//! late answer would be worse than none, because it is given to somebody who has left.
//!
//! Not one pool: news that anybody can send never take the last seats of those who hold a token, and who looks whether the
//! process is well finds a seat when nobody else does.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{error::Error, waiting};

/// Requests at once in this process: the ones that wait for news, and as many beside them as twelve connections to the
/// database answer in a second or two.
const MOST: usize = waiting::MOST + 256;
/// Those of them that news from providers take, at most: they are asked for before anybody knows who sends them.
const NEWS: usize = MOST / 2;
/// Beside them: whoever watches this process.
const WATCHING: usize = 8;

/// All of them.
pub(crate) struct Seats {
    all: Semaphore,
    news: Semaphore,
    watching: Semaphore,
}

impl Default for Seats {
    fn default() -> Self {
        Self::of(MOST, NEWS, WATCHING)
    }
}

impl Seats {
    pub(crate) fn of(all: usize, news: usize, watching: usize) -> Self {
        Self { all: Semaphore::new(all), news: Semaphore::new(news), watching: Semaphore::new(watching) }
    }

    /// A seat for a request to this route, for as long as what is answered is held. Each pool that it takes a place in.
    pub(crate) fn take(&self, route: &str) -> Result<Vec<SemaphorePermit<'_>>, Error> {
        let pools: &[&Semaphore] = match route {
            // Whether the process lives is told in any case: who restarts what is overloaded makes it worse.
            "/health" => &[],
            "/ready" | "/metrics" => &[&self.watching],
            _ if route.starts_with("/webhooks/") => &[&self.news, &self.all],
            _ => &[&self.all],
        };
        pools.iter().map(|pool| pool.try_acquire().map_err(|_| full())).collect()
    }
}

/// Counted, because nobody else tells that somebody was sent away.
pub(crate) fn full() -> Error {
    metrics::counter!("safelight_http_overloaded_total").increment(1);
    Error::Overloaded
}
