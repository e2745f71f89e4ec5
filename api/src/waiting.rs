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

/// A value's tag: the same for the same state. What only says how long it will take is not a part of it, nor are links, which are
/// signed anew for each answer.
pub(crate) fn tag(value: &Value) -> String {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("explanation");
        for image in fields.get_mut("images").and_then(Value::as_array_mut).into_iter().flatten() {
            image.as_object_mut().map(|image| image.remove("url"));
        }
    }
    format!("\"{}\"", &hex::encode(Sha256::digest(value.to_string().as_bytes()))[..32])
}

/// The tag of what an answer shows.
pub(crate) fn tag_of<V: Serialize>(view: &V) -> Result<String, Error> {
    serde_json::to_value(view).map(|value| tag(&value)).map_err(|_| Error::Internal)
}

/// What `If-None-Match` says is known: tags, weak ones too, which a proxy makes of ours, or any (RFC 9110, 13.1.2).
#[derive(Clone, Copy)]
struct Known<'a>(&'a str);

impl Known<'_> {
    fn has(self, tag: &str) -> bool {
        let strong = |known: &str| known.trim().trim_start_matches("W/") == tag;
        self.0.trim() == "*" || self.0.split(',').any(strong)
    }
}

/// One request that waits for news, or does not.
pub(crate) struct Waiting<'a> {
    known: Option<Known<'a>>,
    until: Instant,
    /// Closed when the process stops.
    waiters: &'a Semaphore,
    _seat: Option<SemaphorePermit<'a>>,
}

impl<'a> Waiting<'a> {
    /// Take a seat, if the request asked for one and there is one.
    pub(crate) fn begin(waiters: &'a Semaphore, headers: &'a HeaderMap, wait: &Wait) -> Self {
        let known = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok()).map(Known);
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
        let same = self.known.is_some_and(|known| known.has(&tag));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tag_is_known_alone_in_a_list_weakened_and_among_any() {
        for known in ["\"a\"", "W/\"a\"", "\"b\", W/\"a\"", "*", " \"a\" "] {
            assert!(Known(known).has("\"a\""), "{known}");
        }
        for known in ["\"b\"", "a", "", "\"ab\"", "W/"] {
            assert!(!Known(known).has("\"a\""), "{known}");
        }
    }

    #[test]
    fn links_that_are_signed_anew_are_no_news() {
        let order = |state: &str, url: &str| json!({ "state": state, "images": [{ "position": 1, "url": url }] });
        assert_eq!(
            tag(&order("delivered", "https://store/1?X-Amz-Date=1")),
            tag(&order("delivered", "https://store/1?X-Amz-Date=2"))
        );
        assert_ne!(tag(&order("delivered", "x")), tag(&order("generating", "x")));
    }
}
