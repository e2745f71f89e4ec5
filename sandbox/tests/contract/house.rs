//! A sandbox of its own for each test, a receiver of webhooks, and a few photos.

use std::io::{Cursor, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use image::{DynamicImage, ImageFormat};
use safelight_sandbox::{Options, Sandbox};
use serde_json::Value;

/// A running sandbox whose folder goes with it.
pub(crate) struct House {
    pub(crate) sandbox: Sandbox,
    pub(crate) http: reqwest::Client,
    dir: PathBuf,
}

impl House {
    pub(crate) async fn open() -> House {
        House::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> House {
        let dir = std::env::temp_dir().join(format!("safelight-sandbox-{}", uuid::Uuid::new_v4()));
        let mut options = Options::new(&dir);
        options.fal_delay = Duration::from_millis(1);
        change(&mut options);
        let http = reqwest::Client::builder().no_proxy().user_agent("contract-test/1").build().unwrap();
        House { sandbox: Sandbox::start(options).await.unwrap(), http, dir }
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        &self.dir
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What must happen soon: a test that waits in vain fails, and does not hang.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it never happened")
}

/// One webhook as it arrived.
#[derive(Clone)]
pub(crate) struct Got {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// Takes webhooks; answers what it is told to, then 200.
#[derive(Clone, Default)]
pub(crate) struct Receiver {
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<Vec<u16>>>,
}

impl Receiver {
    /// Starts one; returns its URL.
    pub(crate) async fn open(answers: &[u16]) -> (Receiver, String) {
        let receiver = Receiver::default();
        *receiver.answers.lock().unwrap() = answers.iter().rev().copied().collect();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, url)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    receiver.got.lock().unwrap().push(Got { headers, body });
    let status = receiver.answers.lock().unwrap().pop().unwrap_or(200);
    StatusCode::from_u16(status).unwrap()
}

/// A photo that differs by number.
pub(crate) fn photo(number: u8) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(96, 128, |x, y| {
        image::Rgb([(x * 2) as u8, (y + u32::from(number) * 9) as u8, 90 + number])
    });
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

/// A zip of named files.
pub(crate) fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A zip of that many photos.
pub(crate) fn photos(count: u8) -> Vec<u8> {
    let files: Vec<_> = (0..count).map(|n| (format!("{n}.jpg"), photo(n))).collect();
    zip(&files)
}
