//! The files host: public by URL, gone at their expiry or with a purge.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::State;
use crate::lock::lock;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new().route("/files/{*path}", get(file))
}

/// One file at the files host.
#[derive(Debug, Clone, Serialize)]
pub struct StoredFile {
    /// Its public URL.
    pub url: String,
    /// Its media type.
    pub content_type: String,
    /// Bytes.
    pub size: usize,
    /// By the sandbox clock; `None`: for ever.
    pub expires_at: Option<DateTime<Utc>>,
    /// The request that produced it; `None`: an input that a client uploaded.
    pub request_id: Option<Uuid>,
    #[serde(skip)]
    bytes: Bytes,
}

/// Files by path.
#[derive(Default)]
pub(crate) struct Files {
    by_path: BTreeMap<String, StoredFile>,
}

impl Files {
    pub(crate) fn put(
        &mut self,
        base: &str,
        path: &str,
        content_type: &str,
        bytes: Bytes,
        expires_at: Option<DateTime<Utc>>,
        request_id: Option<Uuid>,
    ) -> String {
        let (url, size) = (format!("{base}{path}"), bytes.len());
        let content_type = content_type.to_owned();
        let file = StoredFile { url: url.clone(), content_type, size, expires_at, request_id, bytes };
        self.by_path.insert(path.to_owned(), file);
        url
    }

    /// Files that did not expire. Expired ones are really dropped here: Fal deletes them hard.
    pub(crate) fn alive(&mut self, now: DateTime<Utc>) -> Vec<StoredFile> {
        self.by_path.retain(|_, file| file.expires_at.is_none_or(|at| now < at));
        self.by_path.values().cloned().collect()
    }

    fn get(&mut self, path: &str, now: DateTime<Utc>) -> Option<StoredFile> {
        let file = self.by_path.get(path)?.clone();
        if file.expires_at.is_some_and(|at| now >= at) {
            self.by_path.remove(path);
            return None;
        }
        Some(file)
    }

    pub(crate) fn remove(&mut self, url: &str) {
        self.by_path.retain(|_, file| file.url != url);
    }
}

async fn file(Shared(state): Shared<Arc<State>>, uri: Uri) -> Response {
    match lock(&state.files).get(uri.path(), state.clock.now()) {
        Some(file) => ([(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
