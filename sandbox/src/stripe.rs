//! Stripe's stand-in: checkout sessions, payments, refunds, disputes, customers, events, and the signed webhooks of all
//! that.
//!
//! What it keeps to: idempotency keys replay status and body for 24 hours and refuse other parameters; a session can
//! complete while unpaid; a refund can fail after it succeeded; a deleted customer answers 200; webhooks come at least
//! once, in no order. Objects start as Stripe's own samples (specs/stripe-fixtures.json), so no field is missing.
//! Its automatic tax knows one country. What it never does: subscriptions, live mode.
//!
//! Sources: docs.stripe.com api (idempotent_requests, errors), checkout/fulfillment, webhooks; npm stripe 23.1.0;
//! read November 2026.

mod checkout_page;
mod disputes;
mod error;
mod events;
mod form;
mod idempotency;
mod ledger;
mod lists;
mod payments;
mod refunds;
mod routes;
mod sessions;
mod sign;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use chrono::Utc;
use serde::Serialize;
use serde_json::Value;
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
use crate::webhooks::{Courier, Delivery, Patience};

use error::StripeError;

pub use sessions::NewSession;

/// The version that objects and events are in.
pub const API_VERSION: &str = "2026-10-28.endive";

/// How the stand-in starts.
#[derive(Debug, Clone, Default)]
pub struct StripeOptions {
    /// Where events go; none: they are only kept. Can be set later.
    pub webhook_url: Option<String>,
    /// Port; 0: any.
    pub port: u16,
}

/// What a client needs to talk to this Stripe.
#[derive(Debug, Clone, Serialize)]
pub struct StripeDescription {
    /// In place of `https://api.stripe.com`.
    pub url: String,
    /// `sk_test_...`
    pub secret_key: String,
    /// `whsec_...`, used as a whole, prefix included.
    pub webhook_secret: String,
    /// The version of objects and events.
    pub api_version: String,
}

/// A handle on the stand-in; clones share it.
#[derive(Clone)]
pub struct Stripe {
    state: Arc<State>,
    server: Arc<Server>,
}

pub(crate) struct State {
    description: StripeDescription,
    clock: Clock,
    faults: Faults,
    calls: Calls,
    busy: Busy,
    courier: Courier,
    webhook_url: Mutex<Option<String>>,
    held: watch::Sender<bool>,
    keys: Mutex<idempotency::Keys>,
    ledger: Mutex<ledger::Ledger>,
}

impl Stripe {
    pub(crate) async fn start(options: StripeOptions, clock: Clock, stop: CancellationToken) -> anyhow::Result<Stripe> {
        let listener = bind(options.port).await?;
        let description = StripeDescription {
            url: base_url(&listener)?,
            secret_key: token::prefixed("sk_test_"),
            webhook_secret: token::prefixed("whsec_"),
            api_version: API_VERSION.to_owned(),
        };
        let (faults, busy) = (Faults::default(), Busy::new());
        let patience = Patience { tries: 12, first_gap: Duration::from_millis(100), redirect_ends_it: false };
        let courier = Courier::new(clock.clone(), faults.clone(), patience, busy.clone(), stop)?;
        let state = Arc::new(State {
            ledger: Mutex::new(ledger::Ledger::new()?),
            webhook_url: Mutex::new(options.webhook_url),
            calls: Calls::default(),
            held: watch::Sender::new(false),
            keys: Mutex::default(),
            description,
            clock,
            faults,
            busy,
            courier,
        });
        let front = Front { calls: state.calls.clone(), faults: state.faults.clone(), refuse };
        let router = front.before(routes::router().with_state(state.clone()));
        Ok(Stripe { server: Arc::new(Server::start(listener, router)?), state })
    }

