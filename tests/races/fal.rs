//! A Fal that has finished everything at once. It notes what it accepted, by the token in the webhook address, and whether
//! its answer comes back is for the test to say. The wire contract is the stand-in's business (`sandbox/`), not this one's.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{WORKER, turnstile::Turnstile};

/// One request that it took.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub token: String,
    pub request: String,
}

/// Clones are the same one.
#[derive(Clone)]
pub struct QuickFal(Arc<Inner>);

struct Inner {
    url: String,
    turnstile: Turnstile,
    loses_answers: AtomicBool,
    accepted: Mutex<Vec<Accepted>>,
    news: Notify,
}

#[derive(Deserialize)]
struct Submit {
    fal_webhook: Option<String>,
}

impl QuickFal {
    pub async fn start(turnstile: Turnstile) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let fal = Self(Arc::new(Inner {
            url: format!("http://{}", listener.local_addr().expect("an address")),
            turnstile,
            loses_answers: AtomicBool::new(false),
            accepted: Mutex::new(Vec::new()),
            news: Notify::new(),
        }));
        let router = Router::new().fallback(answer).with_state(fal.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fal
    }

    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Forget what was, and say whether answers to submits come back from now on.
    pub fn begins(&self, loses_answers: bool) {
        self.0.loses_answers.store(loses_answers, Ordering::SeqCst);
        self.lock().clear();
    }

    pub fn loses_answers(&self) -> bool {
        self.0.loses_answers.load(Ordering::SeqCst)
    }

    pub fn accepted(&self) -> Vec<Accepted> {
        self.lock().clone()
    }

    /// The first request that it takes.
    pub async fn takes_one(&self) -> Accepted {
        loop {
            let news = self.0.news.notified();
            if let Some(first) = self.lock().first().cloned() {
                return first;
            }
            news.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Accepted>> {
        self.0.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(fal): State<QuickFal>, Query(submit): Query<Submit>, request: Request) -> Response {
    let (base, path) = (fal.url(), request.uri().path().to_owned());
    let file = json!({ "url": format!("{base}/files/one"), "content_type": "application/octet-stream" });
    match (request.method(), submit.fal_webhook) {
        (&Method::POST, Some(webhook)) => {
            let token = webhook.rsplit('/').next().unwrap_or_default().to_owned();
            let id = Uuid::new_v4().to_string();
            fal.lock().push(Accepted { token, request: id.clone() });
            fal.0.news.notify_waiters();
            // Accepted, and the answer is on its way for as long as the dice want.
            fal.0.turnstile.turn(WORKER).await;
            if fal.loses_answers() {
                return StatusCode::BAD_GATEWAY.into_response();
            }
            let at = format!("{base}{path}/requests/{id}");
            let urls = json!({ "request_id": id, "response_url": at, "status_url": format!("{at}/status"), "cancel_url": format!("{at}/cancel") });
            Json(urls).into_response()
        }
        (&Method::GET, _) if path.starts_with("/files/") => vec![7_u8; 64].into_response(),
        _ if path.ends_with("/status") => Json(json!({ "status": "COMPLETED" })).into_response(),
        _ => {
            Json(json!({ "diffusers_lora_file": file, "images": [file], "has_nsfw_concepts": [false] })).into_response()
        }
    }
}
