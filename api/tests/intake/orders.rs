//! The life of an order, as far as the intake goes.

use axum::http::StatusCode;
use safelight_jobs::id::{Id, Order};
use serde_json::json;

use crate::house::{House, POLICY, photo};

const WORDING: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[tokio::test]
async fn an_order_goes_from_a_person_to_a_checkout() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let subject = house.person(&token).await;
    let batch = house.post(&token, &format!("/v1/subjects/{subject}/batches"), json!({})).await;
    let batch = batch.body["batch"].as_str().expect("a batch").to_owned();
    let consents = format!("/v1/subjects/{subject}/consents");
    let consent = |purpose: &str, point: &str, scope: serde_json::Value| {
        let mut body =
            json!({ "purpose": purpose, "capture_point": point, "wording_sha256": WORDING, "policy_version": POLICY });
        for (name, id) in scope.as_object().expect("a scope") {
            body[name] = id.clone();
        }
        body
    };
    for body in [consent("compare", "sign_up", json!({})), consent("compare", "upload", json!({ "batch": batch }))] {
        let answer = house.post(&token, &consents, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        assert!(answer.body["grant"].as_str().is_some_and(|id| id.starts_with("grant_")));
    }
    for _ in 0..9 {
        assert_eq!(house.upload(&token, &batch, photo()).await.1.body["content_type"], "image/png");
    }
    let wish = json!({ "subject": subject, "batch": batch, "plan": "pro", "prompt": "in a red coat" });
    let early = house.post(&token, "/v1/orders", wish.clone()).await;
    assert_eq!((early.status, early.code()), (StatusCode::UNPROCESSABLE_ENTITY, "photo_count"));
    house.upload(&token, &batch, photo()).await;
    let placed = house.post(&token, "/v1/orders", wish).await;
    assert_eq!(placed.status, StatusCode::CREATED, "{}", placed.text);
    assert!(placed.body["amount_cents"].as_i64().is_some_and(|cents| cents > 0));
    let order: Id<Order> = placed.id("order");
    let train = house.post(&token, &consents, consent("train", "checkout", json!({ "order": order }))).await;
    assert_eq!(train.status, StatusCode::CREATED, "{}", train.text);
    let checkout = format!("/v1/orders/{order}/checkout");
    assert_eq!(house.post(&token, &checkout, json!({ "session": "cs_test_life" })).await.status, StatusCode::OK);
    let other = house.post(&token, &checkout, json!({ "session": "cs_test_other" })).await;
    assert_eq!((other.status, other.code()), (StatusCode::CONFLICT, "checkout_exists"));

    let view = house.get(&token, &format!("/v1/orders/{order}")).await;
    assert_eq!(view.status, StatusCode::OK);
    assert_eq!(
        (&view.body["state"], &view.body["plan"], &view.body["images"]),
        (&json!("placed"), &json!("pro"), &json!([]))
    );
    let stored = house.everything_stored().await;
    assert!(!stored.contains("in a red coat") && !stored.contains("example.org"), "prompt and mail are sealed");
}

#[tokio::test]
async fn what_is_no_photo_is_refused_with_its_reason_and_the_rest_goes_on() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let batch = house.post(&token, &format!("/v1/subjects/{subject}/batches"), json!({})).await;
    let batch = batch.body["batch"].as_str().expect("a batch").to_owned();
    let mut cut = photo();
    cut.truncate(60);
    for (bytes, code) in [
        (b"This is a text named photo.jpg".to_vec(), "photo_not_a_photo"),
        (b"\0\0\0\x18ftypheic\0\0\0\0heicmif1".to_vec(), "photo_heic"),
        (cut, "photo_corrupt"),
    ] {
        let (_, answer) = house.upload(&token, &batch, bytes).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::UNPROCESSABLE_ENTITY, code), "{}", answer.text);
    }
    let (artifact, good) = house.upload(&token, &batch, photo()).await;
    assert_eq!((good.status, &good.body["already"]), (StatusCode::OK, &json!(false)));
    let again = house.post(&token, &format!("/v1/uploads/{artifact}/arrived"), json!({})).await;
    assert_eq!(again.body["already"], true);
    let slot = house.post(&token, &format!("/v1/batches/{batch}/uploads"), json!({})).await;
    let empty = house
        .post(&token, &format!("/v1/uploads/{}/arrived", slot.body["artifact"].as_str().expect("an id")), json!({}))
        .await;
    assert_eq!((empty.status, empty.code()), (StatusCode::CONFLICT, "upload_missing"));
    assert_eq!(house.sandbox.supabase.objects("safelight").len(), 1, "what was refused is deleted again");
}

