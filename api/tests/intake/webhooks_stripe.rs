//! News of Stripe.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use chrono::Utc;
use serde_json::{Value, json};

use crate::{
    house::{Answer, House},
    log,
};

const INBOX: &str = "from safelight.webhook_inbox";
const JOBS: &str = "from safelight.jobs where kind = 'confirm_payment'";

async fn deliver(house: &House, body: &str, signature: &str) -> Answer {
    let request = Request::builder()
        .method(Method::POST)
        .uri("/webhooks/stripe")
        .header("stripe-signature", signature)
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .expect("a request");
    house.send(request).await
}

fn paid(house: &House, session: &str) -> Value {
    let object = json!({
        "id": session, "object": "checkout.session", "payment_status": "paid", "payment_intent": "pi_3Qxyz",
        "amount_total": 4900, "currency": "eur",
        "customer_details": { "email": "ann@example.org", "name": "Ann Example" }
    });
    house.sandbox.stripe.event("checkout.session.completed", object)
}

#[tokio::test]
async fn h5_a_forged_event_is_refused_and_stores_nothing() {
    let house = House::build().await;
    let body = paid(&house, "cs_test_forged").to_string();
    let genuine = house.sandbox.stripe.sign_now(body.as_bytes());
    let (time, mac) = genuine.split_once(",v1=").expect("a signature");
    let zero = format!("{time},v1={}", "0".repeat(mac.len()));
    let changed = body.replace("4900", "4901");
    for (sent, signature, code) in [
        (body.as_str(), zero.as_str(), "webhook_forged"),
        (changed.as_str(), genuine.as_str(), "webhook_forged"),
        (body.as_str(), "", "webhook_malformed"),
        (body.as_str(), "v1=abc", "webhook_malformed"),
    ] {
        let answer = deliver(&house, sent, signature).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        assert_eq!(answer.code(), code);
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    assert_eq!(house.count(INBOX).await, 0);
    assert_eq!(house.count("from safelight.audit_entries").await, 0);
}

#[tokio::test]
async fn h5_a_stale_event_is_refused_and_stores_nothing() {
    let house = House::build().await;
    let body = paid(&house, "cs_test_stale").to_string();
    for seconds in [-301, 305] {
        let signature = house.sandbox.stripe.sign(body.as_bytes(), Utc::now().timestamp() + seconds);
        let answer = deliver(&house, &body, &signature).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "webhook_stale"));
    }
    assert_eq!(house.count(INBOX).await, 0);
}

#[tokio::test]
async fn h5_ten_deliveries_at_once_are_one_job_and_ten_times_2xx() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    house.order(&token, subject, "cs_test_ten").await;
    let body = paid(&house, "cs_test_ten").to_string();
    let signature = house.sandbox.stripe.sign_now(body.as_bytes());
    let answers = futures::future::join_all((0..10).map(|_| deliver(&house, &body, &signature))).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    let effective = answers.iter().filter(|answer| answer.body["received"] == "enqueued").count();
    assert_eq!(effective, 1);
    assert_eq!(house.count(INBOX).await, 1);
    assert_eq!(house.count(JOBS).await, 1);
    // And once more, much later: a replay inside the tolerance.
    let again = deliver(&house, &body, &house.sandbox.stripe.sign_now(body.as_bytes())).await;
    assert_eq!((again.status, &again.body["received"]), (StatusCode::OK, &json!("duplicate")));
    assert_eq!(house.count("from safelight.audit_entries where action = 'webhook.stripe'").await, 1);
}

#[tokio::test]
async fn news_that_comes_before_the_checkout_is_noted_is_not_lost() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let body = paid(&house, "cs_test_early").to_string();
    let early = deliver(&house, &body, &house.sandbox.stripe.sign_now(body.as_bytes())).await;
    assert_eq!(early.body["received"], "ignored");
    let subject = house.person(&token).await;
    house.order(&token, subject, "cs_test_early").await;
    assert_eq!(house.count(JOBS).await, 1);
}

#[tokio::test]
async fn an_event_of_the_other_mode_is_taken_and_ignored() {
    let house = House::with(|config| config.livemode = true).await;
    let body = paid(&house, "cs_test_mode").to_string();
    let answer = deliver(&house, &body, &house.sandbox.stripe.sign_now(body.as_bytes())).await;
    assert_eq!((answer.status, &answer.body["received"]), (StatusCode::OK, &json!("other_mode")));
    assert_eq!(house.count(INBOX).await, 0);
}

#[tokio::test]
async fn without_a_secret_every_event_is_sent_away_to_come_again() {
    let house = House::with(|config| config.stripe_webhook_secrets.clear()).await;
    let body = paid(&house, "cs_test_unset").to_string();
    let answer = deliver(&house, &body, &house.sandbox.stripe.sign_now(body.as_bytes())).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, "keys_unavailable"));
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(house.count(INBOX).await, 0);
}

#[tokio::test]
async fn an_event_that_is_too_large_is_refused_unread() {
    let house = House::build().await;
    let body = "x".repeat(256 * 1024 + 1);
    let answer = deliver(&house, &body, &house.sandbox.stripe.sign_now(body.as_bytes())).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
}

/// Numbers of test cards: each passes the check of card numbers.
const CARDS: [&str; 2] = ["4242424242424242", "378282246310005"];

#[tokio::test]
async fn k12_card_numbers_planted_in_every_field_reach_neither_database_nor_log() {
    planted_card_numbers_vanish().await;
}

#[tokio::test]
async fn h6_card_numbers_planted_in_every_field_reach_neither_database_nor_log() {
    planted_card_numbers_vanish().await;
}

async fn planted_card_numbers_vanish() {
    log::keep();
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    house.order(&token, subject, "cs_test_cards").await;
    let (mut planted, mut taken) = (0, 0);
    for card in CARDS {
        let template = paid(&house, "cs_test_cards");
        let mut paths = Vec::new();
        string_fields(&template, String::new(), &mut paths);
        assert!(paths.len() > 8, "the event has string fields to plant in: {paths:?}");
        for path in paths {
            for form in [
                card.to_owned(),
                format!("evt_{card}"),
                format!("{}-{}", &card[..4], &card[4..]),
                format!("card.{card}"),
            ] {
                // An event of its own, so that none is a duplicate.
                let mut event = paid(&house, "cs_test_cards");
                *event.pointer_mut(&path).expect("the field") = Value::String(form);
                let body = event.to_string();
                let answer = deliver(&house, &body, &house.sandbox.stripe.sign_now(body.as_bytes())).await;
                assert!(answer.status.is_success() || answer.status.is_client_error(), "{path}: {}", answer.text);
                assert!(!answer.text.contains(card));
                planted += 1;
                taken += usize::from(answer.status.is_success());
            }
        }
    }
    assert!(planted > 60 && taken > 30, "{taken} of {planted} events were taken");
    let stored = house.everything_stored().await.replace('-', "");
    let logged = log::kept();
    assert!(logged.contains("answered"), "the log was captured");
    for card in CARDS {
        assert!(!stored.contains(card), "a card number reached the database");
        assert!(!logged.replace('-', "").contains(card), "a card number reached the log");
    }
    for personal in ["ann@example.org", "Ann Example"] {
        assert!(!stored.contains(personal) && !logged.contains(personal), "{personal} was kept");
    }
}

/// JSON pointers of every string in a value.
fn string_fields(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at),
        Value::Object(fields) => {
            for (name, field) in fields {
                string_fields(field, format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                string_fields(item, format!("{at}/{place}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