    /// URL, keys, version.
    #[must_use]
    pub fn description(&self) -> StripeDescription {
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

    /// Sends events there from now on; `None`: nowhere.
    pub fn set_webhook_url(&self, url: Option<String>) {
        *lock(&self.state.webhook_url) = url;
    }

    /// Makes a session as a web backend would over HTTP.
    ///
    /// # Errors
    /// When the wish is one that Stripe refuses.
    pub fn create_session(&self, wish: &NewSession) -> anyhow::Result<Value> {
        Ok(self.state.create_session(&wish.params())?)
    }

    /// The customer pays: the session is complete and paid, and `checkout.session.completed` goes out. Returns the
    /// session. A session that is complete already stays as it is and sends nothing.
    ///
    /// # Errors
    /// When the session is unknown or expired.
    pub fn pay(&self, session: &str) -> anyhow::Result<Value> {
        Ok(self.state.pay(session, true)?)
    }

    /// The customer used a delayed method: complete, unpaid. [`Stripe::settle`] decides later.
    ///
    /// # Errors
    /// When the session is unknown or expired.
    pub fn pay_unpaid(&self, session: &str) -> anyhow::Result<Value> {
        Ok(self.state.pay(session, false)?)
    }

    /// The delayed payment arrives, or fails: `checkout.session.async_payment_succeeded` or `..._failed`.
    ///
    /// # Errors
    /// When the session is unknown, or not complete and unpaid.
    pub fn settle(&self, session: &str, arrived: bool) -> anyhow::Result<Value> {
        Ok(self.state.settle(session, arrived)?)
    }

    /// Completed while unpaid, then paid: two events with ids of their own.
    ///
    /// # Errors
    /// When the session is unknown or expired.
    pub fn pay_unpaid_then_async(&self, session: &str) -> anyhow::Result<Value> {
        self.pay_unpaid(session)?;
        self.settle(session, true)
    }

    /// The session runs out: `checkout.session.expired`.
    ///
    /// # Errors
    /// When the session is unknown or not open.
    pub fn expire(&self, session: &str) -> anyhow::Result<Value> {
        Ok(self.state.expire(session)?)
    }

    /// Refunds all that is left of a payment, as somebody at the dashboard would.
    ///
    /// # Errors
    /// When the payment is unknown or nothing is left.
    pub fn refund(&self, payment_intent: &str) -> anyhow::Result<Value> {
        Ok(self.state.create_refund(&serde_json::json!({ "payment_intent": payment_intent }))?)
    }

    /// Refunds a part of a payment, as somebody at the dashboard would.
    ///
    /// # Errors
    /// When the payment is unknown or less than that is left.
    pub fn refund_part(&self, payment_intent: &str, amount: i64) -> anyhow::Result<Value> {
        let wish = serde_json::json!({ "payment_intent": payment_intent, "amount": amount });
        Ok(self.state.create_refund(&wish)?)
    }

    /// The customer's bank asks for what is left of a payment: `charge.dispute.created`.
    ///
    /// # Errors
    /// When the payment is unknown or was never charged.
    pub fn dispute(&self, payment_intent: &str) -> anyhow::Result<Value> {
        Ok(self.state.open_dispute(payment_intent)?)
    }

    /// The bank decides about a dispute: `charge.dispute.closed`.
    ///
    /// # Errors
    /// When the dispute is unknown.
    pub fn close_dispute(&self, dispute: &str, won: bool) -> anyhow::Result<Value> {
        Ok(self.state.close_dispute(dispute, won)?)
    }

    /// Every session made, oldest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<Value> {
        lock(&self.state.ledger).all("checkout.session")
    }

    /// Every dispute opened, oldest first.
    #[must_use]
    pub fn disputes(&self) -> Vec<Value> {
        lock(&self.state.ledger).all("dispute")
    }

    /// A refund fails, also one that had succeeded: `refund.failed`.
    ///
    /// # Errors
    /// When the refund is unknown.
    pub fn fail_refund(&self, refund: &str) -> anyhow::Result<Value> {
        Ok(self.state.fail_refund(refund)?)
    }

    /// A refund has this word from now on, known or not, and nobody is told.
    ///
    /// # Errors
    /// When the refund is unknown.
    pub fn refund_says(&self, refund: &str, word: Value) -> anyhow::Result<()> {
        lock(&self.state.ledger).get_mut("refund", refund)?["status"] = word;
        Ok(())
    }

    /// A session as it is now.
    ///
    /// # Errors
    /// When there is none of that id.
    pub fn session(&self, id: &str) -> anyhow::Result<Value> {
        Ok(lock(&self.state.ledger).get("checkout.session", id)?.clone())
    }

    /// Every refund made, oldest first.
    #[must_use]
    pub fn refunds(&self) -> Vec<Value> {
        lock(&self.state.ledger).all("refund")
    }

    /// Every event, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        lock(&self.state.ledger).all("event")
    }

    /// Sends an event once more under its own id, as Stripe may at any time.
    ///
    /// # Errors
    /// When there is none of that id, or no webhook URL.
    pub fn deliver_again(&self, event: &str) -> anyhow::Result<()> {
        self.state.deliver_again(event)
    }

    /// An event in Stripe's shape that nothing happened for, to be signed and posted by hand.
    #[must_use]
    pub fn event(&self, kind: &str, object: Value) -> Value {
        self.state.new_event(kind, object, None)
    }

    /// The value of `Stripe-Signature` for that body. `timestamp`: unix seconds.
    #[must_use]
    pub fn sign(&self, payload: &[u8], timestamp: i64) -> String {
        sign::header(&self.state.description.webhook_secret, payload, timestamp)
    }

    /// [`Stripe::sign`] with the wall clock.
    #[must_use]
    pub fn sign_now(&self, payload: &[u8]) -> String {
        self.sign(payload, Utc::now().timestamp())
    }

    /// Every webhook try.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.state.courier.log()
    }

    /// While true, POSTs under an idempotency key stay in flight: the same key again answers 409.
    pub fn hold_posts(&self, held: bool) {
        self.state.held.send_replace(held);
    }

    /// Returns when no webhook is under way.
    pub async fn idle(&self) {
        self.state.busy.idle().await;
    }

    /// Expires what the sandbox clock has passed; called when the clock is turned.
    pub(crate) fn look_at_the_clock(&self) {
        self.state.expire_overdue();
        self.state.courier.look_at_the_clock();
    }

    /// Stripe goes down.
    pub async fn take_down(&self) {
        self.server.take_down().await;
    }

    /// Stripe comes back on its port.
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
            StripeError::new(429, "invalid_request_error", "Request rate limit exceeded.").code("rate_limit")
        }
        Fault::PaymentRequired => StripeError::new(402, "card_error", "Your card was declined.").code("card_declined"),
        Fault::ServerError { status } => StripeError::new(status, "api_error", "An unknown error occurred."),
        _ => StripeError::new(StatusCode::INTERNAL_SERVER_ERROR.as_u16(), "api_error", "An unknown error occurred."),
    };
    let mut response = error.response();
    if let Fault::TooManyRequests { retry_after_seconds: Some(seconds) } = fault {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}
