//! Send, send many, look.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use super::State;
use super::error::ResendError;
use super::mail::Mail;
use crate::faults::Fault;
use crate::lock::lock;

const MOST_IN_A_BATCH: usize = 100;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/emails", post(send).get(list))
        .route("/emails/batch", post(send_batch))
        .route("/emails/{id}", get(show))
        .method_not_allowed_fallback(async || {
            ResendError::new(405, "method_not_allowed", "This endpoint does not support this method.").response()
        })
        .fallback(async || ResendError::new(404, "not_found", "The requested endpoint does not exist.").response())
        .layer(axum::extract::DefaultBodyLimit::disable())
}

impl State {
    /// The refusal, if any: no User-Agent, no key, a wrong key.
    fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        if headers.get(header::USER_AGENT).is_none_or(|agent| agent.is_empty()) {
            // Their edge refuses, not the API: another body.
            let body = "error code: 1010";
            return Some((axum::http::StatusCode::FORBIDDEN, body).into_response());
        }
        let sent = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        match sent.and_then(|v| v.strip_prefix("Bearer ")) {
            Some(key) if key == self.description.api_key => None,
            Some(_) => Some(ResendError::new(403, "invalid_api_key", "API key is invalid").response()),
            None => Some(ResendError::new(401, "missing_api_key", "Missing API Key").response()),
        }
    }

    /// Runs a send under its idempotency key, if it has one. It goes on when the client hangs up.
    async fn keyed(
        self: Arc<Self>,
        headers: &HeaderMap,
        asked: (String, Value),
        run: impl FnOnce(&State, Option<&str>) -> Result<Value, ResendError> + Send + 'static,
    ) -> Response {
        let key = headers.get("idempotency-key").map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        if let Some(key) = &key {
            match lock(&self.keys).begin(key, asked, self.clock.now()) {
                Ok(None) => {}
                Ok(Some(answer)) => return Json(answer).into_response(),
                Err(error) => return error.response(),
            }
        }
        let work = tokio::spawn(async move {
            if key.is_some() {
                let mut held = self.held.subscribe();
                let _ = held.wait_for(|held| !held).await;
            }
            let result = run(&self, key.as_deref());
            if let Some(key) = &key {
                lock(&self.keys).end(key, result.as_ref().ok().cloned());
            }
            result
        });
        let broken = |_| Err(ResendError::new(500, "application_error", "An unexpected error occurred."));
        match work.await.unwrap_or_else(broken) {
            Ok(answer) => Json(answer).into_response(),
            Err(error) => error.response(),
        }
    }
}

fn read_json(body: &Bytes) -> Result<Value, ResendError> {
    let wrong = |_| ResendError::new(400, "validation_error", "The request body is not valid JSON.");
    serde_json::from_slice(body).map_err(wrong)
}

async fn send(Shared(state): Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    let wish = match read_json(&body) {
        Ok(wish) => wish,
        Err(error) => return error.response(),
    };
    let asked = ("/emails".to_owned(), wish.clone());
    let run = move |state: &State, key: Option<&str>| {
        let mut mail = Mail::read(&wish, key, state.clock.now())?;
        if state.faults.take(&format!("mail to {}", mail.to.join(" ")), Fault::MailBounces) {
            "bounced".clone_into(&mut mail.last_event);
        }
        let answer = json!({ "id": mail.id });
        lock(&state.mails).push(mail);
        Ok(answer)
    };
    state.keyed(&headers, asked, run).await
}

/// Strict (default): one bad mail refuses all. Permissive: the good ones go, the bad ones are named.
async fn send_batch(Shared(state): Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    let wish = match read_json(&body) {
        Ok(wish) => wish,
        Err(error) => return error.response(),
    };
    let permissive = headers.get("x-batch-validation").is_some_and(|v| v.as_bytes() == b"permissive");
    let asked = ("/emails/batch".to_owned(), wish.clone());
    let run = move |state: &State, key: Option<&str>| {
        let wishes = wish.as_array().filter(|wishes| (1..=MOST_IN_A_BATCH).contains(&wishes.len()));
        let text = "A batch holds between 1 and 100 emails.";
        let wishes = wishes.ok_or_else(|| ResendError::new(422, "validation_error", text))?;
        let (mut good, mut errors) = (Vec::new(), Vec::new());
        for (index, wish) in wishes.iter().enumerate() {
            match Mail::read(wish, key, state.clock.now()) {
                Ok(mail) => good.push(mail),
                Err(error) if permissive => errors.push(json!({ "index": index, "message": error.message() })),
                Err(error) => return Err(error),
            }
        }
        let data: Vec<Value> = good.iter().map(|mail| json!({ "id": mail.id })).collect();
        lock(&state.mails).extend(good);
        let mut answer = json!({ "data": data });
        if permissive {
            answer["errors"] = json!(errors);
        }
        Ok(answer)
    };
    state.keyed(&headers, asked, run).await
}

fn shown(mail: &Mail) -> Value {
    json!({
        "object": "email",
        "id": mail.id,
        "to": mail.to,
        "from": mail.from,
        "created_at": mail.created_at,
        "subject": mail.subject,
        "html": mail.html,
        "text": mail.text,
        "bcc": [], "cc": [], "reply_to": [],
        "last_event": mail.last_event,
        "scheduled_at": null,
        "tags": mail.tags,
    })
}

async fn show(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    match lock(&state.mails).iter().find(|mail| mail.id == id) {
        Some(mail) => Json(shown(mail)).into_response(),
        None => ResendError::new(404, "not_found", "Email not found").response(),
    }
}

async fn list(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    let mails: Vec<Value> = lock(&state.mails).iter().rev().take(MOST_IN_A_BATCH).map(shown).collect();
    let has_more = lock(&state.mails).len() > mails.len();
    Json(json!({ "object": "list", "has_more": has_more, "data": mails })).into_response()
}
