//! The S3 endpoint's XML: errors, listings, deletions, uploads.

use std::fmt::Write as _;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;

use super::objects::{ObjectError, StoredObject};
use super::sigv4::Refused;

/// An XML document.
pub(crate) fn xml(status: u16, body: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{body}");
    (status, [(header::CONTENT_TYPE, "application/xml")], text).into_response()
}

/// An error as S3 says it.
pub(crate) fn error(status: u16, code: &str, message: &str, resource: &str) -> Response {
    let (message, resource) = (escape(message), escape(resource));
    xml(
        status,
        &format!("<Error><Code>{code}</Code><Message>{message}</Message><Resource>{resource}</Resource></Error>"),
    )
}

/// A refused signature.
pub(crate) fn refused(why: &Refused, resource: &str) -> Response {
    let (status, code, text) = match why {
        Refused::Unsigned => (403, "AccessDenied", "Access Denied"),
        Refused::UnknownKey => (403, "InvalidAccessKeyId", "The access key id does not exist"),
        Refused::WrongSignature => (
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided",
        ),
        Refused::Expired => (403, "AccessDenied", "Request has expired"),
        Refused::TooSkewed => (403, "RequestTimeTooSkewed", "The request time and the server time differ too much"),
        Refused::Malformed => (400, "AuthorizationHeaderMalformed", "The authorization is malformed"),
    };
    error(status, code, text, resource)
}

/// A refused name, a missing bucket, or trouble with the disk.
pub(crate) fn object_error(why: &ObjectError, resource: &str) -> Response {
    let (status, code) = match why {
        ObjectError::NoSuchBucket => (404, "NoSuchBucket"),
        ObjectError::InvalidKey => (400, "InvalidKey"),
        ObjectError::Disk(_) => (500, "InternalError"),
    };
    error(status, code, &why.to_string(), resource)
}

pub(crate) fn no_such_key(resource: &str) -> Response {
    error(404, "NoSuchKey", "Object not found", resource)
}

/// One page of a listing.
pub(crate) struct Page {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) objects: Vec<StoredObject>,
    pub(crate) folders: Vec<String>,
    pub(crate) next: Option<String>,
}

pub(crate) fn listing(page: &Page) -> Response {
    let mut body = String::from("<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    let count = page.objects.len() + page.folders.len();
    let truncated = page.next.is_some();
    // Writing to a String cannot fail.
    let _ = write!(
        body,
        "<Name>{}</Name><Prefix>{}</Prefix><KeyCount>{count}</KeyCount><IsTruncated>{truncated}</IsTruncated>",
        escape(&page.bucket),
        escape(&page.prefix),
    );
    for object in &page.objects {
        let _ = write!(
            body,
            "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size>\
             <StorageClass>STANDARD</StorageClass></Contents>",
            escape(&object.key),
            object.last_modified.to_rfc3339_opts(SecondsFormat::Millis, true),
            escape(&object.etag),
            object.size,
        );
    }
    for folder in &page.folders {
        let _ = write!(body, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", escape(folder));
    }
    if let Some(next) = &page.next {
        let _ = write!(body, "<NextContinuationToken>{}</NextContinuationToken>", escape(next));
    }
    body.push_str("</ListBucketResult>");
    xml(200, &body)
}

/// The answer to DeleteObjects: missing ones count as deleted, refused names as errors.
pub(crate) fn deleted(results: &[(String, Result<(), ObjectError>)]) -> Response {
    let mut body = String::from("<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (key, result) in results {
        let key = escape(key);
        let _ = match result {
            Ok(()) => write!(body, "<Deleted><Key>{key}</Key></Deleted>"),
            Err(why) => write!(
                body,
                "<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>{}</Message></Error>",
                escape(&why.to_string())
            ),
        };
    }
    body.push_str("</DeleteResult>");
    xml(200, &body)
}

/// Text for an XML element.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The contents of every `<name>` element, in order. Enough for the two flat documents that S3 clients send.
pub(crate) fn elements(document: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let parts = document.split(open.as_str()).skip(1);
    parts.filter_map(|part| part.split_once(close.as_str())).map(|(inner, _)| unescape(inner)).collect()
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}
