//! Somebody between a client of ours and a stand-in, who twists what the stand-in answers: status, headers and body. So no answer of a
//! provider is written down a second time here.

use std::{
    fmt::{Debug, Display},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Response, header},
};

use super::{NASTY, PATIENCE, PLANTED, Wrong, each_asked};

/// What may be answered instead.
const STATUSES: [u16; 14] = [200, 201, 202, 204, 206, 301, 400, 401, 403, 404, 409, 416, 429, 500];
/// Headers that somebody reads.
const HEADERS: [&str; 7] =
    ["content-type", "etag", "last-modified", "retry-after", "request-id", "x-fal-error-type", "x-sb-error-code"];
/// Framing is HTTP's own, and the length is another one afterwards.
const FRAMING: [header::HeaderName; 3] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];

pub(super) struct Twister {
    here: String,
    inner: Arc<Inner>,
}

struct Inner {
    there: String,
    http: reqwest::Client,
    wrong: Mutex<Option<Wrong>>,
    /// Only what is answered below an address that holds this.
    only: Mutex<&'static str>,
}

fn authority(url: &str) -> String {
    let url = url::Url::parse(url).expect("an address");
    format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"))
}

impl Twister {
    /// In front of whoever is at this address.
    pub(super) async fn before(url: &str) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().timeout(PATIENCE);
        let inner = Arc::new(Inner {
            there: authority(url),
            http: http.build().expect("a client"),
            wrong: Mutex::default(),
            only: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let here = listener.local_addr().expect("an address").to_string();
        let router = Router::new().fallback(between).with_state((inner.clone(), here.clone()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { here, inner }
    }

    /// The same address here.
    pub(super) fn at(&self, url: &str) -> String {
        url.replacen(&self.inner.there, &self.here, 1)
    }

    /// From now on, this is wrong.
    pub(super) fn twists(&self, wrong: Option<Wrong>) {
        *self.inner.wrong.lock().expect("a lock") = wrong;
    }

    /// From now on, only there.
    pub(super) fn only(&self, part: &'static str) {
        *self.inner.only.lock().expect("a lock") = part;
    }

    /// Ask over and over. Whatever is answered, it is understood or refused, and a refusal repeats nothing of it.
    pub(super) async fn tries<T, E, F>(&self, usual: u32, ask: impl Fn() -> F)
    where
        T: Debug,
        E: Debug + Display,
        F: Future<Output = Result<T, E>>,
    {
        self.twists(None);
        ask().await.expect("it is understood as long as nobody twists it");
        self.asks(usual, ask);
    }

    /// The same of what is refused by whoever is asked.
    pub(super) async fn refuses<T, E, F>(&self, usual: u32, ask: impl Fn() -> F)
    where
        T: Debug,
        E: Debug + Display,
        F: Future<Output = Result<T, E>>,
    {
        self.twists(None);
        ask().await.expect_err("it is refused as long as nobody twists it");
        self.asks(usual, ask);
    }

    fn asks<T, E, F>(&self, usual: u32, ask: impl Fn() -> F)
    where
        E: Debug + Display,
        F: Future<Output = Result<T, E>>,
    {
        each_asked(Wrong::any(), usual, |wrong| {
            self.twists(Some(wrong));
            let asked = ask();
            async move {
                if let Err(error) = asked.await {
                    let said = format!("{error} {error:?}");
                    assert!(!said.contains(PLANTED), "{said}");
                }
            }
        });
        self.twists(None);
    }
}

async fn between(State((inner, here)): State<(Arc<Inner>, String)>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let path = parts.uri.path_and_query().expect("a path").as_str();
    let sent = inner.http.request(parts.method, format!("http://{}{path}", inner.there)).headers(parts.headers);
    let answer = sent.body(body).send().await.expect("the stand-in answers");
    let wrong = inner.wrong.lock().expect("a lock").clone();
    let wrong = wrong.filter(|_| path.contains(*inner.only.lock().expect("a lock")));
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    FRAMING.iter().for_each(|name| drop(headers.remove(name)));
    let body = answer.bytes().await.expect("the whole answer");
    // Links of the stand-in lead through here as well.
    let body = match std::str::from_utf8(&body) {
        Ok(text) => text.replace(&inner.there, &here).into_bytes(),
        Err(_) => body.to_vec(),
    };
    let mut twisted = Response::new(Body::empty());
    (*twisted.status_mut(), *twisted.headers_mut()) = (status, headers);
    let Some(wrong) = wrong else {
        *twisted.body_mut() = body.into();
        return twisted;
    };
    let dice = usize::from(wrong.both);
    if dice % 8 == 1 {
        let other = STATUSES[dice / 8 % STATUSES.len()];
        *twisted.status_mut() = other.try_into().expect("a status");
    }
    if dice % 4 == 2 {
        for (at, name) in HEADERS.iter().enumerate() {
            if let Ok(value) = HeaderValue::from_bytes(NASTY[(at + dice / 4) % NASTY.len()]) {
                twisted.headers_mut().insert(*name, value);
            }
        }
    }
    *twisted.body_mut() = wrong.of(&body).into();
    twisted
}
