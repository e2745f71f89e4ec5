//! User access tokens (ES256) and the key set they are checked with.
//! Claims as in supabase.com/docs guides/auth/jwt-fields, November 2026.

use std::sync::Mutex;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use jsonwebtoken::jwk::{Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::lock::lock;

/// PKCS#8 of a P-256 private key up to its 32 secret bytes (RFC 5915 inside RFC 5208, no public part).
const PKCS8_HEAD: &str = "MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCA=";

/// What a user token says.
#[derive(Debug, Clone)]
pub struct UserToken {
    /// `sub`: the user.
    pub subject: Uuid,
    /// `email`.
    pub email: String,
    /// `aud`; Supabase: `authenticated`.
    pub audience: String,
    /// `role`; `authenticated` for a user.
    pub role: String,
    /// `iat`, unix seconds.
    pub issued_at: i64,
    /// `exp`, unix seconds.
    pub expires_at: i64,
}

impl UserToken {
    /// An ordinary user's token, good for an hour from now.
    #[must_use]
    pub fn of(subject: Uuid, email: &str) -> UserToken {
        let now = Utc::now().timestamp();
        UserToken {
            subject,
            email: email.to_owned(),
            audience: "authenticated".to_owned(),
            role: "authenticated".to_owned(),
            issued_at: now,
            expires_at: now + 3600,
        }
    }
}

struct Key {
    id: String,
    secret: EncodingKey,
}

/// The signing key in use.
pub(crate) struct Keys {
    current: Mutex<Key>,
}

impl Keys {
    pub(crate) fn new() -> anyhow::Result<Keys> {
        Ok(Keys { current: Mutex::new(Key::new()?) })
    }

    pub(crate) fn rotate(&self) -> anyhow::Result<()> {
        *lock(&self.current) = Key::new()?;
        Ok(())
    }

    pub(crate) fn mint(&self, token: &UserToken, issuer: &str) -> anyhow::Result<String> {
        let claims = json!({
            "iss": issuer,
            "sub": token.subject,
            "aud": token.audience,
            "role": token.role,
            "iat": token.issued_at,
            "exp": token.expires_at,
            "email": token.email,
            "phone": "",
            "app_metadata": { "provider": "email", "providers": ["email"] },
            "user_metadata": {},
            "aal": "aal1",
            "amr": [{ "method": "otp", "timestamp": token.issued_at }],
            "session_id": Uuid::new_v4(),
            "is_anonymous": false,
        });
        let key = lock(&self.current);
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, &key.secret).context("signing a user token")
    }

    pub(crate) fn jwks(&self) -> anyhow::Result<Value> {
        let key = lock(&self.current);
        let mut jwk = Jwk::from_encoding_key(&key.secret, Algorithm::ES256)?;
        jwk.common.key_id = Some(key.id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_operations = Some(vec![KeyOperations::Verify]);
        Ok(json!({ "keys": [jwk] }))
    }
}

impl Key {
    fn new() -> anyhow::Result<Key> {
        let mut der = STANDARD.decode(PKCS8_HEAD).context("the constant head of a key")?;
        // Any 32 bytes are a P-256 secret, but for about one in 2^32 tries, which the key set would refuse.
        der.extend_from_slice(&rand::random::<[u8; 32]>());
        Ok(Key { id: Uuid::new_v4().to_string(), secret: EncodingKey::from_ec_der(&der) })
    }
}
