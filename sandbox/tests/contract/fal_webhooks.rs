//! Fal's webhooks, checked step by step as its page says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use safelight_sandbox::Fault;
use safelight_sandbox::fal::NSFW;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::fal_queue::data_uri;
use crate::house::{Got, House, Receiver, photo};

async fn genuine(house: &House, got: &Got) -> bool {
    let jwks = house.sandbox.description().fal.jwks_url;
    let jwks: Value = house.http.get(jwks).send().await.unwrap().json().await.unwrap();
    let x = URL_SAFE_NO_PAD.decode(jwks["keys"][0]["x"].as_str().unwrap()).unwrap();
    let key = VerifyingKey::from_bytes(&x.try_into().unwrap()).unwrap();
    let message = format!(
        "{}\n{}\n{}\n{}",
        got.header("x-fal-webhook-request-id"),
        got.header("x-fal-webhook-user-id"),
        got.header("x-fal-webhook-timestamp"),
        hex::encode(Sha256::digest(&got.body)),
    );
    let signature = hex::decode(got.header("x-fal-webhook-signature")).unwrap();
    key.verify_strict(message.as_bytes(), &Signature::from_slice(&signature).unwrap()).is_ok()
}

async fn submit(house: &House, hook: &str, input: &Value) -> String {
    let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("fal_webhook", hook).finish();
    let accepted = house.submit(NSFW, input, &[("x-fal-store-io", "0")], &format!("?{query}")).await;
    accepted.json::<Value>().await.unwrap()["request_id"].as_str().unwrap().to_owned()
}

fn look() -> Value {
    json!({ "image_url": data_uri(&photo(1)) })
}

#[tokio::test]
async fn a_result_is_posted_signed_until_it_is_taken() {
    let house = House::open().await;
    let (receiver, hook) = Receiver::open(&[500, 404]).await;
    let id = submit(&house, &format!("{hook}?intent=tok_1"), &look()).await;
    house.sandbox.fal.idle().await;
    let got = receiver.got();
    assert_eq!(got.len(), 3, "two refusals, then taken");
    let body = got[2].json();
    assert_eq!((&body["request_id"], &body["status"]), (&json!(id), &json!("OK")));
    assert!(body["payload"]["nsfw_probability"].is_number());
    assert!(genuine(&house, &got[2]).await);
    let mut forged = got[2].clone();
    forged.body = String::from_utf8(forged.body.to_vec()).unwrap().replace("OK", "KO").into();
    assert!(!genuine(&house, &forged).await);
    house.sandbox.fal.rotate_key();
    assert!(!genuine(&house, &got[2]).await, "the old key left the set");
    assert_eq!(house.sandbox.fal.deliveries().last().unwrap().status, Some(200));
}

#[tokio::test]
async fn a_failure_is_posted_as_error_with_the_models_own_words() {
    let house = House::open().await;
    let (receiver, hook) = Receiver::open(&[]).await;
    submit(&house, &hook, &json!({ "image_url": "ftp://127.0.0.1/x" })).await;
    house.sandbox.fal.idle().await;
    let body = receiver.got()[0].json();
    assert_eq!(body["status"], "ERROR");
    assert_eq!(body["error"], "Invalid status code: 422");
    assert_eq!(body["payload"]["detail"][0]["type"], "file_download_error");
}

#[tokio::test]
async fn webhooks_come_twice_never_late_or_swapped_when_told_so() {
    let house = House::open().await;
    let (receiver, hook) = Receiver::open(&[]).await;
    let faults = house.sandbox.fal.faults();
    faults.once(Fault::DoubleWebhook);
    submit(&house, &hook, &look()).await;
    house.sandbox.fal.idle().await;
    assert_eq!(receiver.got().len(), 2);

    faults.once(Fault::DropWebhook);
    let dropped = submit(&house, &hook, &look()).await;
    house.sandbox.fal.idle().await;
    assert_eq!(receiver.got().len(), 2);
    house.sandbox.fal.deliver_again(dropped.parse().unwrap()).unwrap();
    house.sandbox.fal.idle().await;
    assert_eq!(receiver.got().len(), 3);

    faults.once(Fault::SwapWebhooks);
    let first = submit(&house, &hook, &look()).await;
    house.sandbox.fal.idle().await;
    let second = submit(&house, &hook, &look()).await;
    house.sandbox.fal.idle().await;
    let order: Vec<_> = receiver.got()[3..].iter().map(|got| got.json()["request_id"].clone()).collect();
    assert_eq!(order, [json!(second), json!(first)]);
}

#[tokio::test]
async fn a_redirect_ends_the_delivery() {
    let house = House::open().await;
    let (receiver, hook) = Receiver::open(&[302]).await;
    submit(&house, &hook, &look()).await;
    house.sandbox.fal.idle().await;
    assert_eq!(receiver.got().len(), 1);
}

#[tokio::test]
async fn a_body_signed_by_hand_passes_the_same_check() {
    let house = House::open().await;
    let body = br#"{"status":"OK"}"#;
    let signed = house.sandbox.fal.sign(body, "r-1", 1_700_000_000);
    let mut headers = axum::http::HeaderMap::new();
    for (name, value) in signed.pairs() {
        headers.insert(axum::http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    assert!(genuine(&house, &Got { headers, body: body.as_slice().into() }).await);
}
