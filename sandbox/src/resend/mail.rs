//! One mail, read from a request or refused.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::error::ResendError;

const MOST_RECIPIENTS: usize = 50;
/// Recipients there are refused: they belong to nobody. Source: resend.com/docs api-reference/errors, November 2026.
const NOBODYS_DOMAINS: [&str; 2] = ["example.com", "test.com"];

/// A mail that was accepted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mail {
    /// Resend's id.
    pub id: String,
    /// Sender, as sent.
    pub from: String,
    /// Recipients.
    pub to: Vec<String>,
    /// Subject.
    pub subject: String,
    /// HTML body.
    pub html: Option<String>,
    /// Text body.
    pub text: Option<String>,
    /// Headers, as sent.
    pub headers: Value,
    /// Tags, as sent.
    pub tags: Value,
    /// The idempotency key it came under.
    pub idempotency_key: Option<String>,
    /// `sent` until something is reported.
    pub last_event: String,
    /// Sandbox clock.
    pub created_at: DateTime<Utc>,
}

impl Mail {
    pub(crate) fn read(wish: &Value, key: Option<&str>, now: DateTime<Utc>) -> Result<Mail, ResendError> {
        let missing = |name: &str| ResendError::new(422, "missing_required_field", format!("Missing `{name}` field."));
        let text = |name: &str| wish[name].as_str().map(str::to_owned);
        let from = text("from").ok_or_else(|| missing("from"))?;
        let address = from.rsplit_once('<').map_or(from.as_str(), |(_, rest)| rest.trim_end_matches('>'));
        if !is_address(address) {
            let text = "Invalid `from` field. The email address needs to follow the `email@example.com` format.";
            return Err(ResendError::new(422, "invalid_from_address", text));
        }
        let to = match &wish["to"] {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => many.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
            _ => return Err(missing("to")),
        };
        if to.is_empty() || to.len() > MOST_RECIPIENTS || !to.iter().all(|one| is_recipient(one)) {
            return Err(ResendError::new(422, "validation_error", "Invalid `to` field."));
        }
        let subject = text("subject").ok_or_else(|| missing("subject"))?;
        if wish["html"].is_null() && wish["text"].is_null() && wish["template"].is_null() {
            return Err(ResendError::new(422, "validation_error", "Missing `html` or `text` field."));
        }
        Ok(Mail {
            id: uuid::Uuid::new_v4().to_string(),
            from,
            to,
            subject,
            html: text("html"),
            text: text("text"),
            headers: wish["headers"].clone(),
            tags: wish["tags"].clone(),
            idempotency_key: key.map(str::to_owned),
            last_event: "sent".to_owned(),
            created_at: now,
        })
    }
}

fn is_address(text: &str) -> bool {
    text.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.'))
}

fn is_recipient(text: &str) -> bool {
    let address = text.rsplit_once('<').map_or(text, |(_, rest)| rest.trim_end_matches('>'));
    let domain = address.rsplit('@').next().unwrap_or_default().to_lowercase();
    is_address(address) && !NOBODYS_DOMAINS.contains(&domain.as_str())
}
