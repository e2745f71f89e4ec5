//! Finding jobs over HTTP, and acting on all that match: previewed, asked for with a reason, carried out by a job of the house.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};
use serde_json::{Value, json};

use crate::house::{Answer, House};

/// Jobs of two tenants in several states, dead letters, and an archive; ids grow in this order.
async fn furnished(house: &House) {
    house
        .run(
            "insert into safelight.jobs (id, queue, kind, payload, tenant, state, run_at, rank, max_attempts, created_at, why)
            select safelight.uuid_v7(), 'training', 'train_model', '{\"order\": \"planted\"}', case when n % 2 = 0 then 'koselfie' else 'haloprofile' end,
                case when n <= 60 then 0 else 3 end, now() + interval '1 hour', now(), 5, now(),
                case when n > 60 then 'consent_missing: train at checkout' end from generate_series(1, 100) n;
            insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, priority, attempt, max_attempts, crashes, waits, code, created_at)
            select safelight.uuid_v7(), 'notices', 'send_notice', 1, '{}', 'koselfie', 0, 5, 5, 0, 0, 'mail_refused', now() from generate_series(1, 30) n;
            insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, priority, attempt, max_attempts, crashes, waits, code, created_at)
            select safelight.uuid_v7(), 'deletion', 'delete_data', 1, '{}', 'koselfie', 0, 5, 5, 0, 0, 'undecodable', now() from generate_series(1, 3) n;
            insert into safelight.jobs_archive (id, queue, kind, version, payload, tenant, attempt, waits, outcome, run_at, created_at, finished_at, prune_on)
            select safelight.uuid_v7(), 'sweeps', 'expire_consents', 1, '{}', null, 1, 0, 'done', now(), now(), now(), now()::date + 21 from generate_series(1, 12000)",
        )
        .await;
}

