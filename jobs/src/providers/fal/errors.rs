//! What can go wrong at fal. No text of fal's is passed on: it repeats prompts and links.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::providers::http::{Answer, Lost, is_plain_id, retry_after};

/// Why a submit has no request id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// fal has certainly not accepted it: nothing runs, nothing is billed.
    #[error("fal did not accept the request: {0}")]
    NotAccepted(#[from] NotAccepted),
    /// It may have been accepted: a second submit could train and bill twice. Reconcile it.
    #[error(
        "it is unknown whether fal accepted the request: {why}; do not submit again, reconcile by webhook or listing"
    )]
    Unknown {
        /// What happened on the way.
        why: &'static str,
    },
}

impl SubmitError {
    /// True if fal may have accepted it.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

/// Why fal has certainly not accepted a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// The request never left this machine.
    #[error("it was not sent, {why}; try again later")]
    Unsent {
        /// What happened.
        why: &'static str,
    },
    /// Too many requests.
    #[error("it is busy; ask again after {after:?}")]
    Busy {
        /// fal's wish, where it names one.
        after: Option<Duration>,
    },
    /// The account has no money left. A person has to act.
    #[error("the account's balance is used up; top it up, then release the queue")]
    NoMoney,
    /// The key is wrong or lacks a permission. A person has to act.
    #[error("it does not accept the key ({status}); check FAL_KEY")]
    NotAllowed {
        /// 401 or 403.
        status: u16,
    },
    /// fal says no to this input or model, and would say it again.
    #[error("it refused with `{code}` ({status}); a repeat will not help")]
    Refused {
        /// fal's word for the reason, or `http_` and the status.
        code: String,
        /// The HTTP status.
        status: u16,
    },
    /// Our own input must not be sent.
    #[error("the {what} must not be sent; nothing was")]
    BadInput {
        /// Which part of the request.
        what: &'static str,
    },
}

/// Why a question about a request, a result or a deletion has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FalError {
    /// fal knows no such request, or no longer has its result (kept about an hour, minutes when large).
    #[error("fal has nothing under that id any more; look for the request in the listing")]
    NotFound,
    /// The request still waits or runs.
    #[error("fal is still at work on the request; ask again later")]
    Unfinished,
    /// The model failed. There will be no result.
    #[error("the model failed with `{}`; a new request {}", .0.code, if .0.may_repeat { "may help" } else { "will not help" })]
    Failed(ModelFailure),
    /// A link that leads elsewhere than to fal. It was not followed.
    #[error("the link does not lead to a host that is configured for fal; it was not followed")]
    ForeignLink,
    /// The key is wrong or lacks a permission: ADMIN for purging, `assets:read` for fetching forbidden files.
    #[error("fal does not accept the key for this ({status}); check its scope")]
    NotAllowed {
        /// 401 or 403.
        status: u16,
    },
    /// Purging needs a key of ADMIN scope and none is set.
    #[error("no ADMIN key for fal is set; set FAL_ADMIN_KEY, until then nothing can be purged there")]
    NoAdminKey,
    /// Too many requests.
    #[error("fal is busy; ask again after {after:?}")]
    Busy {
        /// fal's wish, where it names one.
        after: Option<Duration>,
    },
    /// No answer, or a fault at fal.
    #[error("fal could not be reached: {why}; ask again later")]
    Unreachable {
        /// What happened on the way.
        why: &'static str,
    },
    /// An answer that is not what we know.
    #[error("fal's answer could not be read ({what})")]
    Unreadable {
        /// Which answer.
        what: &'static str,
    },
    /// A file larger than the caller allows. What came so far is dropped.
    #[error("the file at fal is larger than {most} bytes")]
    TooLarge {
        /// The limit.
        most: u64,
    },
}

impl FalError {
    /// fal's word for how the model failed, if that is what happened.
    pub fn model_failure(&self) -> Option<&str> {
        match self {
            Self::Failed(failure) => Some(&failure.code),
            _ => None,
        }
    }
}

/// How a model failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFailure {
    /// fal's word: `content_policy_violation`, `face_detection_error`, `startup_timeout`…; `model_error` without one.
    pub code: String,
    /// True if the same input may work later.
    pub may_repeat: bool,
}

impl From<Lost> for FalError {
    fn from(lost: Lost) -> Self {
        Self::Unreachable { why: lost.why() }
    }
}

/// The word in fal's error body: `error_type`, or the `type` of the first entry of `detail`, or a word for its status.
pub(super) fn code_of(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    code_in(&body, header(&answer.headers, "x-fal-error-type"))
        .unwrap_or_else(|| format!("http_{}", answer.status.as_u16()))
}

/// The same for a body without a status: a webhook's payload.
pub(in crate::providers) fn code_in(body: &Value, error_type: Option<&str>) -> Option<String> {
    let detail = &body["detail"];
    let named = error_type
        .or(body["error_type"].as_str())
        .or(detail[0]["type"].as_str())
        .or(body["error"]["type"].as_str())
        .filter(|word| is_word(word));
    // Some models still send their reason as plain text, which may repeat the input.
    named.map(str::to_owned).or_else(|| detail.is_string().then(|| "model_error".to_owned()))
}

/// A model's failure, where the answer is one; a fault on the way there otherwise.
pub(super) fn failure_of(answer: &Answer) -> Option<ModelFailure> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let code = code_in(&body, header(&answer.headers, "x-fal-error-type"))?;
    let said = ["x-fal-retryable", "x-fal-needs-retry"]
        .iter()
        .find_map(|name| header(&answer.headers, name))
        .map(|value| matches!(value, "1" | "true" | "yes"));
    Some(ModelFailure { may_repeat: may_repeat(&code, said), code })
}

/// Refusals of a picture stay refusals, whatever a header says.
fn may_repeat(code: &str, said: Option<bool>) -> bool {
    match code {
        "content_policy_violation" | "face_detection_error" => false,
        _ => said.unwrap_or_else(|| {
            code.starts_with("runner_")
                || code.ends_with("_timeout")
                || matches!(code, "internal_error" | "internal_server_error" | "downstream_service_unavailable")
        }),
    }
}

/// What every call but submit makes of a status that is not a success.
pub(super) fn refusal(answer: &Answer) -> FalError {
    match answer.status.as_u16() {
        404 | 410 => FalError::NotFound,
        status @ (401 | 403) => FalError::NotAllowed { status },
        429 => FalError::Busy { after: retry_after(&answer.headers) },
        500.. => FalError::Unreachable { why: "fal answered with a fault of its own" },
        300..=399 => FalError::ForeignLink,
        _ => FalError::Failed(ModelFailure { code: code_of(answer), may_repeat: false }),
    }
}

/// A word of fal's vocabulary: it goes into rows and logs, so nothing else may pass.
pub(in crate::providers) fn is_word(text: &str) -> bool {
    is_plain_id(text)
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
