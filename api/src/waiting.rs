//! Answers that wait for news: `?wait=` holds a request until what it asks for has changed, so that a backend need not ask every
//! second. A bounded number waits at once; beyond it everybody is answered at once, as if they had not asked to wait.

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};
use utoipa::IntoParams;

use crate::{error::Error, idempotency};

/// The longest that an answer waits: shorter than a request may take, and than most proxies allow.
pub(crate) const LONGEST: Duration = Duration::from_secs(25);
/// How often it is looked again meanwhile.
pub(crate) const LOOK: Duration = Duration::from_millis(500);
/// How many wait at once in this process.
pub(crate) const MOST: usize = 200;

/// Whether to wait for news.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// Wait up to so many seconds, 25 at the most: with `if-none-match` until it is another one than the one you know, which
    /// answers 304 if it stays the same; without it until it has ended.
    wait: Option<u64>,
}

/// A value's tag: the same for the same state. What only says how long it will take is not a part of it.
pub(crate) fn tag(value: &Value) -> String {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("explanation");
    }
    format!("\"{}\"", &hex::encode(Sha256::digest(value.to_string().as_bytes()))[..32])
}

/// One request that waits for news, or does not.
pub(crate) struct Waiting<'a> {
    known: Option<&'a str>,
    until: Instant,
    /// Closed when the process stops.
    waiters: &'a Semaphore,
    _seat: Option<SemaphorePermit<'a>>,
}

impl<'a> Waiting<'a> {
    /// Take a seat, if the request asked for one and there is one.
    pub(crate) fn begin(waiters: &'a Semaphore, headers: &'a HeaderMap, wait: &Wait) -> Self {
        let known = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
        let seat = wait.wait.filter(|seconds| *seconds > 0).and_then(|_| waiters.try_acquire().ok());
        let longest = Duration::from_secs(wait.wait.unwrap_or(0)).min(LONGEST);
        let until = Instant::now() + if seat.is_some() { longest } else { Duration::ZERO };
        Self { known, until, waiters, _seat: seat }
    }

    /// The answer, if what was read is news or the time is over; else none, after a moment: read again. `ended`: nothing will
    /// change any more.
    pub(crate) async fn answer<V: Serialize>(&self, view: &V, ended: bool) -> Result<Option<Response>, Error> {
        let value = serde_json::to_value(view).map_err(|_| Error::Internal)?;
        let tag = tag(&value);
        let same = self.known == Some(tag.as_str());
        let settled = if self.known.is_some() { !same } else { ended };
        if settled || ended || Instant::now() >= self.until || self.waiters.is_closed() {
            let mut response = if same {
                StatusCode::NOT_MODIFIED.into_response()
            } else {
                idempotency::answer(StatusCode::OK, &value)
            };
            if let Ok(tag) = HeaderValue::from_str(&tag) {
                response.headers_mut().insert(header::ETAG, tag);
            }
            return Ok(Some(response));
        }
        tokio::time::sleep(LOOK.min(self.until - Instant::now())).await;
        Ok(None)
    }
}
