//! The customer, the bank and the dashboard at Stripe.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::Utc;
use serde::Deserialize;
use serde_json::json;

use super::provider_routes::Webhook;
use super::{Answer, say};
use crate::sandbox::Sandbox;
use crate::stripe::NewSession;

pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/stripe/webhook", post(webhook))
        .route("/stripe/sessions", post(create))
        .route("/stripe/sessions/{id}/{step}", post(step))
        .route("/stripe/refunds", get(refunds))
        .route("/stripe/refunds/{id}", post(refund))
        .route("/stripe/refunds/{id}/fail", post(fail_refund))
        .route("/stripe/disputes", get(disputes))
        .route("/stripe/disputes/{id}", post(dispute))
        .route("/stripe/disputes/{id}/{verdict}", post(close_dispute))
        .route("/stripe/events", get(events))
        .route("/stripe/events/{id}/deliver", post(deliver))
        .route("/stripe/sign", post(sign))
}

async fn webhook(State(sandbox): State<Sandbox>, Json(webhook): Json<Webhook>) -> Answer {
    sandbox.stripe.set_webhook_url(webhook.url.clone());
    say(json!({ "url": webhook.url }))
}

async fn create(State(sandbox): State<Sandbox>, Json(wish): Json<NewSession>) -> Answer {
    say(sandbox.stripe.create_session(&wish)?)
}

async fn step(State(sandbox): State<Sandbox>, Path((id, step)): Path<(String, String)>) -> Answer {
    let stripe = &sandbox.stripe;
    say(match step.as_str() {
        "pay" => stripe.pay(&id)?,
        "pay_unpaid" => stripe.pay_unpaid(&id)?,
        "pay_unpaid_then_async" => stripe.pay_unpaid_then_async(&id)?,
        "settle" => stripe.settle(&id, true)?,
        "fail" => stripe.settle(&id, false)?,
        "expire" => stripe.expire(&id)?,
        _ => {
            return Err(anyhow::anyhow!(
                "no step {step}: pay, pay_unpaid, pay_unpaid_then_async, settle, fail, expire"
            )
            .into());
        }
    })
}

async fn refunds(State(sandbox): State<Sandbox>) -> Answer {
    say(sandbox.stripe.refunds())
}

async fn refund(State(sandbox): State<Sandbox>, Path(payment_intent): Path<String>) -> Answer {
    say(sandbox.stripe.refund(&payment_intent)?)
}

async fn fail_refund(State(sandbox): State<Sandbox>, Path(refund): Path<String>) -> Answer {
    say(sandbox.stripe.fail_refund(&refund)?)
}

async fn disputes(State(sandbox): State<Sandbox>) -> Answer {
    say(sandbox.stripe.disputes())
}

async fn dispute(State(sandbox): State<Sandbox>, Path(payment_intent): Path<String>) -> Answer {
    say(sandbox.stripe.dispute(&payment_intent)?)
}

async fn close_dispute(State(sandbox): State<Sandbox>, Path((id, verdict)): Path<(String, String)>) -> Answer {
    say(match verdict.as_str() {
        "won" => sandbox.stripe.close_dispute(&id, true)?,
        "lost" => sandbox.stripe.close_dispute(&id, false)?,
        _ => return Err(anyhow::anyhow!("no verdict {verdict}: won, lost").into()),
    })
}

async fn events(State(sandbox): State<Sandbox>) -> Answer {
    say(sandbox.stripe.events())
}

async fn deliver(State(sandbox): State<Sandbox>, Path(event): Path<String>) -> Answer {
    sandbox.stripe.deliver_again(&event)?;
    say(json!({ "sent": event }))
}

#[derive(Deserialize)]
struct Sign {
    payload: String,
    timestamp: Option<i64>,
}

async fn sign(State(sandbox): State<Sandbox>, Json(wish): Json<Sign>) -> Answer {
    let at = wish.timestamp.unwrap_or_else(|| Utc::now().timestamp());
    say(json!({ "header": sandbox.stripe.sign(wish.payload.as_bytes(), at) }))
}
