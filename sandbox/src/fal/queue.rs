//! The queue host: submit, status, result, cancel.
//!
//! The path is `owner/app[/more]`, so one handler reads it; request URLs hold owner and app only, but the whole model
//! id and a `/response` ending are taken too, as old clients build them.

use std::sync::Arc;

use axum::extract::{Request as HttpRequest, State as Shared};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use chrono::Duration;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::record::{Progress, Request};
use super::{FAST_TRAINER, FLUX_LORA, IMAGE_TO_IMAGE, NSFW, State, TRAINER, work};
use crate::faults::Fault;
use crate::lock::lock;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new().fallback(handle)
}

enum Step {
    Status,
    Result,
    Cancel,
}

async fn handle(Shared(state): Shared<Arc<State>>, request: HttpRequest) -> Response {
    let (parts, body) = request.into_parts();
    if !state.knows_key(&parts.headers) {
        return detail(StatusCode::UNAUTHORIZED, "Authentication is required to access this application");
    }
    let path = parts.uri.path().trim_matches('/').to_owned();
    let query = parts.uri.query().unwrap_or_default();
    match (parts.method, path.split_once("/requests/")) {
        (Method::POST, None) => {
            let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
                return detail(StatusCode::BAD_REQUEST, "The body could not be read");
            };
            state.submit(&path, query, &parts.headers, &body)
        }
        (method, Some((model, rest))) => {
            let step = match rest.split_once('/') {
                None | Some((_, "response")) if method == Method::GET => Step::Result,
                Some((_, "status")) if method == Method::GET => Step::Status,
                Some((_, "cancel")) if method == Method::PUT => Step::Cancel,
                _ => return detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
            };
            let id = rest.split('/').next().and_then(|id| Uuid::parse_str(id).ok());
            let known = id.filter(|id| {
                let book = lock(&state.book);
                book.get(*id).is_some_and(|request| request.app() == model || request.endpoint == model)
            });
            match known {
                Some(id) => state.follow(id, &step, query),
                None => (StatusCode::NOT_FOUND, Json(json!({ "status": "NOT_FOUND" }))).into_response(),
            }
        }
        _ => detail(StatusCode::NOT_FOUND, "Path not found"),
    }
}

fn detail(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "detail": text }))).into_response()
}

fn query_value(query: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name).map(|(_, v)| v.into_owned())
}

impl State {
    fn knows_key(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let key = sent.and_then(|v| v.strip_prefix("Key "));
        key.is_some_and(|key| key == self.description.key || key == self.description.admin_key)
    }

    fn submit(self: &Arc<Self>, endpoint: &str, query: &str, headers: &HeaderMap, body: &Bytes) -> Response {
        if ![TRAINER, FAST_TRAINER, FLUX_LORA, IMAGE_TO_IMAGE, NSFW].contains(&endpoint) {
            return detail(StatusCode::NOT_FOUND, "Application not found");
        }
        let Ok(input) = serde_json::from_slice::<Value>(body) else {
            return detail(StatusCode::UNPROCESSABLE_ENTITY, "The body is not JSON");
        };
        let waiting = lock(&self.book).all().iter().filter(|r| r.progress == Progress::Waiting).count();
        let longest = query_value(query, "fal_max_queue_length").and_then(|v| v.parse::<usize>().ok());
        if longest.is_some_and(|longest| waiting > longest) {
            return detail(StatusCode::TOO_MANY_REQUESTS, "The queue is longer than fal_max_queue_length");
        }
        let life = match self.file_life(headers) {
            Ok(life) => life,
            Err(text) => return detail(StatusCode::BAD_REQUEST, text),
        };
        let request = Request {
            id: Uuid::new_v4(),
            endpoint: endpoint.to_owned(),
            input,
            webhook_url: query_value(query, "fal_webhook"),
            store_io: headers.get("x-fal-store-io").is_none_or(|v| v.as_bytes() != b"0"),
            file_life_seconds: life,
            sent_at: self.clock.now(),
            started_at: None,
            ended_at: None,
            progress: Progress::Waiting,
            outcome: None,
            files: Vec::new(),
            purged: false,
            cancelled: false,
            cancel: CancellationToken::new(),
        };
        let id = request.id;
        let mut answer = self.urls(&request);
        answer["status"] = json!(Progress::Waiting);
        answer["gateway_request_id"] = json!(id);
        {
            let mut book = lock(&self.book);
            book.add(request);
            answer["queue_position"] = json!(book.position(id));
        }
        work::begin(self, id);
        (StatusCode::OK, [("x-fal-request-id", id.to_string())], Json(answer)).into_response()
    }

