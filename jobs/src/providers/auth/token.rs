//! A user's access token: is it from this project's Auth, for a signed-in user, and still good?
//!
//! The algorithm decides which key is looked at and never the other way round: a token that says HS256 is only ever
//! checked with the shared secret, one that says ES256 or RS256 only with a published key. `none` is not known here.

use std::time::Duration;

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{Jwk, JwkSet},
};
use serde::Deserialize;
use uuid::Uuid;

use crate::providers::{
    ConfigError, Secret,
    http::{Base, Limits, client},
    jwks::Jwks,
};

/// Supabase lets its keys be kept for ten minutes, in seconds.
const KEYS_LIVE: i64 = 600;
/// Clocks may differ by this much at a token's end, in seconds.
const LEEWAY: i64 = 60;
/// Who a token for a signed-in user is made for, and the role it gives.
const AUTHENTICATED: &str = "authenticated";
/// No real token is longer, in bytes.
const LONGEST: usize = 16 * 1024;

/// Who the token is about. Mail address and phone number, which stand beside it, are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserClaims {
    /// The user's id at Supabase Auth.
    pub sub: Uuid,
    /// When it ends, in Unix seconds.
    pub exp: i64,
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a JWT, or signed in a way that this project does not use.
    #[error("the token is not one that this project issues; sign in again")]
    Malformed,
    /// The signature is not of this project, or audience, issuer or subject are not.
    #[error("the token was not issued by this project for its users; sign in again")]
    Forged,
    /// It has ended.
    #[error("the token has ended; refresh it")]
    Expired,
    /// It has not begun.
    #[error("the token does not hold yet; look at the clock of who issued it")]
    NotYet,
    /// A key of the service or of nobody, where a person is needed.
    #[error("the token is not that of a signed-in user")]
    NotAUser,
    /// The published keys could not be fetched: nothing is known about the token. Answer 503.
    #[error("Supabase's public keys could not be fetched; the token is neither believed nor refused, try again")]
    NoKeys,
}

/// Whose tokens are believed. No key of the service is needed for it.
#[derive(Clone)]
pub struct UserTokensConfig {
    /// `https://REF.supabase.co`
    pub project_url: String,
    /// The older shared secret that signs user tokens; `None` for projects with signing keys.
    pub legacy_jwt_secret: Option<Secret>,
    /// What tokens name as their issuer; `None` for `{project_url}/auth/v1`.
    pub issuer: Option<String>,
    /// The longest that fetching the keys may take.
    pub timeout: Duration,
}

/// The check, with the project's keys in memory. Made once.
pub struct UserTokens {
    keys: Jwks<JwkSet>,
    shared: Option<Secret>,
    issuer: String,
}

#[derive(Deserialize)]
struct Wire {
    sub: Uuid,
    exp: i64,
    nbf: Option<i64>,
    role: Option<String>,
}

impl UserTokens {
    /// Checks the settings; fetches nothing yet.
    pub fn new(config: &UserTokensConfig) -> Result<Self, ConfigError> {
        let base = Base::parse("supabase", &config.project_url)?;
        if config.legacy_jwt_secret.as_ref().is_some_and(|secret| secret.expose().len() < 32) {
            return Err(ConfigError::BadSetting {
                what: "supabase JWT secret",
                why: "shorter than 32 characters; anybody could sign tokens",
            });
        }
        let limits = Limits { connect: config.timeout.min(Duration::from_secs(5)), total: config.timeout };
        let http = client("supabase", &[&base], limits)?;
        let read: fn(&[u8]) -> Option<JwkSet> = |body| serde_json::from_slice(body).ok();
        Ok(Self {
            keys: Jwks::new(http, base.at("/auth/v1/.well-known/jwks.json"), KEYS_LIVE, read),
            shared: config.legacy_jwt_secret.clone(),
            issuer: config.issuer.clone().unwrap_or_else(|| base.at("/auth/v1")),
        })
    }

    /// Checks a token. `now` in Unix seconds.
    pub async fn verify_user_jwt(&self, token: &str, now: i64) -> Result<UserClaims, TokenError> {
        if token.len() > LONGEST {
            return Err(TokenError::Malformed);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        let key = match header.alg {
            Algorithm::HS256 => {
                let secret = self.shared.as_ref().ok_or(TokenError::Malformed)?;
                DecodingKey::from_secret(secret.expose().as_bytes())
            }
            Algorithm::ES256 | Algorithm::RS256 => {
                self.published(header.kid.as_deref().ok_or(TokenError::Malformed)?, now).await?
            }
            _ => return Err(TokenError::Malformed),
        };
        let mut wanted = Validation::new(header.alg);
        wanted.set_audience(&[AUTHENTICATED]);
        wanted.set_issuer(&[&self.issuer]);
        wanted.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        wanted.validate_exp = false; // below, by the caller's clock
        let claims = decode::<Wire>(token, &key, &wanted).map_err(|_| TokenError::Forged)?.claims;
        if now >= claims.exp.saturating_add(LEEWAY) {
            return Err(TokenError::Expired);
        }
        if claims.nbf.is_some_and(|from| now < from.saturating_sub(LEEWAY)) {
            return Err(TokenError::NotYet);
        }
        if claims.role.as_deref() != Some(AUTHENTICATED) {
            return Err(TokenError::NotAUser);
        }
        Ok(UserClaims { sub: claims.sub, exp: claims.exp })
    }

    async fn published(&self, kid: &str, now: i64) -> Result<DecodingKey, TokenError> {
        let kept = self.keys.keys(now).await.map_err(|_| TokenError::NoKeys)?;
        if let Some(key) = kept.find(kid) {
            return decoding_key(key);
        }
        // Perhaps the project has a new key.
        let newer = self.keys.newer(now).await.map_err(|_| TokenError::NoKeys)?.ok_or(TokenError::Forged)?;
        newer.find(kid).ok_or(TokenError::Forged).and_then(decoding_key)
    }
}

fn decoding_key(key: &Jwk) -> Result<DecodingKey, TokenError> {
    DecodingKey::from_jwk(key).map_err(|_| TokenError::Forged)
}
