//! What operators do over HTTP: each act is done by the rules of the command line, and leaves who and why.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};
use serde_json::{Value, json};

use crate::house::House;

/// A job straight into the queue, in this state. Answers its id as it is printed.
async fn job(house: &House, kind: &str, tenant: &str) -> String {
    let id: uuid::Uuid =
        sqlx::query_scalar("select job_id from safelight.enqueue($1, '{\"n\": 1}', p_tenant => $2, p_key => $1 || $2)")
            .bind(kind)
            .bind(tenant)
            .fetch_one(&house.owner)
            .await
            .expect("a job");
    Id::<id::Job>::from(id).to_string()
}

async fn acts(house: &House, token: &str, job: &str, act: &str) -> (StatusCode, String) {
    let answer = house.post(token, &format!("/v1/jobs/{job}/{act}"), json!({ "why": "the customer asked" })).await;
    let said = answer.body["outcome"].as_str().or(answer.body["code"].as_str()).unwrap_or(&answer.text).to_owned();
    (answer.status, said)
}

async fn state(house: &House, token: &str, job: &str) -> Value {
    house.get(token, &format!("/v1/jobs/{job}")).await.body["state"].clone()
}

async fn dies(house: &House, job: &str, code: &str) {
    let id: Id<id::Job> = job.parse().expect("an id");
    let died = sqlx::query(
        "with gone as (delete from safelight.jobs where id = $1 returning *)
        insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, key, priority, attempt, max_attempts, crashes, waits,
            code, created_at) select id, queue, kind, version, payload, tenant, key, priority, 5, max_attempts, 0, waits, $2, created_at from gone",
    )
    .bind(id.uuid())
    .bind(code)
    .execute(&house.owner)
    .await
    .expect("a dead letter");
    assert_eq!(died.rows_affected(), 1);
}

#[tokio::test]
async fn an_operator_holds_releases_retries_and_cancels_a_job_and_each_act_names_who_and_why() {
    let house = House::build().await;
    let token = house.token(Some("koselfie"), &[Scope::Operate]).await;
    let one = job(&house, "train_model", "koselfie").await;
    assert_eq!(acts(&house, &token, &one, "release").await, (StatusCode::CONFLICT, "job_stands".to_owned()));
    assert_eq!(acts(&house, &token, &one, "hold").await, (StatusCode::OK, "held".to_owned()));
    assert_eq!(state(&house, &token, &one).await, "held");
    assert_eq!(acts(&house, &token, &one, "hold").await.1, "job_stands", "it is held already");
    assert_eq!(acts(&house, &token, &one, "release").await.1, "released");
    house
        .run("update safelight.jobs set state = 3, run_at = safelight.now() + interval '1 day', why = 'fal_busy'")
        .await;
    assert_eq!(acts(&house, &token, &one, "retry").await.1, "retried");
    assert_eq!(state(&house, &token, &one).await, "ready");
    assert_eq!(acts(&house, &token, &one, "cancel").await.1, "cancelled");
    assert_eq!(acts(&house, &token, &one, "cancel").await, (StatusCode::CONFLICT, "job_stands".to_owned()));
    assert_eq!(state(&house, &token, &one).await, "cancelled");

    let kept =
        "from safelight.operator_acts where actor = 'test' and why = 'the customer asked' and action = 'job.control'";
    assert_eq!(house.count(kept).await, 4, "one for each that was done, none for what was refused");
    let id: Id<id::Job> = one.parse().expect("an id");
    let sealed = format!("from safelight.audit_entries where actor = 'operator' and job_id = '{}'", id.uuid());
    assert_eq!(house.count(&sealed).await, 4);
    assert_eq!(house.count("from safelight.audit_entries where codes::text like '%customer%'").await, 0);
}

#[tokio::test]
async fn an_act_without_a_reason_or_with_a_mail_address_in_it_is_refused() {
    let house = House::build().await;
    let token = house.token(Some("koselfie"), &[Scope::Operate]).await;
    let one = job(&house, "train_model", "koselfie").await;
    for why in ["", "  ", "asked by ann@example.org"] {
        let answer = house.post(&token, &format!("/v1/jobs/{one}/cancel"), json!({ "why": why })).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (422, "reason_missing"), "{why:?}");
    }
    let unsaid = house.post(&token, &format!("/v1/jobs/{one}/cancel"), json!({})).await;
    assert_eq!(unsaid.code(), "bad_body");
    let no_such = house.post(&token, &format!("/v1/jobs/{one}/destroy"), json!({ "why": "x" })).await;
    assert_eq!(no_such.status, StatusCode::NOT_FOUND);
    assert_eq!(house.count("from safelight.jobs").await, 1);
    assert_eq!(house.count("from safelight.operator_acts").await, 0);
}

