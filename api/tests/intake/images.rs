//! The read gate of images.

use axum::http::{Method, StatusCode};
use safelight_jobs::id::{Artifact, Id, Order, Subject};
use serde_json::json;

use crate::house::{House, request};

/// A delivered image, or one that is only stored.
async fn image(house: &House, subject: Id<Subject>, order: Id<Order>, position: i32, delivered: bool) -> Id<Artifact> {
    let id = Id::<Artifact>::new();
    sqlx::query(
        "insert into safelight.artifacts (id, tenant, subject_id, generation, class, order_id, position, state, storage_key,
            content_type, bytes, sha256, delivered_at)
        values ($1, 'koselfie', $2, 1, 'image', $3, $4, 'stored', $5, 'image/png', 9, $6, case when $7 then safelight.now() end)",
    )
    .bind(id.uuid())
    .bind(subject.uuid())
    .bind(order.uuid())
    .bind(position)
    .bind(format!("koselfie/{}/image/{}", subject.uuid().simple(), id.uuid().simple()))
    .bind("0".repeat(64))
    .bind(delivered)
    .execute(&house.owner)
    .await
    .expect("an image");
    id
}

#[tokio::test]
async fn k24_an_image_is_served_at_719_59_and_refused_at_720_00_each_by_its_own_clock() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_k24").await;
    let first = image(&house, subject, order, 0, true).await;
    house.turn_clock_to("24 hours").await;
    let late = image(&house, subject, order, 1, true).await;
    let path = |artifact| format!("/v1/subjects/{subject}/images/{artifact}");

    house.turn_clock_to("719 hours 59 minutes").await;
    let served = house.get(&token, &path(first)).await;
    assert_eq!(served.status, StatusCode::FOUND, "{}", served.text);
    assert!(served.header("location").starts_with("http://127.0.0.1"), "a link of the store");
    assert!(served.header("cache-control").contains("no-store"));
    let seconds = link_life(served.header("location"));
    assert!(seconds <= 60, "the link ends with the image, and lives {seconds} s");
    let view = house.get(&token, &format!("/v1/orders/{order}")).await;
    assert!(view.body["images"][0]["url"].is_string() && view.body["images"][1]["url"].is_string(), "{}", view.text);

    house.turn_clock_to("720 hours").await;
    let gone = house.get(&token, &path(first)).await;
    assert_eq!((gone.status, gone.code()), (StatusCode::GONE, "gone"));
    let view = house.get(&token, &format!("/v1/orders/{order}")).await;
    assert_eq!((&view.body["images"][0]["url"], &view.body["images"][0]["state"]), (&json!(null), &json!("gone")));
    assert!(view.body["images"][1]["url"].is_string(), "the late image has its own full term");
    assert_eq!(house.get(&token, &path(late)).await.status, StatusCode::FOUND);

    house.turn_clock_to("744 hours").await;
    assert_eq!(house.get(&token, &path(late)).await.status, StatusCode::GONE);
    // The rows are still there: nobody has swept. The gate does not wait for the sweep.
    assert_eq!(house.count("from safelight.artifacts where class = 'image'").await, 2);
}

fn link_life(link: &str) -> i64 {
    let (_, rest) = link.split_once("X-Amz-Expires=").expect("an expiry");
    rest.split('&').next().and_then(|seconds| seconds.parse().ok()).expect("seconds")
}

#[tokio::test]
async fn only_what_was_delivered_is_read_and_by_its_own_tenant() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_gate").await;
    let delivered = image(&house, subject, order, 0, true).await;
    let pending = image(&house, subject, order, 1, false).await;
    let path = |artifact| format!("/v1/subjects/{subject}/images/{artifact}");
    assert_eq!(house.get(&token, &path(pending)).await.status, StatusCode::NOT_FOUND);
    let view = house.get(&token, &format!("/v1/orders/{order}")).await;
    assert_eq!((&view.body["images"][1]["state"], &view.body["images"][1]["url"]), (&json!("stored"), &json!(null)));

    let stranger = house.backend("haloprofile").await;
    assert_eq!(house.get(&stranger, &path(delivered)).await.status, StatusCode::NOT_FOUND);
    let other = house.person(&token).await;
    assert_eq!(
        house.get(&token, &format!("/v1/subjects/{other}/images/{delivered}")).await.status,
        StatusCode::NOT_FOUND
    );

    let mut as_json = request(Method::GET, &path(delivered), &token, None);
    as_json.headers_mut().insert("accept", "application/json".parse().expect("a value"));
    let answer = house.send(as_json).await;
    assert_eq!((answer.status, &answer.body["seconds"]), (StatusCode::OK, &json!(300)));

    house.post(&token, &format!("/v1/subjects/{subject}/erase"), json!({})).await;
    assert_eq!(house.get(&token, &path(delivered)).await.status, StatusCode::GONE, "erasing closes the gate at once");
}
