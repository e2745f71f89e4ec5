//! Idempotency keys, version 1: what ran once under a key is answered from the book for at least 24 hours.
//!
//! Stored: status and body from the moment execution began, a 500 included. Not stored: failed validation, 401, 429.
//! Source: docs.stripe.com/api/idempotent_requests, November 2026.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Duration, Utc};
use serde_json::Value;

use super::State;
use super::error::StripeError;
use crate::lock::lock;

const LONGEST_KEY: usize = 255;
const LIFE: Duration = Duration::hours(24);

/// What was asked under each key.
#[derive(Default)]
pub(crate) struct Keys {
    by_key: HashMap<String, Entry>,
}

struct Entry {
    path: String,
    body: String,
    at: DateTime<Utc>,
    /// `None` while in flight.
    answer: Option<Answer>,
}

#[derive(Clone)]
struct Answer {
    status: u16,
    body: Value,
    request: String,
}

/// What to do with a POST under a key.
enum Found {
    Replay(Answer),
    Run,
}

impl Keys {
    fn begin(&mut self, key: &str, path: &str, body: &str, now: DateTime<Utc>) -> Result<Found, StripeError> {
        self.by_key.retain(|_, entry| now < entry.at + LIFE);
        let Some(entry) = self.by_key.get(key) else {
            let (path, body) = (path.to_owned(), body.to_owned());
            self.by_key.insert(key.to_owned(), Entry { path, body, at: now, answer: None });
            return Ok(Found::Run);
        };
        if entry.path != path || entry.body != body {
            let text = format!(
                "Keys for idempotent requests can only be used with the same parameters they were first used with. \
                 Try using a key other than '{key}' if you meant to execute a different request."
            );
            return Err(StripeError::new(400, "idempotency_error", text));
        }
        match &entry.answer {
            Some(answer) => Ok(Found::Replay(answer.clone())),
            None => {
                let text = format!(
                    "There is currently another in-progress request using this Idempotent Key (that probably means \
                     you submitted twice, and the other request is still going through): {key}."
                );
                Err(StripeError::new(409, "idempotency_error", text).code("idempotency_key_in_use"))
            }
        }
    }

    fn end(&mut self, key: &str, answer: Option<Answer>) {
        match (self.by_key.get_mut(key), answer) {
            (Some(entry), Some(answer)) => entry.answer = Some(answer),
            _ => drop(self.by_key.remove(key)),
        }
    }
}

/// Runs a POST, or answers it from the book. The work goes on when the client hangs up, as at Stripe.
pub(crate) async fn post(
    state: Arc<State>,
    headers: &HeaderMap,
    path: &str,
    body: &str,
    request: &str,
    run: impl FnOnce(&Arc<State>) -> Result<Value, StripeError> + Send + 'static,
) -> Response {
    let key = headers.get("idempotency-key").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let Some(key) = key else { return said(&run(&state)) };
    if key.is_empty() || key.len() > LONGEST_KEY {
        let text = "Idempotency keys must be between 1 and 255 characters";
        return StripeError::new(400, "idempotency_error", text).response();
    }
    let found = lock(&state.keys).begin(&key, path, body, state.clock.now());
    match found {
        Err(error) => {
            let mut response = error.response();
            if error.status == 409 {
                response.headers_mut().insert("stripe-should-retry", HeaderValue::from_static("true"));
            }
            response
        }
        Ok(Found::Replay(answer)) => {
            let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = (status, axum::Json(answer.body)).into_response();
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
            mark(&mut response, "original-request", &answer.request);
            mark(&mut response, "idempotency-key", &key);
            response
        }
        Ok(Found::Run) => {
            let (own_key, own_request) = (key.clone(), request.to_owned());
            let work = tokio::spawn(async move {
                let mut held = state.held.subscribe();
                let _ = held.wait_for(|held| !held).await;
                let result = run(&state);
                let answer = match &result {
                    Ok(body) => Some((200, body.clone())),
                    Err(error) => error.began.then(|| (error.status, error.body())),
                };
                let answer = answer.map(|(status, body)| Answer { status, body, request: own_request });
                lock(&state.keys).end(&own_key, answer);
                result
            });
            let broken = |_| Err(StripeError::new(500, "api_error", "An unknown error occurred."));
            let mut response = said(&work.await.unwrap_or_else(broken));
            mark(&mut response, "idempotency-key", &key);
            mark(&mut response, "original-request", request);
            response
        }
    }
}

fn said(result: &Result<Value, StripeError>) -> Response {
    match result {
        Ok(body) => axum::Json(body).into_response(),
        Err(error) => error.response(),
    }
}

fn mark(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
