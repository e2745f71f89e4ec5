//! What an order waits for while it is not confirmed, and who holds a job of it: the page of the order says it, and so do the lists.

use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id, Order};
use serde_json::json;

use crate::{browser::Browser, house::House};

/// The job that looks whether an order is paid, after Stripe told of it.
async fn told_of(house: &House, backend: &str, order: Id<Order>) -> Id<id::Job> {
    let wish = json!({ "kind": "confirm_payment", "payload": { "order": order, "event": "evt_1" } });
    house.post(backend, "/v1/jobs", wish).await.id("job")
}

#[tokio::test]
async fn an_order_that_is_paid_and_not_confirmed_says_what_keeps_it_from_being_confirmed() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_unconfirmed").await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let page = format!("/console/orders/{order}");
    let customer = "It waits for the payment at Stripe.";
    assert!(operator.opens(&page).await.text.contains(customer));

    let job = told_of(&house, &backend, order).await;
    operator.presses("/console/controls", "/console/controls/queue/payments", "&act=pause").await;
    let shown = operator.opens(&page).await.text;
    for says in [
        "Why it waits",
        "confirm payment: <strong>queue paused</strong>, payments is paused by test: asked for",
        &job.to_string(),
    ] {
        assert!(shown.contains(says), "{says}: {shown}");
    }
    assert!(!shown.contains(customer), "it is not the customer who is waited for: {shown}");
    for list in ["/console/orders", "/console"] {
        let shown = operator.opens(list).await.text;
        assert!(shown.contains("<span class=\"small\">waits: queue paused</span>"), "{list}: {shown}");
    }

    house.run("update safelight.jobs set state = 2, why = 'subject_restricted' where kind = 'confirm_payment'").await;
    let shown = operator.opens(&page).await.text;
    assert!(shown.contains("<strong>subject restricted</strong>") && !shown.contains(customer), "{shown}");
    assert!(operator.opens("/console/orders").await.text.contains("waits: subject restricted"));
}

#[tokio::test]
async fn an_order_whose_job_is_held_says_who_holds_it_and_why() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_held").await;
    let job = told_of(&house, &backend, order).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let (page, of_job) = (format!("/console/orders/{order}"), format!("/console/jobs/{job}"));
    operator.presses(&of_job, &format!("{of_job}/hold"), "").await;
    let held = "held by test: asked for, until somebody releases it";
    let shown = operator.opens(&page).await.text;
    assert!(shown.contains(held), "{shown}");
    let known = safelight_jobs::held::explain(&house.owner, job).await.expect("an answer").expect("a job");
    assert_eq!((known.code.as_str(), known.detail.as_str()), ("by_operator", held));
    // Who of the house acted is the house's matter.
    let theirs = Browser::of(&house, Some("haloprofile"), &[Scope::Read]).await.opens(&page).await.text;
    assert!(theirs.contains("until somebody releases it") && !theirs.contains("held by"), "{theirs}");

    // Held again by an act on many jobs: who held it before is not who holds it now.
    operator.presses(&of_job, &format!("{of_job}/release"), "").await;
    house.run("update safelight.jobs set state = 2, why = 'by_operator' where kind = 'confirm_payment'").await;
    let shown = operator.opens(&page).await.text;
    assert!(shown.contains("until somebody releases it") && !shown.contains("held by"), "{shown}");
}
