//! After the submit: status, result, cancelling, and finding a request whose answer was lost.

use backon::Retryable;
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{
    Fal, MOST,
    errors::{FalError, failure_of, header, is_word, refusal},
    submit::is_model_id,
};
use crate::providers::http::{Answer, exchange, read_again, safe_url};

/// Pages of the listing that one call reads, of a hundred rows each.
const PAGES: usize = 20;

/// How far a request is. fal has no word for failed or cancelled: both are completed with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FalStatus {
    /// It waits; so many are before it.
    InQueue {
        /// Requests before it, where fal says so.
        position: Option<u64>,
    },
    /// It runs.
    InProgress,
    /// It ended: with a result, or with an error's word.
    Completed {
        /// fal's word for what went wrong; `None` if nothing did.
        error: Option<String>,
    },
    /// A word newer than this program: still unfinished, as far as we know.
    Other(String),
}

/// What fal makes of a wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelAnswer {
    /// It had not begun and never will.
    OutOfQueue,
    /// It runs and was asked to stop. It may finish all the same, be billed, and call the webhook.
    Requested,
    /// Too late: it has ended.
    AlreadyCompleted,
    /// fal knows no such request.
    NotFound,
}

/// One row of fal's listing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ListedRequest {
    /// The request's id.
    pub request_id: String,
    /// The model.
    pub endpoint_id: String,
    /// When fal took it.
    pub sent_at: Option<DateTime<Utc>>,
    /// When work began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// The model's HTTP status.
    pub status_code: Option<u16>,
}

/// The requests of one model in one span of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// What fal knows.
    pub requests: Vec<ListedRequest>,
    /// False if there are more than one call reads: absence then proves nothing; ask for a shorter span.
    pub complete: bool,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<ListedRequest>,
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(default)]
    has_more: bool,
}

impl Fal {
    /// Asks how far a request is, by the link from its submit.
    pub async fn status(&self, status_url: &str) -> Result<FalStatus, FalError> {
        let answer = self.read(self.queue_link(status_url)?).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        let body: Value = parse(&answer, "status")?;
        Ok(match body["status"].as_str().ok_or(FalError::Unreadable { what: "status" })? {
            "IN_QUEUE" => FalStatus::InQueue { position: body["queue_position"].as_u64() },
            "IN_PROGRESS" => FalStatus::InProgress,
            "COMPLETED" => FalStatus::Completed { error: error_word(&body) },
            other => FalStatus::Other(other.chars().take(40).collect()),
        })
    }

    /// Fetches what the model said. Keep it out of logs: it links to pictures of a person.
    pub async fn result(&self, response_url: &str) -> Result<Value, FalError> {
        let answer = self.read(self.queue_link(response_url)?).await?;
        match answer.status.as_u16() {
            200 => parse(&answer, "result"),
            202 => Err(FalError::Unfinished),
            400 if is_unfinished(&answer) => Err(FalError::Unfinished),
            401 | 403 | 404 | 410 | 429 => Err(refusal(&answer)),
            // Any other status is the model's own, also a 5xx, if the body speaks fal's language of errors.
            _ => Err(failure_of(&answer).map_or_else(|| refusal(&answer), FalError::Failed)),
        }
    }

    /// The link to a result for when only the request id is known: it names owner and app only, as fal's own do.
    pub fn response_url(&self, model_id: &str, request_id: &str) -> String {
        // Two families of apps have one part more.
        let parts = if model_id.starts_with("workflows/") || model_id.starts_with("comfy/") { 3 } else { 2 };
        let app: Vec<&str> = model_id.split('/').take(parts).collect();
        self.queue.at(&format!("/{}/requests/{request_id}", app.join("/")))
    }

    /// Asks fal to stop. Sent once.
    pub async fn cancel(&self, cancel_url: &str) -> Result<CancelAnswer, FalError> {
        let link = self.queue_link(cancel_url)?;
        let answer = exchange(self.authorised(self.http.request(Method::PUT, link)), MOST).await?;
        match answer.status {
            StatusCode::OK => Ok(CancelAnswer::OutOfQueue),
            StatusCode::ACCEPTED => Ok(CancelAnswer::Requested),
            StatusCode::BAD_REQUEST => {
                let body: Value = parse(&answer, "cancel")?;
                match body["status"].as_str() {
                    Some("ALREADY_COMPLETED") => Ok(CancelAnswer::AlreadyCompleted),
                    _ => Err(refusal(&answer)),
                }
            }
            StatusCode::NOT_FOUND => Ok(CancelAnswer::NotFound),
            _ => Err(refusal(&answer)),
        }
    }

    /// Lists the requests of one model between two instants (`end` excluded), to find one whose answer was lost.
    /// Without stored payloads fal knows only model and time.
    pub async fn list_requests(
        &self,
        endpoint: &str,
        start: DateTime<Utc>,
        end: DateTime<Utc>,
    ) -> Result<Listing, FalError> {
        if !is_model_id(endpoint) {
            return Err(FalError::NotFound);
        }
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let mut listing = Listing { requests: Vec::new(), complete: false };
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES {
            let mut link = Url::parse(&self.platform.at("/models/requests/by-endpoint"))
                .map_err(|_| FalError::Unreadable { what: "platform address" })?;
            link.query_pairs_mut()
                .append_pair("endpoint_id", endpoint)
                .append_pair("start", &time(start))
                .append_pair("end", &time(end))
                .append_pair("limit", "100")
                .extend_pairs(cursor.iter().map(|cursor| ("cursor", cursor)));
            let answer = self.read(link).await?;
            if !answer.status.is_success() {
                return Err(refusal(&answer));
            }
            let page: Page = parse(&answer, "listing")?;
            listing.requests.extend(page.items);
            cursor = page.next_cursor.filter(|next| page.has_more && Some(next) != cursor.as_ref());
            if cursor.is_none() {
                listing.complete = !page.has_more;
                break;
            }
        }
        Ok(listing)
    }

    /// A safe read, tried up to three times when fal cannot be reached.
    async fn read(&self, link: Url) -> Result<Answer, FalError> {
        let once = || async {
            let answer = exchange(self.authorised(self.http.get(link.clone())), MOST).await?;
            match answer.status.as_u16() {
                // Only what stands before fal says these without a reason of the model's.
                502..=504 if failure_of(&answer).is_none() => Err(refusal(&answer)),
                _ => Ok(answer),
            }
        };
        once.retry(read_again()).when(|error| matches!(error, FalError::Unreachable { .. })).await
    }

    /// A link that fal gave us; only the configured queue is asked, and gets our key.
    fn queue_link(&self, link: &str) -> Result<Url, FalError> {
        safe_url(link)
            .filter(|url| {
                url.authority() == self.queue.authority() && self.queue.is_loopback() == (url.scheme() == "http")
            })
            .ok_or(FalError::ForeignLink)
    }
}

fn error_word(body: &Value) -> Option<String> {
    if body["error"].is_null() && body["error_type"].is_null() {
        return None;
    }
    let word = body["error_type"].as_str().filter(|word| is_word(word)).unwrap_or("model_error");
    Some(word.to_owned())
}

fn is_unfinished(answer: &Answer) -> bool {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body["detail"].as_str().is_some_and(|text| text.contains("still in progress"))
        && header(&answer.headers, "x-fal-error-type").is_none()
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(answer: &Answer, what: &'static str) -> Result<T, FalError> {
    serde_json::from_slice(&answer.body).map_err(|_| FalError::Unreadable { what })
}
