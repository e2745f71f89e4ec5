//! The connections that are open: never more than so many. Where there is no place for a new one, the one gives way that has been
//! without a request the longest; where each has one, the new one finds no place. Knows nothing of what is asked.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{http::header, response::Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A request is being answered.
const BUSY: u64 = u64::MAX;

/// All of them.
pub(super) struct Open {
    most: usize,
    spare: Duration,
    began: Instant,
    number: AtomicU64,
    known: Mutex<HashMap<u64, Arc<One>>>,
}

/// One of them.
pub(super) struct One {
    began: Instant,
    /// Since when it has had no request, in milliseconds after `began`; or [`BUSY`].
    quiet_since: AtomicU64,
    asked: AtomicBool,
    pub(super) cut: CancellationToken,
}

/// Its place, free again when this is dropped.
pub(super) struct Place {
    open: Arc<Open>,
    number: u64,
    pub(super) one: Arc<One>,
}

impl Open {
    pub(super) fn new(most: usize, spare: Duration) -> Arc<Self> {
        let (began, number) = (Instant::now(), AtomicU64::new(0));
        Arc::new(Self { most: most.max(1), spare, began, number, known: Mutex::default() })
    }

    /// A place for a new one, if there is one.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let now = since(self.began);
        let mut known = self.known();
        if known.len() >= self.most {
            let spare = u64::try_from(self.spare.as_millis()).unwrap_or(u64::MAX);
            let quiet = known.iter().map(|(number, one)| (one.quiet_since.load(Ordering::Relaxed), *number));
            let (_, longest) = quiet.filter(|(since, _)| *since != BUSY && now - (*since).min(now) >= spare).min()?;
            metrics::counter!("safelight_http_connections_cut_total", "why" => "too_many").increment(1);
            if let Some(one) = known.remove(&longest) {
                one.cut.cancel();
            }
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let one = Arc::new(One {
            began: self.began,
            quiet_since: AtomicU64::new(now),
            asked: AtomicBool::new(false),
            cut: CancellationToken::new(),
        });
        known.insert(number, one.clone());
        Some(Place { open: self.clone(), number, one })
    }

    /// End all that are left, and say how many they were.
    pub(super) fn cut_all(&self) -> usize {
        self.known().drain().map(|(_, one)| one.cut.cancel()).count()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, Arc<One>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl One {
    /// Answer a request on it.
    pub(super) async fn answers<E>(
        self: Arc<Self>,
        answer: impl Future<Output = Result<Response, E>>,
    ) -> Result<Response, E> {
        self.asked.store(true, Ordering::Relaxed);
        self.quiet_since.store(BUSY, Ordering::Relaxed);
        let answer = answer.await;
        // A stream of events goes on after its head; nobody may call it quiet.
        let streams = answer.as_ref().is_ok_and(|answer| {
            let kind = answer.headers().get(header::CONTENT_TYPE);
            kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
        });
        if !streams {
            self.quiet_since.store(since(self.began), Ordering::Relaxed);
        }
        answer
    }

    /// The head of its first request is there.
    pub(super) fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.known().remove(&self.number);
    }
}

fn since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(BUSY - 1)
}
