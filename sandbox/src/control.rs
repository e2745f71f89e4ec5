//! The loopback control API: what a test in another process does to the stand-ins, and asks of them.
//!
//! Every call needs `Authorization: Bearer <control key>`, so that no web page on the machine can play. All under
//! `/_sandbox/`; bodies and answers are JSON; an error is `{"error": "..."}` with 400.
//!
//! | call | does |
//! |---|---|
//! | `GET description`, `GET counts` | URLs and keys; how often everybody was asked |
//! | `POST clock {"seconds": n}` | turns the clock |
//! | `POST idle` | answers when nothing is under way |
//! | `GET`, `POST`, `DELETE {provider}/faults` | lists, adds (a [`crate::Rule`]), clears |
//! | `GET {provider}/calls`, `GET {provider}/deliveries` | HTTP requests; webhook tries |
//! | `POST {provider}/down`, `POST {provider}/up` | an outage |
//! | `POST stripe/webhook`, `POST resend/webhook {"url": text or null}` | where events go |
//! | `POST stripe/sessions` ([`crate::stripe::NewSession`]) | opens a session |
//! | `POST stripe/sessions/{id}/{pay, pay_unpaid, pay_unpaid_then_async, settle, fail, expire}` | ends it |
//! | `POST stripe/refunds/{payment_intent}`, `POST stripe/refunds/{refund}/fail` | money back |
//! | `GET stripe/events`, `GET stripe/refunds`, `POST stripe/events/{id}/deliver` | events |
//! | `POST stripe/sign`, `POST fal/sign {"payload", "timestamp"?, "request_id"?}` | signatures to post by hand |
//! | `GET fal/{requests, files, purged}` | what Fal has |
//! | `POST fal/requests/{id}/deliver`, `POST fal/hold "in_queue"`, `POST fal/oddities`, `POST fal/rotate_key` | Fal |
//! | `GET supabase/objects/{bucket}`, `GET supabase/users`, `GET supabase/audit` | what Supabase has |
//! | `POST supabase/users {"email"}`, `POST supabase/tokens {"sub", "email"?}` | a user; a token |
//! | `GET resend/mails`, `POST resend/mails/{id}/report {"type"}` | mails |
//! | `GET sentry/events` | error reports |

mod fal_routes;
mod provider_routes;
mod stripe_routes;

use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;

use crate::lock::lock;
use crate::sandbox::Sandbox;
use crate::server::{Server, base_url, bind};
use crate::token;

/// How to reach the control API.
#[derive(Debug, Clone, Serialize)]
pub struct ControlDescription {
    /// Ends with `/_sandbox`.
    pub url: String,
    /// Bearer of every call.
    pub key: String,
}

/// The control API of one sandbox.
#[derive(Clone)]
pub(crate) struct Control {
    description: ControlDescription,
    listener: Arc<Mutex<Option<TcpListener>>>,
    server: Arc<Mutex<Option<Arc<Server>>>>,
}

impl Control {
    pub(crate) async fn bind(port: u16) -> anyhow::Result<Control> {
        let listener = bind(port).await?;
        let url = format!("{}/_sandbox", base_url(&listener)?);
        let description = ControlDescription { url, key: token::letters(32) };
        Ok(Control { description, listener: Arc::new(Mutex::new(Some(listener))), server: Arc::default() })
    }

    pub(crate) fn description(&self) -> ControlDescription {
        self.description.clone()
    }

    pub(crate) fn serve(&self, sandbox: &Sandbox) -> anyhow::Result<()> {
        let Some(listener) = lock(&self.listener).take() else { return Ok(()) };
        let key = Arc::new(self.description.key.clone());
        let routes = Router::new()
            .route("/description", get(description))
            .route("/counts", get(counts))
            .route("/clock", post(turn_clock))
            .route("/idle", post(idle))
            .merge(provider_routes::router())
            .merge(stripe_routes::router())
            .merge(fal_routes::router())
            .with_state(sandbox.clone());
        let router = Router::new().nest("/_sandbox", routes).layer(from_fn_with_state(key, only_with_the_key));
        *lock(&self.server) = Some(Arc::new(Server::start(listener, router)?));
        Ok(())
    }

    pub(crate) async fn take_down(&self) {
        let server = lock(&self.server).take();
        if let Some(server) = server {
            server.take_down().await;
        }
    }
}

async fn only_with_the_key(State(key): State<Arc<String>>, request: Request, next: Next) -> Response {
    let sent = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let sent = sent.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default();
    if bool::from(sent.as_bytes().ct_eq(key.as_bytes())) {
        return next.run(request).await;
    }
    (StatusCode::UNAUTHORIZED, Json(json!({ "error": "the control key is missing or wrong" }))).into_response()
}

/// Anything that did not work, as 400 with its words.
pub(crate) struct Failed(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Failed {
        Failed(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({ "error": format!("{:#}", self.0) }))).into_response()
    }
}

pub(crate) type Answer = Result<Json<Value>, Failed>;

/// Anything serialisable as an answer.
pub(crate) fn say(value: impl Serialize) -> Answer {
    Ok(Json(serde_json::to_value(value)?))
}

async fn description(State(sandbox): State<Sandbox>) -> Answer {
    say(sandbox.description())
}

async fn counts(State(sandbox): State<Sandbox>) -> Answer {
    let buckets = sandbox.supabase.description().buckets;
    let objects: usize = buckets.iter().map(|bucket| sandbox.supabase.objects(bucket).len()).sum();
    say(json!({
        "fal": {
            "trainings": sandbox.fal.trainings(),
            "generations": sandbox.fal.generations(),
            "requests": sandbox.fal.requests().len(),
            "purged": sandbox.fal.purged().len(),
            "files": sandbox.fal.files().len(),
            "uploads": sandbox.fal.uploads().len(),
        },
        "stripe": {
            "calls": sandbox.stripe.calls().len(),
            "events": sandbox.stripe.events().len(),
            "refunds": sandbox.stripe.refunds().len(),
        },
        "supabase": { "users": sandbox.supabase.users().len(), "objects": objects },
        "resend": { "mails": sandbox.resend.mails().len() },
    }))
}

#[derive(Deserialize)]
struct Turn {
    seconds: i64,
}

async fn turn_clock(State(sandbox): State<Sandbox>, Json(turn): Json<Turn>) -> Answer {
    let by = chrono::Duration::try_seconds(turn.seconds);
    let by = by.ok_or_else(|| anyhow::anyhow!("{} seconds are more than a clock can turn", turn.seconds))?;
    say(json!({ "now": sandbox.turn_clock(by) }))
}

async fn idle(State(sandbox): State<Sandbox>) -> Answer {
    sandbox.idle().await;
    say(json!({ "idle": true }))
}
