//! Bytes that nobody here wrote: every parser that takes some is given good ones with a few things wrong, over and over. Nothing
//! panics, nothing hangs, no answer is a fault of ours, and what was refused has changed nothing.
//!
//! A few hundred a parser in the normal run; `SAFELIGHT_FOREIGN=100` makes that a hundred times as many. A case that fails is
//! shrunk by proptest and printed.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    sample::Index,
    test_runner::{Config, TestRunner},
};
use safelight_api::tokens::{self, Scope};
use safelight_evidence::{certificate, checkpoint::Checkpoint, entry::Entry, note::Verifier};
use safelight_faces::{Limits, decode};
use safelight_jobs::{policy::Policy, registry};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::{app::App, complaints::signs_in};

/// What parsers stumble over, in the middle of whatever was there.
const NASTY: &[&[u8]] = &[
    b"",
    b"\0",
    b"\\u0000",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"1e999",
    b"-0",
    b"99999999999999999999999999",
    b"9223372036854775808",
    b"NaN",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":{\"a\":",
    b"null",
    b"\"\"",
    b"'; drop table safelight.jobs; --",
    b"\r\n\r\n",
    b"../../../../etc/passwd",
    b"%00%ff%2e%2e",
    "\u{202e}\u{1f4a9}\u{0301}".as_bytes(),
];

fn cases(usual: u32) -> u32 {
    let times: u32 = std::env::var("SAFELIGHT_FOREIGN").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    usual.saturating_mul(times.max(1))
}

/// One of these with up to eight things wrong.
fn near(good: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let good = Arc::new(good);
    let edits = vec((any::<Index>(), any::<u8>(), 0..7_u8), 0..8);
    (any::<Index>(), edits).prop_map(move |(which, edits)| {
        let mut bytes = good[which.index(good.len())].clone();
        for (at, byte, how) in edits {
            let at = at.index(bytes.len() + 1);
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => bytes.truncate(at),
                4 => {
                    let again = bytes[at..bytes.len().min(at + usize::from(byte))].to_vec();
                    bytes.splice(at..at, again);
                }
                _ => drop(bytes.splice(at..at, NASTY[usize::from(byte) % NASTY.len()].iter().copied())),
            }
        }
        bytes
    })
}

/// Try them. A panic of `check` is the finding; it is shrunk first.
fn each(good: Vec<Vec<u8>>, usual: u32, check: impl Fn(&[u8])) {
    let mut runner = TestRunner::new(Config { cases: cases(usual), failure_persistence: None, ..Config::default() });
    let found = runner.run(&near(good), |bytes| {
        check(&bytes);
        Ok(())
    });
    if let Err(found) = found {
        panic!("{found}");
    }
}

/// The same for what is answered by somebody else.
fn each_asked<F: Future<Output = ()>>(good: Vec<Vec<u8>>, usual: u32, ask: impl Fn(Vec<u8>) -> F) {
    tokio::task::block_in_place(|| {
        each(good, usual, |bytes| {
            let asked = tokio::time::timeout(Duration::from_secs(20), ask(bytes.to_vec()));
            Handle::current().block_on(asked).expect("no answer within twenty seconds");
        });
    });
}

fn as_bytes(all: &[Value]) -> Vec<Vec<u8>> {
    all.iter().map(|value| value.to_string().into_bytes()).collect()
}

#[test]
fn a_policy_near_a_good_one_is_read_or_refused() {
    let good = ["koselfie", "haloprofile"].map(|tenant| {
        std::fs::read(format!("{}/policies/{tenant}.toml", env!("CARGO_MANIFEST_DIR"))).expect("a policy")
    });
    each(good.to_vec(), 300, |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = Policy::parse(text);
        }
    });
}

#[test]
fn a_payload_near_a_good_one_is_read_or_refused() {
    let order = "order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9";
    let good = as_bytes(&[
        json!({ "order": order }),
        json!({ "order": order, "event": "evt_1" }),
        json!({ "image": "artifact_019a8f2e6c5d7b1290f3a4b5c6d7e8f9" }),
        json!({ "because": "cron:1", "grace_seconds": 0, "hours": 3 }),
        json!({ "deletion": "deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9" }),
        json!({ "intent": "intent_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", "call": 1 }),
    ]);
    each(good, 2000, |bytes| {
        if let Ok(payload) = serde_json::from_slice::<Value>(bytes) {
            for known in registry::ALL {
                let _ = registry::wish(known.name, payload.clone());
            }
        }
    });
}

