//! Resend's error body. Clients branch on `name`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An error as Resend says it.
#[derive(Debug, Clone)]
pub(crate) struct ResendError {
    status: u16,
    name: &'static str,
    message: String,
}

impl ResendError {
    pub(crate) fn new(status: u16, name: &'static str, message: impl Into<String>) -> ResendError {
        ResendError { status, name, message: message.into() }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn body(&self) -> Value {
        json!({ "statusCode": self.status, "name": self.name, "message": self.message })
    }

    pub(crate) fn response(&self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.body())).into_response()
    }
}
