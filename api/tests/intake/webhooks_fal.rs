//! News of fal.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use chrono::Utc;
use safelight_jobs::{
    calls::token_sha256,
    id::{Id, Intent, Order, Subject},
};
use serde_json::json;
use uuid::Uuid;

use crate::house::{Answer, House};

const INBOX: &str = "from safelight.webhook_inbox";
const JOBS: &str = "from safelight.jobs where kind = 'collect_model'";
const TOKEN: &str = "0e1c37c0b7d94a1fa4b4f3c6d2e85b10";

async fn deliver(house: &House, token: &str, body: &str, request: &str, timestamp: i64) -> Answer {
    let signed = house.sandbox.fal.sign(body.as_bytes(), request, timestamp);
    send(house, token, body, &signed.pairs()).await
}

async fn send(house: &House, token: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
    let mut builder = Request::builder().method(Method::POST).uri(format!("/webhooks/fal/{token}"));
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    house.send(builder.body(Body::from(body.to_owned())).expect("a request")).await
}

/// A training that was submitted for a placed order.
async fn submitted(house: &House, request: &str) -> (Id<Subject>, Id<Order>) {
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, &format!("cs_test_{}", Uuid::new_v4().simple())).await;
    sqlx::query(
        "insert into safelight.provider_calls (id, tenant, subject_id, generation, order_id, job_id, purpose, processor, model,
            wish, token_sha256, state, request_id, policy_version)
        values ($1, 'haloprofile', $2, 1, $3, $4, 'train', 'fal', 'fal-ai/trainer', $5, $6, 'submitted', $7, $8)",
    )
    .bind(Id::<Intent>::new().uuid())
    .bind(subject.uuid())
    .bind(order.uuid())
    .bind(Uuid::new_v4())
    .bind(format!("train:{order}"))
    .bind(token_sha256(TOKEN))
    .bind(request)
    .bind("2026-05-13")
    .execute(&house.owner)
    .await
    .expect("a call");
    (subject, order)
}

fn done(request: &str) -> String {
    json!({ "request_id": request, "gateway_request_id": request, "status": "OK", "payload": { "x": 1 } }).to_string()
}

#[tokio::test]
async fn a_forged_or_stale_report_is_refused_and_stores_nothing() {
    let house = House::build().await;
    let request = Uuid::new_v4().to_string();
    submitted(&house, &request).await;
    let (body, now) = (done(&request), Utc::now().timestamp());
    let signed = house.sandbox.fal.sign(body.as_bytes(), &request, now);
    let changed = body.replace("\"x\":1", "\"x\":2");
    let forged = send(&house, TOKEN, &changed, &signed.pairs()).await;
    assert_eq!((forged.status, forged.code()), (StatusCode::BAD_REQUEST, "webhook_forged"));
    let bare = send(&house, TOKEN, &body, &[]).await;
    assert_eq!((bare.status, bare.code()), (StatusCode::BAD_REQUEST, "webhook_malformed"));
    for seconds in [-305, 305] {
        let stale = deliver(&house, TOKEN, &body, &request, now + seconds).await;
        assert_eq!((stale.status, stale.code()), (StatusCode::BAD_REQUEST, "webhook_stale"));
    }
    assert_eq!(house.count(INBOX).await, 0);
    assert_eq!(house.count(JOBS).await, 0);
}

#[tokio::test]
async fn ten_reports_at_once_are_one_job() {
    let house = House::build().await;
    let request = Uuid::new_v4().to_string();
    submitted(&house, &request).await;
    let (body, now) = (done(&request), Utc::now().timestamp());
    let answers = futures::future::join_all((0..10).map(|_| deliver(&house, TOKEN, &body, &request, now))).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK), "{:?}", answers[0]);
    assert_eq!(answers.iter().filter(|answer| answer.body["received"] == "enqueued").count(), 1);
    assert_eq!(house.count(INBOX).await, 1);
    assert_eq!(house.count(JOBS).await, 1);
}

#[tokio::test]
async fn a_report_with_an_unknown_token_is_taken_and_nothing_of_it_is_kept() {
    let house = House::build().await;
    let request = Uuid::new_v4().to_string();
    submitted(&house, &request).await;
    let answer = deliver(&house, &"f".repeat(32), &done(&request), &request, Utc::now().timestamp()).await;
    assert_eq!((answer.status, &answer.body["received"]), (StatusCode::OK, &json!("unknown_token")));
    assert_eq!(house.count(INBOX).await, 0);
    assert_eq!(house.count(JOBS).await, 0);
}

#[tokio::test]
async fn a_report_about_a_person_who_is_gone_only_has_the_result_purged() {
    let house = House::build().await;
    let request = Uuid::new_v4().to_string();
    let (subject, _) = submitted(&house, &request).await;
    let token = house.backend("haloprofile").await;
    let erased = house.post(&token, &format!("/v1/subjects/{subject}/erase"), json!({})).await;
    assert_eq!(erased.status, StatusCode::ACCEPTED);
    let answer = deliver(&house, TOKEN, &done(&request), &request, Utc::now().timestamp()).await;
    assert_eq!((answer.status, &answer.body["received"]), (StatusCode::OK, &json!("subject_gone")));
    assert_eq!(house.count(JOBS).await, 0);
    assert_eq!(house.count("from safelight.jobs where kind = 'purge_call'").await, 1);
}

#[tokio::test]
async fn while_fals_keys_are_out_of_reach_reports_are_sent_away_to_come_again() {
    let house = House::build().await;
    let request = Uuid::new_v4().to_string();
    submitted(&house, &request).await;
    let body = done(&request);
    house.sandbox.fal.take_down().await;
    let answer = deliver(&house, TOKEN, &body, &request, Utc::now().timestamp()).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, "keys_unavailable"));
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(house.count(INBOX).await, 0);
}
