//! The trace that a request belongs to: the caller's `traceparent` if it is one, else a new one. It goes into the log line and into
//! the row of every job that the request enqueues, and from there along to the jobs that follow.
//! Source: w3.org/TR/trace-context, read November 2026.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use rand::RngCore;
use safelight_jobs::run::Tx;

use crate::{error::Error, state::ApiState};

/// The trace of one request, as the W3C writes it.
#[derive(Debug, Clone)]
pub(crate) struct Trace(pub(crate) String);

impl Trace {
    /// The caller's, or a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let carried = headers.get("traceparent").and_then(|value| value.to_str().ok()).filter(|text| is_one(text));
        Self(carried.map_or_else(new, str::to_owned))
    }

    /// Begin the one transaction of this request; what it enqueues carries this trace.
    pub(crate) async fn begin(self, state: &ApiState) -> Result<Tx, Error> {
        Ok(Tx::begin(&state.pool, &state.bell).await?.traced(Some(self.0)))
    }

    /// Its id, without the span's.
    pub(crate) fn id(&self) -> &str {
        self.0.split('-').nth(1).unwrap_or_default()
    }
}

/// The one that [`crate::request`] found, for routes that take no token.
impl<S: Send + Sync> FromRequestParts<S> for Trace {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self(new())))
    }
}

fn new() -> String {
    let mut bytes = [0; 24];
    rand::rngs::OsRng.fill_bytes(&mut bytes);
    let (trace, span) = bytes.split_at(16);
    format!("00-{}-{}-01", hex::encode(trace), hex::encode(span))
}

/// Version 00 and its exact shape: lower-case hexadecimal, neither id all zeros. Nothing else is stored.
fn is_one(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hexadecimal = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let id = |part: &str, length: usize| part.len() == length && hexadecimal(part) && part.bytes().any(|b| b != b'0');
    matches!(parts[..], ["00", trace, span, flags] if id(trace, 32) && id(span, 16) && flags.len() == 2 && hexadecimal(flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trace_of_the_exact_shape_is_taken_over() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_one(good) && is_one(&new()));
        for bad in [
            "",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-ann@example.org-b7ad6b7169203331-01",
        ] {
            assert!(!is_one(bad), "{bad}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", good.parse().expect("a value"));
        assert_eq!(Trace::of(&headers).id(), "0af7651916cd43dd8448eb211c80319c");
    }
}