#[test]
fn evidence_near_good_evidence_is_read_or_refused() {
    let note = "safelight.example/log\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u{2014} safelight.example/log q4b8VQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    let entry = json!({ "seq": 1, "at": "2026-11-27T00:00:00Z", "actor": "worker", "action": "artifact.deleted", "outcome": "verified" });
    let certificate = json!({ "certificate": { "version": 1, "deletion": "deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", "steps": [] }, "signature": "AA==" });
    let key = "safelight.example/log+ab86fc55+AQ4b8VQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let good = vec![note.into(), entry.to_string().into_bytes(), certificate.to_string().into_bytes(), key.into()];
    each(good, 2000, |bytes| {
        let _ = Entry::from_canonical(bytes);
        let _ = certificate::verify_certificate(bytes, &[] as &[&str], &[]);
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = text.parse::<Verifier>();
            let _ = Checkpoint::peek(text);
            let _ = Checkpoint::open_by_any(text, &[]);
        }
    });
}

#[test]
fn a_photo_near_a_good_one_is_decoded_or_refused_within_its_limits() {
    let mut good = Vec::new();
    for format in [image::ImageFormat::Png, image::ImageFormat::Jpeg, image::ImageFormat::WebP] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_fn(32, 24, |x, y| image::Rgb([(x * 7) as u8, (y * 9) as u8, 90]))
            .write_to(&mut bytes, format)
            .expect("a picture");
        good.push(bytes.into_inner());
    }
    let limits = Limits::default();
    each(good, 1500, |bytes| {
        if let Ok(photo) = decode(bytes, &limits) {
            assert_eq!(photo.rgb().len(), photo.width() as usize * photo.height() as usize * 3);
        }
    });
}

/// Rows of all tables.
async fn rows(app: &App) -> i64 {
    app.count(
        "select sum((xpath('/row/n/text()', query_to_xml(format('select count(*) as n from %I.%I', table_schema, table_name),
            false, true, '')))[1]::text::bigint)::bigint
        from information_schema.tables where table_schema in ('safelight', 'safelight_fiscal') and table_type = 'BASE TABLE'",
    )
    .await
}

