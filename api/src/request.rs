//! Around every request: a request id, one log line, the problem written down, and headers that keep answers private.
//!
//! The log line names the route's pattern, never the path: a path may hold a token of a webhook.

use std::time::{Duration, Instant};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use safelight_jobs::traces;
use serde_json::json;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    error::{Error, Problem},
    trace::Trace,
};

/// The header that carries the request id, in and out.
pub const REQUEST_ID: &str = "x-request-id";
/// The longest request id that is taken from outside.
const LONGEST_ID: usize = 64;

/// The outermost layer.
pub(crate) async fn around(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = word(request.method());
    let trace = Trace::of(request.headers());
    let span = tracing::info_span!("request", request.id = %id, trace.id = %trace.id(), http.method = %method, http.route = %route);
    traces::continues(&span, &trace.0);
    // Where traces are collected, jobs go on from this span; elsewhere from the caller's.
    let trace = traces::of(&span).map_or(trace, Trace);
    let mut request = request;
    request.extensions_mut().insert(trace);
    async move {
        let began = Instant::now();
        let mut response = written_down(next.run(request).await, &id);
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, id);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        let status = response.status().as_u16();
        let duration = began.elapsed();
        let labels = [("method", method.to_owned()), ("route", route), ("status", status.to_string())];
        metrics::counter!("safelight_http_requests_total", &labels).increment(1);
        metrics::histogram!("safelight_http_request_seconds", &labels[..2]).record(duration.as_secs_f64());
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(http.status = status, duration_ms, "answered");
        let span = tracing::Span::current();
        traces::says(&span, "http.status", i64::from(status));
        if status >= 500 {
            traces::failed(&span);
        }
        response
    }
    .instrument(span)
    .await
}

/// The method as a label: one of those that HTTP has, never the caller's own text.
fn word(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// The layer that gives up what takes too long. It may be given up between a commit and its answer.
pub(crate) async fn in_time(State(life): State<Duration>, request: Request, next: Next) -> Result<Response, Error> {
    tokio::time::timeout(life, next.run(request)).await.map_err(|_| Error::OutcomeUnknown)
}

/// A caller may name its request; anything unusual is replaced.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |id: &&str| {
        (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(plain)
        .map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned)
}

/// Write the problem that an [`Error`] left, or one for a bare refusal of a layer below.
fn written_down(mut response: Response, request_id: &str) -> Response {
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if is_bare_refusal(&response) => Problem::from(&Error::of_status(response.status())),
        None => return response,
    };
    let body = body(&problem, request_id);
    let allow = response.headers_mut().remove(header::ALLOW);
    let rates: Vec<_> = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]
        .into_iter()
        .filter_map(|name| response.headers_mut().remove(name).map(|value| (name, value)))
        .collect();
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = problem.status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(allow) = allow {
        headers.insert(header::ALLOW, allow);
    }
    headers.extend(rates.into_iter().map(|(name, value)| (HeaderName::from_static(name), value)));
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    match problem.status {
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("5"));
        }
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"safelight\""));
        }
        _ => {}
    }
    answer
}

fn body(problem: &Problem, request_id: &str) -> String {
    json!({
        "type": format!("urn:safelight:problem:{}", problem.code),
        "title": problem.title,
        "status": problem.status.as_u16(),
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_id,
    })
    .to_string()
}

/// What a connection is told that finds no place: the whole answer, as it goes over the line.
pub(crate) fn overloaded() -> String {
    let (problem, id) = (Problem::from(&Error::Overloaded), Uuid::now_v7().simple().to_string());
    let body = body(&problem, &id);
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
        {REQUEST_ID}: {id}\r\ncache-control: no-store\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The console answers refusals with pages of its own.
fn is_bare_refusal(response: &Response) -> bool {
    let status = response.status();
    let html =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    (status.is_client_error() || status.is_server_error()) && !html
}

/// A panic is a fault of ours, and one request's end only.
pub(crate) fn after_panic(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    tracing::error!("a request panicked");
    axum::response::IntoResponse::into_response(Error::Internal)
}
