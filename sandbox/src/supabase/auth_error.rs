//! Auth's two error shapes: by default a numeric code, for `X-Supabase-Api-Version: 2024-01-01` a text code.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An error in the shape that the request asked for.
pub(crate) fn auth_error(headers: &HeaderMap, status: u16, code: &'static str, message: &str) -> Response {
    let new_shape = headers.get("x-supabase-api-version").is_some_and(|v| v.as_bytes() >= b"2024-01-01".as_slice());
    let body = if new_shape {
        json!({ "code": code, "message": message })
    } else {
        json!({ "code": status, "error_code": code, "msg": message })
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [("x-sb-error-code", code)], Json(body)).into_response();
    if new_shape {
        // Echoed: the clients read the text code only where the answer says which shape it has.
        response.headers_mut().insert("x-supabase-api-version", HeaderValue::from_static("2024-01-01"));
    }
    response
}
