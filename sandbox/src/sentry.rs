//! Sentry's stand-in: takes envelopes and keeps their events to be looked at.
//!
//! What it keeps to: the key goes in `X-Sentry-Auth`; an envelope is lines of JSON, each item with its length; a refusal for
//! too many names a time in `X-Sentry-Rate-Limits` and `Retry-After`, or in neither. It never sends anything.
//!
//! Sources: sentry-types 0.49.5 (`auth.rs`, `envelope.rs`), sentry 0.49.5 (`transports/ratelimit.rs`); read November 2026.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::calls::{Call, Calls};
use crate::faults::{Fault, Faults};
use crate::front::Front;
use crate::lock::lock;
use crate::server::{Server, base_url, bind};
use crate::token;

/// The one project that there is.
const PROJECT: &str = "1";

/// What a client needs to talk to this Sentry.
#[derive(Debug, Clone, Serialize)]
pub struct SentryDescription {
    /// `http://KEY@127.0.0.1:PORT/1`
    pub dsn: String,
}

/// A handle on the stand-in; clones share it.
#[derive(Clone)]
pub struct Sentry {
    state: Arc<State>,
    server: Arc<Server>,
}

struct State {
    description: SentryDescription,
    key: String,
    calls: Calls,
    faults: Faults,
    events: Mutex<Vec<Value>>,
    envelopes: Mutex<Vec<String>>,
}

impl Sentry {
    pub(crate) async fn start(port: u16) -> anyhow::Result<Sentry> {
        let listener = bind(port).await?;
        let key = token::letters(32).to_lowercase();
        let dsn = format!("{}/{PROJECT}", base_url(&listener)?.replace("http://", &format!("http://{key}@")));
        let state = Arc::new(State {
            description: SentryDescription { dsn },
            key,
            calls: Calls::default(),
            faults: Faults::default(),
            events: Mutex::default(),
            envelopes: Mutex::default(),
        });
        let front = Front { calls: state.calls.clone(), faults: state.faults.clone(), refuse };
        let routes = Router::new().route("/api/{project}/envelope/", post(take)).with_state(state.clone());
        let router = front.before(routes);
        Ok(Sentry { server: Arc::new(Server::start(listener, router)?), state })
    }

    /// The DSN.
    #[must_use]
    pub fn description(&self) -> SentryDescription {
        self.state.description.clone()
    }

    /// What can be made to go wrong here.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// Every HTTP request, in order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state.calls.all()
    }

    /// Every event that was taken, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        lock(&self.state.events).clone()
    }

    /// Every envelope that was taken, as it came.
    #[must_use]
    pub fn envelopes(&self) -> Vec<String> {
        lock(&self.state.envelopes).clone()
    }

    /// Sentry goes down.
    pub async fn take_down(&self) {
        self.server.take_down().await;
    }

    /// Sentry comes back on its port.
    ///
    /// # Errors
    /// When the port was taken meanwhile.
    pub async fn bring_up(&self) -> anyhow::Result<()> {
        self.server.bring_up().await
    }
}

async fn take(
    Shared(state): Shared<Arc<State>>,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let auth = headers.get("x-sentry-auth").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = auth.trim_start_matches("Sentry ").split(',').find_map(|part| part.trim().strip_prefix("sentry_key="));
    if key != Some(state.key.as_str()) || project != PROJECT {
        return (StatusCode::FORBIDDEN, Json(json!({ "detail": "bad sentry DSN public key" }))).into_response();
    }
    match events(&body) {
        Some(events) => {
            let id = events.first().map_or(Value::Null, |event| event["event_id"].clone());
            lock(&state.events).extend(events);
            lock(&state.envelopes).push(String::from_utf8_lossy(&body).into_owned());
            Json(json!({ "id": id })).into_response()
        }
        None => (StatusCode::BAD_REQUEST, Json(json!({ "detail": "bad envelope" }))).into_response(),
    }
}

/// The events of an envelope: a header line, then for each item its header line and so many bytes.
fn events(envelope: &[u8]) -> Option<Vec<Value>> {
    let line = |text: &[u8]| text.iter().position(|&byte| byte == b'\n');
    let head_ends = line(envelope)?;
    serde_json::from_slice::<Value>(&envelope[..head_ends]).ok()?.as_object()?;
    let mut rest = &envelope[head_ends + 1..];
    let mut events = Vec::new();
    while !rest.is_empty() {
        let item_ends = line(rest)?;
        let item: Value = serde_json::from_slice(&rest[..item_ends]).ok()?;
        rest = &rest[item_ends + 1..];
        let length = item["length"].as_u64().and_then(|length| usize::try_from(length).ok())?;
        let payload = rest.get(..length)?;
        if item["type"] == "event" {
            events.push(serde_json::from_slice(payload).ok()?);
        }
        rest = rest.get(length..)?.strip_prefix(b"\n").unwrap_or_default();
    }
    Some(events)
}

fn refuse(fault: Fault) -> Response {
    let status = match fault {
        Fault::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
        Fault::ServerError { status } => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut response = (status, Json(json!({ "detail": "event submission rejected" }))).into_response();
    if let Fault::TooManyRequests { retry_after_seconds: Some(seconds) } = fault {
        let headers = response.headers_mut();
        headers.insert("retry-after", seconds.into());
        if let Ok(limits) = HeaderValue::from_str(&format!("{seconds}:error;default:organization")) {
            headers.insert("x-sentry-rate-limits", limits);
        }
    }
    response
}
