//! Stripe's error body.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An error as Stripe says it. `began`: execution had begun, so an idempotency key stores it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("Stripe refuses with {status}: {message}")]
pub(crate) struct StripeError {
    pub(crate) status: u16,
    pub(crate) began: bool,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
}

impl StripeError {
    pub(crate) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> StripeError {
        StripeError { status, began: false, kind, code: None, param: None, message: message.into() }
    }

    /// 400 about a parameter.
    pub(crate) fn invalid(param: &str, message: impl Into<String>) -> StripeError {
        let mut error = StripeError::new(400, "invalid_request_error", message);
        error.param = Some(param.to_owned());
        error
    }

    pub(crate) fn missing(param: &str) -> StripeError {
        StripeError::invalid(param, format!("Missing required param: {param}.")).code("parameter_missing")
    }

    pub(crate) fn no_such(object: &str, id: &str) -> StripeError {
        let mut error = StripeError::new(404, "invalid_request_error", format!("No such {object}: '{id}'"));
        error.param = Some("id".to_owned());
        error.code("resource_missing")
    }

    pub(crate) fn code(mut self, code: &'static str) -> StripeError {
        self.code = Some(code);
        self
    }

    /// The refusal came from the work itself and is replayed under its key.
    pub(crate) fn after_execution_began(mut self) -> StripeError {
        self.began = true;
        self
    }

    pub(crate) fn body(&self) -> Value {
        let mut error = json!({ "type": self.kind, "message": self.message });
        if let Some(code) = self.code {
            error["code"] = json!(code);
            error["doc_url"] = json!(format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")));
        }
        if let Some(param) = &self.param {
            error["param"] = json!(param);
        }
        json!({ "error": error })
    }

    pub(crate) fn response(&self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.body())).into_response()
    }
}
