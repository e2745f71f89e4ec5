//! Files at fal: fetching what a request made, and deleting what it left.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use reqwest::{
    Method, Response,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{
    Fal, FileAccess, MOST,
    errors::{FalError, header, refusal},
    follow::parse,
};
use crate::providers::{
    Secret,
    http::{Answer, Lost, exchange, is_plain_id, safe_url},
};

/// How long a signed link to a forbidden file works, in seconds. It is used at once.
const SIGNED_FOR: u32 = 300;

/// One file that a purge was about.
#[derive(Clone)]
pub struct FileDeletion {
    /// Where it lay.
    pub host: String,
    /// Its link, to look whether it is gone. Used at once, never stored.
    pub link: Option<Secret>,
    /// `None` if fal says it is gone; else fal's reason, without links. A purge with one of these has not succeeded.
    pub failed: Option<String>,
}

impl std::fmt::Debug for FileDeletion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileDeletion").field("host", &self.host).field("failed", &self.failed).finish_non_exhaustive()
    }
}

/// A file on its way, at most as large as was allowed.
pub struct Download {
    /// What fal says it is, for example `image/jpeg`.
    pub content_type: Option<String>,
    /// Its size, where fal says so.
    pub length: Option<u64>,
    /// The bytes. An error ends the stream: drop what came before.
    pub chunks: BoxStream<'static, Result<Bytes, FalError>>,
}

/// A whole file.
pub struct FetchedFile {
    /// What fal says it is, for example `image/jpeg`.
    pub content_type: Option<String>,
    /// Its bytes.
    pub bytes: Bytes,
}

#[derive(Deserialize)]
struct Purged {
    cdn_delete_results: Vec<PurgedFile>,
}

#[derive(Deserialize)]
struct PurgedFile {
    link: Option<String>,
    // Absent must not read as deleted.
    #[serde(default = "no_word")]
    exception: Value,
}

fn no_word() -> Value {
    json!("fal did not say whether the file is gone")
}

impl Fal {
    /// Deletes a request's stored input, output and output files. Every entry must be looked at: fal answers 200 even
    /// when files stay. Input files at fal are not covered, which is why we never make any. Sent once.
    pub async fn purge(&self, request_id: &str) -> Result<Vec<FileDeletion>, FalError> {
        let key = self.admin_key.clone().ok_or(FalError::NoAdminKey)?;
        if !is_plain_id(request_id) {
            return Err(FalError::NotFound);
        }
        let link = self.platform.at(&format!("/models/requests/{request_id}/payloads"));
        let answer = exchange(self.http.request(Method::DELETE, link).header(AUTHORIZATION, key), MOST).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        let purged: Purged = parse(&answer, "purge")?;
        Ok(purged.cdn_delete_results.into_iter().map(FileDeletion::from).collect())
    }

    /// Fetches a whole file of at most `most` bytes; for a large one [`Self::open`] holds less in memory.
    pub async fn download(&self, link: &str, most: u64) -> Result<FetchedFile, FalError> {
        let Download { content_type, chunks, .. } = self.open(link, most).await?;
        let add = |mut all: BytesMut, chunk: Bytes| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        };
        Ok(FetchedFile { content_type, bytes: chunks.try_fold(BytesMut::new(), add).await?.freeze() })
    }

    /// Begins to fetch a file of at most `most` bytes. Only the configured hosts are asked, none of them sees our key.
    pub async fn open(&self, link: &str, most: u64) -> Result<Download, FalError> {
        let link = self.files_link(link)?;
        let mut response = self.files.get(link.clone()).send().await.map_err(|e| Lost::from_error(&e))?;
        if matches!(response.status().as_u16(), 401 | 403) && self.file_access == FileAccess::Forbidden {
            let signed = self.sign(&link).await?;
            response = self.files.get(signed).send().await.map_err(|e| Lost::from_error(&e))?;
        }
        if response.status().as_u16() != 200 {
            return Err(refusal(&Answer {
                status: response.status(),
                headers: response.headers().clone(),
                body: Bytes::new(),
            }));
        }
        bounded(response, most)
    }

    /// True once a file can no longer be had: the check after a purge. Reads no byte of it.
    pub async fn is_file_gone(&self, link: &str) -> Result<bool, FalError> {
        let link = self.files_link(link)?;
        let mut answer = exchange(self.files.request(Method::HEAD, link.clone()), MOST).await?;
        if matches!(answer.status.as_u16(), 401 | 403) && self.file_access == FileAccess::Forbidden {
            // Forbidden says nothing about being there: look with a link that may.
            let signed = match self.sign(&link).await {
                Err(FalError::NotFound) => return Ok(true),
                signed => signed?,
            };
            answer = exchange(self.files.request(Method::HEAD, signed), MOST).await?;
        }
        match answer.status.as_u16() {
            200..=299 => Ok(false),
            404 | 410 => Ok(true),
            _ => Err(refusal(&answer)),
        }
    }

    /// A link that opens one forbidden file for a moment.
    async fn sign(&self, link: &Url) -> Result<Url, FalError> {
        let request = self
            .authorised(self.http.post(self.platform.at("/storage/files/sign")))
            .query(&[("url", link.as_str())])
            .json(&json!({ "expiration_seconds": SIGNED_FOR }));
        let answer = exchange(request, MOST).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        let body: Value = parse(&answer, "signed link")?;
        self.files_link(body["signed_url"].as_str().ok_or(FalError::Unreadable { what: "signed link" })?)
    }

    fn files_link(&self, link: &str) -> Result<Url, FalError> {
        safe_url(link)
            .filter(|url| self.files_hosts.iter().any(|host| host == url.authority()))
            .ok_or(FalError::ForeignLink)
    }
}

fn bounded(response: Response, most: u64) -> Result<Download, FalError> {
    let length = response.content_length();
    if length.is_some_and(|length| length > most) {
        return Err(FalError::TooLarge { most });
    }
    let content_type = header(response.headers(), CONTENT_TYPE.as_str()).map(str::to_owned);
    let mut left = most;
    let chunks = response.bytes_stream().map(move |chunk| {
        let chunk = chunk.map_err(|e| FalError::from(Lost::from_error(&e)))?;
        left = left.checked_sub(chunk.len() as u64).ok_or(FalError::TooLarge { most })?;
        Ok(chunk)
    });
    // After an error nothing more may come.
    let chunks = chunks.scan(false, |ended, chunk: Result<Bytes, FalError>| {
        let before = std::mem::replace(ended, chunk.is_err());
        std::future::ready((!before).then_some(chunk))
    });
    Ok(Download { content_type, length, chunks: chunks.boxed() })
}

impl From<PurgedFile> for FileDeletion {
    fn from(file: PurgedFile) -> Self {
        let host = file.link.as_deref().and_then(|link| Url::parse(link).ok());
        let host = host.and_then(|url| url.host_str().map(str::to_owned));
        let failed = match file.exception {
            Value::Null => None,
            Value::String(text) => Some(without_links(&text)),
            _ => Some("fal gave no reason".to_owned()),
        };
        Self { host: host.unwrap_or_default(), link: file.link.map(Secret::from), failed }
    }
}

/// The first words of a reason, without any that could be a link or a file's name.
fn without_links(text: &str) -> String {
    let plain = |word: &&str| !word.contains(['/', '.', '=', '?']) && word.len() <= 40;
    text.split_whitespace().filter(plain).take(12).collect::<Vec<_>>().join(" ")
}
