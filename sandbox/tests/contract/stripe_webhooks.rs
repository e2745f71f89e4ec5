//! Stripe's events: shape, signature, repetition, order.

use hmac::{Hmac, Mac as _};
use safelight_sandbox::{Fault, Rule};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::house::{Got, House, Receiver};
use crate::stripe::wish;

fn genuine(house: &House, got: &Got) -> bool {
    let header = got.header("stripe-signature");
    let (time, signature) = header.split_once(",v1=").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(house.sandbox.description().stripe.webhook_secret.as_bytes()).unwrap();
    mac.update(time.trim_start_matches("t=").as_bytes());
    mac.update(b".");
    mac.update(&got.body);
    mac.verify_slice(&hex::decode(signature).unwrap()).is_ok()
}

async fn house() -> (House, Receiver) {
    let house = House::open().await;
    let (receiver, hook) = Receiver::open(&[]).await;
    house.sandbox.stripe.set_webhook_url(Some(hook));
    (house, receiver)
}

fn kinds(receiver: &Receiver) -> Vec<String> {
    receiver.got().iter().map(|got| got.json()["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_payment_is_told_by_a_signed_event_in_stripes_shape() {
    let (house, receiver) = house().await;
    house.paid();
    house.sandbox.stripe.idle().await;
    let got = receiver.got();
    assert_eq!(got.len(), 1);
    assert!(genuine(&house, &got[0]));
    let event = got[0].json();
    assert_eq!(event["type"], "checkout.session.completed");
    assert_eq!((&event["object"], &event["livemode"]), (&json!("event"), &json!(false)));
    let session = &event["data"]["object"];
    assert_eq!((&session["payment_status"], &session["amount_total"]), (&json!("paid"), &json!(1900)));
    let listed = house.stripe_get("events?type=checkout.session.completed").await;
    assert_eq!(listed["data"][0]["id"], event["id"]);
}

#[tokio::test]
async fn an_event_is_sent_until_taken_and_again_when_asked_under_the_same_id() {
    let house = House::open().await;
    let (receiver, hook) = Receiver::open(&[500, 301]).await;
    house.sandbox.stripe.set_webhook_url(Some(hook));
    house.paid();
    house.sandbox.stripe.idle().await;
    let id = receiver.got()[0].json()["id"].as_str().unwrap().to_owned();
    house.sandbox.stripe.deliver_again(&id).unwrap();
    house.sandbox.stripe.idle().await;
    let ids: Vec<Value> = receiver.got().iter().map(|got| got.json()["id"].clone()).collect();
    assert_eq!(ids, vec![json!(id); 4], "two refusals, one taken, one more");
    assert!(house.sandbox.stripe.deliver_again("evt_none").is_err());
}

#[tokio::test]
async fn a_delayed_payment_is_two_events_and_can_fail() {
    let (house, receiver) = house().await;
    let stripe = &house.sandbox.stripe;
    let new = || stripe.create_session(&wish()).unwrap()["id"].as_str().unwrap().to_owned();
    stripe.pay_unpaid_then_async(&new()).unwrap();
    stripe.idle().await;
    let mut seen = kinds(&receiver);
    seen.sort();
    assert_eq!(seen, ["checkout.session.async_payment_succeeded", "checkout.session.completed"]);
    let ids: std::collections::HashSet<_> = receiver.got().iter().map(|got| got.json()["id"].to_string()).collect();
    assert_eq!(ids.len(), 2);
    let failing = new();
    stripe.pay_unpaid(&failing).unwrap();
    stripe.settle(&failing, false).unwrap();
    assert!(stripe.settle(&new(), true).is_err(), "an open session has nothing to settle");
    stripe.idle().await;
    assert!(kinds(&receiver).contains(&"checkout.session.async_payment_failed".to_owned()));
}

#[tokio::test]
async fn paying_twice_is_one_payment_and_one_event() {
    let (house, receiver) = house().await;
    let stripe = &house.sandbox.stripe;
    let id = stripe.create_session(&wish()).unwrap()["id"].as_str().unwrap().to_owned();
    let first = stripe.pay(&id).unwrap();
    assert_eq!(stripe.pay(&id).unwrap()["payment_intent"], first["payment_intent"]);
    stripe.idle().await;
    assert_eq!(receiver.got().len(), 1);
}

#[tokio::test]
async fn a_fault_can_be_meant_for_one_kind_of_event() {
    let (house, receiver) = house().await;
    let on = Some("charge.refunded".to_owned());
    house.sandbox.stripe.faults().add(Rule { fault: Fault::DropWebhook, times: None, on });
    let intent = house.paid();
    house.sandbox.stripe.refund(&intent).unwrap();
    house.sandbox.stripe.idle().await;
    let mut seen = kinds(&receiver);
    seen.sort();
    assert_eq!(seen, ["checkout.session.completed", "refund.created"]);
}

#[tokio::test]
async fn an_event_made_by_hand_is_signed_like_a_real_one() {
    let (house, receiver) = house().await;
    let stripe = &house.sandbox.stripe;
    let event = stripe.event("some.unknown.kind", json!({ "id": "x", "object": "thing" })).to_string();
    let body = axum::body::Bytes::from(event);
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("stripe-signature", stripe.sign_now(&body).parse().unwrap());
    assert!(genuine(&house, &Got { headers: headers.clone(), body: body.clone() }));
    headers.insert("stripe-signature", stripe.sign(&body, 1).parse().unwrap());
    assert!(genuine(&house, &Got { headers, body }), "an old one, for tests of the tolerance");
    assert!(receiver.got().is_empty() && stripe.events().is_empty(), "nothing happened for it");
}
