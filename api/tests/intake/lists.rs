//! What a backend can ask for again: how a person stands, their consents, orders, deletions and photos, a page at a time.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};
use serde_json::{Value, json};

use crate::house::{House, photo};

fn agreeing(purpose: &str) -> Value {
    json!({ "purpose": purpose, "capture_point": "sign_up", "wording_sha256": "0".repeat(64), "policy_version": "2026-05-25" })
}

/// All entries of a list, a page of two at a time; what each page holds, and that none comes twice.
async fn all(house: &House, token: &str, path: &str, list: &str) -> Vec<Value> {
    let mut entries: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    loop {
        let glue = if path.contains('?') { '&' } else { '?' };
        let page = house.get(token, &format!("{path}{glue}limit=2{cursor}")).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        let lines = page.body[list].as_array().expect(list);
        assert!(lines.len() <= 2 && lines.iter().all(|line| !entries.contains(line)), "{}", page.text);
        entries.extend(lines.iter().cloned());
        match page.body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return entries,
        }
        assert!(entries.len() < 50, "it never ends");
    }
}

#[tokio::test]
async fn a_backend_asks_how_a_person_stands_and_what_they_agreed_to() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let ann = house.person(&token).await;
    for _ in 0..2 {
        house.post(&token, &format!("/v1/subjects/{ann}/consents"), agreeing("compare")).await;
        let withdrawn = json!({ "purpose": "compare" });
        house.post(&token, &format!("/v1/subjects/{ann}/consents/withdraw"), withdrawn).await;
    }
    let said = all(&house, &token, &format!("/v1/subjects/{ann}/consents"), "consents").await;
    let events: Vec<&str> = said.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, ["withdrawn", "granted", "withdrawn", "granted"], "newest first: {said:?}");
    assert_eq!(said[3]["wording_sha256"], "0".repeat(64));
    let stands = house.get(&token, &format!("/v1/subjects/{ann}")).await;
    assert_eq!((&stands.body["state"], &stands.body["consents"][0]["event"]), (&json!("active"), &json!("withdrawn")));
    let erased = house.post(&token, &format!("/v1/subjects/{ann}/erase"), json!({})).await;
    let stands = house.get(&token, &format!("/v1/subjects/{ann}")).await;
    assert_eq!((&stands.body["state"], &stands.body["erasure"]), (&json!("erasing"), &erased.body["deletion"]));
}

