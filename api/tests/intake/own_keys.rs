//! Keys of a caller's own beside the kinds' keys: one wish, one job, whatever became of it.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use serde_json::{Value, json};

use crate::house::House;

fn sweep(because: &str, key: &str) -> Value {
    json!({ "kind": "sweep_retention", "payload": { "because": because }, "key": key })
}

async fn jobs(house: &House) -> i64 {
    house.count("from safelight.jobs").await
}

#[tokio::test]
async fn the_same_key_of_ones_own_is_the_same_job_also_when_it_is_over() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Enqueue, Scope::Sweep]).await;
    let first = house.post(&token, "/v1/jobs", sweep("monday", "k1")).await;
    assert_eq!((first.status, &first.body["already"]), (StatusCode::ACCEPTED, &json!(false)), "{}", first.text);
    let again = house.post(&token, "/v1/jobs", sweep("monday", "k1")).await;
    assert_eq!((&again.body["job"], &again.body["already"]), (&first.body["job"], &json!(true)));
    // Its kind's key is free as soon as it is cancelled, and a wish without a key of its own would be a new job.
    house
        .run("update safelight.job_keys set expires_at = safelight.now() where key = 'sweep_retention:monday'; delete from safelight.jobs")
        .await;
    let after = house.post(&token, "/v1/jobs", sweep("monday", "k1")).await;
    assert_eq!((&after.body["job"], &after.body["already"]), (&first.body["job"], &json!(true)));
    assert_eq!(jobs(&house).await, 0);
    let other = house.post(&token, "/v1/jobs", sweep("monday", "k2")).await;
    assert_eq!((other.status, &other.body["already"]), (StatusCode::ACCEPTED, &json!(false)));
    assert_ne!(other.body["job"], first.body["job"]);
}

#[tokio::test]
async fn a_key_of_ones_own_with_another_payload_is_refused_and_nothing_is_stored() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Enqueue, Scope::Sweep]).await;
    house.post(&token, "/v1/jobs", sweep("monday", "k1")).await;
    let refused = house.post(&token, "/v1/jobs", sweep("tuesday", "k1")).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "job_key_conflict"), "{}", refused.text);
    assert!(refused.text.contains("`k1`"), "{}", refused.text);
    assert_eq!(jobs(&house).await, 1);
    for odd in ["", "ann@example.org", "two words", "a/b", &"k".repeat(129)] {
        let refused = house.post(&token, "/v1/jobs", sweep("friday", odd)).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (422, "job_key"), "{odd}");
    }
    assert_eq!(jobs(&house).await, 1);
}

#[tokio::test]
async fn what_is_one_wish_by_its_payload_stays_one_job_under_two_keys() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_two_keys").await;
    let wish = |key: &str| json!({ "kind": "train_model", "payload": { "order": order }, "key": key });
    let first = house.post(&token, "/v1/jobs", wish("first")).await;
    let second = house.post(&token, "/v1/jobs", wish("second")).await;
    assert_eq!((&second.body["job"], &second.body["already"]), (&first.body["job"], &json!(true)), "{}", second.text);
    let of_training = "from safelight.jobs where kind = 'train_model'";
    assert_eq!(house.count(of_training).await, 1);
    let persons =
        "from safelight.job_keys k join safelight.orders o on o.subject_id = k.subject_id where k.key like '%:own/%'";
    assert_eq!(house.count(persons).await, 2, "both are the person's, and go with them");
    // And the second key has learnt which job it is.
    house.run("delete from safelight.job_keys where key like 'train_model:order%'; delete from safelight.jobs").await;
    let again = house.post(&token, "/v1/jobs", wish("second")).await;
    assert_eq!((&again.body["job"], &again.body["already"]), (&first.body["job"], &json!(true)));
    assert_eq!(house.count(of_training).await, 0);
}

