//! Supabase's stand-in: Auth (admin, key set, user tokens) and Storage (S3 endpoint and the REST calls that matter).
//!
//! What it keeps to: deleting a user answers `{}` and 404 the second time, leaves objects alone, writes an audit row
//! with the e-mail, and does not end tokens; a user's address changes at once, and to one that another user has with a 500; an S3 put always overwrites; `%` and non-ASCII names are refused; REST
//! errors are HTTP 400 with the real number as text. Objects lie under the data directory, one file each.
//! What it never does: row rules. A database is not part of it; `postgres` is.
//!
//! Sources: github.com/supabase/auth bc32168e, github.com/supabase/storage 4fa61fba, supabase.com/docs; November 2026.

mod auth;
mod auth_error;
mod cache;
mod objects;
mod rest;
mod s3;
mod s3_answer;
mod sigv4;
mod tokens;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::calls::{Call, Calls};
use crate::clock::Clock;
use crate::faults::{Fault, Faults};
use crate::front::Front;
use crate::lock::lock;
use crate::server::{Server, base_url, bind};
use crate::token;

pub use auth::{AuditRow, User};
pub use objects::StoredObject;
pub use tokens::{Signature, UserToken};

/// How the stand-in starts.
#[derive(Debug, Clone)]
pub struct SupabaseOptions {
    /// Buckets lie here, one folder each.
    pub data_dir: PathBuf,
    /// Buckets that exist from the start; others answer NoSuchBucket.
    pub buckets: Vec<String>,
    /// Port; 0: any.
    pub port: u16,
}

/// What a client needs to talk to this project.
#[derive(Debug, Clone, Serialize)]
pub struct SupabaseDescription {
    /// In place of `https://REF.supabase.co`.
    pub url: String,
    /// In place of `https://REF.storage.supabase.co/storage/v1/s3`.
    pub s3_endpoint: String,
    /// Region of the S3 endpoint.
    pub s3_region: String,
    /// S3 access key id.
    pub s3_access_key_id: String,
    /// S3 secret.
    pub s3_secret_access_key: String,
    /// Buckets that exist.
    pub buckets: Vec<String>,
    /// `sb_secret_...`: goes in `apikey` only.
    pub secret_key: String,
    /// `sb_publishable_...`.
    pub publishable_key: String,
    /// The shared secret of HS256 tokens, as projects from before signing keys have one.
    pub jwt_secret: String,
    /// `iss` of user tokens.
    pub issuer: String,
    /// The key set that user tokens are checked with.
    pub jwks_url: String,
}

/// A handle on the stand-in; clones share it.
#[derive(Clone)]
pub struct Supabase {
    state: Arc<State>,
    server: Arc<Server>,
}

pub(crate) struct State {
    description: SupabaseDescription,
    clock: Clock,
    faults: Faults,
    calls: Calls,
    objects: objects::Objects,
    uploads: Mutex<s3::Uploads>,
    shown: Mutex<Vec<cache::Shown>>,
    keys: tokens::Keys,
    people: Mutex<auth::People>,
}

impl Supabase {
    pub(crate) async fn start(options: SupabaseOptions, clock: Clock) -> anyhow::Result<Supabase> {
        let listener = bind(options.port).await?;
        let url = base_url(&listener)?;
        let description = SupabaseDescription {
            s3_endpoint: format!("{url}/storage/v1/s3"),
            s3_region: "local".to_owned(),
            s3_access_key_id: token::letters(32).to_lowercase(),
            s3_secret_access_key: token::letters(64).to_lowercase(),
            buckets: options.buckets.clone(),
            secret_key: token::prefixed("sb_secret_"),
            publishable_key: token::prefixed("sb_publishable_"),
            jwt_secret: token::letters(40),
            issuer: format!("{url}/auth/v1"),
            jwks_url: format!("{url}/auth/v1/.well-known/jwks.json"),
            url,
        };
        let state = Arc::new(State {
            objects: objects::Objects::open(&options.data_dir, &options.buckets).await?,
            uploads: Mutex::default(),
            shown: Mutex::default(),
            keys: tokens::Keys::new(&description.jwt_secret)?,
            people: Mutex::default(),
            calls: Calls::default(),
            faults: Faults::default(),
            description,
            clock,
        });
        let front = Front { calls: state.calls.clone(), faults: state.faults.clone(), refuse };
        let router = front.before(auth::router().merge(rest::router()).merge(s3::router()).with_state(state.clone()));
        Ok(Supabase { server: Arc::new(Server::start(listener, router)?), state })
    }

    /// URLs and keys.
    #[must_use]
    pub fn description(&self) -> SupabaseDescription {
        self.state.description.clone()
    }