#[tokio::test]
async fn a_backend_lists_orders_and_deletions_by_person_and_state() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let (ann, bob) = (house.person(&token).await, house.person(&token).await);
    let mut anns = Vec::new();
    for n in 0..3 {
        anns.push(house.order(&token, ann, &format!("cs_test_ann_{n}")).await.to_string());
    }
    house.order(&token, bob, "cs_test_bob").await;
    anns.reverse();
    let listed = all(&house, &token, &format!("/v1/orders?subject={ann}"), "orders").await;
    let ids: Vec<&str> = listed.iter().filter_map(|line| line["order"].as_str()).collect();
    assert_eq!(ids, anns, "newest first");
    assert_eq!(all(&house, &token, "/v1/orders", "orders").await.len(), 4);
    house
        .run(&format!(
            "update safelight.orders set state = 'refused', problem = 'photos_unusable' where subject_id = '{}'",
            bob.uuid()
        ))
        .await;
    let refused = all(&house, &token, "/v1/orders?state=refused", "orders").await;
    assert_eq!((refused.len(), &refused[0]["subject"]), (1, &json!(bob)));

    house.post(&token, &format!("/v1/subjects/{ann}/erase"), json!({})).await;
    house.post(&token, &format!("/v1/subjects/{bob}/erase"), json!({})).await;
    let deletions = all(&house, &token, &format!("/v1/deletions?subject={ann}"), "deletions").await;
    assert_eq!(
        (deletions.len(), &deletions[0]["trigger"], &deletions[0]["subject"]),
        (1, &json!("erasure"), &json!(ann))
    );
    assert_eq!(all(&house, &token, "/v1/deletions?state=open", "deletions").await.len(), 2);
    assert_eq!(all(&house, &token, "/v1/deletions?state=complete", "deletions").await.len(), 0);
    for path in ["/v1/orders?state=lost", "/v1/deletions?state=lost"] {
        assert_eq!(house.get(&token, path).await.code(), "unknown_word", "{path}");
    }
    for path in ["/v1/orders?person=1", "/v1/deletions?limit=x", "/v1/orders?subject=x", "/v1/deletions?cursor=order_1"]
    {
        assert_eq!(house.get(&token, path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

/// Among very many a page looks through the newest of them, and says from where it did not look.
#[tokio::test]
async fn a_rare_order_among_very_many_is_found_by_going_on() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let ann = house.person(&token).await;
    let rare = house.order(&token, ann, "cs_test_rare").await;
    house
        .run(&format!(
            "insert into safelight.orders (id, tenant, subject_id, batch_id, plan, needs_model, images_wanted, amount_cents, currency)
            select safelight.uuid_v7(), tenant, subject_id, batch_id, plan, needs_model, images_wanted, amount_cents, currency
            from safelight.orders, generate_series(1, 20000);
            update safelight.orders set state = 'refused', problem = 'photos_unusable' where id = '{}'",
            rare.uuid()
        ))
        .await;
    let first = house.get(&token, "/v1/orders?state=refused").await;
    assert_eq!(first.body["orders"], json!([]), "it is older than those that were looked through");
    let next = first.body["next"].as_str().expect("it goes on").to_owned();
    let second = house.get(&token, &format!("/v1/orders?state=refused&cursor={next}")).await;
    assert_eq!((&second.body["orders"][0]["order"], &second.body["next"]), (&json!(rare), &Value::Null));
    let of_ann = house.get(&token, &format!("/v1/orders?state=refused&subject={ann}")).await;
    assert_eq!(of_ann.body["orders"][0]["order"], json!(rare), "of one person all are looked through");
}

#[tokio::test]
async fn a_backend_asks_which_photos_of_a_batch_are_there() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let ann = house.person(&token).await;
    let batch = house.post(&token, &format!("/v1/subjects/{ann}/batches"), json!({})).await.id::<id::Batch>("batch");
    let (there, _) = house.upload(&token, &batch.to_string(), photo()).await;
    let awaited = house.post(&token, &format!("/v1/batches/{batch}/uploads"), json!({})).await;
    let stands = house.get(&token, &format!("/v1/batches/{batch}")).await;
    let told: Vec<(&str, &str)> = stands.body["uploads"]
        .as_array()
        .expect("photos")
        .iter()
        .map(|photo| (photo["artifact"].as_str().expect("an id"), photo["state"].as_str().expect("a state")))
        .collect();
    let there = there.to_string();
    assert_eq!(told, [(there.as_str(), "stored"), (awaited.body["artifact"].as_str().expect("an id"), "expected")]);
    assert!(!stands.text.contains("url"), "{}", stands.text);
    house.turn_clock_to("721 hours").await;
    let stands = house.get(&token, &format!("/v1/batches/{batch}")).await;
    assert_eq!(stands.body["uploads"][0]["state"], "gone", "its time is over, however late the sweep is");
}

#[tokio::test]
async fn h24_another_tenant_sees_none_of_it() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let ann = house.person(&token).await;
    let order = house.order(&token, ann, "cs_test_other").await;
    let batch: uuid::Uuid = sqlx::query_scalar("select batch_id from safelight.orders where id = $1")
        .bind(order.uuid())
        .fetch_one(&house.owner)
        .await
        .expect("a batch");
    let batch = Id::<id::Batch>::from(batch);
    house.post(&token, &format!("/v1/subjects/{ann}/erase"), json!({})).await;
    let other = house.token(Some("haloprofile"), &[Scope::Read]).await;
    for path in [format!("/v1/subjects/{ann}"), format!("/v1/subjects/{ann}/consents"), format!("/v1/batches/{batch}")]
    {
        assert_eq!(house.get(&other, &path).await.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(house.get(&token, &path).await.status, StatusCode::OK, "{path}");
    }
    for list in ["orders", "deletions"] {
        assert_eq!(all(&house, &other, &format!("/v1/{list}"), list).await.len(), 0, "{list}");
        assert_eq!(all(&house, &token, &format!("/v1/{list}"), list).await.len(), 1, "{list}");
        let of_ann = format!("/v1/{list}?subject={ann}");
        assert_eq!(house.get(&other, &of_ann).await.status, StatusCode::NOT_FOUND, "{list}");
        assert_eq!(all(&house, &token, &of_ann, list).await.len(), 1, "{list}");
        // Nor does anybody's look stand in the trail of a person who is not theirs.
        let operator = house.token(Some("haloprofile"), &[Scope::Operate]).await;
        assert_eq!(house.looks(&operator, &of_ann, "who is it").await.status, StatusCode::NOT_FOUND, "{list}");
    }
    assert_eq!(house.count("from safelight.audit_entries where action = 'console.look'").await, 0);
}

#[tokio::test]
async fn an_operator_says_what_for_and_the_look_is_kept() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let ann = house.person(&token).await;
    let batch = house.post(&token, &format!("/v1/subjects/{ann}/batches"), json!({})).await.id::<id::Batch>("batch");
    let operator = house.token(None, &[Scope::Operate]).await;
    let looks = "from safelight.audit_entries where action = 'console.look'";
    for (number, path) in [
        format!("/v1/subjects/{ann}"),
        format!("/v1/subjects/{ann}/consents"),
        format!("/v1/orders?subject={ann}"),
        format!("/v1/deletions?subject={ann}"),
        format!("/v1/batches/{batch}"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(house.get(&operator, &path).await.code(), "reason_missing", "{path}");
        assert_eq!(house.looks(&operator, &path, "she wrote to us").await.status, StatusCode::OK, "{path}");
        assert_eq!(house.count(looks).await, i64::try_from(number).expect("few") + 1, "{path}");
    }
    assert_eq!(house.get(&operator, "/v1/orders").await.status, StatusCode::OK, "nobody's case");
}
