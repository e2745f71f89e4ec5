//! fal's webhook: is it from fal, is it about our account, and what does it say?
//!
//! Checked over the raw bytes against fal's published keys. Those keys sign for every customer of fal, so a good
//! signature alone does not make a delivery ours: set `account`, and put an unguessable token into the webhook address.
//! Deliveries come at least once and in any order. Links in the payload are not printed by `Debug`.
//!
//! The rule: Ed25519 over request id, user id, timestamp and the lower-case hex SHA-256 of the body, joined by newlines;
//! at most five minutes off; any key of the set. Source: fal.ai/docs model-apis/inference/webhooks, read November 2026.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    ConfigError,
    http::{Base, Limits, client, is_plain_id},
    jwks::Jwks,
};

/// How far a delivery's time may be from ours, in seconds, on both sides.
pub const TOLERANCE: i64 = 300;
/// fal allows its keys to be kept for a day, in seconds.
const KEYS_LIVE: i64 = 24 * 60 * 60;

/// Where fal's public keys are, and who we are.
#[derive(Debug, Clone)]
pub struct FalWebhookConfig {
    /// `https://rest.fal.ai`; the keys lie below it under `/.well-known/jwks.json`.
    pub keys_url: String,
    /// Our user id at fal, as it stands in the header `X-Fal-Webhook-User-Id`. `None` takes every account's.
    pub account: Option<String>,
    /// The longest that fetching the keys may take; fal itself waits 15 seconds for our answer.
    pub timeout: Duration,
}

/// What a delivery says.
#[derive(Clone, PartialEq, Deserialize)]
pub struct FalEvent {
    /// The request, as the submit named it, unless fal tried again inside.
    pub request_id: String,
    /// The request as the submit named it, where fal tried again inside: match by either.
    #[serde(default)]
    pub gateway_request_id: Option<String>,
    /// How it ended.
    #[serde(default)]
    pub status: FalOutcome,
    /// The model's result, or the body of its error; null if fal could not put it into JSON.
    #[serde(default)]
    pub payload: Value,
    /// fal's text about an error; it may repeat the input, so keep it out of logs. Use [`FalEvent::error_code`].
    #[serde(default)]
    error: Value,
    #[serde(default)]
    payload_error: Value,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum FalOutcome {
    /// The payload is the result.
    #[serde(rename = "OK")]
    Ok,
    /// The payload is an error, if there is one.
    #[serde(rename = "ERROR")]
    Error,
    /// A word newer than this program: ask fal.
    #[default]
    #[serde(other)]
    Other,
}

impl FalEvent {
    /// fal's word for what went wrong; `None` for a result.
    pub fn error_code(&self) -> Option<String> {
        let named = super::fal::code_in(&self.payload, None);
        match self.status {
            FalOutcome::Ok => None,
            _ => Some(named.unwrap_or_else(|| "model_error".to_owned())),
        }
    }

    /// True if there is a result that this delivery could not carry: fetch it.
    pub fn must_fetch(&self) -> bool {
        self.status == FalOutcome::Ok && (self.payload.is_null() || !self.payload_error.is_null())
    }
}

impl fmt::Debug for FalEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FalEvent")
            .field("request_id", &self.request_id)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Why a delivery is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FalWebhookError {
    /// One of the four headers is missing or not of its form.
    #[error("the header {header} is missing or not of its form")]
    BadHeader {
        /// Which one.
        header: &'static str,
    },
    /// More than five minutes old or ahead.
    #[error("the delivery's time is more than five minutes from ours; it is a replay, or a clock is wrong")]
    Stale,
    /// A good signature for another customer of fal.
    #[error("the delivery belongs to another account at fal; check the configured account")]
    OtherAccount,
    /// No published key made this signature.
    #[error("the signature was not made with a key that fal publishes; it is a forgery")]
    Forged,
    /// fal's keys could not be fetched: nothing is known about the delivery. Answer 503, fal comes again.
    #[error(
        "fal's public keys could not be fetched; the delivery is neither believed nor refused, let fal send it again"
    )]
    NoKeys,
    /// Signed, and not a body with a request id.
    #[error("the signed body is not a report that we can read")]
    Unreadable,
}

