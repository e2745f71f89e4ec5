//! The rest host: the key set of webhooks, and uploads of inputs by clients that host them at Fal.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use super::State;
use crate::faults::Fault;
use crate::lock::lock;
use crate::token;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/.well-known/jwks.json", get(jwks))
        .route("/storage/upload/initiate", post(initiate))
        .route("/upload/{id}/{name}", put(upload))
        .layer(axum::extract::DefaultBodyLimit::disable())
}

async fn jwks(Shared(state): Shared<Arc<State>>) -> Response {
    let empty = state.faults.take("GET /.well-known/jwks.json", Fault::EmptyKeySet);
    let keys = if empty { json!({ "keys": [] }) } else { lock(&state.keys).jwks() };
    ([(header::CACHE_CONTROL, "public, max-age=86400")], Json(keys)).into_response()
}

async fn initiate(Shared(state): Shared<Arc<State>>, Json(wish): Json<Value>) -> Response {
    let name = wish["file_name"].as_str().unwrap_or("file").replace(['/', '\\', '%', '?', '#'], "-");
    let id = token::letters(20);
    let upload_url = format!("{}/upload/{id}/{name}", state.description.rest_url);
    let file_url = format!("{}/files/b/{id}/{name}", state.description.files_url);
    Json(json!({ "upload_url": upload_url, "file_url": file_url })).into_response()
}

async fn upload(
    Shared(state): Shared<Arc<State>>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/octet-stream");
    // Uploads keep their own lifecycle header only; a purge of a request never touches them.
    let life = headers.get("x-fal-object-lifecycle").and_then(|v| serde_json::from_slice::<Value>(v.as_bytes()).ok());
    let life = life.and_then(|v| v["expiration_duration_seconds"].as_i64()).filter(|s| *s > 0);
    let until = life.map(|seconds| state.clock.now() + chrono::Duration::seconds(seconds));
    let path = format!("/files/b/{id}/{name}");
    lock(&state.files).put(&state.description.files_url, &path, kind, body, until, None);
    StatusCode::OK
}
