//! User access tokens (ES256) and the key set they are checked with.
//! Claims as in supabase.com/docs guides/auth/jwt-fields, November 2026.

use std::sync::Mutex;

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

/// The signing key in use.
pub(crate) struct Keys {
    current: Mutex<SigningKey>,
}

impl Keys {
    pub(crate) fn new() -> anyhow::Result<Keys> {
        Ok(Keys { current: Mutex::new(SigningKey::ec()?) })
    }

    pub(crate) fn rotate(&self) -> anyhow::Result<()> {
        *lock(&self.current) = SigningKey::ec()?;
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
        lock(&self.current).sign(&claims)
    }

    pub(crate) fn jwks(&self) -> anyhow::Result<Value> {
        Ok(json!({ "keys": [lock(&self.current).jwk()?] }))
    }
}
