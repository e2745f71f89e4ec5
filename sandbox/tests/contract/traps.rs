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
