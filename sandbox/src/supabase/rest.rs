//! Storage's REST calls: upload, read, remove, list, sign. The product uses S3; these are for web backends and doubters.
//!
//! Nearly every error is HTTP 400 with the real number as text in the body.

use std::sync::Arc;

use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::State;
use super::objects::ObjectError;
use crate::faults::Fault;

/// The most names that one removal takes.
const MOST_NAMES: usize = 1000;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/storage/v1/object/list/{bucket}", post(list))
        .route("/storage/v1/object/sign/{bucket}/{*path}", post(sign).get(read_signed))
        .route("/storage/v1/object/authenticated/{bucket}/{*path}", get(read))
        .route("/storage/v1/object/{bucket}", delete(remove))
        .route("/storage/v1/object/{bucket}/{*path}", get(read).post(upload).put(replace))
        .layer(axum::extract::DefaultBodyLimit::disable())
}

fn storage_error(status: &str, code: &str, message: &str) -> Response {
    let error = if status == "404" { "not_found" } else { code };
    let body = json!({ "statusCode": status, "error": error, "message": message, "code": code });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

fn refused(why: &ObjectError) -> Response {
    match why {
        ObjectError::NoSuchBucket => storage_error("404", "NoSuchBucket", "Bucket not found"),
        ObjectError::InvalidKey => storage_error("400", "InvalidKey", "Invalid key"),
        ObjectError::Disk(_) => storage_error("500", "InternalError", "Internal Server Error"),
    }
}

type Target = Path<(String, String)>;

async fn upload(state: Shared<Arc<State>>, target: Target, headers: HeaderMap, body: Bytes) -> Response {
    let upsert = headers.get("x-upsert").is_some_and(|v| v.as_bytes() == b"true");
    put(state, target, headers, body, upsert).await
}

async fn replace(state: Shared<Arc<State>>, target: Target, headers: HeaderMap, body: Bytes) -> Response {
    put(state, target, headers, body, true).await
}

async fn put(
    Shared(state): Shared<Arc<State>>,
    Path((bucket, path)): Target,
    headers: HeaderMap,
    body: Bytes,
    upsert: bool,
) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    match state.objects.head(&bucket, &path) {
        Err(why) => return refused(&why),
        Ok(Some(_)) if !upsert => return storage_error("409", "Duplicate", "The resource already exists"),
        Ok(_) => {}
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/octet-stream");
    let (kind, body) = match kind.split_once("boundary=") {
        Some((_, boundary)) => match file_in(&body, boundary.trim_matches('"')) {
            Some(file) => file,
            None => return storage_error("400", "InvalidRequest", "the form holds no file"),
        },
        None => (kind.to_owned(), body),
    };
    match state.objects.put(&bucket, &path, &kind, body).await {
        Ok(_) => Json(json!({ "Id": uuid::Uuid::new_v4(), "Key": format!("{bucket}/{path}") })).into_response(),
        Err(why) => refused(&why),
    }
}

/// Type and bytes of the first file of a form: the clients for Python, and for browsers, upload that way.
fn file_in(form: &Bytes, boundary: &str) -> Option<(String, Bytes)> {
    let find = |from: usize, what: &[u8]| {
        form.get(from..)?.windows(what.len()).position(|window| window == what).map(|at| from + at)
    };
    let line = format!("--{boundary}\r\n");
    let mut at = find(0, line.as_bytes())? + line.len();
    loop {
        let head_ends = find(at, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&form[at..head_ends]).into_owned();
        let ends = find(head_ends + 4, format!("\r\n--{boundary}").as_bytes())?;
        if head.to_ascii_lowercase().contains("filename=") {
            let kind = head
                .lines()
                .find_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-type")));
            let kind = kind.map_or("application/octet-stream", |(_, kind)| kind.trim());
            return Some((kind.to_owned(), form.slice(head_ends + 4..ends)));
        }
        at = ends + line.len() + 2;
    }
}

async fn read(Shared(state): Shared<Arc<State>>, Path((bucket, path)): Target, headers: HeaderMap) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    send(&state, &bucket, &path).await
}

async fn send(state: &State, bucket: &str, path: &str) -> Response {
    let found = state.objects.get(bucket, path).await.map(|found| found.or_else(|| state.still_shown(bucket, path)));
    match found {
        Ok(Some((object, bytes))) => ([(header::CONTENT_TYPE, object.content_type)], bytes).into_response(),
        Ok(None) => storage_error("404", "NoSuchKey", "Object not found"),
        Err(why) => refused(&why),
    }
}

