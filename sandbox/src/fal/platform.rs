//! The platform API: what ran, and the deletion of payloads.
//! Source: fal.ai/docs platform-apis v1 models/requests/by-endpoint and .../payloads, meta; November 2026.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::State;
use super::record::Request;
use crate::faults::Fault;
use crate::lock::lock;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/v1/meta", get(meta))
        .route("/v1/models/requests/by-endpoint", get(by_endpoint))
        .route("/v1/models/requests/{request_id}/payloads", delete(purge))
}

fn error(status: u16, kind: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({ "error": { "type": kind, "message": message } }))).into_response()
}

fn key(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Key ")
}

async fn meta() -> Json<Value> {
    Json(json!({ "webhook_ip_ranges": ["127.0.0.0/8"] }))
}

async fn by_endpoint(Shared(state): Shared<Arc<State>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    if !key(&headers).is_some_and(|k| k == state.description.key || k == state.description.admin_key) {
        return error(401, "authorization_error", "Authentication required");
    }
    let query = query.unwrap_or_default();
    let mut endpoints = Vec::new();
    let mut one: HashMap<String, String> = HashMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if name == "endpoint_id" {
            endpoints.extend(value.split(',').map(str::to_owned));
        } else {
            one.insert(name.into_owned(), value.into_owned());
        }
    }
    if endpoints.is_empty() || endpoints.len() > 50 {
        return error(400, "validation_error", "endpoint_id is required, at most 50 of them");
    }
    let time = |name: &str| match one.get(name) {
        None => Ok(None),
        Some(text) => DateTime::parse_from_rfc3339(text).map(|t| Some(t.with_timezone(&Utc))).map_err(|_| ()),
    };
    let (Ok(start), Ok(end)) = (time("start"), time("end")) else {
        return error(400, "validation_error", "start and end are ISO 8601 times");
    };
    let wanted_id = one.get("request_id");
    let back = if wanted_id.is_some() { Duration::days(90) } else { Duration::hours(24) };
    let now = state.clock.now();
    let (start, end) = (start.unwrap_or(now - back), end.unwrap_or(now + Duration::seconds(1)));
    let limit = one.get("limit").and_then(|v| v.parse().ok()).unwrap_or(50_usize).clamp(1, 100);
    let skip = one.get("cursor").and_then(|v| v.parse().ok()).unwrap_or(0_usize);
    let with_payloads = one.get("expand").is_some_and(|v| v.split(',').any(|part| part == "payloads"));

    let mut found: Vec<Request> = lock(&state.book).all();
    found.retain(|request| {
        endpoints.contains(&request.endpoint)
            && (start..end).contains(&request.sent_at)
            && wanted_id.is_none_or(|id| *id == request.id.to_string())
            && one.get("status").is_none_or(|status| class(request) == Some(status.as_str()))
    });
    found.reverse();
    let has_more = found.len() > skip + limit;
    let items: Vec<Value> =
        found.iter().skip(skip).take(limit).map(|request| row(request, with_payloads, now)).collect();
    let next_cursor = has_more.then(|| (skip + limit).to_string());
    Json(json!({ "items": items, "next_cursor": next_cursor, "has_more": has_more })).into_response()
}

fn class(request: &Request) -> Option<&'static str> {
    Some(match request.outcome.as_ref()?.status {
        200..=299 => "success",
        400..=499 => "user_error",
        _ => "error",
    })
}

/// The metadata row outlives every deletion; payloads are in it only while Fal keeps them.
fn row(request: &Request, with_payloads: bool, now: DateTime<Utc>) -> Value {
    let mut row = json!({
        "request_id": request.id,
        "endpoint_id": request.endpoint,
        "sent_at": request.sent_at,
        "started_at": request.started_at,
    });
    if let (Some(outcome), Some(ended)) = (&request.outcome, request.ended_at) {
        row["ended_at"] = json!(ended);
        row["status_code"] = json!(outcome.status);
        row["duration"] = json!((ended - request.started_at.unwrap_or(ended)).as_seconds_f64());
        let kept = request.store_io && !request.purged && request.result_until().is_some_and(|until| now < until);
        if with_payloads && kept {
            row["json_input"] = request.input.clone();
            row["json_output"] = outcome.body.clone();
        }
    }
    row
}

async fn purge(Shared(state): Shared<Arc<State>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    match key(&headers) {
        Some(key) if key == state.description.admin_key => {}
        Some(key) if key == state.description.key => {
            return error(403, "authorization_error", "This endpoint requires an ADMIN key");
        }
        _ => return error(401, "authorization_error", "Authentication required"),
    }
    let Ok(id) = Uuid::parse_str(&id) else {
        return error(400, "validation_error", "request_id is not a UUID");
    };
    let label = id.to_string();
    let nothing = state.faults.take(&label, Fault::PurgeRemovesNothing);
    let silent = state.faults.take(&label, Fault::PurgeAnswersNothing);
    let one_fails = state.faults.take(&label, Fault::PurgeFailsOneFile);
    let (urls, was_purged) = {
        let mut book = lock(&state.book);
        let Some(request) = book.get_mut(id) else { return error(404, "not_found", "Request not found") };
        let answer = (request.files.clone(), request.purged);
        request.purged |= !nothing && !silent;
        book.purged.push(id);
        answer
    };
    let mut files = lock(&state.files);
    let urls = if was_purged || silent { Vec::new() } else { urls };
    let mut results = Vec::new();
    for (index, url) in urls.iter().enumerate() {
        let failed = one_fails && index == 0;
        if !failed && !nothing {
            files.remove(url);
        }
        let exception = failed.then_some("Failed to delete the file from the CDN");
        results.push(json!({ "link": url, "exception": exception }));
    }
    if one_fails
        && !urls.is_empty()
        && let Some(request) = lock(&state.book).get_mut(id)
    {
        // So that asking again deletes the file that stayed.
        request.purged = false;
    }
    Json(json!({ "cdn_delete_results": results })).into_response()
}