#[tokio::test]
async fn withdrawing_takes_one_field_stops_the_work_and_starts_a_deletion() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let subject = house.person(&token).await;
    let path = format!("/v1/subjects/{subject}/consents/withdraw");
    let more = house.post(&token, &path, json!({ "purpose": "compare", "reason": "none of your business" })).await;
    assert_eq!((more.status, more.code()), (StatusCode::UNPROCESSABLE_ENTITY, "bad_body"));
    let done = house.post(&token, &path, json!({ "purpose": "compare" })).await;
    assert_eq!(done.status, StatusCode::ACCEPTED, "{}", done.text);
    let view = house.get(&token, &format!("/v1/deletions/{}", done.body["deletion"].as_str().expect("an id"))).await;
    assert_eq!((&view.body["trigger"], &view.body["purpose"]), (&json!("withdrawal"), &json!("compare")));
    assert_eq!(view.body["late"], false);
}

#[tokio::test]
async fn withdrawing_the_training_stops_a_paid_order_in_the_same_commit() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let subject = house.person(&token).await;
    let order = house.order_of(&token, subject, "cs_test_stop", "pro", 10).await;
    house.run("update safelight.orders set state = 'paid', paid_at = checkout_at").await;
    let done =
        house.post(&token, &format!("/v1/subjects/{subject}/consents/withdraw"), json!({ "purpose": "train" })).await;
    assert_eq!(done.status, StatusCode::ACCEPTED, "{}", done.text);
    let view = house.get(&token, &format!("/v1/orders/{order}")).await;
    assert_eq!((&view.body["state"], &view.body["problem"]), (&json!("refund_review"), &json!("consent_withdrawn")));
}

#[tokio::test]
async fn erasing_is_accepted_at_once_and_again_is_the_same_erasure() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let path = format!("/v1/subjects/{subject}/erase");
    let first = house.post(&token, &path, json!({})).await;
    assert_eq!((first.status, &first.body["already"]), (StatusCode::ACCEPTED, &json!(false)));
    let second = house.post(&token, &path, json!({})).await;
    assert_eq!((second.status, &second.body["already"]), (StatusCode::ACCEPTED, &json!(true)));
    assert_eq!(first.body["deletion"], second.body["deletion"]);
    let batch = house.post(&token, &format!("/v1/subjects/{subject}/batches"), json!({})).await;
    if batch.status.is_success() {
        let slot = house
            .post(&token, &format!("/v1/batches/{}/uploads", batch.body["batch"].as_str().expect("an id")), json!({}))
            .await;
        assert_eq!((slot.status, slot.code()), (StatusCode::CONFLICT, "subject_erased"));
    }
    let wish =
        json!({ "purpose": "train", "capture_point": "sign_up", "wording_sha256": WORDING, "policy_version": POLICY });
    let consent = house.post(&token, &format!("/v1/subjects/{subject}/consents"), wish).await;
    assert_eq!((consent.status, consent.code()), (StatusCode::CONFLICT, "subject_erased"));
}

#[tokio::test]
async fn k11_an_order_holds_its_status_and_session_and_no_card_address_or_name() {
    let house = House::build().await;
    let mut columns: Vec<String> = sqlx::query_scalar(
        "select column_name::text from information_schema.columns where table_schema = 'safelight' and table_name = 'orders'",
    )
    .fetch_all(&house.owner)
    .await
    .expect("the columns");
    columns.sort();
    let known = [
        "amount_cents",
        "batch_id",
        "checkout_at",
        "checkout_session",
        "created_at",
        "currency",
        "delivered_at",
        "id",
        "images_wanted",
        "needs_model",
        "paid_at",
        "payment_pending_at",
        "plan",
        "problem",
        "prompt_sealed",
        "repair_until",
        "selfies_measured_at",
        "state",
        "stopped_from",
        "subject_id",
        "tenant",
    ];
    assert_eq!(columns, known);
}