/// All pages of a search, and that no job is on two of them.
async fn found(house: &House, token: &str, query: &str) -> usize {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    let limit = if query == "state=done" { 200 } else { 40 };
    loop {
        let page = house.get(token, &format!("/v1/jobs?limit={limit}&{query}{cursor}")).await;
        assert_eq!(page.status, StatusCode::OK, "{query}: {}", page.text);
        assert!(!page.text.contains("planted"), "no payload is shown");
        let jobs = page.body["jobs"].as_array().expect("jobs");
        assert!(jobs.len() <= limit);
        all.extend(jobs.iter().map(|job| job["job"].as_str().expect("an id").to_owned()));
        match page.body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let pages = all.clone();
    all.sort_by(|a, b| b.cmp(a));
    assert_eq!(pages, all, "newest first");
    all.dedup();
    assert_eq!(pages.len(), all.len(), "each of them once");
    all.len()
}

#[tokio::test]
async fn jobs_live_and_ended_are_listed_by_what_is_known_of_them_page_by_page() {
    let house = House::build().await;
    furnished(&house).await;
    let token = house.token(None, &[Scope::Read]).await;
    for (query, number) in [
        ("kind=train_model", 100),
        ("state=scheduled", 40),
        ("state=ready&tenant=koselfie", 30),
        ("code=consent_missing", 40),
        ("code=mail_refused&state=dead", 30),
        ("state=done", 12000),
        ("state=held", 0),
        ("queue=training", 100),
        ("queue=notices&state=dead", 30),
        ("queue=faces", 0),
        ("until=2020-01-01T00:00:00Z", 0),
        ("from=2099-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(found(&house, &token, query).await, number, "{query}");
    }
    let theirs = house.backend("haloprofile").await;
    assert_eq!(found(&house, &theirs, "kind=train_model").await, 50, "its own");
    assert_eq!(house.get(&theirs, "/v1/jobs?tenant=koselfie").await.code(), "not_found");
    for (query, code) in [
        ("state=waiting", "unknown_word"),
        ("queue=trainings", "unknown_word"),
        ("kind=a%20sentence", "not_a_code"),
        ("knid=train_model", "bad_query"),
        ("limit=many", "bad_query"),
        ("state=dead&state=ready", "bad_query"),
        ("from=yesterday", "bad_query"),
        ("order=subject_1", "bad_id"),
        ("cursor=here", "bad_id"),
    ] {
        assert_eq!(house.get(&token, &format!("/v1/jobs?{query}")).await.code(), code, "{query}");
    }
}

#[tokio::test]
async fn acts_are_listed_newest_first_page_by_page_and_a_tenant_sees_its_own() {
    let house = House::build().await;
    house
        .run(
            "insert into safelight.bulk_acts (id, job_id, act, kind, tenant, matched, matched_whole, actor, why, reached, finished_at)
            select id, gen_random_uuid(), 'hold', 'train_model', case when n % 3 = 0 then 'haloprofile' else 'koselfie' end, 1, true, 'x', 'x', id, now()
            from (select safelight.uuid_v7() as id, n from generate_series(1, 120) n) a",
        )
        .await;
    let operator = house.token(None, &[Scope::Read]).await;
    let backend = house.backend("koselfie").await;
    for (token, limit, pages) in [
        (&operator, "", vec![50, 50, 20]),
        (&operator, "&limit=60", vec![60, 60]),
        (&operator, "&limit=1", vec![1; 120]),
        (&operator, "&limit=200", vec![120]),
        (&backend, "&limit=30", vec![30, 30, 20]),
    ] {
        let (mut all, mut seen, mut cursor) = (Vec::new(), Vec::new(), String::new());
        loop {
            let page = house.get(token, &format!("/v1/bulk-acts?{limit}{cursor}")).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.text);
            let acts = page.body["bulk_acts"].as_array().expect("acts");
            seen.push(acts.len());
            all.extend(acts.iter().map(|act| act["bulk"].as_str().expect("an id").to_owned()));
            match page.body["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, pages, "{limit}");
        assert!(all.is_sorted_by(|newer, older| newer > older), "newest first, each of them once");
    }
    for (query, code) in [
        ("cursor=here", "bad_id"),
        ("cursor=job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", "bad_id"),
        ("limit=x", "bad_query"),
        ("limit=0", "bad_query"),
        ("limit=201", "bad_query"),
    ] {
        assert_eq!(house.get(&operator, &format!("/v1/bulk-acts?{query}")).await.code(), code, "{query}");
    }
}

async fn asks(house: &House, token: &str, act: &str, jobs: Value, why: &str) -> Answer {
    house.post(token, "/v1/bulk-acts", json!({ "act": act, "jobs": jobs, "why": why })).await
}

#[tokio::test]
async fn an_act_on_all_that_match_is_previewed_and_asked_for_with_a_reason() {
    let house = House::build().await;
    furnished(&house).await;
    let token = house.token(None, &[Scope::Operate]).await;
    for (query, number) in [
        ("act=retry&code=mail_refused", 30),
        ("act=retry&kind=train_model", 40),
        ("act=cancel&kind=train_model", 100),
        ("act=hold&tenant=koselfie", 50),
        ("act=release&tenant=koselfie", 0),
        ("act=discard&tenant=koselfie", 30),
        ("act=hold&queue=training&tenant=koselfie", 50),
        ("act=hold&queue=faces", 0),
        ("act=cancel&state=dead", 0),
    ] {
        let seen = house.get(&token, &format!("/v1/bulk-acts/preview?{query}")).await;
        assert_eq!((&seen.body["jobs"], &seen.body["whole"]), (&json!(number), &json!(true)), "{query}: {}", seen.text);
        assert_eq!(seen.body["first"].as_array().map(Vec::len), Some(number.min(20)), "{query}");
    }
    assert_eq!(house.count("from safelight.bulk_acts").await, 0, "a look changes nothing");
    let dead = json!({ "code": "mail_refused" });
    for (answer, code) in [
        (asks(&house, &token, "retry", dead.clone(), " ").await, "reason_missing"),
        (asks(&house, &token, "retry", dead.clone(), "ann@example.org asked").await, "reason_missing"),
        (asks(&house, &token, "destroy", dead.clone(), "x").await, "unknown_word"),
        (asks(&house, &token, "retry", json!({}), "x").await, "too_wide"),
        (asks(&house, &token, "retry", json!({ "knid": "send_notice" }), "x").await, "bad_body"),
        (asks(&house, &token, "hold", json!({ "queue": "trainings" }), "x").await, "unknown_word"),
        (asks(&house, &token, "release", dead.clone(), "x").await, "not_found"),
    ] {
        assert_eq!(answer.code(), code, "{}", answer.text);
    }
    assert_eq!(house.count("from safelight.bulk_acts").await, 0);
    assert_eq!(house.count("from safelight.jobs where kind = 'act_on_jobs'").await, 0);
    let asked = asks(&house, &token, "retry", dead, "the mail provider is well").await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.text);
    let bulk: Id<id::Bulk> = asked.id("bulk");
    let view = house.get(&token, &format!("/v1/bulk-acts/{bulk}")).await.body;
    for (field, value) in [
        ("act", json!("retry")),
        ("jobs", json!("code=mail_refused")),
        ("state", json!("under_way")),
        ("matched", json!(30)),
        ("done", json!(0)),
        ("actor", json!("test")),
        ("why", json!("the mail provider is well")),
    ] {
        assert_eq!(view[field], value, "{field}");
    }
    let kept =
        format!("from safelight.operator_acts where action = 'jobs.bulk' and about = '{bulk}' and why like '%is well'");
    assert_eq!(house.count(&kept).await, 1);
    let sealed = "from safelight.audit_entries where action = 'jobs.bulk' and counts->>'jobs' = '30' and codes->>'act' = 'retry'";
    assert_eq!(house.count(sealed).await, 1);
    let job = view["job"].as_str().expect("an id").to_owned();
    house.post(&token, &format!("/v1/jobs/{job}/cancel"), json!({ "why": "not now" })).await;
    assert_eq!(house.get(&token, &format!("/v1/bulk-acts/{bulk}")).await.body["state"], "stopped");
}

#[tokio::test]
async fn an_operator_of_one_tenant_acts_on_its_own_jobs_only_and_sees_no_act_of_others() {
    let house = House::build().await;
    furnished(&house).await;
    let theirs = house.token(Some("haloprofile"), &[Scope::Operate]).await;
    let seen = house.get(&theirs, "/v1/bulk-acts/preview?act=hold&kind=train_model").await;
    assert_eq!(seen.body["jobs"], 50, "{}", seen.text);
    assert!(!seen.text.contains("koselfie"));
    assert_eq!(asks(&house, &theirs, "hold", json!({ "tenant": "koselfie" }), "x").await.code(), "not_found");
    let house_token = house.token(None, &[Scope::Operate]).await;
    let ours = asks(&house, &house_token, "retry", json!({ "tenant": "koselfie" }), "x").await;
    let bulk: Id<id::Bulk> = ours.id("bulk");
    assert_eq!(house.get(&theirs, &format!("/v1/bulk-acts/{bulk}")).await.code(), "not_found");
    assert_eq!(house.get(&theirs, "/v1/bulk-acts").await.body["bulk_acts"], json!([]));
    let own = asks(&house, &theirs, "hold", json!({ "kind": "train_model" }), "x").await;
    assert_eq!(own.status, StatusCode::ACCEPTED, "{}", own.text);
    assert_eq!(house.get(&house_token, "/v1/bulk-acts").await.body["bulk_acts"].as_array().map(Vec::len), Some(2));
    assert_eq!(house.count("from safelight.bulk_acts where tenant = 'haloprofile' and matched = 50").await, 1);
}

#[tokio::test]
async fn a_payload_is_read_by_an_operator_who_says_why_and_by_nobody_else() {
    let house = House::build().await;
    furnished(&house).await;
    let id: uuid::Uuid = sqlx::query_scalar("select id from safelight.jobs where tenant = 'koselfie' limit 1")
        .fetch_one(&house.owner)
        .await
        .expect("a job");
    let job = Id::<id::Job>::from(id);
    let path = format!("/v1/jobs/{job}/payload");
    let operator = house.token(Some("koselfie"), &[Scope::Operate]).await;
    let reader = house.token(Some("koselfie"), &[Scope::Read]).await;
    let other = house.token(Some("haloprofile"), &[Scope::Operate]).await;
    for (token, why, code) in
        [(&reader, "x", "scope_missing"), (&other, "x", "not_found"), (&operator, " ", "reason_missing")]
    {
        assert_eq!(house.post(token, &path, json!({ "why": why })).await.code(), code);
    }
    assert_eq!(house.count("from safelight.operator_acts").await, 0);
    let read = house.post(&operator, &path, json!({ "why": "which order is it" })).await;
    assert_eq!(read.body["payload"], json!({ "order": "planted" }), "{}", read.text);
    let kept = format!(
        "from safelight.operator_acts where action = 'job.payload' and about = '{job}' and why = 'which order is it'"
    );
    assert_eq!(house.count(&kept).await, 1);
    assert_eq!(house.count("from safelight.audit_entries where action = 'job.payload'").await, 1);
}
