//! Resend's stand-in: takes mails, keeps them to be looked at, reports what became of them by signed webhooks.
//!
//! What it keeps to: a User-Agent is demanded; idempotency keys for 24 hours with their two different 409s; errors go by
//! name; example.com is refused; batches are strict or permissive. It never sends a mail, and no call deletes one.
//!
//! Sources: github.com/resend/resend-openapi 1.5.0, npm resend 6.38.0, resend.com/docs; read November 2026.

mod error;
mod idempotency;
mod mail;
mod routes;
mod sign;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use chrono::Utc;
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::busy::Busy;
use crate::calls::{Call, Calls};
use crate::clock::Clock;
use crate::faults::{Fault, Faults};
use crate::front::Front;
use crate::lock::lock;
use crate::server::{Server, base_url, bind};
use crate::token;
use crate::webhooks::{Courier, Delivery, Parcel, Patience};

use error::ResendError;

pub use mail::Mail;
pub use sign::SvixHeaders;

/// How the stand-in starts.
#[derive(Debug, Clone, Default)]
pub struct ResendOptions {
    /// Where reports go; none: nowhere. Can be set later.
    pub webhook_url: Option<String>,
    /// Port; 0: any.
    pub port: u16,
}

/// What a client needs to talk to this Resend.
#[derive(Debug, Clone, Serialize)]
pub struct ResendDescription {
    /// In place of `https://api.resend.com`.
    pub url: String,
    /// `re_...`
    pub api_key: String,
    /// `whsec_` and base64: the key is the decoded part.
    pub webhook_secret: String,
}

/// A handle on the stand-in; clones share it.
#[derive(Clone)]
pub struct Resend {
    state: Arc<State>,
    server: Arc<Server>,
}

pub(crate) struct State {
    description: ResendDescription,
    clock: Clock,
    calls: Calls,
    faults: Faults,
    busy: Busy,
    courier: Courier,
    webhook_url: Mutex<Option<String>>,
    held: watch::Sender<bool>,
    keys: Mutex<idempotency::Keys>,
    mails: Mutex<Vec<Mail>>,
}

impl Resend {
    pub(crate) async fn start(options: ResendOptions, clock: Clock, stop: CancellationToken) -> anyhow::Result<Resend> {
        let listener = bind(options.port).await?;
        let description = ResendDescription {
            url: base_url(&listener)?,
            api_key: token::prefixed("re_"),
            webhook_secret: sign::new_secret(),
        };
        let (faults, busy) = (Faults::default(), Busy::new());
        let patience = Patience { tries: 8, first_gap: Duration::from_millis(100), redirect_ends_it: false };
        let courier = Courier::new(clock.clone(), faults.clone(), patience, busy.clone(), stop)?;
        let state = Arc::new(State {
            webhook_url: Mutex::new(options.webhook_url),
            calls: Calls::default(),
            held: watch::Sender::new(false),
            keys: Mutex::default(),
            mails: Mutex::default(),
            description,
            clock,
            faults,
            busy,
            courier,
        });
        let front = Front { calls: state.calls.clone(), faults: state.faults.clone(), refuse };
        let router = front.before(routes::router().with_state(state.clone()));
        Ok(Resend { server: Arc::new(Server::start(listener, router)?), state })
    }

    /// URL and keys.
    #[must_use]
    pub fn description(&self) -> ResendDescription {
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

    /// Every mail that was accepted, oldest first. A replay under an idempotency key adds none.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        lock(&self.state.mails).clone()
    }

    /// Sends reports there from now on; `None`: nowhere.
    pub fn set_webhook_url(&self, url: Option<String>) {
        *lock(&self.state.webhook_url) = url;
    }

    /// Reports what became of a mail, for example `email.delivered` or `email.bounced`: sets its last event and sends
    /// the webhook. Returns the webhook's body, sent or not.
    ///
    /// # Errors
    /// When there is no such mail.
    pub fn report(&self, email_id: &str, kind: &str) -> anyhow::Result<serde_json::Value> {
        let mail = {
            let mut mails = lock(&self.state.mails);
            let mail = mails.iter_mut().find(|mail| mail.id == email_id);
            let mail = mail.ok_or_else(|| anyhow::anyhow!("no mail {email_id} was sent here"))?;
            kind.trim_start_matches("email.").clone_into(&mut mail.last_event);
            mail.clone()
        };
        let event = json!({
            "type": kind,
            "created_at": Utc::now(),
            "data": {
                "email_id": mail.id,
                "from": mail.from,
                "to": mail.to,
                "subject": mail.subject,
                "created_at": mail.created_at,
                "tags": mail.tags,
            },
        });
        if let Some(url) = lock(&self.state.webhook_url).clone() {
            let (id, body) = (token::prefixed("msg_"), Bytes::from(event.to_string()));
            let (secret, signed, own_id) = (self.state.description.webhook_secret.clone(), body.clone(), id.clone());
            self.state.courier.send(Parcel {
                label: format!("{kind} {email_id}"),
                sign: Arc::new(move |at| sign::headers(&secret, &own_id, at.timestamp(), &signed).into_pairs()),
                id,
                url,
                body,
                until: None,
            });
        }
        Ok(event)
    }

    /// Signs a body as Svix does, for tests that post by hand. `timestamp`: unix seconds.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, payload: &[u8]) -> SvixHeaders {
        sign::headers(&self.state.description.webhook_secret, id, timestamp, payload)
    }

    /// Every webhook try.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.state.courier.log()
    }

    /// While true, sends under an idempotency key stay in flight: the same key again answers 409.
    pub fn hold_posts(&self, held: bool) {
        self.state.held.send_replace(held);
    }

    /// Returns when no webhook is under way.
    pub async fn idle(&self) {
        self.state.busy.idle().await;
    }

    /// Sends what waited for the clock; called when it is turned.
    pub(crate) fn look_at_the_clock(&self) {
        self.state.courier.look_at_the_clock();
    }

    /// Resend goes down.
    pub async fn take_down(&self) {
        self.server.take_down().await;
    }

    /// Resend comes back on its port.
    ///
    /// # Errors
    /// When the port was taken meanwhile.
    pub async fn bring_up(&self) -> anyhow::Result<()> {
        self.server.bring_up().await
    }
}

fn refuse(fault: Fault) -> Response {
    let error = match fault {
        Fault::TooManyRequests { .. } => {
            ResendError::new(429, "rate_limit_exceeded", "Too many requests. Please limit the number of requests.")
        }
        Fault::QuotaExceeded => {
            ResendError::new(429, "daily_quota_exceeded", "You have reached your daily email sending quota.")
        }
        Fault::PaymentRequired => ResendError::new(403, "restricted", "The account is restricted."),
        Fault::ServerError { status } => {
            ResendError::new(status, "internal_server_error", "An unexpected error occurred.")
        }
        _ => ResendError::new(500, "application_error", "An unexpected error occurred."),
    };
    let mut response = error.response();
    if let Fault::TooManyRequests { retry_after_seconds } = fault {
        let headers = response.headers_mut();
        headers.insert("ratelimit-limit", 5.into());
        headers.insert("ratelimit-remaining", 0.into());
        headers.insert("ratelimit-reset", retry_after_seconds.unwrap_or(1).into());
        if let Some(seconds) = retry_after_seconds {
            headers.insert("retry-after", seconds.into());
        }
    }
    response
}
