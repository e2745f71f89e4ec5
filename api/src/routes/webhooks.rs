//! News from providers: checked over the raw bytes, stored and enqueued in one short transaction, answered at once.
//!
//! Forged or stale: 400 and nothing stored. The same news again: 2xx and no second effect. News with a token that is not
//! one of ours, or of Stripe's other mode: 2xx, counted, nothing stored; the provider need not come again. Keys not at
//! hand: 503, let it come again. No field of a body reaches a log.

use axum::{
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use safelight_jobs::{
    providers::{
        fal_webhook::FalWebhookError,
        stripe_webhook::{self, WebhookError},
    },
    run::Tx,
    webhooks::{self, Received},
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{error::Error, idempotency, input, openapi::Problem, state::ApiState, trace::Trace};

/// What became of the news.
#[derive(Serialize, ToSchema)]
pub(crate) struct Receipt {
    /// `enqueued`, `duplicate`, `ignored`, `unknown_token`, `subject_gone` or `other_mode`.
    received: String,
}

/// An event of Stripe.
#[utoipa::path(post, path = "/webhooks/stripe", tag = "webhooks", operation_id = "stripeWebhook",
    request_body(content = String, content_type = "application/json"),
    responses((status = 200, description = "Taken", body = Receipt), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not set up yet: send it again later", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn stripe(
    State(state): State<ApiState>,
    trace: Trace,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Error> {
    let raw = body.map_err(input::broken)?;
    let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let event = stripe_webhook::verify(&raw, signature, &state.config.stripe_webhook_secrets, wall_clock())
        .map_err(|error| refused("stripe", from_stripe(error)))?;
    if event.livemode != state.config.livemode {
        return Ok(received("stripe", "other_mode"));
    }
    let mut tx = trace.begin(&state).await?;
    let outcome = webhooks::stripe(&mut tx, &event).await?;
    settle(tx, outcome).await?;
    Ok(received("stripe", outcome.as_str()))
}

/// A report of fal about one of our calls.
#[utoipa::path(post, path = "/webhooks/fal/{token}", tag = "webhooks", operation_id = "falWebhook",
    params(("token" = String, Path, description = "The token of the call that the report is about")),
    request_body(content = String, content_type = "application/json"),
    responses((status = 200, description = "Taken", body = Receipt), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not set up yet: send it again later", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn fal(
    State(state): State<ApiState>,
    Path(token): Path<String>,
    trace: Trace,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Error> {
    let raw = body.map_err(input::broken)?;
    let check = state.fal_webhook.as_ref().ok_or_else(|| Error::KeysUnavailable {
        why: "fal's webhooks are not configured here; until they are, send it again later".to_owned(),
    })?;
    let event = check.verify(&raw, &headers, wall_clock()).await.map_err(|error| refused("fal", from_fal(error)))?;
    let mut tx = trace.begin(&state).await?;
    let outcome = webhooks::fal(&mut tx, &token, &event).await?;
    settle(tx, outcome).await?;
    Ok(received("fal", outcome.as_str()))
}

/// Keep what was stored, and nothing for what was stored before or is not ours.
async fn settle(tx: Tx, outcome: Received) -> Result<(), Error> {
    match outcome {
        Received::Enqueued | Received::Ignored | Received::SubjectGone => Ok(tx.commit().await?),
        Received::Duplicate | Received::UnknownToken => Ok(()),
    }
}

fn received(provider: &'static str, outcome: &'static str) -> Response {
    metrics::counter!("safelight_webhooks_total", "provider" => provider, "outcome" => outcome).increment(1);
    idempotency::answer(StatusCode::OK, &json!({ "received": outcome }))
}

fn refused(provider: &'static str, error: Error) -> Error {
    metrics::counter!("safelight_webhooks_total", "provider" => provider, "outcome" => error.code()).increment(1);
    tracing::warn!(provider, code = error.code(), "news refused");
    error
}

fn from_stripe(error: WebhookError) -> Error {
    let why = error.to_string();
    match error {
        WebhookError::NoSecret => Error::KeysUnavailable { why },
        WebhookError::BadHeader => Error::WebhookRefused { code: "webhook_malformed", why },
        WebhookError::Forged => Error::WebhookRefused { code: "webhook_forged", why },
        WebhookError::Stale => Error::WebhookRefused { code: "webhook_stale", why },
        WebhookError::Unreadable => Error::WebhookRefused { code: "webhook_unreadable", why },
    }
}

fn from_fal(error: FalWebhookError) -> Error {
    let why = error.to_string();
    match error {
        FalWebhookError::NoKeys => Error::KeysUnavailable { why },
        FalWebhookError::BadHeader { .. } => Error::WebhookRefused { code: "webhook_malformed", why },
        FalWebhookError::Forged | FalWebhookError::OtherAccount => {
            Error::WebhookRefused { code: "webhook_forged", why }
        }
        FalWebhookError::Stale => Error::WebhookRefused { code: "webhook_stale", why },
        FalWebhookError::Unreadable => Error::WebhookRefused { code: "webhook_unreadable", why },
    }
}

/// Signatures are timed by the providers' clocks, not by ours that tests turn.
fn wall_clock() -> i64 {
    chrono::Utc::now().timestamp()
}
