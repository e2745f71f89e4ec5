//! What every stand-in has, and the few things of Supabase, Resend and Sentry.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{Answer, Failed, say};
use crate::faults::{Faults, Rule};
use crate::sandbox::Sandbox;

pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/{provider}/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .route("/{provider}/calls", get(calls))
        .route("/{provider}/deliveries", get(deliveries))
        .route("/{provider}/{direction}", post(switch))
        .route("/supabase/objects/{bucket}", get(objects))
        .route("/supabase/users", get(users).post(create_user))
        .route("/supabase/audit", get(audit))
        .route("/supabase/tokens", post(mint))
        .route("/resend/mails", get(mails))
        .route("/resend/mails/{id}/report", post(report))
        .route("/resend/webhook", post(resend_webhook))
        .route("/sentry/events", get(sentry_events))
}

fn unknown(provider: &str) -> Failed {
    anyhow::anyhow!("no provider {provider}; there are stripe, fal, supabase, resend, sentry").into()
}

fn faults<'a>(sandbox: &'a Sandbox, provider: &str) -> Result<&'a Faults, Failed> {
    match provider {
        "stripe" => Ok(sandbox.stripe.faults()),
        "fal" => Ok(sandbox.fal.faults()),
        "supabase" => Ok(sandbox.supabase.faults()),
        "resend" => Ok(sandbox.resend.faults()),
        "sentry" => Ok(sandbox.sentry.faults()),
        _ => Err(unknown(provider)),
    }
}

async fn list_faults(State(sandbox): State<Sandbox>, Path(provider): Path<String>) -> Answer {
    say(faults(&sandbox, &provider)?.list())
}

async fn add_fault(State(sandbox): State<Sandbox>, Path(provider): Path<String>, Json(rule): Json<Rule>) -> Answer {
    let faults = faults(&sandbox, &provider)?;
    faults.add(rule);
    say(faults.list())
}

async fn clear_faults(State(sandbox): State<Sandbox>, Path(provider): Path<String>) -> Answer {
    faults(&sandbox, &provider)?.clear();
    say(json!([]))
}

async fn calls(State(sandbox): State<Sandbox>, Path(provider): Path<String>) -> Answer {
    match provider.as_str() {
        "stripe" => say(sandbox.stripe.calls()),
        "fal" => say(sandbox.fal.calls()),
        "supabase" => say(sandbox.supabase.calls()),
        "resend" => say(sandbox.resend.calls()),
        "sentry" => say(sandbox.sentry.calls()),
        _ => Err(unknown(&provider)),
    }
}

async fn deliveries(State(sandbox): State<Sandbox>, Path(provider): Path<String>) -> Answer {
    match provider.as_str() {
        "stripe" => say(sandbox.stripe.deliveries()),
        "fal" => say(sandbox.fal.deliveries()),
        "resend" => say(sandbox.resend.deliveries()),
        _ => Err(unknown(&provider)),
    }
}

async fn switch(State(sandbox): State<Sandbox>, Path((provider, direction)): Path<(String, String)>) -> Answer {
    match (provider.as_str(), direction.as_str()) {
        ("stripe", "down") => sandbox.stripe.take_down().await,
        ("stripe", "up") => sandbox.stripe.bring_up().await?,
        ("fal", "down") => sandbox.fal.take_down().await,
        ("fal", "up") => sandbox.fal.bring_up().await?,
        ("supabase", "down") => sandbox.supabase.take_down().await,
        ("supabase", "up") => sandbox.supabase.bring_up().await?,
        ("resend", "down") => sandbox.resend.take_down().await,
        ("resend", "up") => sandbox.resend.bring_up().await?,
        ("sentry", "down") => sandbox.sentry.take_down().await,
        ("sentry", "up") => sandbox.sentry.bring_up().await?,
        (_, "down" | "up") => return Err(unknown(&provider)),
        _ => return Err(anyhow::anyhow!("no such control call: {provider}/{direction}").into()),
    }
    say(json!({ provider: direction }))
}

async fn objects(State(sandbox): State<Sandbox>, Path(bucket): Path<String>) -> Answer {
    say(sandbox.supabase.objects(&bucket))
}

async fn users(State(sandbox): State<Sandbox>) -> Answer {
    say(sandbox.supabase.users())
}

async fn audit(State(sandbox): State<Sandbox>) -> Answer {
    say(sandbox.supabase.audit_log())
}

#[derive(Deserialize)]
struct NewUser {
    email: String,
}

async fn create_user(State(sandbox): State<Sandbox>, Json(user): Json<NewUser>) -> Answer {
    say(sandbox.supabase.create_user(&user.email))
}

#[derive(Deserialize)]
struct NewToken {
    sub: Uuid,
    #[serde(default)]
    email: String,
}

async fn mint(State(sandbox): State<Sandbox>, Json(wish): Json<NewToken>) -> Answer {
    say(json!({ "token": sandbox.supabase.mint_user_jwt(wish.sub, &wish.email)? }))
}

async fn mails(State(sandbox): State<Sandbox>) -> Answer {
    say(sandbox.resend.mails())
}

#[derive(Deserialize)]
struct Report {
    #[serde(rename = "type")]
    kind: String,
}

async fn report(State(sandbox): State<Sandbox>, Path(id): Path<String>, Json(report): Json<Report>) -> Answer {
    say(sandbox.resend.report(&id, &report.kind)?)
}

async fn sentry_events(State(sandbox): State<Sandbox>) -> Answer {
    say(sandbox.sentry.events())
}

#[derive(Deserialize)]
pub(crate) struct Webhook {
    pub(crate) url: Option<String>,
}

async fn resend_webhook(State(sandbox): State<Sandbox>, Json(webhook): Json<Webhook>) -> Answer {
    sandbox.resend.set_webhook_url(webhook.url.clone());
    say(json!({ "url": webhook.url }))
}
