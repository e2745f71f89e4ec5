//! Reading what a caller sent: ids in paths, JSON bodies. What does not fit is refused with the place, not with the value.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request, rejection::BytesRejection},
    http::{Uri, header, request::Parts},
};
use safelight_jobs::id::{Id, Kind};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::error::Error;

/// The id that the path holds under the name of its kind: `At<Order>` reads `{order}`.
pub(crate) struct At<K>(pub(crate) Id<K>);

impl<S: Send + Sync, K: Kind> FromRequestParts<S> for At<K> {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let bad = |why: String| Error::BadId(why);
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| bad("the path is not readable text".to_owned()))?;
        let text = params.iter().find(|(name, _)| *name == K::PREFIX).map_or("", |(_, value)| value);
        text.parse().map(Self).map_err(|error: safelight_jobs::id::BadId| bad(error.to_string()))
    }
}

/// The words behind the `?` of an address, read as `T`.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        query(&parts.uri).map(Self)
    }
}

/// The same of any address.
pub(crate) fn query<T: DeserializeOwned>(address: &Uri) -> Result<T, Error> {
    // Its message may repeat a value, which is not said back.
    Query::try_from_uri(address).map(|Query(read)| read).map_err(|_| Error::BadQuery)
}

/// A JSON body that was read as `T`. `T` denies unknown fields.
pub(crate) struct Json<T> {
    /// What was read.
    pub(crate) value: T,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Error;
    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        Ok(Self { value: RawJson::from_request(request, state).await?.object()? })
    }
}

/// A body that claims to be JSON, unread.
pub(crate) struct RawJson(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for RawJson {
    type Rejection = Error;
    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .and_then(|kind| kind.split(';').next())
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
        if !is_json {
            return Err(Error::NotJson);
        }
        Ok(Self(Bytes::from_request(request, state).await.map_err(broken)?))
    }
}

impl RawJson {
    pub(crate) fn object<T: DeserializeOwned>(&self) -> Result<T, Error> {
        // A struct could be read from an array of its fields as well; nobody means that.
        if self.0.trim_ascii_start().starts_with(b"[") {
            return Err(Error::BadBody { why: "expected an object, not an array".to_owned() });
        }
        self.read()
    }

    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        // Postgres stores no NUL; nothing that we are sent has a use for one.
        if self.0.windows(6).any(|six| six == b"\\u0000") {
            return Err(Error::BadBody { why: "a text holds the character U+0000".to_owned() });
        }
        serde_json::from_slice(&self.0).map_err(|error| unfit(&error))
    }
}

/// Too many bytes, or a connection that broke off.
pub(crate) fn broken(error: BytesRejection) -> Error {
    Error::of_status(error.status())
}

/// The place and the expectation, without the value that was sent.
pub(crate) fn unfit(error: &serde_json::Error) -> Error {
    let text = error.to_string();
    match error.classify() {
        Category::Data => {
            let names_a_field = ["missing field", "unknown field", "duplicate field"];
            let why = if names_a_field.iter().any(|start| text.starts_with(start)) {
                text.chars().take(300).collect()
            } else {
                let place = format!("at line {} column {}", error.line(), error.column());
                match text.split_once("expected ") {
                    Some((_, expected)) => format!("expected {expected}"),
                    None => format!("a value does not fit, {place}"),
                }
            };
            Error::BadBody { why }
        }
        Category::Io | Category::Syntax | Category::Eof => Error::BadJson { why: text },
    }
}

/// True for words that may stand in a payload: codes, ids, instants. No address, no name, no sentence.
pub(crate) fn is_plain_word(text: &str) -> bool {
    text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':' | b'.'))
}
