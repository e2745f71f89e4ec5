//! Traps that have no better place: each is set by a rule, springs where it says, and is over when it is used up.

use std::time::{Duration, Instant};

use safelight_sandbox::{Fault, Rule};
use serde_json::{Value, json};

use crate::{
    fal_queue::data_uri,
    house::{House, Receiver, photo, soon},
    storage::store,
};
use object_store::{ObjectStore as _, ObjectStoreExt as _, path::Path};

#[tokio::test]
async fn an_answer_can_drip_and_is_whole_in_the_end() {
    let house = House::open().await;
    house.sandbox.stripe.faults().once(Fault::SlowDrip { millis: 10 });
    let began = Instant::now();
    let slow = house.stripe_get("/v1/events").await;
    assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
    assert_eq!(slow["object"], "list");
}

#[tokio::test]
async fn a_webhook_can_wait_for_the_clock_to_be_turned_by_hours() {
    let house = House::open().await;
    let (receiver, url) = Receiver::open(&[200]).await;
    house.sandbox.stripe.set_webhook_url(Some(url));
    house.sandbox.stripe.faults().once(Fault::DelayWebhookByClock { minutes: 180 });
    house.paid();
    house.sandbox.idle().await;
    house.sandbox.turn_clock(chrono::Duration::minutes(179));
    house.sandbox.idle().await;
    assert_eq!(receiver.got().len(), 0);
    house.sandbox.turn_clock(chrono::Duration::minutes(1));
    house.sandbox.idle().await;
    assert_eq!(receiver.got().len(), 1);
}

#[tokio::test]
async fn stripe_can_sign_with_two_secrets_and_ours_is_the_second() {
    let house = House::open().await;
    let (receiver, url) = Receiver::open(&[200, 200]).await;
    house.sandbox.stripe.set_webhook_url(Some(url));
    house.sandbox.stripe.faults().once(Fault::TwoSignatures);
    house.paid();
    house.sandbox.idle().await;
    let got = receiver.got();
    let header = got[0].header("stripe-signature");
    let parts: Vec<&str> = header.split(',').collect();
    assert_eq!((parts.len(), parts[1] == parts[2]), (3, false), "{header}");
    let at: i64 = parts[0].trim_start_matches("t=").parse().unwrap();
    assert_eq!(house.sandbox.stripe.sign(&got[0].body, at), format!("{},{}", parts[0], parts[2]));
}

#[tokio::test]
async fn fal_can_roll_its_key_between_two_webhooks() {
    let house = House::open().await;
    let keys = async || house.ask_fal(&house.sandbox.description().fal.jwks_url).await.json::<Value>().await.unwrap();
    let before = keys().await;
    let (receiver, url) = Receiver::open(&[200]).await;
    house.sandbox.fal.faults().once(Fault::RotateKey);
    let input = json!({ "image_url": data_uri(&photo(1)) });
    house.submit("fal-ai/imageutils/nsfw", &input, &[], &format!("?fal_webhook={url}")).await;
    soon(house.sandbox.idle()).await;
    assert_eq!(receiver.got().len(), 1);
    assert_ne!(keys().await, before);
}

#[tokio::test]
async fn a_result_can_be_gone_early_a_refusal_can_be_a_sentence_and_a_picture_black() {
    let house = House::open().await;
    let faults = house.sandbox.fal.faults();
    let wish = json!({ "image_url": data_uri(&photo(1)), "prompt": "a person", "strength": 0.6 });
    faults.once(Fault::BlackPicture);
    let (_, status, body) = house.fal("fal-ai/flux-lora/image-to-image", &wish).await;
    assert_eq!((status.as_u16(), &body["has_nsfw_concepts"]), (200, &json!([true])));
    let (_, _, body) = house.fal("fal-ai/flux-lora/image-to-image", &wish).await;
    assert_eq!(body["has_nsfw_concepts"], json!([false]));

    faults.once(Fault::PlainDetail);
    let (_, status, body) = house.fal("fal-ai/flux-lora/image-to-image", &json!({})).await;
    assert!(status.is_client_error() && body["detail"].is_string(), "{status} {body}");

    faults.once(Fault::ResultExpired);
    let (accepted, status, _) = house.fal("fal-ai/flux-lora/image-to-image", &wish).await;
    assert_eq!(status.as_u16(), 404);
    let again = house.ask_fal(accepted["response_url"].as_str().unwrap()).await;
    assert_eq!(again.status().as_u16(), 200, "used up");
}

#[tokio::test]
async fn the_store_can_say_that_it_deleted_and_that_there_is_nothing() {
    use futures::TryStreamExt as _;
    let house = House::open().await;
    let (store, key) = (store(&house), Path::from("tenant/person/upload/one"));
    store.put(&key, "x".into()).await.unwrap();
    let listed = async || store.list(None).try_collect::<Vec<_>>().await.unwrap().len();
    let faults = house.sandbox.supabase.faults();
    faults.add(Rule { fault: Fault::DeleteRemovesNothing, times: Some(1), on: Some("upload/one".to_owned()) });
    store.delete(&key).await.unwrap();
    assert_eq!(listed().await, 1);
    faults.once(Fault::ListIsEmpty);
    assert_eq!((listed().await, listed().await), (0, 1));
    store.delete(&key).await.unwrap();
    assert_eq!(listed().await, 0);
}

