//! What a request says beyond what its route is described to hear is refused, and nothing is done.

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};
use serde_json::{Value, json};

use crate::{
    house::{House, request},
    persons::SignedIn,
};

/// Every operation under `/v1`: its method, its path with something in each place, and its description.
fn operations() -> Vec<(Method, String, Value)> {
    let document = serde_json::to_value(safelight_api::openapi()).expect("a description");
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let filled: String = path
                .split('/')
                .map(|part| if part.starts_with('{') { "/x" } else { part })
                .collect::<Vec<_>>()
                .join("/");
            all.push((method.to_uppercase().parse().expect("a method"), filled.replace("//", "/"), operation.clone()));
        }
    }
    all.retain(|(_, path, _)| path.starts_with("/v1/"));
    all
}

#[tokio::test]
async fn whatever_a_request_says_beyond_its_description_is_refused() {
    let house = House::build().await;
    let token = house.token(Some("koselfie"), &[Scope::Enqueue, Scope::Read]).await;
    let ann = SignedIn::at(&house, "koselfie", "ann").await;
    let bearer = |path: &str| if path.starts_with("/v1/me") { ann.jwt.clone() } else { token.clone() };
    let mut without_a_body = 0;
    for (method, path, operation) in operations() {
        let words = request(method.clone(), &format!("{path}?dry_run=1"), &bearer(&path), None);
        let answer = house.send(words).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_query"), "{method} {path}: {}", answer.text);
        if method != Method::POST || !operation["requestBody"].is_null() {
            continue;
        }
        without_a_body += 1;
        let answer =
            house.send(request(method.clone(), &path, &bearer(&path), Some(&json!({ "dry_run": true })))).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (422, "bad_body"), "{path}: {}", answer.text);
        let mut text = request(method.clone(), &path, &bearer(&path), None);
        text.headers_mut().insert(header::CONTENT_TYPE, "text/plain".parse().expect("a kind"));
        *text.body_mut() = Body::from("dry run");
        let answer = house.send(text).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (415, "not_json"), "{path}: {}", answer.text);
    }
    assert!(without_a_body > 8, "{without_a_body}");
    assert_eq!(house.count("from safelight.deletions").await, 0);
}

#[tokio::test]
async fn an_erasure_takes_no_body_or_an_empty_one() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let subject = house.person(&token).await;
    let erase = format!("/v1/subjects/{subject}/erase");
    assert_eq!(house.post(&token, &erase, json!({ "dry_run": true })).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(house.post(&token, &erase, json!([])).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(house.count("from safelight.deletions").await, 0);
    for body in [None, Some(json!({}))] {
        let answer = house.send(request(Method::POST, &erase, &token, body.as_ref())).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    }
}

#[tokio::test]
async fn of_two_idempotency_keys_neither_counts_and_a_key_has_no_blanks() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    for keys in [vec!["one", "two"], vec!["a key"], vec!["tab\tkey"]] {
        let mut asks = request(Method::POST, "/v1/subjects", &token, Some(&json!({ "email": "ann@example.org" })));
        for key in &keys {
            asks.headers_mut().append("idempotency-key", key.parse().expect("a value"));
        }
        let answer = house.send(asks).await;
        assert_eq!(answer.code(), "idempotency_key_invalid", "{keys:?}: {}", answer.text);
    }
    assert_eq!(house.count("from safelight.subjects").await, 0);
}

#[tokio::test]
async fn a_session_of_stripes_other_mode_is_refused_since_its_payment_would_not_be_heard() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let checkout = format!("/v1/orders/{}/checkout", Id::<id::Order>::new());
    for (session, code) in [
        ("cs_live_a1", "bad_session"),
        ("cs_test_a b", "bad_session"),
        ("pi_1", "bad_session"),
        ("cs_test_a1", "not_found"),
    ] {
        let answer = house.post(&token, &checkout, json!({ "session": session })).await;
        assert_eq!(answer.code(), code, "{session}: {}", answer.text);
    }
}
