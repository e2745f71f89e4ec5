//! What a tenant is told of the house: that its job waits, and where a list goes on; never who of the house did something, why, or an
//! id of another tenant's.

use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};
use serde_json::json;

use crate::{browser::Browser, house::House};

const WHY: &str = "the supplier of Anna is on holiday";

#[tokio::test]
async fn h24_a_tenant_is_told_that_its_job_waits_and_not_who_of_the_house_paused_it_or_why() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let ann = house.person(&backend).await;
    let order = house.order(&backend, ann, "cs_test_told").await;
    let payload = json!({ "kind": "confirm_payment", "payload": { "order": order, "event": "evt_1" } });
    let job: Id<id::Job> = house.post(&backend, "/v1/jobs", payload).await.id("job");
    house
        .run(&format!(
            "update safelight.orders set state = 'paid', paid_at = now() where id = '{}';
            insert into safelight.controls (scope, name, paused, actor, why) values ('queue', 'payments', true, 'olga', '{WHY}')
            on conflict (scope, name) do update set paused = true, actor = 'olga', why = '{WHY}'",
            order.uuid()
        ))
        .await;
    let read = house.get(&backend, &format!("/v1/jobs/{job}")).await;
    assert_eq!(read.body["explanation"], "payments is paused", "{}", read.text);
    let theirs = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await;
    for page in [format!("/console/jobs/{job}"), format!("/console/orders/{order}")] {
        let shown = theirs.opens(&page).await.text;
        assert!(
            shown.contains("payments is paused") && !shown.contains(WHY) && !shown.contains("olga"),
            "{page}: {shown}"
        );
    }
    let house_operator = Browser::of(&house, None, &[Scope::Operate]).await;
    for page in [format!("/console/jobs/{job}"), format!("/console/orders/{order}")] {
        let shown = house_operator.opens(&page).await.text;
        assert!(shown.contains(&format!("payments is paused by olga: {WHY}")), "{page}: {shown}");
    }
}

#[tokio::test]
async fn h24_a_tenant_sees_what_was_done_to_many_of_its_jobs_and_who_did_it_only_if_it_was_its_own_operator() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let ann = house.person(&backend).await;
    let order = house.order(&backend, ann, "cs_test_many").await;
    let payload = json!({ "kind": "confirm_payment", "payload": { "order": order, "event": "evt_1" } });
    house.post(&backend, "/v1/jobs", payload).await;
    let (of_the_house, theirs) =
        (house.token(None, &[Scope::Operate]).await, house.token(Some("haloprofile"), &[Scope::Operate]).await);
    let hold = |why: &str| json!({ "act": "hold", "jobs": { "tenant": "haloprofile" }, "why": why });
    house.post(&of_the_house, "/v1/bulk-acts", hold(WHY)).await;
    house.post(&theirs, "/v1/bulk-acts", hold("our own reason")).await;
    let told = house.get(&theirs, "/v1/bulk-acts").await;
    assert_eq!(told.body["bulk_acts"][0]["why"], "our own reason", "{}", told.text);
    assert_eq!(
        (&told.body["bulk_acts"][1]["actor"], &told.body["bulk_acts"][1]["why"]),
        (&json!("operator"), &json!("")),
        "{}",
        told.text
    );
    let own = house.get(&of_the_house, "/v1/bulk-acts").await;
    assert_eq!(own.body["bulk_acts"][1]["why"], WHY, "{}", own.text);
    let page = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await.opens("/console/bulk").await.text;
    assert!(page.contains("our own reason") && !page.contains(WHY), "{page}");
}

/// Where a page of jobs goes on is no job's id: the last one that was looked through may be another tenant's.
#[tokio::test]
async fn h24_where_a_search_goes_on_names_no_job_of_another_tenant() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let own = async |session: &str| {
        let order = house.order(&backend, house.person(&backend).await, session).await;
        let payload = json!({ "kind": "confirm_payment", "payload": { "order": order, "event": "evt_1" } });
        house.post(&backend, "/v1/jobs", payload).await.id::<id::Job>("job")
    };
    let first = own("cs_test_first").await;
    house
        .run(
            "insert into safelight.jobs (id, queue, kind, payload, tenant, run_at, rank, max_attempts, created_at)
            select safelight.uuid_v7(), 'training', 'train_model', '{}', 'koselfie', now(), now(), 5, now() from generate_series(1, 25000)",
        )
        .await;
    // One a page: however fast the machine looks, the first page ends where its window does, among the others' jobs.
    let last = own("cs_test_last").await;
    let (mut cursor, mut pages, mut found) = (String::new(), 0, Vec::new());
    loop {
        let page = house.get(&backend, &format!("/v1/jobs?limit=1{cursor}")).await;
        found.extend(page.body["jobs"].as_array().expect("jobs").iter().map(|job| job["job"].clone()));
        let Some(next) = page.body["next"].as_str() else { break };
        let id: Id<id::Job> = next.parse().expect("a job's id");
        assert_eq!(
            house.count(&format!("from safelight.jobs where id = '{}'", id.uuid())).await,
            0,
            "{next} is somebody's"
        );
        cursor = format!("&cursor={next}");
        pages += 1;
    }
    assert!(pages > 0 && found == [json!(last), json!(first)], "{pages}: {found:?}");
}

#[tokio::test]
async fn the_day_of_a_tokens_last_use_is_kept_and_a_wrong_secret_is_no_use() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let day = "from safelight.tokens where last_used_on = (safelight.now() at time zone 'UTC')::date";
    let wrong = format!("{}0", &backend[..backend.len() - 1]);
    if wrong != backend {
        house.get(&wrong, "/v1/jobs").await;
        assert_eq!(house.count(day).await, 0, "nobody showed its secret");
    }
    house.get(&backend, "/v1/jobs").await;
    assert_eq!(house.count(day).await, 1);
    house.turn_clock_to("25 hours").await;
    assert_eq!(house.count(day).await, 0);
    house.get(&backend, "/v1/jobs").await;
    assert_eq!(house.count(day).await, 1, "the day of its last use");
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    house.token(None, &[Scope::Sweep]).await;
    let shown = operator.opens("/console/tokens").await.text;
    assert!(shown.contains("last used") && shown.contains("never"), "{shown}");
}
