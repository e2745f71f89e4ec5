//! Auth: the admin's user calls, the user's own look, the key set.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State as Shared};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::State;
use super::auth_error::auth_error;
use crate::faults::Fault;
use crate::lock::lock;

/// A user as Auth shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// The user's id, `sub` of the tokens.
    pub id: Uuid,
    /// `authenticated`.
    pub aud: String,
    /// `authenticated`.
    pub role: String,
    /// As given at sign-up, or as the admin changed it: then in small letters.
    pub email: String,
    /// When the admin said that the address is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_confirmed_at: Option<DateTime<Utc>>,
    /// Sandbox clock.
    pub created_at: DateTime<Utc>,
}

/// One row of `auth.audit_log_entries`: it outlives the user, with the e-mail in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// `user_deleted`, `user_modified`.
    pub action: String,
    /// The user's id.
    pub user_id: Uuid,
    /// The user's e-mail, of a changed one the new one.
    pub user_email: String,
    /// Sandbox clock.
    pub created_at: DateTime<Utc>,
}

/// The users.
#[derive(Default)]
pub(crate) struct People {
    users: BTreeMap<Uuid, User>,
    pub(crate) audit: Vec<AuditRow>,
}

impl People {
    pub(crate) fn create(&mut self, email: &str, now: DateTime<Utc>) -> User {
        let word = || "authenticated".to_owned();
        let user = User {
            id: Uuid::new_v4(),
            aud: word(),
            role: word(),
            email: email.to_owned(),
            email_confirmed_at: None,
            created_at: now,
        };
        self.users.insert(user.id, user.clone());
        user
    }

    pub(crate) fn all(&self) -> Vec<User> {
        self.users.values().cloned().collect()
    }

    /// None: the index over addresses refuses it, because another user has this one.
    fn change(&mut self, id: Uuid, email: Option<&str>, confirm: bool, now: DateTime<Utc>) -> Option<User> {
        if self.users.values().any(|user| user.id != id && Some(user.email.to_lowercase().as_str()) == email) {
            return None;
        }
        let user = self.users.get_mut(&id)?;
        if let Some(email) = email {
            email.clone_into(&mut user.email);
        }
        if confirm {
            user.email_confirmed_at.get_or_insert(now);
        }
        let user = user.clone();
        let (action, user_email) = ("user_modified".to_owned(), user.email.clone());
        self.audit.push(AuditRow { action, user_id: id, user_email, created_at: now });
        Some(user)
    }

    fn delete(&mut self, id: Uuid, now: DateTime<Utc>) -> bool {
        let Some(user) = self.users.remove(&id) else { return false };
        let (action, user_email) = ("user_deleted".to_owned(), user.email);
        self.audit.push(AuditRow { action, user_id: id, user_email, created_at: now });
        true
    }
}

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/auth/v1/.well-known/jwks.json", get(jwks))
        .route("/auth/v1/admin/users", get(list).post(create))
        .route("/auth/v1/admin/users/{id}", get(show).put(change).delete(remove))
}

impl State {
    /// The gateway's refusal, unless there is a secret key in `apikey` and no other key beside it.
    pub(crate) fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        let sent = |name| headers.get(name).and_then(|v| v.to_str().ok());
        let Some(key) = sent("apikey") else {
            let body = json!({ "message": "No API key found in request" });
            return Some((axum::http::StatusCode::UNAUTHORIZED, Json(body)).into_response());
        };
        let browser = sent("user-agent").is_some_and(|agent| agent.contains("Mozilla/"));
        if browser && key == self.description.secret_key {
            let body = json!({ "message": "Secret API key used in a browser" });
            return Some((axum::http::StatusCode::UNAUTHORIZED, Json(body)).into_response());
        }
        if let Some(bearer) = sent("authorization").and_then(|v| v.strip_prefix("Bearer "))
            && bearer != key
        {
            return Some(auth_error(headers, 403, "bad_jwt", "invalid JWT: unable to parse or verify signature"));
        }
        if key == self.description.secret_key {
            return None;
        }
        if key == self.description.publishable_key {
            return Some(auth_error(headers, 403, "not_admin", "User not allowed"));
        }
        Some(auth_error(headers, 401, "no_authorization", "This endpoint requires a valid API key"))
    }
}

