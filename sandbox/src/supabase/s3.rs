//! The S3 endpoint: path style under `/storage/v1/s3`, SigV4 in headers or query.
//!
//! As Supabase's own: a put ignores `If-None-Match` and overwrites; a delete of nothing is 204; no versions, no locks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;

use super::objects::StoredObject;
use super::s3_answer::{self as answer, Page};
use super::{State, sigv4};
use crate::clock::wall;
use crate::faults::Fault;
use crate::lock::lock;
use crate::token;

const PREFIX: &str = "/storage/v1/s3";
const MOST_KEYS: usize = 1000;

/// Parts of uploads that are not complete yet.
#[derive(Default)]
pub(crate) struct Uploads {
    by_id: HashMap<String, Upload>,
}

#[derive(Clone)]
struct Upload {
    target: (String, String),
    content_type: String,
    parts: BTreeMap<u32, Bytes>,
}

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/storage/v1/s3", any(handle))
        .route("/storage/v1/s3/", any(handle))
        .route("/storage/v1/s3/{*path}", any(handle))
}

async fn handle(Shared(state): Shared<Arc<State>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return answer::error(400, "IncompleteBody", "The body could not be read", "");
    };
    let resource = sigv4::decode(parts.uri.path().strip_prefix(PREFIX).unwrap_or_default());
    let resource = resource.trim_start_matches('/').to_owned();
    let access = sigv4::Access {
        key_id: &state.description.s3_access_key_id,
        secret: &state.description.s3_secret_access_key,
        region: &state.description.s3_region,
    };
    if let Err(why) = sigv4::check(&parts, &body, &access, wall()) {
        return answer::refused(&why, &resource);
    }
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let call = Call { state: &state, parts: &parts, query, body };
    match resource.split_once('/').filter(|(_, key)| !key.is_empty()) {
        Some((bucket, key)) => call.on_object(bucket, key).await,
        None => call.on_bucket(resource.trim_end_matches('/')).await,
    }
}

struct Call<'a> {
    state: &'a State,
    parts: &'a Parts,
    query: HashMap<String, String>,
    body: Bytes,
}

