//! The same request again gets the same answer and has no second effect.

use axum::http::StatusCode;
use serde_json::json;

use crate::house::House;

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_has_one_effect() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let body = json!({ "email": "ann@example.org" });
    let first = house.post_once(&token, "key-1", "/v1/subjects", body.clone()).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (StatusCode::CREATED, ""));
    let second = house.post_once(&token, "key-1", "/v1/subjects", body.clone()).await;
    assert_eq!((second.status, second.header("idempotent-replayed")), (StatusCode::CREATED, "true"));
    assert_eq!(first.body, second.body);
    assert_eq!(house.count("from safelight.subjects").await, 1);
    let other_key = house.post_once(&token, "key-2", "/v1/subjects", body.clone()).await;
    assert_ne!(other_key.body["subject"], first.body["subject"]);
    let other_token = house.backend("koselfie").await;
    let theirs = house.post_once(&other_token, "key-1", "/v1/subjects", body).await;
    assert_ne!(theirs.body["subject"], first.body["subject"], "a key belongs to its token");
    assert!(!house.everything_stored().await.contains("ann@example.org"));
}

#[tokio::test]
async fn the_same_key_for_another_request_is_refused() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    house.post_once(&token, "key", "/v1/subjects", json!({ "email": "ann@example.org" })).await;
    for (path, body) in
        [("/v1/subjects", json!({ "email": "bob@example.org" })), ("/v1/orders", json!({ "email": "ann@example.org" }))]
    {
        let answer = house.post_once(&token, "key", path, body).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::CONFLICT, "idempotency_key_reused"));
    }
    assert_eq!(house.count("from safelight.subjects").await, 1);
    let odd = house.post_once(&token, &"k".repeat(256), "/v1/subjects", json!({})).await;
    assert_eq!(odd.code(), "idempotency_key_invalid");
}

#[tokio::test]
async fn ten_at_once_are_one_effect() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let body = json!({ "email": "ann@example.org" });
    let answers =
        futures::future::join_all((0..10).map(|_| house.post_once(&token, "key", "/v1/subjects", body.clone()))).await;
    for answer in &answers {
        assert!(answer.status == StatusCode::CREATED || answer.code() == "idempotency_in_flight", "{}", answer.text);
    }
    assert!(answers.iter().any(|answer| answer.status == StatusCode::CREATED));
    assert_eq!(house.count("from safelight.subjects").await, 1);
}

#[tokio::test]
async fn a_refusal_changed_nothing_and_leaves_the_key_free() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let refused = house.post_once(&token, "key", "/v1/subjects", json!({ "email": "nobody" })).await;
    assert_eq!(refused.code(), "bad_email");
    let taken = house.post_once(&token, "key", "/v1/subjects", json!({ "email": "ann@example.org" })).await;
    assert_eq!(taken.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_key_is_free_after_a_day_and_a_place_without_an_answer_after_minutes() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let body = json!({ "email": "ann@example.org" });
    house.post_once(&token, "done", "/v1/subjects", body.clone()).await;
    house.post_once(&token, "died", "/v1/subjects", body.clone()).await;
    // As if its process had been killed before the commit.
    house.run("update safelight.idempotent_answers set status = null, body = null where key = 'died'").await;
    assert_eq!(house.post_once(&token, "died", "/v1/subjects", body.clone()).await.code(), "idempotency_in_flight");
    house.turn_clock_to("6 minutes").await;
    assert_eq!(house.post_once(&token, "died", "/v1/subjects", body.clone()).await.header("idempotent-replayed"), "");
    assert_eq!(
        house.post_once(&token, "done", "/v1/subjects", body.clone()).await.header("idempotent-replayed"),
        "true"
    );
    house.turn_clock_to("25 hours").await;
    assert_eq!(house.post_once(&token, "done", "/v1/subjects", body).await.header("idempotent-replayed"), "");
    assert_eq!(house.count("from safelight.idempotent_answers").await, 1, "old answers are forgotten");
}

#[tokio::test]
async fn a_signed_link_is_not_remembered_but_made_anew() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let batch = house.post(&token, &format!("/v1/subjects/{subject}/batches"), json!({})).await;
    let path = format!("/v1/batches/{}/uploads", batch.body["batch"].as_str().expect("an id"));
    let first = house.post_once(&token, "slot", &path, json!({})).await;
    let second = house.post_once(&token, "slot", &path, json!({})).await;
    assert_eq!(first.body["artifact"], second.body["artifact"]);
    assert!(second.body["put_url"].as_str().is_some_and(|link| link.contains("X-Amz-Signature")));
    assert_eq!(house.count("from safelight.artifacts").await, 1);
    assert!(!house.everything_stored().await.contains("X-Amz"));
}
