//! User access tokens and the key set they are checked with.
//! Claims as in supabase.com/docs guides/auth/jwt-fields; a key that was used before stays in the set until it is revoked, as in
//! guides/auth/signing-keys, November 2026.

use std::sync::Mutex;

use anyhow::Context as _;
use chrono::Utc;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::lock::lock;
use crate::signing::SigningKey;

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
    /// `nbf`, unix seconds; Supabase's own have none.
    pub not_before: Option<i64>,
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
            not_before: None,
        }
    }

    /// What it says, in full.
    #[must_use]
    pub fn claims(&self, issuer: &str) -> Value {
        let mut claims = json!({
            "iss": issuer,
            "sub": self.subject,
            "aud": self.audience,
            "role": self.role,
            "iat": self.issued_at,
            "exp": self.expires_at,
            "email": self.email,
            "phone": "",
            "app_metadata": { "provider": "email", "providers": ["email"] },
            "user_metadata": {},
            "aal": "aal1",
            "amr": [{ "method": "otp", "timestamp": self.issued_at }],
            "session_id": Uuid::new_v4(),
            "is_anonymous": false,
        });
        if let Some(from) = self.not_before {
            claims["nbf"] = json!(from);
        }
        claims
    }
}

/// How user tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// The default of new projects.
    Es256,
    /// The other kind of published keys.
    Rs256,
    /// The shared secret of older projects.
    Hs256,
}

/// The published signing keys, the one in use last, and the shared secret.
pub(crate) struct Keys {
    published: Mutex<Vec<SigningKey>>,
    shared: SigningKey,
}

impl Keys {
    pub(crate) fn new(shared: &str) -> anyhow::Result<Keys> {
        Ok(Keys { published: Mutex::new(vec![SigningKey::ec()?]), shared: SigningKey::shared(shared) })
    }

    pub(crate) fn rotate(&self, to: Signature) -> anyhow::Result<()> {
        let key = match to {
            Signature::Es256 => SigningKey::ec()?,
            Signature::Rs256 => SigningKey::rsa()?,
            Signature::Hs256 => anyhow::bail!("the shared secret is no signing key; nothing rotates to it"),
        };
        lock(&self.published).push(key);
        Ok(())
    }

    pub(crate) fn revoke_earlier(&self) {
        let mut published = lock(&self.published);
        let earlier = published.len().saturating_sub(1);
        published.drain(..earlier);
    }

    pub(crate) fn sign(&self, claims: &Value) -> anyhow::Result<String> {
        lock(&self.published).last().context("there is always a key in use")?.sign(claims)
    }

    pub(crate) fn sign_legacy(&self, claims: &Value) -> anyhow::Result<String> {
        self.shared.sign(claims)
    }

    pub(crate) fn jwks(&self) -> anyhow::Result<Value> {
        let keys: anyhow::Result<Vec<_>> = lock(&self.published).iter().map(SigningKey::jwk).collect();
        Ok(json!({ "keys": keys? }))
    }
}
