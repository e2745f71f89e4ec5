//! The queue's own book: what was accepted, how far it is, how it ended.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// From this many bytes on a result lives six minutes in place of an hour.
const SHORT_LIFE_FROM: usize = 10 * 1024;

/// How far a request is. There is no state for failed or cancelled: both are `Completed` with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Progress {
    /// Waits for a runner.
    #[serde(rename = "IN_QUEUE")]
    Waiting,
    /// Runs.
    #[serde(rename = "IN_PROGRESS")]
    Running,
    /// Ended, well or not.
    #[serde(rename = "COMPLETED")]
    Completed,
}

/// One accepted request, as it is now.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// Fal's id.
    pub id: Uuid,
    /// The whole model id, as in the path of the submit.
    pub endpoint: String,
    /// The model's input. Kept here for tests to look at, whatever `store_io` says; the API obeys `store_io`.
    pub input: Value,
    /// Where the result is to be posted.
    pub webhook_url: Option<String>,
    /// False when the request came with `X-Fal-Store-IO: 0`.
    pub store_io: bool,
    /// Life of the produced files, seconds; `None`: for ever.
    pub file_life_seconds: Option<i64>,
    /// When it was accepted, sandbox clock.
    pub sent_at: DateTime<Utc>,
    /// When it left the queue.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// How far it is.
    pub progress: Progress,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Files it produced, by URL, alive or not.
    pub files: Vec<String>,
    /// True once its payloads were deleted.
    pub purged: bool,
    /// True once a cancel was taken.
    pub cancelled: bool,
    #[serde(skip)]
    pub(crate) cancel: CancellationToken,
}

/// The end of a request.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The model's own status code.
    pub status: u16,
    /// The model's own body.
    pub body: Value,
    /// Set when it failed or was cancelled.
    pub error: Option<String>,
    /// Fal's word for the failure.
    pub error_type: Option<String>,
}

impl Request {
    /// `owner/app`: the part of the model id that the request URLs hold.
    #[must_use]
    pub fn app(&self) -> String {
        let parts: Vec<&str> = self.endpoint.split('/').collect();
        let keep = if matches!(parts.first(), Some(&"workflows" | &"comfy")) { 3 } else { 2 };
        parts.into_iter().take(keep).collect::<Vec<_>>().join("/")
    }

    /// The instant at which the result is gone; `None` while unfinished.
    #[must_use]
    pub fn result_until(&self) -> Option<DateTime<Utc>> {
        let (ended, outcome) = (self.ended_at?, self.outcome.as_ref()?);
        let life = if self.store_io {
            Duration::days(30)
        } else if outcome.body.to_string().len() >= SHORT_LIFE_FROM {
            Duration::minutes(6)
        } else {
            Duration::hours(1)
        };
        Some(ended + life)
    }
}

/// All requests in order of acceptance.
#[derive(Default)]
pub(crate) struct Book {
    order: Vec<Uuid>,
    by_id: HashMap<Uuid, Request>,
    pub(crate) purged: Vec<Uuid>,
}

impl Book {
    pub(crate) fn add(&mut self, request: Request) {
        self.order.push(request.id);
        self.by_id.insert(request.id, request);
    }

    pub(crate) fn get(&self, id: Uuid) -> Option<&Request> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: Uuid) -> Option<&mut Request> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn all(&self) -> Vec<Request> {
        self.order.iter().filter_map(|id| self.by_id.get(id)).cloned().collect()
    }

    /// How many accepted requests wait before this one.
    pub(crate) fn position(&self, id: Uuid) -> usize {
        let waiting = |id: &Uuid| self.get(*id).is_some_and(|r| r.progress == Progress::Waiting);
        self.order.iter().take_while(|other| **other != id).filter(|id| waiting(id)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(body: Value, store_io: bool) -> Request {
        let now = Utc::now();
        Request {
            id: Uuid::new_v4(),
            endpoint: "fal-ai/flux-lora/image-to-image".to_owned(),
            input: Value::Null,
            webhook_url: None,
            store_io,
            file_life_seconds: None,
            sent_at: now,
            started_at: Some(now),
            ended_at: Some(now),
            progress: Progress::Completed,
            outcome: Some(Outcome { status: 200, body, error: None, error_type: None }),
            files: Vec::new(),
            purged: false,
            cancelled: false,
            cancel: CancellationToken::new(),
        }
    }

    #[test]
    fn a_large_result_lives_six_minutes_and_a_small_one_an_hour() {
        let life = |request: &Request| request.result_until().unwrap() - request.ended_at.unwrap();
        assert_eq!(life(&ended(Value::String("a".repeat(100)), false)), Duration::hours(1));
        assert_eq!(life(&ended(Value::String("a".repeat(10 * 1024)), false)), Duration::minutes(6));
        assert_eq!(life(&ended(Value::String("a".repeat(10 * 1024)), true)), Duration::days(30));
    }

    #[test]
    fn request_urls_hold_only_owner_and_app() {
        assert_eq!(ended(Value::Null, true).app(), "fal-ai/flux-lora");
    }
}