#[tokio::test]
async fn an_operator_of_one_tenant_touches_nothing_of_another_nor_of_the_house() {
    let house = House::build().await;
    let theirs = house.token(Some("koselfie"), &[Scope::Operate]).await;
    let ours = job(&house, "train_model", "haloprofile").await;
    let dead = job(&house, "generate_batch", "haloprofile").await;
    dies(&house, &dead, "fal_rejected").await;
    for (job, act) in [(&ours, "cancel"), (&ours, "hold"), (&dead, "retry"), (&dead, "discard")] {
        assert_eq!(acts(&house, &theirs, job, act).await, (StatusCode::NOT_FOUND, "not_found".to_owned()), "{act}");
    }
    for fate in ["redrive", "discard"] {
        for which in [json!({ "all": true, "why": "x" }), json!({ "tenant": "haloprofile", "why": "x" })] {
            let answer = house.post(&theirs, &format!("/v1/dead-letters/{fate}"), which.clone()).await;
            assert_eq!((answer.status, &answer.body["jobs"]), (StatusCode::OK, &json!(0)), "{fate} {which}");
        }
    }
    assert_eq!(house.get(&theirs, "/v1/dead-letters").await.body["dead_letters"], json!([]));
    for (path, body) in [
        ("/v1/controls/queue/training", json!({ "paused": true, "why": "x" })),
        ("/v1/controls/kind/train_model", json!({ "paused": true, "why": "x" })),
        ("/v1/controls/provider/fal", json!({ "rate": null, "why": "x" })),
        ("/v1/controls/tenant/haloprofile", json!({ "most": 1, "why": "x" })),
        ("/v1/breakers/fal/close", json!({ "why": "x" })),
        ("/v1/schedules/sweep_retention", json!({ "paused": true, "why": "x" })),
    ] {
        let answer = house.post(&theirs, path, body).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::FORBIDDEN, "house_required"), "{path}");
    }
    assert_eq!(house.count("from safelight.operator_acts").await, 2, "the two that asked for all, and matched nothing");
    assert_eq!(house.count("from safelight.controls").await, 0);
    assert_eq!(house.count("from safelight.dead_letters").await, 1);
    assert_eq!(house.count("from safelight.jobs where state = 0").await, 1);
    let own = house.post(&theirs, "/v1/controls/tenant/koselfie", json!({ "paused": true, "why": "x" })).await;
    assert_eq!(own.status, StatusCode::OK, "{}", own.text);
}

#[tokio::test]
async fn what_deletes_or_promises_is_never_cancelled_or_discarded_only_held() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Operate]).await;
    for kind in ["delete_data", "purge_call", "sweep_retention"] {
        let one = job(&house, kind, "koselfie").await;
        assert_eq!(
            acts(&house, &token, &one, "cancel").await,
            (StatusCode::CONFLICT, "job_must_end".to_owned()),
            "{kind}"
        );
        assert_eq!(acts(&house, &token, &one, "hold").await.1, "held");
        assert_eq!(acts(&house, &token, &one, "release").await.1, "released");
        dies(&house, &one, "undecodable").await;
        assert_eq!(acts(&house, &token, &one, "discard").await.1, "job_must_end", "{kind}");
    }
    let answer = house.post(&token, "/v1/dead-letters/discard", json!({ "all": true, "why": "clean up" })).await;
    assert_eq!((answer.status, &answer.body["jobs"]), (StatusCode::OK, &json!(0)), "{}", answer.text);
    assert_eq!(house.count("from safelight.dead_letters").await, 3);
    let answer =
        house.post(&token, "/v1/dead-letters/redrive", json!({ "code": "undecodable", "why": "deployed" })).await;
    assert_eq!(answer.body["jobs"], 3);
    assert_eq!(house.count("from safelight.jobs where attempt = 0").await, 3);
}

