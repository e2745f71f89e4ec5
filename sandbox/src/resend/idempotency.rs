//! Resend's idempotency keys: 24 hours, up to 256 characters, two different 409s.
//! Source: resend.com/docs dashboard/emails/idempotency-keys, November 2026.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;

use super::error::ResendError;

const LONGEST_KEY: usize = 256;
const LIFE: Duration = Duration::hours(24);

/// What was sent under each key.
#[derive(Default)]
pub(crate) struct Keys {
    by_key: HashMap<String, Entry>,
}

struct Entry {
    asked: (String, Value),
    at: DateTime<Utc>,
    /// `None` while in flight.
    answer: Option<Value>,
}

impl Keys {
    /// The stored answer, or `None`: go on, then [`Keys::end`].
    pub(crate) fn begin(
        &mut self,
        key: &str,
        asked: (String, Value),
        now: DateTime<Utc>,
    ) -> Result<Option<Value>, ResendError> {
        if key.is_empty() || key.len() > LONGEST_KEY {
            let text = "The key must be between 1-256 chars.";
            return Err(ResendError::new(400, "invalid_idempotency_key", text));
        }
        self.by_key.retain(|_, entry| now < entry.at + LIFE);
        let Some(entry) = self.by_key.get(key) else {
            self.by_key.insert(key.to_owned(), Entry { asked, at: now, answer: None });
            return Ok(None);
        };
        if entry.asked != asked {
            let text = "Same idempotency key used with a different request payload.";
            return Err(ResendError::new(409, "invalid_idempotent_request", text));
        }
        match &entry.answer {
            Some(answer) => Ok(Some(answer.clone())),
            None => {
                let text = "Same idempotency key used while original request is still in progress.";
                Err(ResendError::new(409, "concurrent_idempotent_requests", text))
            }
        }
    }

    /// Stores a success; a failure frees the key.
    pub(crate) fn end(&mut self, key: &str, answer: Option<Value>) {
        match (self.by_key.get_mut(key), answer) {
            (Some(entry), Some(answer)) => entry.answer = Some(answer),
            _ => drop(self.by_key.remove(key)),
        }
    }
}
