//! Supabase Auth: deleting a user for good, telling it a corrected address, and checking a user's token.
//!
//! Deleting is repeated until the user is gone: `AlreadyGone` is as good as `Deleted`. It writes a row with the mail
//! address into Supabase's own audit table, which only somebody with database rights can clean.
//! A token is checked by its signature, audience, issuer, role and end; it stays good until its end after the user was
//! deleted, so ask our own tombstone too before anything is paid or destroyed.
//! An address is changed at once and taken as confirmed: no mail goes to the old or the new one. A user who is not there is not
//! made by it. What Auth answers to an address that another user there has is a 500 without a word of its own.
//! Source: github.com/supabase/auth at bc32168e (internal/api/admin.go, jwks.go) and supabase.com/docs/guides/auth,
//! read November 2026; where its OpenAPI file differs, the code counts. Of `PUT /admin/users/{id}` adminUserUpdate of the same
//! file at b1cd2b03 and github.com/supabase/auth/pull/2014 (422 `email_exists` instead of the 500, not merged then), read 2026-11-27.

use std::time::Duration;

use reqwest::{
    Client, Method,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    ConfigError, Secret,
    http::{Answer, Base, Limits, client, exchange, retry_after, secret_header},
};
use crate::gate::{Allowed, Host};

mod token;

pub use token::{TokenError, UserClaims, UserTokens, UserTokensConfig};

/// Auth's answers are short, in bytes.
const MOST: usize = 64 * 1024;
/// When Auth is busy and does not say for how long.
const BUSY_PAUSE: Duration = Duration::from_secs(2);
const APIKEY: HeaderName = HeaderName::from_static("apikey");

/// Where the project is and who we are.
#[derive(Clone)]
pub struct AuthConfig {
    /// `https://REF.supabase.co`
    pub project_url: String,
    /// `sb_secret_…`, or the older service_role key, which is a JWT.
    pub service_key: Secret,
    /// The longest one call may take.
    pub timeout: Duration,
}

/// What deleting a user found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserDeletion {
    /// Supabase says it deleted the user now.
    Deleted,
    /// There was no such user any more.
    AlreadyGone,
}

/// What telling a user's address found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressChange {
    /// Supabase answered with the user, who has that address now.
    Changed,
    /// There is no such user: nobody was told, and nobody was made.
    NoSuchUser,
}

/// Why a user was not deleted or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The database kept the row, most often because another table refers to it.
    #[error(
        "Supabase Auth could not delete the user (`{code}`, 500); look for a foreign key to auth.users without `on delete cascade`"
    )]
    Kept {
        /// Supabase's word for it.
        code: String,
    },
    /// The address is as it was, most often because another user of the project has the new one.
    #[error(
        "Supabase Auth did not change the user's address (`{code}`); see whether another user of the project has it"
    )]
    Unchanged {
        /// Supabase's word for it, `other_address` where it answered with another one than it was told.
        code: String,
    },
    /// It says so: another user of the project has the address, or it is none.
    #[error(
        "Supabase Auth does not take the address (`{code}`, {status}); correct it there or here, a repeat will not help"
    )]
    BadAddress {
        /// Supabase's word for it.
        code: String,
        /// 400 or 422.
        status: u16,
    },
    /// The key is wrong or not of the service role.
    #[error("Supabase Auth does not accept the key (`{code}`, {status}); check SUPABASE_SERVICE_KEY")]
    NotAllowed {
        /// Supabase's word for it.
        code: String,
        /// 401 or 403.
        status: u16,
    },
    /// Another refusal; a 404 for anything but the user is one, since it may be a wrong address.
    #[error("Supabase Auth refused with `{code}` ({status}); check SUPABASE_URL, a repeat will not help")]
    Refused {
        /// Supabase's word for it, or `http_` and the status.
        code: String,
        /// The HTTP status.
        status: u16,
    },
    /// Too many requests.
    #[error("Supabase Auth is busy; ask again after {after:?}")]
    Busy {
        /// Its wish, or two seconds.
        after: Duration,
    },
    /// No answer, or a fault on the way. Deleting again is harmless.
    #[error("Supabase Auth could not be reached: {why}; ask again later")]
    Unreachable {
        /// What happened on the way.
        why: &'static str,
    },
}

/// The client for Auth's admin calls. Made once; clones share connections.
#[derive(Clone)]
pub struct Auth {
    http: Client,
    base: Base,
    headers: HeaderMap,
}

