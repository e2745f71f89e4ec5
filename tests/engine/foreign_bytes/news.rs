//! News of Stripe and Fal, as somebody posts them: signed with the right key over twisted words, and with a twisted signature.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{each_asked, near, near_json};
use crate::app::App;

/// Rows of all tables.
async fn rows(app: &App) -> i64 {
    app.count(
        "select sum((xpath('/row/n/text()', query_to_xml(format('select count(*) as n from %I.%I', table_schema, table_name),
            false, true, '')))[1]::text::bigint)::bigint
        from information_schema.tables where table_schema in ('safelight', 'safelight_fiscal') and table_type = 'BASE TABLE'",
    )
    .await
}

/// Post these bytes; a refusal has a code and stores nothing.
async fn post(app: &App, path: &str, headers: HeaderMap, body: Vec<u8>) {
    let before = rows(app).await;
    let request = app.http.post(format!("{}{path}", app.url)).header("content-type", "application/json");
    let answer = request.headers(headers).body(body).send().await.expect("an answer");
    let status = answer.status();
    let problem: Value = answer.json().await.expect("JSON, whatever was sent");
    assert!(status.as_u16() < 500, "{path}: {problem}");
    if status.is_client_error() {
        assert!(problem["code"].as_str().is_some_and(|code| !code.is_empty()), "{path}: {problem}");
        assert_eq!(rows(app).await, before, "{path} refused with {status} and stored something: {problem}");
    }
}

/// What HTTP itself cannot carry never arrives.
fn signed(signature: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(signature).ok()?;
    Some(HeaderMap::from_iter([(HeaderName::from_static("stripe-signature"), value)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_news_near_good_ones_are_taken_or_refused_and_a_refusal_stores_nothing() {
    let app = App::spawn().await;
    let event = app.sandbox.stripe.event(
        "checkout.session.completed",
        json!({ "id": "cs_test_near", "object": "checkout.session", "payment_status": "paid", "amount_total": 4900, "currency": "eur" }),
    );
    each_asked(near_json(std::slice::from_ref(&event)), 150, |bytes| {
        let headers = signed(app.sandbox.stripe.sign_now(&bytes).as_bytes()).expect("a header");
        post(&app, "/webhooks/stripe", headers, bytes)
    });
    let signature = app.sandbox.stripe.sign_now(event.to_string().as_bytes());
    each_asked(near(vec![signature.into_bytes()]), 150, |bytes| {
        let (app, event) = (&app, event.to_string().into_bytes());
        async move {
            if let Some(headers) = signed(&bytes) {
                post(app, "/webhooks/stripe", headers, event).await;
            }
        }
    });
    let news = json!({ "request_id": "r1", "gateway_request_id": "r1", "status": "OK", "payload": { "images": [{ "url": "https://v3.fal.media/files/a/b.png", "width": 1, "height": 1 }] } });
    let failed = json!({ "request_id": "r1", "status": "ERROR", "error": "Unprocessable", "payload": { "detail": [{ "type": "value_error", "loc": ["body"], "msg": "x" }] } });
    each_asked(near_json(&[news, failed]), 150, |bytes| {
        let signed = app.sandbox.fal.sign(&bytes, "r1", chrono::Utc::now().timestamp());
        let pair = |(name, value): (&str, &str)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?));
        let headers = signed.pairs().iter().filter_map(|(name, value)| pair((name, value))).collect();
        post(&app, "/webhooks/fal/0e1c37c0b7d94a1fa4b4f3c6d2e85b10", headers, bytes)
    });
}