/// The check, with fal's keys in memory. Made once.
pub struct FalWebhook {
    keys: Jwks<Vec<VerifyingKey>>,
    account: Option<String>,
}

impl FalWebhook {
    /// Checks the settings; fetches nothing yet.
    pub fn new(config: &FalWebhookConfig) -> Result<Self, ConfigError> {
        let base = Base::parse("fal's keys", &config.keys_url)?;
        let limits = Limits { connect: config.timeout.min(Duration::from_secs(5)), total: config.timeout };
        if config.account.as_ref().is_some_and(String::is_empty) {
            return Err(ConfigError::BadSetting { what: "fal account", why: "empty; leave it out to accept any" });
        }
        let http = client("fal's keys", &[&base], limits)?;
        let keys = Jwks::new(http, base.at("/.well-known/jwks.json"), KEYS_LIVE, read_keys);
        Ok(Self { keys, account: config.account.clone() })
    }

    /// Checks a delivery and reads it. `now` in Unix seconds.
    pub async fn verify(&self, raw: &[u8], headers: &HeaderMap, now: i64) -> Result<FalEvent, FalWebhookError> {
        let request = header(headers, "x-fal-webhook-request-id")?;
        let user = header(headers, "x-fal-webhook-user-id")?;
        let time = header(headers, "x-fal-webhook-timestamp")?;
        let signature = header(headers, "x-fal-webhook-signature")?;
        let seconds: i64 =
            time.parse().map_err(|_| FalWebhookError::BadHeader { header: "x-fal-webhook-timestamp" })?;
        let signature: [u8; 64] = hex::decode(signature)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(FalWebhookError::BadHeader { header: "x-fal-webhook-signature" })?;
        if now.abs_diff(seconds) > TOLERANCE.unsigned_abs() {
            return Err(FalWebhookError::Stale);
        }
        let message = format!("{request}\n{user}\n{time}\n{}", hex::encode(Sha256::digest(raw)));
        let signature = Signature::from_bytes(&signature);
        let made_by =
            |keys: &[VerifyingKey]| keys.iter().any(|key| key.verify_strict(message.as_bytes(), &signature).is_ok());
        let kept = self.keys.keys(now).await.map_err(|_| FalWebhookError::NoKeys)?;
        if !made_by(&kept) {
            // Perhaps fal has a new key.
            let newer =
                self.keys.newer(now).await.map_err(|_| FalWebhookError::NoKeys)?.ok_or(FalWebhookError::Forged)?;
            if !made_by(&newer) {
                return Err(FalWebhookError::Forged);
            }
        }
        if self.account.as_ref().is_some_and(|account| account != user) {
            return Err(FalWebhookError::OtherAccount);
        }
        let event: FalEvent = serde_json::from_slice(raw).map_err(|_| FalWebhookError::Unreadable)?;
        let ids = [Some(&event.request_id), event.gateway_request_id.as_ref()];
        if ids.into_iter().flatten().all(|id| is_plain_id(id)) { Ok(event) } else { Err(FalWebhookError::Unreadable) }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, FalWebhookError> {
    let bad = FalWebhookError::BadHeader { header: name };
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty()).ok_or(bad)
}

/// Every Ed25519 key of the set; others are passed over.
fn read_keys(body: &[u8]) -> Option<Vec<VerifyingKey>> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(body).ok()?;
    let read = |key: &Value| {
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(key["x"].as_str()?).ok()?.try_into().ok()?;
        VerifyingKey::from_bytes(&bytes).ok()
    };
    let keys: Vec<VerifyingKey> = set.keys.iter().filter(|key| key["crv"] == "Ed25519").filter_map(read).collect();
    // Fal has a key at all times: a set without one is a fault of theirs, and every report would be called a forgery.
    (!keys.is_empty()).then_some(keys)
}

#[cfg(test)]
mod tests;