    /// What can be made to go wrong here. Storage alone: `on: "/storage/"`; Auth alone: `on: "/auth/"`.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// Every HTTP request, in order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state.calls.all()
    }

    /// What lies in a bucket, by key; empty for an unknown bucket.
    #[must_use]
    pub fn objects(&self, bucket: &str) -> Vec<StoredObject> {
        self.state.objects.list(bucket, "")
    }

    /// The bytes of one object.
    ///
    /// # Errors
    /// When there is no such object, or its file cannot be read.
    pub async fn read(&self, bucket: &str, key: &str) -> anyhow::Result<bytes::Bytes> {
        let found = self.state.objects.get(bucket, key).await?;
        found.map(|(_, bytes)| bytes).ok_or_else(|| anyhow::anyhow!("no object {key} in bucket {bucket}"))
    }

    /// Puts an object without HTTP, as a browser's upload would have.
    ///
    /// # Errors
    /// When the bucket or the name is refused, or the file cannot be written.
    pub async fn put(&self, bucket: &str, key: &str, content_type: &str, bytes: bytes::Bytes) -> anyhow::Result<()> {
        self.state.objects.put(bucket, key, content_type, bytes).await?;
        Ok(())
    }

    /// Makes a user. The id is random.
    #[must_use]
    pub fn create_user(&self, email: &str) -> User {
        lock(&self.state.people).create(email, self.state.clock.now())
    }

    /// Users that are not deleted.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        lock(&self.state.people).all()
    }

    /// What Auth wrote down about deletions: it keeps the e-mail of the deleted.
    #[must_use]
    pub fn audit_log(&self) -> Vec<AuditRow> {
        lock(&self.state.people).audit.clone()
    }

    /// A user's access token, of the key in use, good for an hour by the wall clock, also after the user is deleted.
    ///
    /// # Errors
    /// Only when signing fails.
    pub fn mint_user_jwt(&self, subject: uuid::Uuid, email: &str) -> anyhow::Result<String> {
        self.mint(&UserToken::of(subject, email))
    }

    /// A token of any content: expired, of another audience, of another role.
    ///
    /// # Errors
    /// Only when signing fails.
    pub fn mint(&self, token: &UserToken) -> anyhow::Result<String> {
        self.sign_claims(&token.claims(&self.state.description.issuer))
    }

    /// What an ordinary user's token says, before it is signed.
    #[must_use]
    pub fn claims(&self, subject: uuid::Uuid, email: &str) -> serde_json::Value {
        UserToken::of(subject, email).claims(&self.state.description.issuer)
    }

    /// A token that says whatever this is, well signed.
    ///
    /// # Errors
    /// Only when signing fails.
    pub fn sign_claims(&self, claims: &serde_json::Value) -> anyhow::Result<String> {
        self.state.keys.sign(claims)
    }

    /// The same, signed with the shared secret.
    ///
    /// # Errors
    /// Only when signing fails.
    pub fn mint_legacy(&self, token: &UserToken) -> anyhow::Result<String> {
        self.state.keys.sign_legacy(&token.claims(&self.state.description.issuer))
    }

    /// Signs with a new key from now on; the old one stays in the key set.
    ///
    /// # Errors
    /// When no key could be made, and for HS256.
    pub fn rotate_key(&self, to: Signature) -> anyhow::Result<()> {
        self.state.keys.rotate(to)
    }

    /// The key set shows the key in use alone: tokens of earlier ones fail against it.
    pub fn revoke_earlier_keys(&self) {
        self.state.keys.revoke_earlier();
    }

    /// The project goes down.
    pub async fn take_down(&self) {
        self.server.take_down().await;
    }

    /// The project comes back on its port.
    ///
    /// # Errors
    /// When the port was taken meanwhile.
    pub async fn bring_up(&self) -> anyhow::Result<()> {
        self.server.bring_up().await
    }
}

/// What the gateway answers when it is in trouble; S3 clients and REST clients both go by the status.
fn refuse(fault: Fault) -> Response {
    let (status, code, text) = match fault {
        Fault::TooManyRequests { .. } => (429, "SlowDown", "Too many connections issued to the database"),
        Fault::ServerError { status } => (status, "InternalError", "Internal Server Error"),
        Fault::PaymentRequired => (402, "ExceedUsage", "The project has exceeded its usage"),
        _ => (500, "InternalError", "Internal Server Error"),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({ "statusCode": status.as_u16().to_string(), "error": code, "message": text, "code": code });
    let mut response = (status, axum::Json(body)).into_response();
    if let Fault::TooManyRequests { retry_after_seconds: Some(seconds) } = fault {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}