/// Answers the rows really deleted; missing names are silently absent.
async fn remove(
    Shared(state): Shared<Arc<State>>,
    Path(bucket): Path<String>,
    headers: HeaderMap,
    Json(wish): Json<Value>,
) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    let names: Vec<&str> = wish["prefixes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() || names.len() > MOST_NAMES {
        return storage_error("400", "InvalidRequest", "prefixes must hold 1 to 1000 names");
    }
    let mut rows = Vec::new();
    for name in names {
        if state.faults.take(&format!("DELETE {name}"), Fault::DeleteRemovesNothing) {
            continue;
        }
        match state.delete_object(&bucket, name).await {
            Ok(true) => rows.push(json!({ "bucket_id": bucket, "name": name })),
            Ok(false) | Err(ObjectError::InvalidKey) => {}
            Err(why) => return refused(&why),
        }
    }
    Json(rows).into_response()
}

/// One level only; folders have a null id.
async fn list(
    Shared(state): Shared<Arc<State>>,
    Path(bucket): Path<String>,
    headers: HeaderMap,
    Json(wish): Json<Value>,
) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    let Some(prefix) = wish["prefix"].as_str() else {
        return storage_error("400", "InvalidRequest", "body must have required property 'prefix'");
    };
    let folder = if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") };
    let mut rows: Vec<Value> = Vec::new();
    let empty = state.faults.take(&format!("LIST {folder}"), Fault::ListIsEmpty);
    for object in if empty { Vec::new() } else { state.objects.list(&bucket, &folder) } {
        let rest = &object.key[folder.len()..];
        let row = match rest.split_once('/') {
            Some((name, _)) => json!({ "name": name, "id": null, "metadata": null }),
            None => json!({
                "name": rest,
                "id": object.etag.trim_matches('"'),
                "updated_at": object.last_modified,
                "metadata": { "size": object.size, "mimetype": object.content_type, "eTag": object.etag },
            }),
        };
        if rows.last() != Some(&row) {
            rows.push(row);
        }
    }
    let number = |name: &str, default| wish[name].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(default);
    let page: Vec<Value> = rows.into_iter().skip(number("offset", 0)).take(number("limit", 100)).collect();
    Json(page).into_response()
}

async fn sign(
    Shared(state): Shared<Arc<State>>,
    Path((bucket, path)): Target,
    headers: HeaderMap,
    Json(wish): Json<Value>,
) -> Response {
    if let Some(refused) = state.refusal(&headers) {
        return refused;
    }
    let Some(seconds) = wish["expiresIn"].as_i64().filter(|s| *s > 0) else {
        return storage_error("400", "InvalidRequest", "body must have required property 'expiresIn'");
    };
    match state.objects.head(&bucket, &path) {
        Ok(Some(_)) => {}
        Ok(None) => return storage_error("404", "NoSuchKey", "Object not found"),
        Err(why) => return refused(&why),
    }
    let until = (Utc::now() + Duration::seconds(seconds)).timestamp();
    let token = format!("{until}.{}", state.proof(&bucket, &path, until));
    // Relative to /storage/v1 and not percent-encoded, as the real one.
    Json(json!({ "signedURL": format!("/object/sign/{bucket}/{path}?token={token}") })).into_response()
}

#[derive(serde::Deserialize)]
struct Signed {
    token: String,
}

async fn read_signed(
    Shared(state): Shared<Arc<State>>,
    Path((bucket, path)): Target,
    Query(Signed { token }): Query<Signed>,
) -> Response {
    let parts = token.split_once('.').and_then(|(until, proof)| Some((until.parse::<i64>().ok()?, proof)));
    let good = parts.is_some_and(|(until, proof)| {
        let alive = DateTime::from_timestamp(until, 0).is_some_and(|until| Utc::now() < until);
        alive && proof == state.proof(&bucket, &path, until)
    });
    if !good {
        return storage_error("400", "InvalidJWT", "jwt expired or invalid");
    }
    send(&state, &bucket, &path).await
}

impl State {
    fn proof(&self, bucket: &str, path: &str, until: i64) -> String {
        let text = format!("{}\n{bucket}\n{path}\n{until}", self.description.secret_key);
        hex::encode(Sha256::digest(text))
    }
}