#[tokio::test]
async fn the_stores_cache_can_show_a_deleted_object_for_a_while_over_rest_and_never_over_s3() {
    let house = House::open().await;
    let (store, key) = (store(&house), Path::from("tenant/person/upload/one"));
    store.put(&key, "x".into()).await.unwrap();
    let there = house.sandbox.description().supabase;
    let over_rest = async || {
        let url = format!("{}/storage/v1/object/authenticated/safelight/{key}", there.url);
        house.http.get(url).header("apikey", &there.secret_key).send().await.unwrap().status().as_u16()
    };
    house.sandbox.supabase.faults().once(Fault::CacheStillServes { seconds: 60 });
    store.delete(&key).await.unwrap();
    assert!(matches!(store.head(&key).await, Err(object_store::Error::NotFound { .. })));
    assert_eq!(over_rest().await, 200);
    house.sandbox.turn_clock(chrono::Duration::seconds(60));
    assert_eq!(over_rest().await, 400);
}

#[tokio::test]
async fn a_key_set_can_be_empty_once() {
    let house = House::open().await;
    let there = house.sandbox.description();
    for (url, faults) in
        [(there.supabase.jwks_url, house.sandbox.supabase.faults()), (there.fal.jwks_url, house.sandbox.fal.faults())]
    {
        let keys = async || {
            let answer: Value = house.http.get(&url).send().await.unwrap().json().await.unwrap();
            answer["keys"].as_array().unwrap().len()
        };
        faults.once(Fault::EmptyKeySet);
        assert_eq!((keys().await, keys().await), (0, 1), "{url}");
    }
}

#[tokio::test]
async fn an_event_can_be_of_an_older_version_and_a_refund_can_fail_after_it_succeeded() {
    let house = House::open().await;
    let faults = house.sandbox.stripe.faults();
    faults.once(Fault::OlderEvent);
    let payment = house.paid();
    let event = &house.sandbox.stripe.events()[0];
    let object = &event["data"]["object"];
    assert_eq!((&event["api_version"], &object["payment_intent"]), (&json!("2019-05-16"), &json!(payment)));
    assert!(object["id"].as_str().unwrap().starts_with("cs_test_"));
    assert!(object["amount_total"].is_null() && object["metadata"].is_null() && event["request"].is_null());

    faults.once(Fault::RefundFailsLater);
    let refund = house.sandbox.stripe.refund(&payment).unwrap();
    assert_eq!(refund["status"], "succeeded");
    assert_eq!(house.sandbox.stripe.refunds()[0]["status"], "failed");
    let last = house.sandbox.stripe.events().pop().unwrap();
    assert_eq!(last["type"], "refund.failed");
}

#[tokio::test]
async fn a_mail_can_come_back() {
    let house = House::open().await;
    house.sandbox.resend.faults().once(Fault::MailBounces);
    let there = house.sandbox.description().resend;
    let mail = json!({ "from": "hello@photos.example", "to": "ann@mail.example", "subject": "s", "text": "t" });
    let sent =
        house.http.post(format!("{}/emails", there.url)).bearer_auth(there.api_key).json(&mail).send().await.unwrap();
    assert_eq!((sent.status().as_u16(), house.sandbox.resend.mails()[0].last_event.as_str()), (200, "bounced"));
}

#[tokio::test]
async fn sentry_takes_envelopes_with_its_key_and_can_ask_for_quiet_with_headers_and_without() {
    let house = House::open().await;
    let dsn = url::Url::parse(&house.sandbox.description().sentry.dsn).unwrap();
    let url = format!("http://127.0.0.1:{}/api{}/envelope/", dsn.port().unwrap(), dsn.path());
    let post = async |key: &str, body: &str| {
        let auth = format!("Sentry sentry_version=7, sentry_client=x/1, sentry_key={key}");
        house.http.post(&url).header("x-sentry-auth", auth).body(body.to_owned()).send().await.unwrap()
    };
    let event = r#"{"event_id":"1","level":"error"}"#;
    let body = format!("{{}}\n{{\"type\":\"event\",\"length\":{}}}\n{event}\n", event.len());
    assert_eq!(post("other", &body).await.status().as_u16(), 403);
    assert_eq!(post(dsn.username(), "no envelope").await.status().as_u16(), 400);
    assert_eq!(post(dsn.username(), &body).await.status().as_u16(), 200);
    assert_eq!(house.sandbox.sentry.events(), [json!({ "event_id": "1", "level": "error" })]);

    let faults = house.sandbox.sentry.faults();
    faults.once(Fault::TooManyRequests { retry_after_seconds: Some(30) });
    let limited = post(dsn.username(), &body).await;
    assert_eq!((limited.status().as_u16(), &limited.headers()["retry-after"]), (429, &"30".parse().unwrap()));
    assert_eq!(limited.headers()["x-sentry-rate-limits"], "30:error;default:organization");
    faults.once(Fault::TooManyRequests { retry_after_seconds: None });
    let limited = post(dsn.username(), &body).await;
    assert_eq!(limited.status().as_u16(), 429);
    assert!(limited.headers().get("retry-after").is_none() && limited.headers().get("x-sentry-rate-limits").is_none());
    assert_eq!(house.sandbox.sentry.events().len(), 1);
    assert!(!format!("{:?}", house.sandbox.sentry.calls()).contains(dsn.username()), "keys are not kept");
}
