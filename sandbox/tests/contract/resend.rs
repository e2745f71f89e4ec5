//! Resend: sends, keys, errors by name, reports.

use chrono::Duration;
use reqwest::Response;
use safelight_sandbox::Fault;
use serde_json::{Value, json};

use crate::house::{House, Receiver, soon};

fn mail() -> Value {
    json!({ "from": "Safelight <hello@mail.safelight.test>", "to": "ann@safelight.test", "subject": "Ready", "text": "t" })
}

async fn send(house: &House, path: &str, body: &Value, key: Option<&str>) -> Response {
    let resend = house.sandbox.description().resend;
    let mut request = house.http.post(format!("{}/{path}", resend.url)).bearer_auth(resend.api_key).json(body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    request.send().await.unwrap()
}

async fn name(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["statusCode"], status);
    (status, body["name"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_mail_is_kept_shown_and_sent_once_per_key() {
    let house = House::open().await;
    let first: Value = send(&house, "emails", &mail(), Some("k")).await.json().await.unwrap();
    let again: Value = send(&house, "emails", &mail(), Some("k")).await.json().await.unwrap();
    assert_eq!(first, again);
    assert_eq!(house.sandbox.resend.mails().len(), 1);
    assert_eq!(house.sandbox.resend.mails()[0].to, ["ann@safelight.test"]);
    let resend = house.sandbox.description().resend;
    let url = format!("{}/emails/{}", resend.url, first["id"].as_str().unwrap());
    let shown: Value = house.http.get(url).bearer_auth(resend.api_key).send().await.unwrap().json().await.unwrap();
    assert_eq!((&shown["subject"], &shown["last_event"]), (&json!("Ready"), &json!("sent")));

    let mut other = mail();
    other["subject"] = json!("Other");
    let mismatch = send(&house, "emails", &other, Some("k")).await;
    assert_eq!(name(mismatch).await, (409, "invalid_idempotent_request".to_owned()));
    let long = send(&house, "emails", &mail(), Some(&"k".repeat(257))).await;
    assert_eq!(name(long).await, (400, "invalid_idempotency_key".to_owned()));
    house.sandbox.turn_clock(Duration::hours(25));
    send(&house, "emails", &mail(), Some("k")).await;
    assert_eq!(house.sandbox.resend.mails().len(), 2);
}

#[tokio::test]
async fn the_same_key_in_flight_is_another_409() {
    let house = House::open().await;
    house.sandbox.resend.hold_posts(true);
    let again = async {
        while house.sandbox.resend.calls().last().is_none_or(|call| call.status.is_some()) {
            tokio::task::yield_now().await;
        }
        let busy = send(&house, "emails", &mail(), Some("k")).await;
        house.sandbox.resend.hold_posts(false);
        busy
    };
    let mail = mail();
    let (first, busy) = soon(async { tokio::join!(send(&house, "emails", &mail, Some("k")), again) }).await;
    assert_eq!(first.status(), 200);
    assert_eq!(name(busy).await, (409, "concurrent_idempotent_requests".to_owned()));
}

#[tokio::test]
async fn refusals_go_by_name() {
    let house = House::open().await;
    let resend = house.sandbox.description().resend;
    let url = format!("{}/emails", resend.url);
    let nameless = reqwest::Client::builder().no_proxy().build().unwrap();
    let refused = nameless.post(&url).bearer_auth(&resend.api_key).json(&mail()).send().await.unwrap();
    assert_eq!(refused.status(), 403, "no User-Agent");
    let keyless = house.http.post(&url).json(&mail()).send().await.unwrap();
    assert_eq!(name(keyless).await, (401, "missing_api_key".to_owned()));
    let wrong = house.http.post(&url).bearer_auth("re_wrong").json(&mail()).send().await.unwrap();
    assert_eq!(name(wrong).await, (403, "invalid_api_key".to_owned()));
    let changed = |field: &str, value: Value| {
        let mut mail = mail();
        mail[field] = value;
        mail
    };
    let cases = [
        (changed("subject", Value::Null), "missing_required_field"),
        (changed("to", json!("ann@example.com")), "validation_error"),
        (changed("from", json!("nobody")), "invalid_from_address"),
    ];
    for (mail, expected) in cases {
        assert_eq!(name(send(&house, "emails", &mail, None).await).await, (422, expected.to_owned()));
    }
    house.sandbox.resend.faults().once(Fault::TooManyRequests { retry_after_seconds: Some(3) });
    let busy = send(&house, "emails", &mail(), None).await;
    assert_eq!(busy.headers()["retry-after"], "3");
    assert_eq!(name(busy).await, (429, "rate_limit_exceeded".to_owned()));
    house.sandbox.resend.faults().once(Fault::QuotaExceeded);
    assert_eq!(name(send(&house, "emails", &mail(), None).await).await, (429, "daily_quota_exceeded".to_owned()));
    assert!(house.sandbox.resend.mails().is_empty());
}

#[tokio::test]
async fn a_permissive_batch_sends_the_good_ones_and_a_strict_one_none() {
    let house = House::open().await;
    let mut bad = mail();
    bad["to"] = json!("x@test.com");
    let batch = json!([mail(), bad, mail()]);
    assert_eq!(send(&house, "emails/batch", &batch, None).await.status(), 422);
    assert!(house.sandbox.resend.mails().is_empty());
    let resend = house.sandbox.description().resend;
    let request = house.http.post(format!("{}/emails/batch", resend.url)).bearer_auth(resend.api_key).json(&batch);
    let answer: Value = request.header("x-batch-validation", "permissive").send().await.unwrap().json().await.unwrap();
    assert_eq!((answer["data"].as_array().unwrap().len(), &answer["errors"][0]["index"]), (2, &json!(1)));
    assert_eq!(house.sandbox.resend.mails().len(), 2);
}

#[tokio::test]
async fn what_became_of_a_mail_is_told_signed_with_one_id_over_all_tries() {
    let house = House::open().await;
    let (receiver, hook) = Receiver::open(&[503]).await;
    house.sandbox.resend.set_webhook_url(Some(hook));
    send(&house, "emails", &mail(), None).await;
    let id = house.sandbox.resend.mails()[0].id.clone();
    house.sandbox.resend.report(&id, "email.bounced").unwrap();
    house.sandbox.resend.idle().await;
    let got = receiver.got();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].header("svix-id"), got[1].header("svix-id"));
    assert_eq!((&got[1].json()["type"], &got[1].json()["data"]["email_id"]), (&json!("email.bounced"), &json!(id)));
    let at = got[1].header("svix-timestamp").parse().unwrap();
    let expected = house.sandbox.resend.sign(got[1].header("svix-id"), at, &got[1].body);
    assert_eq!(got[1].header("svix-signature"), expected.signature);
    assert_eq!(house.sandbox.resend.mails()[0].last_event, "bounced");
}
