//! Edges that both providers' news have in common: keys that change, bodies of every size, wrong types, floods.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use chrono::Utc;
use safelight_jobs::providers::Secret;
use serde_json::json;
use uuid::Uuid;

use crate::house::{Answer, House};

const INBOX: &str = "from safelight.webhook_inbox";

async fn post(house: &House, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut builder = Request::builder().method(Method::POST).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    house.send(builder.body(Body::from(body.to_owned())).expect("a request")).await
}

/// As one of Stripe's: hardly ever are thirteen of its signs digits, as of a UUID one time in a hundred, and then digits that pass
/// for a card's number.
fn session() -> String {
    let letter = |digit: u32| char::from_digit(digit + 16, 36).unwrap_or('z');
    let id = Uuid::new_v4().simple().to_string();
    format!("cs_test_{}", id.chars().map(|sign| sign.to_digit(10).map_or(sign, letter)).collect::<String>())
}

/// Stripe's event about a session, so many bytes long.
fn event(house: &House, bytes: usize) -> String {
    let session = session();
    let object = json!({ "id": session, "object": "checkout.session", "payment_status": "paid", "padding": "" });
    let empty = house.sandbox.stripe.event("checkout.session.completed", object).to_string();
    let padding = "x".repeat(bytes.saturating_sub(empty.len()));
    empty.replace(r#""padding":"""#, &format!(r#""padding":"{padding}""#))
}

async fn stripe_says(house: &House, body: &str, kind: &str) -> Answer {
    let signature = house.sandbox.stripe.sign_now(body.as_bytes());
    post(house, "/webhooks/stripe", &[("stripe-signature", &signature), ("content-type", kind)], body).await
}

/// Fal's report about a call that nobody here made, so many bytes long.
fn report(bytes: usize) -> (String, String) {
    let request = Uuid::new_v4().to_string();
    let empty = json!({ "request_id": request, "status": "OK", "payload": { "padding": "" } }).to_string();
    let padding = "x".repeat(bytes.saturating_sub(empty.len()));
    (request, empty.replace(r#""padding":"""#, &format!(r#""padding":"{padding}""#)))
}

async fn fal_says(house: &House, request: &str, body: &str, kind: &str) -> Answer {
    let signed = house.sandbox.fal.sign(body.as_bytes(), request, Utc::now().timestamp());
    let mut headers = signed.pairs().to_vec();
    headers.push(("content-type", kind));
    post(house, &format!("/webhooks/fal/{}", "a".repeat(64)), &headers, body).await
}

const JSON: &str = "application/json";

#[tokio::test]
async fn while_stripes_secret_rolls_both_are_believed_and_the_old_one_never_again() {
    let now = |house: &House| house.sandbox.description().stripe.webhook_secret.clone();
    let rolling = House::build().await;
    let old = now(&rolling);
    let url = rolling.database_url();
    let body = event(&rolling, 0);
    // The stand-in signs with the old secret all the time; the intake is started anew with another list each time.
    for (secrets, believed) in [
        (vec![old.clone()], true),
        (vec!["whsec_new".to_owned(), old.clone()], true),
        (vec!["whsec_new".to_owned()], false),
    ] {
        let signature = rolling.sandbox.stripe.sign_now(body.as_bytes());
        let house = House::on(&url, |config| {
            config.stripe_webhook_secrets = secrets.iter().map(|s| Secret::new(s.as_str())).collect()
        })
        .await;
        let answer = post(&house, "/webhooks/stripe", &[("stripe-signature", &signature)], &body).await;
        assert_eq!(answer.status.is_success(), believed, "{secrets:?}: {}", answer.text);
        if !believed {
            assert_eq!(answer.code(), "webhook_forged");
        }
    }
}

#[tokio::test]
async fn a_flood_of_forged_reports_asks_fal_for_its_keys_once() {
    let house = House::build().await;
    let (request, body) = report(0);
    assert_eq!(fal_says(&house, &request, &body, JSON).await.status, StatusCode::OK);
    let signed = house.sandbox.fal.sign(body.as_bytes(), &request, Utc::now().timestamp());
    let other = body.replace("OK", "ERROR");
    for _ in 0..100 {
        let answer = post(&house, "/webhooks/fal/x", &signed.pairs(), &other).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "webhook_forged"));
    }
    let fetched = house.sandbox.fal.calls().iter().filter(|call| call.path.ends_with("/jwks.json")).count();
    assert_eq!(fetched, 1);
    assert_eq!(house.count(INBOX).await, 0);
}

#[tokio::test]
async fn a_key_that_fal_rolled_is_fetched_for_the_first_report_that_needs_it() {
    let house = House::build().await;
    house.sandbox.fal.rotate_key();
    let (request, body) = report(0);
    let answer = fal_says(&house, &request, &body, JSON).await;
    assert_eq!((answer.status, &answer.body["received"]), (StatusCode::OK, &json!("unknown_token")));
}

#[tokio::test]
async fn while_fal_shows_no_key_at_all_a_report_is_sent_away_to_come_again_and_not_called_forged() {
    let house = House::build().await;
    house.sandbox.fal.faults().once(safelight_sandbox::Fault::EmptyKeySet);
    let (request, body) = report(0);
    let answer = fal_says(&house, &request, &body, JSON).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, "keys_unavailable"));
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(house.count(INBOX).await, 0);
}

