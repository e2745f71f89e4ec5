//! Looks at one person's case: each is kept with who and what for, wherever an operator looks; and a payload is never read without
//! an entry.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};
use serde_json::json;

use crate::{browser::Browser, certificates::certified, house::House};

async fn kept(house: &House, about: &str, why: &str) -> i64 {
    house
        .count(&format!(
            "from safelight.operator_acts where action = 'console.look' and about = '{about}' and actor = 'test' and why = '{why}'"
        ))
        .await
}

#[tokio::test]
async fn a_certificate_and_what_an_act_on_one_persons_jobs_would_do_are_looks_that_are_kept() {
    let house = House::build().await;
    let deletion = certified(&house).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let page = format!("/console/deletions/{deletion}/certificate");
    let elsewhere = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await;
    assert_eq!(elsewhere.opens(&page).await.status, StatusCode::NOT_FOUND);
    assert_eq!(kept(&house, &deletion.to_string(), "a test").await, 0, "nothing was shown");
    assert_eq!(operator.opens(&page).await.status, StatusCode::OK);
    assert_eq!(kept(&house, &deletion.to_string(), "a test").await, 1);
    for case in [Id::<id::Order>::new().to_string(), Id::<id::Subject>::new().to_string()] {
        let shown = operator.opens(&format!("/console/bulk/preview?act=hold&id={case}")).await;
        assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
        assert_eq!(kept(&house, &case, "a test").await, 1, "{case}");
    }
    let enqueued = "select job_id from safelight.enqueue('train_model', '{}', p_tenant => 'koselfie')";
    let job: uuid::Uuid = sqlx::query_scalar(enqueued).fetch_one(&house.owner).await.expect("a job");
    let job = Id::<id::Job>::from(job).to_string();
    let none = Id::<id::Job>::new().to_string();
    for (job, looks) in [(&job, 1), (&none, 0)] {
        let shown = operator.opens(&format!("/console/bulk/preview?act=hold&id={job}")).await;
        assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
        assert_eq!(
            kept(&house, job, "a test").await,
            looks,
            "one job is one person's, too; what is not there nobody saw"
        );
    }
    assert_eq!(operator.opens(&format!("/console/jobs?id={job}")).await.status, StatusCode::SEE_OTHER);
    assert_eq!(kept(&house, &job, "a test").await, 1, "its own page keeps that look");
}