#[tokio::test]
async fn two_tenants_keys_never_meet() {
    let house = House::build().await;
    for (tenant, session) in [("koselfie", "cs_test_keys_a"), ("haloprofile", "cs_test_keys_b")] {
        let token = house.backend(tenant).await;
        let subject = house.person(&token).await;
        let order = house.order(&token, subject, session).await;
        let wish = json!({ "kind": "confirm_payment", "payload": { "order": order, "event": "evt_1" }, "key": "one" });
        let answer = house.post(&token, "/v1/jobs", wish).await;
        assert_eq!((answer.status, &answer.body["already"]), (StatusCode::ACCEPTED, &json!(false)), "{}", answer.text);
    }
}

#[tokio::test]
async fn of_a_bulk_each_item_has_its_key_and_its_answer() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Enqueue, Scope::Sweep]).await;
    let known = house.post(&token, "/v1/jobs", sweep("monday", "k1")).await;
    let item = |because: &str, key: Option<&str>| json!({ "payload": { "because": because }, "key": key });
    let bulk = json!({ "kind": "sweep_retention", "jobs": [
        item("monday", Some("k1")), item("tuesday", Some("k1")), item("tuesday", Some("k2")), item("tuesday", Some("k2")),
        item("friday", Some("k2")), item("friday", None), item("tuesday", Some("k3")) ] });
    let answer = house.post(&token, "/v1/jobs/bulk", bulk).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let told: Vec<(bool, bool)> = answer.body["jobs"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| (item["already"] == true, item["conflict"] == true))
        .collect();
    let (new, there, conflict) = ((false, false), (true, false), (false, true));
    assert_eq!(told, [there, conflict, new, there, conflict, new, there]);
    let of = |n: usize| answer.body["jobs"][n]["job"].clone();
    assert_eq!((of(0), of(1), of(3), of(6)), (known.body["job"].clone(), Value::Null, of(2), of(2)));
    assert_eq!(jobs(&house).await, 3);
}

#[tokio::test]
async fn ten_at_once_under_one_key_are_one_job() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Enqueue, Scope::Sweep]).await;
    let days: Vec<String> = (0..10).map(|day| format!("day-{day}")).collect();
    let answers =
        futures::future::join_all(days.iter().map(|day| house.post(&token, "/v1/jobs", sweep(day, "one")))).await;
    let taken = answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count();
    let refused = answers.iter().filter(|answer| answer.status == StatusCode::CONFLICT).count();
    assert_eq!((taken, refused, jobs(&house).await), (1, 9, 1));
}

#[tokio::test]
async fn a_key_of_ones_own_is_kept_for_thirty_days_after_its_job_was_due() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Enqueue, Scope::Sweep]).await;
    let first = house.post(&token, "/v1/jobs", sweep("monday", "k1")).await;
    house.turn_clock_to("29 days").await;
    let kept = house.post(&token, "/v1/jobs", sweep("monday", "k1")).await;
    assert_eq!(kept.body["job"], first.body["job"]);
    house.run("delete from safelight.jobs; delete from safelight.job_keys where key not like '%own/%'").await;
    house.turn_clock_to("31 days").await;
    let free = house.post(&token, "/v1/jobs", sweep("tuesday", "k1")).await;
    assert_eq!((free.status, &free.body["already"]), (StatusCode::ACCEPTED, &json!(false)), "{}", free.text);
}

#[tokio::test]
async fn a_field_that_a_kind_does_not_have_is_refused_and_not_dropped() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Enqueue, Scope::Sweep]).await;
    let wish = |payload: Value| json!({ "kind": "sweep_retention", "payload": payload });
    let refused = house.post(&token, "/v1/jobs", wish(json!({ "because": "monday", "most": 5 }))).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (422, "job_payload"));
    assert!(refused.text.contains("`most`"), "{}", refused.text);
    let unsaid = house.post(&token, "/v1/jobs", wish(json!({ "because": "monday", "ann@example.org": 5 }))).await;
    assert_eq!(unsaid.code(), "job_payload");
    assert!(!unsaid.text.contains("ann"), "{}", unsaid.text);
    assert_eq!(jobs(&house).await, 0);
    let orphans = json!({ "kind": "sweep_orphans", "payload": { "because": "monday", "most": null } });
    assert_eq!(house.post(&token, "/v1/jobs", orphans).await.status, StatusCode::ACCEPTED);
}
