//! Sends webhooks as providers do: signed anew for each try, tried again until a 2xx, at least once, in no order.
//!
//! Loopback targets are allowed here; the real providers drop them. The gaps between tries are short, so that a test
//! sees in a second what takes hours outside.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::redirect::Policy;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::busy::Busy;
use crate::clock::{Clock, wall};
use crate::faults::{Fault, Faults};
use crate::lock::lock;

const LONGEST_GAP: Duration = Duration::from_secs(5);
const FIRST_TIMEOUT: Duration = Duration::from_secs(15);

/// Headers of one try, made from the instant of that try.
pub(crate) type Sign = Arc<dyn Fn(DateTime<Utc>) -> Vec<(&'static str, String)> + Send + Sync>;

/// How a provider goes on after a failed try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) tries: u32,
    pub(crate) first_gap: Duration,
    /// Fal: a redirect ends it; elsewhere it is one more failure.
    pub(crate) redirect_ends_it: bool,
}

/// One webhook on its way.
#[derive(Clone)]
pub(crate) struct Parcel {
    /// Event id or request id.
    pub(crate) id: String,
    /// What faults match on: type and id.
    pub(crate) label: String,
    pub(crate) url: String,
    pub(crate) body: Bytes,
    pub(crate) sign: Sign,
    /// By the sandbox clock: no try after this instant.
    pub(crate) until: Option<DateTime<Utc>>,
}

/// One try that was made, or one webhook that was dropped on purpose.
#[derive(Debug, Clone, Serialize)]
pub struct Delivery {
    /// Event id (Stripe, Resend) or request id (Fal).
    pub id: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// The receiver's status; `None`: no answer, or dropped by a fault.
    pub status: Option<u16>,
    /// When the try ended, wall clock.
    pub at: DateTime<Utc>,
}

/// The webhook sender of one stand-in; clones share everything.
#[derive(Clone)]
pub(crate) struct Courier {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    clock: Clock,
    faults: Faults,
    patience: Patience,
    busy: Busy,
    stop: CancellationToken,
    held: Mutex<Option<Parcel>>,
    /// Until the clock has come to that instant.
    later: Mutex<Vec<(DateTime<Utc>, Parcel)>>,
    log: Mutex<Vec<Delivery>>,
}

impl Courier {
    pub(crate) fn new(
        clock: Clock,
        faults: Faults,
        patience: Patience,
        busy: Busy,
        stop: CancellationToken,
    ) -> anyhow::Result<Courier> {
        let http = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(FIRST_TIMEOUT).build()?;
        let (held, later, log) = (Mutex::new(None), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let inner = Inner { http, clock, faults, patience, busy, stop, held, later, log };
        Ok(Courier { inner: Arc::new(inner) })
    }

    /// Takes a webhook and returns at once; [`Busy::idle`] waits for it.
    pub(crate) fn send(&self, parcel: Parcel) {
        let fault = self.inner.faults.take_webhook(&parcel.label);
        let swapped = lock(&self.inner.held).take();
        match fault {
            Some(Fault::DropWebhook) => self.note(&parcel, 0, None),
            Some(Fault::DelayWebhookByClock { minutes }) => {
                let due = self.inner.clock.now() + chrono::Duration::minutes(minutes.into());
                lock(&self.inner.later).push((due, parcel));
            }
            Some(Fault::SwapWebhooks) => *lock(&self.inner.held) = Some(parcel),
            Some(Fault::DoubleWebhook) => {
                self.post(vec![parcel.clone()], Duration::ZERO);
                self.post(vec![parcel], Duration::ZERO);
            }
            Some(Fault::DelayWebhook { millis }) => self.post(vec![parcel], Duration::from_millis(millis)),
            _ => return self.post(std::iter::once(parcel).chain(swapped).collect(), Duration::ZERO),
        }
        if let Some(parcel) = swapped {
            self.post(vec![parcel], Duration::ZERO);
        }
    }

    /// Sends what waits for the clock and is due by now; called when the clock is turned.
    pub(crate) fn look_at_the_clock(&self) {
        let now = self.inner.clock.now();
        let due: Vec<Parcel> =
            lock(&self.inner.later).extract_if(.., |(due, _)| *due <= now).map(|(_, parcel)| parcel).collect();
        if !due.is_empty() {
            self.post(due, Duration::ZERO);
        }
    }

    /// The tries so far.
    pub(crate) fn log(&self) -> Vec<Delivery> {
        lock(&self.inner.log).clone()
    }

    /// Delivers these one after the other.
    fn post(&self, parcels: Vec<Parcel>, late: Duration) {
        let courier = self.clone();
        let piece = self.inner.busy.begin();
        tokio::spawn(async move {
            let _piece = piece;
            let deliver = async {
                tokio::time::sleep(late).await;
                for parcel in parcels {
                    courier.deliver(&parcel).await;
                }
            };
            let _ = courier.inner.stop.run_until_cancelled(deliver).await;
        });
    }

    async fn deliver(&self, parcel: &Parcel) {
        let mut gap = self.inner.patience.first_gap;
        for attempt in 1..=self.inner.patience.tries {
            if parcel.until.is_some_and(|until| self.inner.clock.now() >= until) {
                return;
            }
            let status = self.attempt(parcel).await;
            self.note(parcel, attempt, status);
            match status {
                Some(200..=299) => return,
                Some(300..=399) if self.inner.patience.redirect_ends_it => return,
                _ => {}
            }
            tokio::time::sleep(gap).await;
            gap = (gap * 2).min(LONGEST_GAP);
        }
    }

    async fn attempt(&self, parcel: &Parcel) -> Option<u16> {
        let mut request = self.inner.http.post(&parcel.url).header("content-type", "application/json");
        for (name, value) in (parcel.sign)(wall()) {
            request = request.header(name, value);
        }
        let answer = request.body(parcel.body.clone()).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    fn note(&self, parcel: &Parcel, attempt: u32, status: Option<u16>) {
        lock(&self.inner.log).push(Delivery { id: parcel.id.clone(), attempt, status, at: wall() });
    }
}