#[tokio::test]
async fn an_operators_token_says_what_it_looks_at_one_persons_case_for_and_a_backend_shows_its_customers_their_own() {
    let house = House::build().await;
    let certificate = certified(&house).await;
    let backend = house.backend("koselfie").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_looks").await;
    house
        .run(&format!(
            "insert into safelight.artifacts (id, tenant, subject_id, generation, class, order_id, position, state, storage_key,
                content_type, bytes, sha256, delivered_at) select gen_random_uuid(), tenant, subject_id, 1, 'image', id, 0, 'stored',
                'koselfie/' || replace(subject_id::text, '-', '') || '/image/0', 'image/png', 9, repeat('0', 64), safelight.now()
            from safelight.orders where id = '{}'",
            order.uuid()
        ))
        .await;
    let image: uuid::Uuid = sqlx::query_scalar("select id from safelight.artifacts where class = 'image'")
        .fetch_one(&house.owner)
        .await
        .expect("an image");
    let image = Id::<id::Artifact>::from(image);
    let export = house.post(&backend, &format!("/v1/subjects/{subject}/exports"), json!({})).await;
    let export: Id<id::Artifact> = export.id("export");
    let wish = json!({ "kind": "confirm_payment", "payload": { "order": order, "event": "evt_1" } });
    let job: Id<id::Job> = house.post(&backend, "/v1/jobs", wish).await.id("job");
    let leaving = house.person(&backend).await;
    let erasure = house.post(&backend, &format!("/v1/subjects/{leaving}/erase"), json!({})).await;
    let deletion: Id<id::Deletion> = erasure.id("deletion");

    let operator = house.token(Some("koselfie"), &[Scope::Read, Scope::Operate]).await;
    for (number, (path, about)) in [
        (format!("/v1/orders/{order}"), order.to_string()),
        (format!("/v1/orders/{order}/events"), order.to_string()),
        (format!("/v1/jobs?order={order}"), order.to_string()),
        (format!("/v1/jobs?subject={subject}"), subject.to_string()),
        (format!("/v1/jobs/{job}"), job.to_string()),
        (format!("/v1/bulk-acts/preview?act=hold&order={order}"), order.to_string()),
        (format!("/v1/bulk-acts/preview?act=hold&job={job}"), job.to_string()),
        (format!("/v1/jobs?job={job}"), job.to_string()),
        (format!("/v1/subjects/{subject}/images/{image}"), image.to_string()),
        (format!("/v1/subjects/{subject}/exports/{export}"), export.to_string()),
        (format!("/v1/deletions/{deletion}"), deletion.to_string()),
        (format!("/v1/deletions/{certificate}/certificate"), certificate.to_string()),
        (format!("/v1/deletions/{certificate}/certificate.html"), certificate.to_string()),
    ]
    .into_iter()
    .enumerate()
    {
        for said in [house.get(&operator, &path).await, house.looks(&operator, &path, "ann@example.org asked").await] {
            assert_eq!((said.status.as_u16(), said.code()), (422, "reason_missing"), "{path}: {}", said.text);
        }
        let ticket = format!("ticket {number}");
        if !path.ends_with("/events") {
            assert!(house.looks(&operator, &path, &ticket).await.status.as_u16() < 400, "{path}");
            assert_eq!(kept(&house, &about, &ticket).await, 1, "{path}");
        }
        if !path.contains("preview") && !path.contains("certificate") && !path.ends_with("/events") {
            assert!(house.get(&backend, &path).await.status.as_u16() < 400, "{path}");
        }
    }
    let auditor = house.token(Some("koselfie"), &[Scope::Audit]).await;
    assert_eq!(house.get(&auditor, &format!("/v1/deletions/{certificate}/certificate")).await.status, StatusCode::OK);
    let all = "from safelight.operator_acts where action = 'console.look'";
    assert_eq!(house.count(all).await, 12, "those of the operator, and nobody else's");
    let sealed = "from safelight.audit_entries where action = 'console.look' and tenant = 'koselfie'";
    assert!(house.count(sealed).await >= 6, "each says of which tenant, where the case does");
    assert_eq!(house.get(&operator, "/v1/jobs?kind=train_model").await.status, StatusCode::OK, "nobody's case");
}

#[tokio::test]
async fn a_payload_is_remembered_by_nobody_and_each_reading_of_it_is_kept() {
    let house = House::build().await;
    let id: uuid::Uuid = sqlx::query_scalar(
        "select job_id from safelight.enqueue('train_model', '{\"planted\": 7}', p_tenant => 'koselfie')",
    )
    .fetch_one(&house.owner)
    .await
    .expect("a job");
    let job = Id::<id::Job>::from(id);
    let path = format!("/v1/jobs/{job}/payload");
    let operator = house.token(Some("koselfie"), &[Scope::Operate]).await;
    for (times, replayed) in [(1, ""), (2, "true"), (3, "true")] {
        let read = house.post_once(&operator, "once", &path, json!({ "why": "which order is it" })).await;
        assert_eq!((read.status, read.header("idempotent-replayed")), (StatusCode::OK, replayed), "{}", read.text);
        assert_eq!(read.body, json!({ "job": job, "payload": { "planted": 7 } }));
        let looks = format!(
            "from safelight.operator_acts where action = 'job.payload' and about = '{job}' and why = 'which order is it'"
        );
        assert_eq!(house.count(&looks).await, times);
        assert_eq!(house.count("from safelight.audit_entries where action = 'job.payload'").await, times);
    }
    assert_eq!(house.count("from safelight.idempotent_answers where body::text like '%planted%'").await, 0);
}