/// Post these bytes; a refusal has a code and leaves as many rows as there were.
async fn post(app: &App, path: &str, headers: &[(&str, String)], body: Vec<u8>) {
    let before = rows(app).await;
    let mut request = app.http.post(format!("{}{path}", app.url)).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let answer = request.body(body).send().await.expect("an answer");
    let status = answer.status();
    let problem: Value = answer.json().await.expect("JSON, whatever was sent");
    assert!(status.as_u16() < 500, "{path}: {problem}");
    if status.is_client_error() {
        assert!(problem["code"].as_str().is_some_and(|code| !code.is_empty()), "{path}: {problem}");
        assert_eq!(rows(app).await, before, "{path} refused with {status} and changed something: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_near_a_good_one_is_taken_or_refused_with_a_code_and_a_refusal_changes_nothing() {
    let app = App::spawn().await;
    let (ann, order) = app.pro_order().await;
    let token = format!("Bearer {}", app.token("koselfie").await);
    let wording = "0".repeat(64);
    let subject = ann.id;
    for (path, good) in [
        ("/v1/subjects".to_owned(), json!({ "email": "ben@example.org", "name": "Ben", "google_id": "1" })),
        (
            format!("/v1/subjects/{subject}/consents"),
            json!({ "purpose": "compare", "capture_point": "sign_up", "wording_sha256": wording, "policy_version": "2026-05-25" }),
        ),
        (format!("/v1/subjects/{subject}/rectify"), json!({ "email": "ann@example.net", "name": "Ann" })),
        (
            format!("/v1/subjects/{subject}/restrict"),
            json!({ "ground": "claims", "keep_until": "2027-01-01T00:00:00Z" }),
        ),
        (
            "/v1/jobs".to_owned(),
            json!({ "kind": "confirm_payment", "payload": { "order": order, "event": "evt_1" }, "run_at": "2026-01-01T00:00:00Z" }),
        ),
        (
            "/v1/jobs/bulk".to_owned(),
            json!({ "kind": "confirm_payment", "jobs": [{ "payload": { "order": order, "event": "evt_2" } }] }),
        ),
    ] {
        let headers = [("authorization", token.clone())];
        each_asked(as_bytes(&[good]), 60, |bytes| post(&app, &path, &headers, bytes));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_news_near_good_ones_are_taken_or_refused_and_a_refusal_stores_nothing() {
    let app = App::spawn().await;
    let event = app.sandbox.stripe.event(
        "checkout.session.completed",
        json!({ "id": "cs_test_near", "object": "checkout.session", "payment_status": "paid", "amount_total": 4900, "currency": "eur" }),
    );
    each_asked(as_bytes(std::slice::from_ref(&event)), 150, |bytes| {
        let signature = app.sandbox.stripe.sign_now(&bytes);
        let headers = [("stripe-signature", signature)];
        let app = &app;
        async move { post(app, "/webhooks/stripe", &headers, bytes).await }
    });
    let signature = app.sandbox.stripe.sign_now(event.to_string().as_bytes());
    each_asked(vec![signature.into_bytes()], 150, |bytes| {
        let (app, event) = (&app, event.to_string().into_bytes());
        async move {
            // What HTTP itself cannot carry never arrives.
            if let Ok(value) = reqwest::header::HeaderValue::from_bytes(&bytes) {
                let Ok(text) = value.to_str() else { return };
                post(app, "/webhooks/stripe", &[("stripe-signature", text.to_owned())], event).await;
            }
        }
    });
    let news = json!({ "request_id": "r1", "gateway_request_id": "r1", "status": "OK", "payload": { "images": [{ "url": "https://v3.fal.media/files/a/b.png", "width": 1, "height": 1 }] } });
    each_asked(as_bytes(&[news]), 150, |bytes| {
        let signed = app.sandbox.fal.sign(&bytes, "r1", chrono::Utc::now().timestamp());
        let headers: Vec<(String, String)> =
            signed.pairs().iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let app = &app;
        async move {
            let headers: Vec<(&str, String)> =
                headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            post(app, "/webhooks/fal/0e1c37c0b7d94a1fa4b4f3c6d2e85b10", &headers, bytes).await;
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_headers_near_good_ones_are_answered() {
    let app = App::spawn().await;
    let (_ann, order) = app.pro_order().await;
    let token = app.token("koselfie").await;
    let operator = tokens::create(&app.db, None, "ops", &[Scope::Operate]).await.unwrap();
    let cookie = signs_in(&app, operator.expose()).await;
    let address = app.url.trim_start_matches("http://").to_owned();
    let (bearer, session) = (format!("authorization: Bearer {token}"), format!("cookie: {cookie}"));
    // By hand: a client would correct what it sends. Each with what opens the door, so that the parser behind it is reached.
    let asks = async |head: Vec<u8>, opens: &str, body: &[u8]| {
        let rest = format!(
            "\r\nhost: near\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{opens}\r\n\r\n",
            body.len()
        );
        let status = answered_by(&address, [&head[..], rest.as_bytes(), body].concat()).await;
        assert!(status < 500, "{status}: {}", String::from_utf8_lossy(&head));
        status
    };
    let order_now = format!("/v1/orders/{order}?wait=0");
    let queries = [
        (order_now.as_str(), &bearer),
        ("/v1/jobs/job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", &bearer),
        ("/v1/dead-letters?kind=train_model&code=spent&limit=5&after=abc", &bearer),
        ("/console/jobs?state=ready&queue=faces&tenant=koselfie&page=2", &session),
        ("/console/bulk/preview?act=hold&kind=train_model", &session),
    ];
    for (path, opens) in queries {
        assert!(asks(format!("GET {path} HTTP/1.1").into_bytes(), opens, b"").await < 405, "{path} is there");
        each_asked(vec![path.as_bytes().to_vec()], 80, |bytes| {
            let line: Vec<u8> = bytes.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | b' ')).collect();
            let asks = &asks;
            async move {
                asks([b"GET ", &line[..], b" HTTP/1.1"].concat(), opens, b"").await;
            }
        });
    }
    let look = format!("GET {order_now} HTTP/1.1");
    let headers = [
        (look.as_str(), bearer.as_str(), "", &b""[..]),
        (&look, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", &bearer, b""),
        (&look, "if-none-match: \"0123\"", &bearer, b""),
        (&look, "x-request-id: abc", &bearer, b""),
        ("POST /v1/subjects HTTP/1.1", "idempotency-key: abc", &bearer, br#"{"email": "ann@mail.example"}"#),
        ("GET /console/jobs HTTP/1.1", &session, "", b""),
    ];
    for (line, header, opens, body) in headers {
        each_asked(vec![header.as_bytes().to_vec()], 80, |bytes| {
            let asks = &asks;
            async move {
                asks([line.as_bytes(), b"\r\n", &bytes[..]].concat(), opens, body).await;
            }
        });
    }
}

/// The status that is answered to these bytes; 0 where the connection just ends, which HTTP allows for what is no HTTP.
async fn answered_by(address: &str, bytes: Vec<u8>) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut connection = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let _ = connection.write_all(&bytes).await;
    let _ = connection.shutdown().await;
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR.as_u16(), "{}", String::from_utf8_lossy(&answer));
    status
}