impl Auth {
    /// Checks the settings; sends nothing.
    pub fn new(config: &AuthConfig) -> Result<Self, ConfigError> {
        let base = Base::parse("supabase", &config.project_url)?;
        let limits = Limits { connect: config.timeout.min(Duration::from_secs(5)), total: config.timeout };
        let http = client("supabase", &[&base], limits)?;
        Ok(Self { http, base, headers: key_headers(config.service_key.expose())? })
    }

    /// Deletes the user for good, not softly: a soft deletion keeps the row. Sent once; the caller repeats.
    pub async fn delete_user(&self, user: Uuid) -> Result<UserDeletion, AuthError> {
        let request = self
            .http
            .request(Method::DELETE, self.base.at(&format!("/auth/v1/admin/users/{user}")))
            .headers(self.headers.clone())
            .json(&json!({ "should_soft_delete": false }));
        let answer = exchange(request, MOST).await.map_err(|lost| AuthError::Unreachable { why: lost.why() })?;
        let code = code_of(&answer);
        match answer.status.as_u16() {
            200..=299 => Ok(UserDeletion::Deleted),
            404 if code == "user_not_found" => Ok(UserDeletion::AlreadyGone),
            500 => Err(AuthError::Kept { code }),
            _ => Err(refusal(&answer, code)),
        }
    }

    /// Tells Auth the address that a user has now. Sent once; the caller repeats, which changes nothing more.
    pub async fn change_address(
        &self,
        _proof: &Allowed<Host>,
        user: Uuid,
        address: &Secret,
    ) -> Result<AddressChange, AuthError> {
        self.put_address(user, address).await
    }

    async fn put_address(&self, user: Uuid, address: &Secret) -> Result<AddressChange, AuthError> {
        let request = self
            .http
            .request(Method::PUT, self.base.at(&format!("/auth/v1/admin/users/{user}")))
            .headers(self.headers.clone())
            .json(&json!({ "email": address.expose(), "email_confirm": true }));
        let answer = exchange(request, MOST).await.map_err(|lost| AuthError::Unreachable { why: lost.why() })?;
        let code = code_of(&answer);
        match answer.status.as_u16() {
            // Success is a claim: the user in the answer has the address, which Auth writes in small letters.
            200..=299 if has_address(&answer, address) => Ok(AddressChange::Changed),
            200..=299 => Err(AuthError::Unchanged { code: "other_address".to_owned() }),
            404 if code == "user_not_found" => Ok(AddressChange::NoSuchUser),
            status @ (400 | 422) => Err(AuthError::BadAddress { code, status }),
            500 => Err(AuthError::Unchanged { code }),
            _ => Err(refusal(&answer, code)),
        }
    }
}

/// What each call of the admin may be answered with.
fn refusal(answer: &Answer, code: String) -> AuthError {
    match answer.status.as_u16() {
        status @ (401 | 403) => AuthError::NotAllowed { code, status },
        429 => AuthError::Busy { after: retry_after(&answer.headers).unwrap_or(BUSY_PAUSE) },
        500.. => AuthError::Unreachable { why: "Supabase answered with a fault of its own" },
        status => AuthError::Refused { code, status },
    }
}

fn has_address(answer: &Answer, wanted: &Secret) -> bool {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body["email"].as_str().is_some_and(|said| said.to_lowercase() == wanted.expose().trim().to_lowercase())
}

/// New keys are no JWTs and are refused as a bearer; older ones must be both.
fn key_headers(key: &str) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    headers.insert(APIKEY, secret_header("supabase", key, key)?);
    headers.insert("x-supabase-api-version", HeaderValue::from_static("2024-01-01"));
    if !key.starts_with("sb_") {
        headers.insert(AUTHORIZATION, secret_header("supabase", &format!("Bearer {key}"), key)?);
    }
    Ok(headers)
}

/// Both shapes: `{"code": "word"}` of the named API version, and the older `{"code": 404, "error_code": "word"}`.
fn code_of(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let header = answer.headers.get("x-sb-error-code").and_then(|value| value.to_str().ok());
    let word =
        |text: &&str| !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    header
        .or(body["error_code"].as_str())
        .or(body["code"].as_str())
        .filter(word)
        .map_or_else(|| format!("http_{}", answer.status.as_u16()), str::to_owned)
}

#[cfg(test)]
mod tests;