#[tokio::test]
async fn news_of_64_kilobytes_are_read_and_of_10_megabytes_refused_unread() {
    let house = House::build().await;
    let (small, large) = (64 * 1024, 10 * 1024 * 1024);
    let body = event(&house, small);
    assert_eq!(body.len(), small);
    assert_eq!(stripe_says(&house, &body, JSON).await.status, StatusCode::OK);
    let (request, body) = report(small);
    assert_eq!(body.len(), small);
    assert_eq!(fal_says(&house, &request, &body, JSON).await.status, StatusCode::OK);
    assert_eq!(house.count(INBOX).await, 1, "Stripe's; Fal's has an unknown token");
    let stored = house.everything_stored().await;
    assert!(!stored.contains(&"x".repeat(64)), "nothing of a body is kept");

    for answer in [
        stripe_says(&house, &event(&house, large), JSON).await,
        fal_says(&house, &report(large).0, &report(large).1, JSON).await,
    ] {
        assert_eq!((answer.status, answer.code()), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
    }
    assert_eq!(house.count(INBOX).await, 1);
}

#[tokio::test]
async fn the_content_type_decides_nothing_the_signature_does() {
    let house = House::build().await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
    ] {
        assert_eq!(stripe_says(&house, &event(&house, 0), kind).await.status, StatusCode::OK, "{kind}");
        let (request, body) = report(0);
        assert_eq!(fal_says(&house, &request, &body, kind).await.status, StatusCode::OK, "{kind}");
        // Nobody's signature, in any type.
        for path in ["/webhooks/stripe", "/webhooks/fal/x"] {
            let answer = post(&house, path, &[("content-type", kind)], "payload=1").await;
            assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "webhook_malformed"), "{path} {kind}");
        }
    }
    assert_eq!(house.count(INBOX).await, 4, "four events of Stripe");
}

#[tokio::test]
async fn what_is_signed_and_no_event_is_refused_and_stores_nothing() {
    let house = House::build().await;
    for body in ["", "null", "[]", "{}", "\u{feff}{}", "{\"id\":\"evt_1\"", "\0"] {
        let answer = stripe_says(&house, body, JSON).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "webhook_unreadable"), "{body:?}");
        let answer = fal_says(&house, "r", body, JSON).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "webhook_unreadable"), "{body:?}");
    }
    assert_eq!(house.count(INBOX).await, 0);
}

#[tokio::test]
async fn n6_ten_reports_at_once_with_an_unknown_token_are_ten_2xx_and_nothing_else() {
    let house = House::build().await;
    let (request, body) = report(0);
    let answers = futures::future::join_all((0..10).map(|_| fal_says(&house, &request, &body, JSON))).await;
    assert!(
        answers
            .iter()
            .all(|answer| (answer.status, &answer.body["received"]) == (StatusCode::OK, &json!("unknown_token")))
    );
    assert_eq!(house.count(INBOX).await + house.count("from safelight.jobs").await, 0);
}
