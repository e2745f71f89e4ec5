//! What a stand-in was asked: one entry per HTTP request, in order of arrival.
//!
//! Keys never enter: authorization headers, API keys and signatures in URLs are left out before anything is kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, Method, Uri, header};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::wall;
use crate::lock::lock;

/// Bodies above this many bytes are kept as their length only.
const LONGEST_KEPT_BODY: usize = 64 * 1024;

const KEYS: [&str; 7] = [
    "authorization",
    "apikey",
    "cookie",
    "proxy-authorization",
    "x-amz-security-token",
    "x-client-secret",
    "x-sentry-auth",
];
const SECRET_QUERY: [&str; 3] = ["X-Amz-Signature", "X-Amz-Security-Token", "token"];

/// One request as it arrived.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// When it arrived, wall clock.
    pub at: DateTime<Utc>,
    /// `GET`, `POST` and so on.
    pub method: String,
    /// Path as sent, without the query.
    pub path: String,
    /// Query parameters in order, decoded; signatures and tokens are replaced by `...`.
    pub query: Vec<(String, String)>,
    /// Headers by lower-case name, keys and cookies left out.
    pub headers: BTreeMap<String, String>,
    /// JSON as it is, other text as a string, anything else as `{"bytes": n}`.
    pub body: Value,
    /// The status answered; `None` while in work, and for ever when the answer was lost on purpose.
    pub status: Option<u16>,
}

impl Call {
    /// The first value of that query parameter.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// The list of calls of one stand-in; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls {
    list: Arc<Mutex<Vec<Call>>>,
}

impl Calls {
    pub(crate) fn arrived(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> usize {
        let call = Call {
            at: wall(),
            method: method.to_string(),
            path: uri.path().to_owned(),
            query: kept_query(uri.query().unwrap_or_default()),
            headers: kept_headers(headers),
            body: kept_body(headers, body),
            status: None,
        };
        let mut list = lock(&self.list);
        list.push(call);
        list.len() - 1
    }

    pub(crate) fn answered(&self, index: usize, status: u16) {
        if let Some(call) = lock(&self.list).get_mut(index) {
            call.status = Some(status);
        }
    }

    pub(crate) fn all(&self) -> Vec<Call> {
        lock(&self.list).clone()
    }
}

fn kept_query(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| {
            let secret = SECRET_QUERY.iter().any(|s| s.eq_ignore_ascii_case(&name));
            let value = if secret { "...".to_owned() } else { value.into_owned() };
            (name.into_owned(), value)
        })
        .collect()
}

fn kept_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .filter(|(name, _)| !KEYS.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

fn kept_body(headers: &HeaderMap, body: &Bytes) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let short = body.len() <= LONGEST_KEPT_BODY;
    if short && let Ok(value) = serde_json::from_slice::<Value>(body) {
        return value;
    }
    let textual = kind.starts_with("application/x-www-form-urlencoded") || kind.starts_with("text/");
    match std::str::from_utf8(body) {
        Ok(text) if short && textual => Value::String(text.to_owned()),
        _ => json!({ "bytes": body.len() }),
    }
}
