//! How a Fal model says no: a status and a list of details. Source: fal.ai/docs model-apis/errors, November 2026.

use serde_json::{Value, json};

use crate::download::Missed;

/// A refusal by a model, which a retry does not mend.
#[derive(Debug)]
pub(crate) struct ModelError {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    field: &'static str,
    text: String,
    context: Option<Value>,
}

impl ModelError {
    /// 422 about one field of the input.
    pub(crate) fn new(kind: &'static str, field: &'static str, text: impl Into<String>) -> ModelError {
        ModelError { status: 422, kind, field, text: text.into(), context: None }
    }

    pub(crate) fn with_context(mut self, context: Value) -> ModelError {
        self.context = Some(context);
        self
    }

    pub(crate) fn missing(field: &'static str) -> ModelError {
        ModelError::new("missing", field, "Field required")
    }

    pub(crate) fn missed(missed: Missed, field: &'static str) -> ModelError {
        match missed {
            Missed::NotDownloaded => ModelError::new(
                "file_download_error",
                field,
                "Failed to download the file. Please check if the URL is accessible and try again.",
            ),
            Missed::TooLarge => ModelError::new("file_too_large", field, "File size exceeds the maximum allowed size."),
        }
    }

    /// The model itself broke: 500, not billed.
    pub(crate) fn internal() -> ModelError {
        let text = "Internal server error".to_owned();
        ModelError { status: 500, kind: "internal_server_error", field: "", text, context: None }
    }

    /// The error body as the model answers it.
    pub(crate) fn body(&self) -> Value {
        let loc = if self.field.is_empty() { json!(["body"]) } else { json!(["body", self.field]) };
        let url = format!("https://docs.fal.ai/errors/#{}", self.kind);
        let mut detail = json!({ "loc": loc, "msg": self.text, "type": self.kind, "url": url });
        if let Some(context) = &self.context {
            detail["ctx"] = context.clone();
        }
        json!({ "detail": [detail] })
    }
}