impl Call<'_> {
    async fn on_bucket(&self, bucket: &str) -> Response {
        if let Err(why) = self.state.objects.head(bucket, "") {
            return answer::object_error(&why, bucket);
        }
        match self.parts.method {
            Method::HEAD => StatusCode::OK.into_response(),
            Method::GET => self.list(bucket),
            Method::POST if self.query.contains_key("delete") => self.delete_many(bucket).await,
            _ => answer::error(501, "NotImplemented", "Not done by the sandbox", bucket),
        }
    }

    async fn on_object(&self, bucket: &str, key: &str) -> Response {
        let upload = self.query.get("uploadId");
        match (&self.parts.method, upload) {
            (&Method::GET | &Method::HEAD, _) => self.get(bucket, key).await,
            (&Method::POST, None) if self.query.contains_key("uploads") => self.begin_upload(bucket, key),
            (&Method::PUT, Some(id)) => self.put_part(id),
            (&Method::POST, Some(id)) => self.complete_upload(id).await,
            (&Method::DELETE, Some(id)) => {
                lock(&self.state.uploads).by_id.remove(id);
                StatusCode::NO_CONTENT.into_response()
            }
            (&Method::PUT, None) if self.parts.headers.contains_key("x-amz-copy-source") => {
                self.copy(bucket, key).await
            }
            (&Method::PUT, None) => self.store(bucket, key, &self.content_type(), self.body.clone()).await,
            (&Method::DELETE, None) if self.lies(key) => StatusCode::NO_CONTENT.into_response(),
            (&Method::DELETE, None) => match self.state.delete_object(bucket, key).await {
                Ok(_) => StatusCode::NO_CONTENT.into_response(),
                Err(why) => answer::object_error(&why, key),
            },
            _ => answer::error(501, "NotImplemented", "Not done by the sandbox", key),
        }
    }

    fn content_type(&self) -> String {
        let sent = self.parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        sent.unwrap_or("application/octet-stream").to_owned()
    }

    async fn store(&self, bucket: &str, key: &str, content_type: &str, bytes: Bytes) -> Response {
        match self.state.objects.put(bucket, key, content_type, bytes).await {
            Ok(object) => (StatusCode::OK, [(header::ETAG, object.etag)]).into_response(),
            Err(why) => answer::object_error(&why, key),
        }
    }

    async fn get(&self, bucket: &str, key: &str) -> Response {
        let (object, bytes) = match self.state.objects.get(bucket, key).await {
            Ok(Some(found)) => found,
            Ok(None) => return answer::no_such_key(key),
            Err(why) => return answer::object_error(&why, key),
        };
        if let Some(status) = self.condition(&object) {
            return (status, [(header::ETAG, object.etag)]).into_response();
        }
        let range = self.parts.headers.get(header::RANGE).and_then(|v| v.to_str().ok());
        let (status, bytes, extra) = match range.map(|text| byte_range(text, bytes.len())) {
            None => (StatusCode::OK, bytes, None),
            Some(Some((from, to))) => {
                let extra = format!("bytes {from}-{}/{}", to - 1, object.size);
                (StatusCode::PARTIAL_CONTENT, bytes.slice(from..to), Some(extra))
            }
            Some(None) => return answer::error(416, "InvalidRange", "The range is not satisfiable", key),
        };
        let modified = object.last_modified.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let mut response = (
            status,
            [
                (header::CONTENT_TYPE, object.content_type),
                (header::ETAG, object.etag),
                (header::LAST_MODIFIED, modified),
            ],
            bytes,
        )
            .into_response();
        if let Some(Ok(value)) = extra.map(|text| text.parse()) {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
        response
    }

    fn condition(&self, object: &StoredObject) -> Option<StatusCode> {
        let sent = |name| self.parts.headers.get(name).and_then(|v| v.to_str().ok());
        let hit = |list: &str| list == "*" || list.split(',').any(|tag| tag.trim() == object.etag);
        if sent(header::IF_MATCH).is_some_and(|list| !hit(list)) {
            return Some(StatusCode::PRECONDITION_FAILED);
        }
        sent(header::IF_NONE_MATCH).is_some_and(hit).then_some(StatusCode::NOT_MODIFIED)
    }

    async fn copy(&self, bucket: &str, key: &str) -> Response {
        let source = self.parts.headers.get("x-amz-copy-source").and_then(|v| v.to_str().ok()).map(sigv4::decode);
        let source = source.unwrap_or_default();
        let Some((from_bucket, from_key)) = source.trim_start_matches('/').split_once('/') else {
            return answer::error(400, "InvalidArgument", "x-amz-copy-source is not bucket/key", key);
        };
        let (object, bytes) = match self.state.objects.get(from_bucket, from_key).await {
            Ok(Some(found)) => found,
            Ok(None) => return answer::no_such_key(from_key),
            Err(why) => return answer::object_error(&why, from_key),
        };
        match self.state.objects.put(bucket, key, &object.content_type, bytes).await {
            Ok(made) => {
                let (etag, at) = (answer::escape(&made.etag), made.last_modified.to_rfc3339());
                answer::xml(
                    200,
                    &format!(
                        "<CopyObjectResult><ETag>{etag}</ETag><LastModified>{at}</LastModified></CopyObjectResult>"
                    ),
                )
            }
            Err(why) => answer::object_error(&why, key),
        }
    }

    async fn delete_many(&self, bucket: &str) -> Response {
        let document = String::from_utf8_lossy(&self.body);
        let keys = answer::elements(&document, "Key");
        if keys.is_empty() || keys.len() > MOST_KEYS {
            return answer::error(400, "MalformedXML", "Between 1 and 1000 keys", bucket);
        }
        let mut results = Vec::new();
        for key in keys {
            let result =
                if self.lies(&key) { Ok(()) } else { self.state.delete_object(bucket, &key).await.map(|_| ()) };
            results.push((key, result));
        }
        answer::deleted(&results)
    }

    /// Says that it deleted this, and did not.
    fn lies(&self, key: &str) -> bool {
        self.state.faults.take(&format!("DELETE {key}"), Fault::DeleteRemovesNothing)
    }

    fn list(&self, bucket: &str) -> Response {
        let get = |name: &str| self.query.get(name).map(String::as_str).unwrap_or_default();
        let (prefix, delimiter) = (get("prefix"), get("delimiter"));
        let after = if get("continuation-token").is_empty() { get("start-after") } else { get("continuation-token") };
        let most = get("max-keys").parse().unwrap_or(MOST_KEYS).clamp(1, MOST_KEYS);
        let (mut objects, mut folders) = (Vec::new(), BTreeSet::new());
        let mut next = None;
        let mut last = String::new();
        let empty = self.state.faults.take(&format!("LIST {prefix}"), Fault::ListIsEmpty);
        for object in if empty { Vec::new() } else { self.state.objects.list(bucket, prefix) } {
            let rest = &object.key[prefix.len()..];
            let folder = (!delimiter.is_empty()).then(|| rest.find(delimiter)).flatten();
            let folder = folder.map(|at| format!("{prefix}{}", &rest[..at + delimiter.len()]));
            let shown = folder.as_ref().unwrap_or(&object.key);
            if shown.as_str() <= after || folders.contains(shown) {
                continue;
            }
            if objects.len() + folders.len() == most {
                next = Some(last);
                break;
            }
            last.clone_from(shown);
            match folder {
                Some(folder) => drop(folders.insert(folder)),
                None => objects.push(object),
            }
        }
        let (bucket, prefix, folders) = (bucket.to_owned(), prefix.to_owned(), folders.into_iter().collect());
        answer::listing(&Page { bucket, prefix, objects, folders, next })
    }

    fn begin_upload(&self, bucket: &str, key: &str) -> Response {
        let id = token::letters(32);
        let target = (bucket.to_owned(), key.to_owned());
        let upload = Upload { target, content_type: self.content_type(), parts: BTreeMap::new() };
        lock(&self.state.uploads).by_id.insert(id.clone(), upload);
        let (bucket, key) = (answer::escape(bucket), answer::escape(key));
        let body = format!("<Bucket>{bucket}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>");
        answer::xml(200, &format!("<InitiateMultipartUploadResult>{body}</InitiateMultipartUploadResult>"))
    }

    fn put_part(&self, id: &str) -> Response {
        let number = self.query.get("partNumber").and_then(|v| v.parse().ok());
        let mut uploads = lock(&self.state.uploads);
        let (Some(upload), Some(number)) = (uploads.by_id.get_mut(id), number) else {
            return answer::error(404, "NoSuchUpload", "The upload does not exist", id);
        };
        upload.parts.insert(number, self.body.clone());
        (StatusCode::OK, [(header::ETAG, format!("\"part-{number}\""))]).into_response()
    }

    async fn complete_upload(&self, id: &str) -> Response {
        let Some(upload) = lock(&self.state.uploads).by_id.get(id).cloned() else {
            return answer::error(404, "NoSuchUpload", "The upload does not exist", id);
        };
        let document = String::from_utf8_lossy(&self.body);
        let mut whole = Vec::new();
        for number in answer::elements(&document, "PartNumber") {
            match number.parse().ok().and_then(|number: u32| upload.parts.get(&number)) {
                Some(part) => whole.extend_from_slice(part),
                None => return answer::error(400, "InvalidPart", "A named part was not uploaded", id),
            }
        }
        let (bucket, key) = &upload.target;
        match self.state.objects.put(bucket, key, &upload.content_type, Bytes::from(whole)).await {
            Ok(object) => {
                lock(&self.state.uploads).by_id.remove(id);
                let (bucket, key, etag) = (answer::escape(bucket), answer::escape(key), answer::escape(&object.etag));
                let body = format!("<Bucket>{bucket}</Bucket><Key>{key}</Key><ETag>{etag}</ETag>");
                answer::xml(200, &format!("<CompleteMultipartUploadResult>{body}</CompleteMultipartUploadResult>"))
            }
            Err(why) => answer::object_error(&why, key),
        }
    }
}

/// From and to (exclusive) of a `bytes=` range; `None` when it cannot be satisfied.
fn byte_range(text: &str, length: usize) -> Option<(usize, usize)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (from, to) {
        ("", last) => (length.saturating_sub(last.parse().ok()?), length),
        (from, "") => (from.parse().ok()?, length),
        (from, to) => (from.parse().ok()?, to.parse::<usize>().ok()?.saturating_add(1).min(length)),
    };
    (range.0 < range.1).then_some(range)
}
