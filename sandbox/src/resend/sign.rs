//! Svix's webhook proof: HMAC-SHA256 over id, timestamp and body with dots between, keyed by the decoded secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use serde::Serialize;
use sha2::Sha256;

/// The three headers that prove a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SvixHeaders {
    /// `svix-id`: the same on every try.
    pub id: String,
    /// `svix-timestamp`, unix seconds.
    pub timestamp: String,
    /// `svix-signature`: `v1,` and base64.
    pub signature: String,
}

impl SvixHeaders {
    /// Name and value, ready to send.
    #[must_use]
    pub fn into_pairs(self) -> Vec<(&'static str, String)> {
        vec![("svix-id", self.id), ("svix-timestamp", self.timestamp), ("svix-signature", self.signature)]
    }
}

pub(crate) fn new_secret() -> String {
    format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 24]>()))
}

pub(crate) fn headers(secret: &str, id: &str, timestamp: i64, payload: &[u8]) -> SvixHeaders {
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap_or_default();
    let signature = Hmac::<Sha256>::new_from_slice(&key).map(|mut mac| {
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(payload);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    });
    // HMAC takes keys of any length, so this cannot fail.
    let signature = signature.unwrap_or_default();
    SvixHeaders { id: id.to_owned(), timestamp: timestamp.to_string(), signature }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_webhook_is_signed_as_the_recorded_vectors() {
        let vectors = include_str!("../../specs/webhook-and-jwt-vectors.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        for case in vectors["svix"]["cases"].as_array().unwrap() {
            let text = |name: &str| case[name].as_str().unwrap();
            let at = case["svix-timestamp"].as_i64().unwrap();
            let headers = super::headers(text("secret"), text("svix-id"), at, text("payload").as_bytes());
            assert_eq!(headers.signature, text("svix-signature"));
        }
    }
}