    /// Seconds that produced files live: the lifecycle header, else the account's setting. 0 and null: for ever.
    fn file_life(&self, headers: &HeaderMap) -> Result<Option<i64>, &'static str> {
        let Some(sent) = headers.get("x-fal-object-lifecycle-preference") else {
            let default = self.options.default_file_life.and_then(|d| Duration::from_std(d).ok());
            return Ok(default.map(|d| d.num_seconds()));
        };
        let wish: Value =
            serde_json::from_slice(sent.as_bytes()).map_err(|_| "X-Fal-Object-Lifecycle-Preference is not JSON")?;
        match &wish["expiration_duration_seconds"] {
            Value::Null => Ok(None),
            Value::Number(n) => Ok(n.as_f64().map(|s| s.round() as i64).filter(|s| *s > 0)),
            _ => Err("expiration_duration_seconds is not a number"),
        }
    }

    fn urls(&self, request: &Request) -> Value {
        let base = format!("{}/{}/requests/{}", self.description.queue_url, request.app(), request.id);
        json!({
            "request_id": request.id,
            "response_url": base,
            "status_url": format!("{base}/status"),
            "cancel_url": format!("{base}/cancel"),
        })
    }

    fn follow(self: &Arc<Self>, id: Uuid, step: &Step, query: &str) -> Response {
        match step {
            Step::Status => self.status(id, query),
            Step::Result => self.result(id),
            Step::Cancel => self.cancel(id),
        }
    }

    fn status(&self, id: Uuid, query: &str) -> Response {
        let book = lock(&self.book);
        let Some(request) = book.get(id) else { return StatusCode::NOT_FOUND.into_response() };
        let mut answer = self.urls(request);
        answer["status"] = json!(request.progress);
        let logs = matches!(query_value(query, "logs").as_deref(), Some("1" | "true"));
        if request.progress == Progress::Waiting {
            answer["queue_position"] = json!(book.position(id));
        } else {
            answer["logs"] = if logs { json!([]) } else { Value::Null };
        }
        if let (Some(outcome), Some(started), Some(ended)) = (&request.outcome, request.started_at, request.ended_at) {
            answer["metrics"] = json!({ "inference_time": (ended - started).as_seconds_f64() });
            if let Some(error) = &outcome.error {
                answer["error"] = json!(error);
                answer["error_type"] = json!(outcome.error_type);
            }
        }
        let done = request.progress == Progress::Completed;
        (if done { StatusCode::OK } else { StatusCode::ACCEPTED }, Json(answer)).into_response()
    }

    fn result(&self, id: Uuid) -> Response {
        let book = lock(&self.book);
        let Some(request) = book.get(id) else { return StatusCode::NOT_FOUND.into_response() };
        let (Some(outcome), Some(until)) = (&request.outcome, request.result_until()) else {
            return detail(StatusCode::BAD_REQUEST, "Request is still in progress");
        };
        let gone = self.faults.take(&id.to_string(), Fault::ResultExpired);
        if gone || request.purged || self.clock.now() >= until {
            return detail(StatusCode::NOT_FOUND, "Request not found or its result has expired");
        }
        let status = StatusCode::from_u16(outcome.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let plain = status.is_client_error() && self.faults.take(&id.to_string(), Fault::PlainDetail);
        let sentence = json!({ "detail": outcome.body["detail"][0]["msg"] });
        let mut response = (status, Json(if plain { &sentence } else { &outcome.body })).into_response();
        let headers = response.headers_mut();
        if let Ok(value) = id.to_string().parse() {
            headers.insert("x-fal-request-id", value);
        }
        // Who says it in a sentence says it nowhere else.
        if let Some(Ok(value)) = outcome.error_type.as_ref().filter(|_| !plain).map(|kind| kind.parse()) {
            headers.insert("x-fal-error-type", value);
        }
        response
    }

    /// 200: taken out of the queue. 202: asked to stop; with `CancelIgnored` it does not.
    fn cancel(&self, id: Uuid) -> Response {
        let mut book = lock(&self.book);
        let Some(request) = book.get_mut(id) else { return StatusCode::NOT_FOUND.into_response() };
        let (status, word) = match request.progress {
            Progress::Completed => (StatusCode::BAD_REQUEST, "ALREADY_COMPLETED"),
            Progress::Waiting => (StatusCode::OK, "CANCELLATION_REQUESTED"),
            Progress::Running => (StatusCode::ACCEPTED, "CANCELLATION_REQUESTED"),
        };
        if request.progress != Progress::Completed {
            let ignored = self.faults.take(&id.to_string(), Fault::CancelIgnored);
            let status = if ignored { StatusCode::ACCEPTED } else { status };
            request.cancelled = true;
            if !ignored {
                request.cancel.cancel();
            }
            return (status, Json(json!({ "status": word }))).into_response();
        }
        (status, Json(json!({ "status": word }))).into_response()
    }
}
