//! Fetches what a request points at, as a provider fetches inputs: http, https or a data URI, bounded in size and time.
//!
//! It reads no files and follows few redirects.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use reqwest::redirect::Policy;

/// Largest input, bytes.
const LARGEST: usize = 256 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why an input did not arrive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// Not http, https or data; unreachable; or not a 2xx.
    NotDownloaded,
    /// More than the largest input.
    TooLarge,
}

/// A client for inputs.
pub(crate) fn client() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().redirect(Policy::limited(3)).timeout(TIMEOUT).build()?)
}

/// The bytes behind the URL.
pub(crate) async fn download(http: &reqwest::Client, url: &str) -> Result<Bytes, Missed> {
    if let Some(rest) = url.strip_prefix("data:") {
        let (_, data) = rest.split_once(";base64,").ok_or(Missed::NotDownloaded)?;
        return STANDARD.decode(data).map(Bytes::from).map_err(|_| Missed::NotDownloaded);
    }
    let parsed = url::Url::parse(url).map_err(|_| Missed::NotDownloaded)?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(Missed::NotDownloaded);
    }
    let answer = http.get(parsed).send().await.map_err(|_| Missed::NotDownloaded)?;
    if !answer.status().is_success() {
        return Err(Missed::NotDownloaded);
    }
    let mut bytes = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Missed::NotDownloaded)?;
        if bytes.len() + chunk.len() > LARGEST {
            return Err(Missed::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Bytes::from(bytes))
}
