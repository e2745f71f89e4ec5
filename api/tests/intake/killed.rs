//! The handlers of providers' news, killed at each of their statements: before it came to Postgres, and after it was carried out and
//! nobody heard of it (N24). A provider sends again what it heard no 2xx for, and in the end it is there once.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use chrono::Utc;
use safelight_jobs::{
    calls::token_sha256,
    id::{Id, Intent, Order, Subject},
};
use safelight_sandbox::postgres::{Cut, Line};
use serde_json::json;
use tower::ServiceExt;
use uuid::Uuid;

use crate::house::House;

/// One piece of news: how it is sent, however often, and what there must be exactly one of in the end.
struct News {
    address: String,
    headers: Vec<(String, String)>,
    body: String,
    once: Vec<String>,
}

impl News {
    fn request(&self) -> Request<Body> {
        let mut request = Request::builder().method(Method::POST).uri(&self.address);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Body::from(self.body.clone())).expect("a request")
    }
}

/// Each piece of news meets a process that is killed one statement later than the one before it, until one comes through.
async fn killed_everywhere(house: &House, news: impl AsyncFn(usize) -> News) {
    let (mut sent, mut lost, mut unheard) = (0, 0, 0);
    for how in [Cut::Before, Cut::After] {
        for statement in 1.. {
            assert!(statement < 100, "{how:?}: it never came through");
            sent += 1;
            let news = news(sent).await;
            // One of its own: what an earlier process left behind would be counted, too.
            let line = Line::to(&house.database_url()).await.expect("a line");
            line.cut_at(statement, how);
            let heard = match house.over(line.url()).await {
                Ok(intake) => intake.oneshot(news.request()).await.expect("an answer").status(),
                Err(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            let dead = line.is_dead();
            drop(line);
            // A connection that comes back is looked at after the answer: the line may have gone dead at that.
            assert!(heard.is_success() || dead, "{how:?} {statement}: {heard}");
            if !heard.is_success() {
                let there = house.count(&news.once[0]).await == 1;
                if there { unheard += 1 } else { lost += 1 }
            }
            let again = house.send(news.request()).await;
            assert_eq!(again.status, StatusCode::OK, "{how:?} {statement}: {}", again.text);
            for sql in &news.once {
                assert_eq!(house.count(sql).await, 1, "{how:?} {statement}: {sql}");
            }
            if !dead {
                break;
            }
        }
    }
    assert!(lost > 8 && unheard > 0, "{lost} lost, {unheard} carried out and unheard");
}

/// As many entries of this action as pieces of news.
fn entries(action: &str, news: usize) -> String {
    format!("from (select from safelight.audit_entries where action = '{action}' having count(*) = {news}) as_many")
}

#[tokio::test]
async fn n24_every_statement_of_the_handler_of_stripes_news_may_be_its_last() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    house.order(&token, subject, "cs_test_killed").await;
    killed_everywhere(&house, async |number| {
        let object = json!({ "id": "cs_test_killed", "object": "checkout.session", "payment_status": "paid" });
        let event = house.sandbox.stripe.event("checkout.session.completed", object);
        let (id, body) = (event["id"].as_str().expect("an id"), event.to_string());
        News {
            address: "/webhooks/stripe".to_owned(),
            headers: vec![("stripe-signature".to_owned(), house.sandbox.stripe.sign_now(body.as_bytes()))],
            once: vec![
                format!("from safelight.webhook_inbox where event_id = '{id}'"),
                format!("from safelight.jobs where kind = 'confirm_payment' and payload ->> 'event' = '{id}'"),
                entries("webhook.stripe", number),
            ],
            body,
        }
    })
    .await;
}

/// A training of this order that Fal has under this id.
async fn submitted(house: &House, subject: Id<Subject>, order: Id<Order>, token: &str, request: &str) -> Id<Intent> {
    let call = Id::<Intent>::new();
    sqlx::query(
        "insert into safelight.provider_calls (id, tenant, subject_id, generation, order_id, job_id, purpose, processor, model,
            wish, token_sha256, state, request_id, policy_version)
        values ($1, 'haloprofile', $2, 1, $3, $4, 'train', 'fal', 'fal-ai/trainer', $5, $6, 'submitted', $7, '2026-05-13')",
    )
    .bind(call.uuid())
    .bind(subject.uuid())
    .bind(order.uuid())
    .bind(Uuid::new_v4())
    .bind(format!("train:{request}"))
    .bind(token_sha256(token))
    .bind(request)
    .execute(&house.owner)
    .await
    .expect("a call");
    call
}

#[tokio::test]
async fn n24_every_statement_of_the_handler_of_fals_reports_may_be_its_last() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_killed").await;
    killed_everywhere(&house, async |number| {
        let (token, request) = (format!("{number:032x}"), Uuid::new_v4().to_string());
        let call = submitted(&house, subject, order, &token, &request).await;
        let body =
            json!({ "request_id": request, "gateway_request_id": request, "status": "OK", "payload": {} }).to_string();
        let signed = house.sandbox.fal.sign(body.as_bytes(), &request, Utc::now().timestamp());
        News {
            address: format!("/webhooks/fal/{token}"),
            headers: signed.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            once: vec![
                format!("from safelight.webhook_inbox where event_id = '{request}:ok'"),
                format!("from safelight.jobs where kind = 'collect_model' and payload ->> 'call' = '{call}'"),
                entries("webhook.fal", number),
            ],
            body,
        }
    })
    .await;
}
