//! What only Fal itself could do or tell.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::Utc;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{Answer, say};
use crate::fal::{Hold, Oddities};
use crate::sandbox::Sandbox;

pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/fal/requests", get(requests))
        .route("/fal/requests/{id}/deliver", post(deliver))
        .route("/fal/files", get(files))
        .route("/fal/purged", get(purged))
        .route("/fal/hold", post(hold))
        .route("/fal/oddities", post(oddities))
        .route("/fal/rotate_key", post(rotate_key))
        .route("/fal/sign", post(sign))
}

async fn requests(State(sandbox): State<Sandbox>) -> Answer {
    say(sandbox.fal.requests())
}

async fn deliver(State(sandbox): State<Sandbox>, Path(id): Path<Uuid>) -> Answer {
    sandbox.fal.deliver_again(id)?;
    say(json!({ "sent": id }))
}

async fn files(State(sandbox): State<Sandbox>) -> Answer {
    say(sandbox.fal.files())
}

async fn purged(State(sandbox): State<Sandbox>) -> Answer {
    say(sandbox.fal.purged())
}

async fn hold(State(sandbox): State<Sandbox>, Json(hold): Json<Hold>) -> Answer {
    sandbox.fal.hold(hold);
    say(hold)
}

async fn oddities(State(sandbox): State<Sandbox>, Json(oddities): Json<Oddities>) -> Answer {
    sandbox.fal.set_oddities(oddities);
    say(oddities)
}

async fn rotate_key(State(sandbox): State<Sandbox>) -> Answer {
    sandbox.fal.rotate_key();
    say(json!({ "rotated": true }))
}

#[derive(Deserialize)]
struct Sign {
    payload: String,
    request_id: String,
    timestamp: Option<i64>,
}

async fn sign(State(sandbox): State<Sandbox>, Json(wish): Json<Sign>) -> Answer {
    let at = wish.timestamp.unwrap_or_else(|| Utc::now().timestamp());
    say(sandbox.fal.sign(wish.payload.as_bytes(), &wish.request_id, at))
}