async fn jwks(Shared(state): Shared<Arc<State>>) -> Response {
    if state.faults.take("GET /auth/v1/.well-known/jwks.json", Fault::EmptyKeySet) {
        return ([(header::CACHE_CONTROL, "public, max-age=600")], Json(json!({ "keys": [] }))).into_response();
    }
    match state.keys.jwks() {
        Ok(keys) => ([(header::CACHE_CONTROL, "public, max-age=600")], Json(keys)).into_response(),
        Err(error) => {
            tracing::warn!(%error, "the sandbox could not show its key set");
            axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn list(Shared(state): Shared<Arc<State>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    let query = query.unwrap_or_default();
    let number = |name: &str| {
        let found = url::form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name);
        found.and_then(|(_, v)| v.parse::<usize>().ok())
    };
    let (page, size) = (number("page").unwrap_or(1).max(1), number("per_page").unwrap_or(50).clamp(1, 1000));
    let all = lock(&state.people).all();
    let users: Vec<&User> = all.iter().skip((page - 1) * size).take(size).collect();
    let count = all.len().to_string();
    ([("x-total-count", count)], Json(json!({ "users": users, "aud": "authenticated" }))).into_response()
}

async fn create(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Json(wish): Json<Value>) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    let Some(email) = wish["email"].as_str().filter(|email| email.contains('@')) else {
        return auth_error(&headers, 400, "validation_failed", "Cannot create a user without an email");
    };
    let mut people = lock(&state.people);
    if people.users.values().any(|user| user.email == email) {
        return auth_error(&headers, 422, "email_exists", "A user with this email address has already been registered");
    }
    Json(people.create(email, state.clock.now())).into_response()
}

fn not_an_id(headers: &HeaderMap) -> Response {
    auth_error(headers, 404, "validation_failed", "user_id must be an UUID")
}

async fn show(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    let Ok(id) = Uuid::parse_str(&id) else { return not_an_id(&headers) };
    match lock(&state.people).users.get(&id) {
        Some(user) => Json(user).into_response(),
        None => auth_error(&headers, 404, "user_not_found", "User not found"),
    }
}

/// adminUserUpdate of internal/api/admin.go, b1cd2b03: no mail goes out, and what the database refuses is a 500 without a reason.
async fn change(
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    let Ok(id) = Uuid::parse_str(&id) else { return not_an_id(&headers) };
    let mut people = lock(&state.people);
    if !people.users.contains_key(&id) {
        return auth_error(&headers, 404, "user_not_found", "User not found");
    }
    let Ok(wish) = serde_json::from_slice::<Value>(&body) else {
        return auth_error(&headers, 400, "bad_json", "Could not parse request body as JSON");
    };
    let email = wish["email"].as_str().filter(|email| !email.is_empty()).map(str::to_lowercase);
    // By a pattern of ASCII letters: an address of others, which mailers take, is none to it.
    let is_one = |email: &str| {
        email.is_ascii() && email.split_once('@').is_some_and(|(who, at)| !who.is_empty() && at.contains('.'))
    };
    if email.as_deref().is_some_and(|email| !is_one(email) || email.contains(char::is_whitespace)) {
        return auth_error(&headers, 400, "validation_failed", "Unable to validate email address: invalid format");
    }
    let confirm = wish["email_confirm"].as_bool().unwrap_or_default();
    match people.change(id, email.as_deref(), confirm, state.clock.now()) {
        Some(user) => Json(user).into_response(),
        None => auth_error(&headers, 500, "unexpected_failure", "Error updating user"),
    }
}

async fn remove(
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    let Ok(id) = Uuid::parse_str(&id) else { return not_an_id(&headers) };
    if !body.is_empty() && serde_json::from_slice::<Value>(&body).is_err() {
        return auth_error(&headers, 400, "bad_json", "Could not parse request body as JSON");
    }
    if state.faults.take(&format!("DELETE /auth/v1/admin/users/{id}"), Fault::UserDeletionFails) {
        return auth_error(&headers, 500, "unexpected_failure", "Database error deleting user");
    }
    if lock(&state.people).delete(id, state.clock.now()) {
        // The OpenAPI file promises the user; the code answers an empty object (internal/api/admin.go).
        return Json(json!({})).into_response();
    }
    auth_error(&headers, 404, "user_not_found", "User not found")
}
