//! Fal's webhook proof: ED25519 over request id, user id, timestamp and the body's hash, one a line.
//! Source: fal.ai/docs model-apis/model-endpoints/webhooks, November 2026.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The four headers that prove a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignedHeaders {
    /// `X-Fal-Webhook-Request-Id`
    pub request_id: String,
    /// `X-Fal-Webhook-User-Id`
    pub user_id: String,
    /// `X-Fal-Webhook-Timestamp`, unix seconds.
    pub timestamp: String,
    /// `X-Fal-Webhook-Signature`, hex.
    pub signature: String,
}

impl SignedHeaders {
    /// Name and value, ready to send.
    #[must_use]
    pub fn pairs(&self) -> [(&'static str, &str); 4] {
        [
            ("X-Fal-Webhook-Request-Id", &self.request_id),
            ("X-Fal-Webhook-User-Id", &self.user_id),
            ("X-Fal-Webhook-Timestamp", &self.timestamp),
            ("X-Fal-Webhook-Signature", &self.signature),
        ]
    }
}

pub(crate) fn send_headers(signed: SignedHeaders) -> Vec<(&'static str, String)> {
    signed.pairs().into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// The signing key in use, and what the key set shows of it.
pub(crate) struct Keys {
    key: SigningKey,
}

impl Keys {
    pub(crate) fn new() -> Keys {
        Keys { key: SigningKey::generate(&mut rand::rngs::OsRng) }
    }

    pub(crate) fn sign(&self, body: &[u8], request_id: &str, user_id: &str, timestamp: i64) -> SignedHeaders {
        let hash = hex::encode(Sha256::digest(body));
        let message = format!("{request_id}\n{user_id}\n{timestamp}\n{hash}");
        SignedHeaders {
            request_id: request_id.to_owned(),
            user_id: user_id.to_owned(),
            timestamp: timestamp.to_string(),
            signature: hex::encode(self.key.sign(message.as_bytes()).to_bytes()),
        }
    }

    pub(crate) fn jwks(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_signed_as_the_recorded_vector() {
        let vectors: Value = serde_json::from_str(include_str!("../../specs/webhook-and-jwt-vectors.json")).unwrap();
        let fal = &vectors["fal"];
        let seed: [u8; 32] = std::array::from_fn(|i| i as u8);
        let keys = Keys { key: SigningKey::from_bytes(&seed) };
        assert_eq!(keys.jwks(), fal["jwks"]);
        let headers = &fal["headers"];
        let text = |name: &str| headers[name].as_str().unwrap().to_owned();
        let signed = keys.sign(
            fal["body"].as_str().unwrap().as_bytes(),
            &text("X-Fal-Webhook-Request-Id"),
            &text("X-Fal-Webhook-User-Id"),
            text("X-Fal-Webhook-Timestamp").parse().unwrap(),
        );
        assert_eq!(signed.signature, text("X-Fal-Webhook-Signature"));
    }
}
