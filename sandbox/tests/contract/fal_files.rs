//! Fal's files: their life, their purge, and inputs that clients host there.

use chrono::Duration;
use safelight_sandbox::Fault;
use safelight_sandbox::fal::FLUX_LORA;
use serde_json::{Value, json};

use crate::house::House;

const MINUTE: (&str, &str) =
    ("x-fal-object-lifecycle-preference", r#"{"expiration_duration_seconds":60,"initial_acl":{"default":"allow"}}"#);

/// One picture; returns the request id and the picture's URL.
async fn picture(house: &House, headers: &[(&str, &str)]) -> (String, String) {
    let input = json!({ "prompt": "a wall", "image_size": { "width": 64, "height": 64 } });
    let accepted: Value = house.submit(FLUX_LORA, &input, headers, "").await.json().await.unwrap();
    house.sandbox.fal.idle().await;
    let result: Value = house.ask_fal(accepted["response_url"].as_str().unwrap()).await.json().await.unwrap();
    let url = result["images"][0]["url"].as_str().unwrap().to_owned();
    (accepted["request_id"].as_str().unwrap().to_owned(), url)
}

async fn status(house: &House, url: &str) -> u16 {
    house.http.get(url).send().await.unwrap().status().as_u16()
}

async fn purge(house: &House, id: &str, admin: bool) -> reqwest::Response {
    let fal = house.sandbox.description().fal;
    let key = if admin { fal.admin_key } else { fal.key };
    let url = format!("{}/models/requests/{id}/payloads", fal.platform_url);
    house.http.delete(url).header("authorization", format!("Key {key}")).send().await.unwrap()
}

#[tokio::test]
async fn a_file_dies_at_the_expiry_its_request_asked_for_and_else_lives_on() {
    let house = House::open().await;
    let (_, short) = picture(&house, &[MINUTE]).await;
    let (_, long) = picture(&house, &[]).await;
    house.sandbox.turn_clock(Duration::seconds(59));
    assert_eq!((status(&house, &short).await, status(&house, &long).await), (200, 200));
    house.sandbox.turn_clock(Duration::seconds(2));
    assert_eq!((status(&house, &short).await, status(&house, &long).await), (404, 200));
    house.sandbox.turn_clock(Duration::days(400));
    assert_eq!(status(&house, &long).await, 200);
}

#[tokio::test]
async fn a_purge_needs_the_admin_key_and_removes_files_and_result() {
    let house = House::open().await;
    let (id, url) = picture(&house, &[]).await;
    let refused = purge(&house, &id, false).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["type"], "authorization_error");
    assert_eq!(status(&house, &url).await, 200);

    let answer: Value = purge(&house, &id, true).await.json().await.unwrap();
    assert_eq!(answer, json!({ "cdn_delete_results": [{ "link": url, "exception": null }] }));
    assert_eq!(status(&house, &url).await, 404);
    let fal = house.sandbox.description().fal;
    let result = format!("{}/fal-ai/flux-lora/requests/{id}", fal.queue_url);
    assert_eq!(house.ask_fal(&result).await.status(), 404);
    assert_eq!(purge(&house, &uuid::Uuid::new_v4().to_string(), true).await.status(), 404);
    assert_eq!(house.sandbox.fal.purged().len(), 1);
}

#[tokio::test]
async fn a_purge_can_lie_and_a_file_can_refuse_to_go() {
    let house = House::open().await;
    let (id, url) = picture(&house, &[]).await;
    house.sandbox.fal.faults().once(Fault::PurgeRemovesNothing);
    assert_eq!(purge(&house, &id, true).await.status(), 200);
    assert_eq!(status(&house, &url).await, 200, "it said 200 and removed nothing");
    house.sandbox.fal.faults().once(Fault::PurgeFailsOneFile);
    let answer: Value = purge(&house, &id, true).await.json().await.unwrap();
    assert!(answer["cdn_delete_results"][0]["exception"].is_string());
    assert_eq!(status(&house, &url).await, 200);
    purge(&house, &id, true).await;
    assert_eq!(status(&house, &url).await, 404, "asked again, it goes");
}

#[tokio::test]
async fn an_input_hosted_at_fal_is_counted_and_no_purge_takes_it() {
    let house = House::open().await;
    let fal = house.sandbox.description().fal;
    let wish = json!({ "content_type": "text/plain", "file_name": "in.txt" });
    let place = house.http.post(format!("{}/storage/upload/initiate", fal.rest_url)).json(&wish);
    let place: Value = place.send().await.unwrap().json().await.unwrap();
    let put = house.http.put(place["upload_url"].as_str().unwrap()).body("x").send().await.unwrap();
    assert_eq!(put.status(), 200);
    assert_eq!(status(&house, place["file_url"].as_str().unwrap()).await, 200);
    assert_eq!(house.sandbox.fal.uploads().len(), 1);
    let (id, _) = picture(&house, &[]).await;
    purge(&house, &id, true).await;
    assert_eq!(house.sandbox.fal.uploads().len(), 1);
}