#[tokio::test]
async fn dead_letters_are_counted_redriven_and_discarded_and_never_all_by_mistake() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Operate]).await;
    for (kind, code) in
        [("train_model", "fal_rejected"), ("generate_batch", "fal_rejected"), ("send_notice", "crashed")]
    {
        let one = job(&house, kind, "koselfie").await;
        dies(&house, &one, code).await;
    }
    let groups = house.get(&token, "/v1/dead-letters?code=fal_rejected").await;
    assert_eq!(groups.body["dead_letters"].as_array().map(Vec::len), Some(2), "{}", groups.text);
    let wide = house.post(&token, "/v1/dead-letters/redrive", json!({ "why": "x" })).await;
    assert_eq!((wide.status.as_u16(), wide.code()), (422, "too_wide"));
    let sentence = house.post(&token, "/v1/dead-letters/redrive", json!({ "kind": "a sentence", "why": "x" })).await;
    assert_eq!(sentence.code(), "not_a_code");
    let redriven =
        house.post_once(&token, "once", "/v1/dead-letters/redrive", json!({ "kind": "train_model", "why": "x" })).await;
    assert_eq!(redriven.body["jobs"], 1, "{}", redriven.text);
    let again =
        house.post_once(&token, "once", "/v1/dead-letters/redrive", json!({ "kind": "train_model", "why": "x" })).await;
    assert_eq!((&again.body["jobs"], again.header("idempotent-replayed")), (&json!(1), "true"));
    let gone = house
        .post(&token, "/v1/dead-letters/discard", json!({ "code": "crashed", "why": "not wanted any more" }))
        .await;
    assert_eq!(gone.body["jobs"], 1);
    assert_eq!(house.count("from safelight.jobs_archive where outcome = 'cancelled' and code = 'crashed'").await, 1);
    assert_eq!(
        house
            .count("from safelight.job_keys where key = 'send_noticekoselfie' and expires_at <= safelight.now()")
            .await,
        1
    );
    assert_eq!(house.count("from safelight.dead_letters").await, 1);
    assert_eq!(
        house
            .count("from safelight.audit_entries where action = 'dead_letters.discarded' and counts->>'jobs' = '1'")
            .await,
        1
    );
}

#[tokio::test]
async fn pauses_limits_rates_breakers_and_schedules_are_set_and_seen_over_http() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Operate]).await;
    for (path, body) in [
        ("/v1/controls/queue/training", json!({ "paused": true, "why": "deploy" })),
        ("/v1/controls/kind/train_model", json!({ "most": 20, "why": "new account" })),
        ("/v1/controls/provider/fal", json!({ "rate": { "per_second": 10.0, "burst": 40 }, "why": "their limit" })),
    ] {
        let answer = house.post(&token, path, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    }
    let seen = house.get(&token, "/v1/controls").await;
    let find = |name: &str| {
        let all = seen.body["controls"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|control| control["name"] == name).unwrap_or_default()
    };
    assert_eq!((&find("training")["paused"], &find("training")["actor"]), (&json!(true), &json!("test")));
    assert_eq!((&find("train_model")["most"], &find("fal")["burst"]), (&json!(20), &json!(40)));
    let lifted = house.post(&token, "/v1/controls/kind/train_model", json!({ "most": null, "why": "over" })).await;
    assert_eq!(lifted.status, StatusCode::OK);
    assert_eq!(house.count("from safelight.controls where most is not null").await, 0, "null lifts it");
    for (path, body, status, code) in [
        ("/v1/controls/queue/trainings", json!({ "paused": true, "why": "x" }), 404, "not_found"),
        ("/v1/controls/queue/training", json!({ "why": "x" }), 422, "control_impossible"),
        (
            "/v1/controls/queue/training",
            json!({ "rate": { "per_second": 1.0, "burst": 1 }, "why": "x" }),
            422,
            "control_impossible",
        ),
        ("/v1/controls/moon/training", json!({ "paused": true, "why": "x" }), 404, "no_such_address"),
        ("/v1/breakers/fal/close", json!({ "why": "x" }), 404, "not_found"),
        ("/v1/schedules/nothing", json!({ "paused": true, "why": "x" }), 404, "not_found"),
    ] {
        let answer = house.post(&token, path, body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{path}: {}", answer.text);
    }
    house.run(
        "insert into safelight.breakers (provider, state, failures, probe_at) values ('fal', 'open', 5, safelight.now());
        insert into safelight.schedules (name, cron, catch_up) values ('sweep_retention', '0 * * * * *', 'once')",
    )
    .await;
    assert_eq!(
        house.post(&token, "/v1/breakers/fal/close", json!({ "why": "it is well" })).await.status,
        StatusCode::OK
    );
    assert_eq!(house.get(&token, "/v1/controls").await.body["breakers"][0]["state"], "closed");
    let paused = house.post(&token, "/v1/schedules/sweep_retention", json!({ "paused": true, "why": "x" })).await;
    assert_eq!(paused.status, StatusCode::OK);
    let said = |answer: crate::house::Answer| {
        let one = &answer.body["schedules"][0];
        (one["paused"].clone(), one["actor"].clone(), one["why"].clone(), one["next_tick"].clone())
    };
    let seen = said(house.get(&token, "/v1/schedules").await);
    assert_eq!(seen, (json!(true), json!("test"), json!("x"), json!(null)), "nothing comes next while it is paused");
    let theirs = house.token(Some("haloprofile"), &[Scope::Read]).await;
    let seen = said(house.get(&theirs, "/v1/schedules").await);
    assert_eq!(seen, (json!(true), json!("operator"), json!(null), json!(null)), "who and why is the house's matter");
    assert_eq!(house.count("from safelight.operator_acts where actor = 'test'").await, 6);
}
