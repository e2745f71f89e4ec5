//! The same request again gets the same answer and has no second effect.

use axum::http::StatusCode;
use safelight_api::tokens::{self, Scope};
use safelight_jobs::id::{self, Id, Kind};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    house::House,
    persons::{self, SignedIn, agreeing},
    rights,
};

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
async fn a_caller_who_goes_away_in_the_middle_finds_the_answer_under_the_key() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let body = json!({ "email": "ann@example.org" });
    let mut held = safelight_jobs::db::begin(&house.owner).await.expect("a transaction");
    sqlx::query("lock table safelight.subjects in exclusive mode").execute(&mut *held).await.expect("a lock");
    let gone = async {
        tokio::select! {
            answer = house.post_once(&token, "key", "/v1/subjects", body.clone()) => panic!("it was held: {}", answer.text),
            () = house.somebody_is_blocked() => {}
        }
    };
    gone.await;
    held.rollback().await.expect("the lock is gone");
    house.no_key_is_in_flight().await;
    let answer = house.post_once(&token, "key", "/v1/subjects", body.clone()).await;
    assert_eq!((answer.status, answer.header("idempotent-replayed")), (StatusCode::CREATED, "true"));
    assert_eq!(house.count("from safelight.subjects").await, 1);
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

/// A deletion waits for late writers until the first link is over, and looks once more. A later link would outlive that look.
#[tokio::test]
async fn a_link_that_is_made_anew_ends_when_the_first_one_does_and_is_made_for_nobody_who_may_not_write() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let batch = house.post(&token, &format!("/v1/subjects/{subject}/batches"), json!({})).await;
    let path = format!("/v1/batches/{}/uploads", batch.body["batch"].as_str().expect("an id"));
    house.post_once(&token, "slot", &path, json!({})).await;
    house.turn_clock_to("40 minutes").await;
    let later = house.post_once(&token, "slot", &path, json!({})).await;
    let link = url::Url::parse(later.body["put_url"].as_str().expect("a link")).expect("a url");
    let life = link.query_pairs().find(|(name, _)| name == "X-Amz-Expires").map(|(_, secs)| secs.parse::<u32>());
    let life = life.expect("an end").expect("seconds");
    assert!((1100..=1200).contains(&life), "twenty minutes are left, and the link lives {life} s");

    house.post(&token, &format!("/v1/subjects/{subject}/restrict"), json!({ "ground": "accuracy" })).await;
    assert_eq!(house.post_once(&token, "slot", &path, json!({})).await.body["put_url"], Value::Null, "restricted");
    house.run("update safelight.subjects set state = 'active'").await;
    assert!(house.post_once(&token, "slot", &path, json!({})).await.body["put_url"].is_string());
    house.turn_clock_to("61 minutes").await;
    assert_eq!(
        house.post_once(&token, "slot", &path, json!({})).await.body["put_url"],
        Value::Null,
        "its hour is over"
    );
    house.turn_clock_to("1 minute").await;
    house.post(&token, &format!("/v1/subjects/{subject}/erase"), json!({})).await;
    assert_eq!(house.post_once(&token, "slot", &path, json!({})).await.body["put_url"], Value::Null, "erased");
}

/// One id that is there.
async fn one<K: Kind>(house: &House, sql: &str) -> Id<K> {
    let id: Uuid = sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(&house.owner).await.expect(sql);
    id.into()
}

/// Every POST under `/v1` with a bearer, an address and a body that are taken.
async fn wishes(house: &House) -> Vec<(&'static str, String, String, Value)> {
    let backend = house.backend("koselfie").await;
    let operator = house.token(None, &[Scope::Operate]).await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_keys").await;
    let failed = house.order(&backend, subject, "cs_test_failed").await;
    let batch =
        house.post(&backend, &format!("/v1/subjects/{subject}/batches"), json!({})).await.id::<id::Batch>("batch");
    let ready =
        house.post(&backend, &format!("/v1/subjects/{subject}/batches"), json!({})).await.id::<id::Batch>("batch");
    for _ in 0..6 {
        house.upload(&backend, &ready.to_string(), crate::house::photo()).await;
    }
    let placed =
        house.post(&backend, "/v1/orders", json!({ "subject": subject, "batch": ready, "plan": "basic" })).await;
    let placed: Id<id::Order> = placed.id("order");
    let (photo, _) = house.upload(&backend, &batch.to_string(), crate::house::photo()).await;
    let (arrived, _) = house.upload(&backend, &batch.to_string(), crate::house::photo()).await;
    house
        .run(&format!(
            "update safelight.orders set state = 'refused', problem = 'photos_unusable' where id = '{failed}';
            update safelight.orders set paid_at = safelight.now(), state = 'paid' where id = '{order}';
            insert into safelight_fiscal.sales (tenant, order_id, stripe_session, payment_intent, status, amount_cents, currency, sold_at, keep_until)
            select tenant, id, checkout_session, 'pi_1', 'paid', amount_cents, currency, now(), now() + interval '10 years' from safelight.orders where id = '{order}';
            insert into safelight.artifacts (id, tenant, subject_id, generation, class, order_id, position, state, storage_key,
                content_type, bytes, sha256, delivered_at) select gen_random_uuid(), tenant, subject_id, 1, 'image', id, 0, 'stored',
                'koselfie/' || replace(subject_id::text, '-', '') || '/image/0', 'image/png', 9, repeat('0', 64), safelight.now()
            from safelight.orders where id = '{order}';
            insert into safelight.similarities (image_id, order_id, best, mean_best3, compared, verdict, model_sha256)
                select id, order_id, 0.71, 0.62, 6, 'alike', repeat('0', 64) from safelight.artifacts where class = 'image';
            select safelight.enqueue('send_notice', '{{\"n\": 1}}', p_tenant => 'koselfie');
            insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, priority, attempt, max_attempts, crashes, waits, code, created_at)
            select safelight.uuid_v7(), 'notices', 'send_notice', 1, '{{}}', 'koselfie', 0, 5, 5, 0, 0, 'mail_refused', now();
            insert into safelight.breakers (provider, state, failures, probe_at) values ('fal', 'open', 5, safelight.now());
            insert into safelight.schedules (name, cron, catch_up) values ('sweep_retention', '0 * * * * *', 'once')",
            order = order.uuid(),
            failed = failed.uuid(),
        ))
        .await;
    let image: Id<id::Artifact> = one(house, "select id from safelight.artifacts where class = 'image'").await;
    let job: Id<id::Job> = one(house, "select id from safelight.jobs where kind = 'send_notice' limit 1").await;
    let others = [house.person(&backend).await, house.person(&backend).await, house.person(&backend).await];
    let held = house.person(&backend).await;
    house.post(&backend, &format!("/v1/subjects/{held}/restrict"), json!({ "ground": "accuracy" })).await;
    let told_at: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select safelight.now()").fetch_one(&house.owner).await.expect("the time");
    let of = |subject: Id<id::Subject>, rest: &str| format!("/v1/subjects/{subject}{rest}");
    let jobs = |event: &str| json!({ "order": order, "event": event });
    let why = json!({ "why": "a test" });
    let ann = SignedIn::at(house, "koselfie", "ann").await.jwt;
    vec![
        ("/v1/subjects", backend.clone(), "/v1/subjects".to_owned(), json!({ "email": "ann@example.org" })),
        ("/v1/subjects/{subject}/batches", backend.clone(), of(subject, "/batches"), json!({})),
        (
            "/v1/subjects/{subject}/rectify",
            backend.clone(),
            of(subject, "/rectify"),
            json!({ "email": "new@example.org" }),
        ),
        (
            "/v1/subjects/{subject}/images/{artifact}/compare",
            backend.clone(),
            of(subject, &format!("/images/{image}/compare")),
            json!({}),
        ),
        ("/v1/subjects/{subject}/consents", backend.clone(), of(subject, "/consents"), agreeing("compare")),
        (
            "/v1/subjects/{subject}/consents/withdraw",
            backend.clone(),
            of(others[0], "/consents/withdraw"),
            json!({ "purpose": "compare" }),
        ),
        ("/v1/subjects/{subject}/exports", backend.clone(), of(subject, "/exports"), json!({})),
        (
            "/v1/subjects/{subject}/restrict",
            backend.clone(),
            of(others[0], "/restrict"),
            json!({ "ground": "accuracy" }),
        ),
        (
            "/v1/subjects/{subject}/release",
            backend.clone(),
            of(held, "/release"),
            json!({ "told": "mail", "told_at": told_at }),
        ),
        (
            "/v1/subjects/{subject}/objections",
            backend.clone(),
            of(others[1], "/objections"),
            json!({ "purpose": "observe" }),
        ),
        ("/v1/subjects/{subject}/erase", backend.clone(), of(others[2], "/erase"), json!({})),
        ("/v1/batches/{batch}/uploads", backend.clone(), format!("/v1/batches/{batch}/uploads"), json!({})),
        ("/v1/uploads/{artifact}/arrived", backend.clone(), format!("/v1/uploads/{arrived}/arrived"), json!({})),
        ("/v1/photos/{artifact}/delete", backend.clone(), format!("/v1/photos/{photo}/delete"), json!({})),
        (
            "/v1/orders/{order}/checkout",
            backend.clone(),
            format!("/v1/orders/{placed}/checkout"),
            json!({ "session": "cs_test_placed" }),
        ),
        (
            "/v1/orders",
            backend.clone(),
            "/v1/orders".to_owned(),
            json!({ "subject": subject, "batch": ready, "plan": "basic" }),
        ),
        ("/v1/orders/{order}/delete", backend.clone(), format!("/v1/orders/{failed}/delete"), json!({})),
        (
            "/v1/orders/{order}/refund",
            operator.clone(),
            format!("/v1/orders/{order}/refund"),
            json!({ "why": "goodwill" }),
        ),
        (
            "/v1/jobs",
            backend.clone(),
            "/v1/jobs".to_owned(),
            json!({ "kind": "confirm_payment", "payload": jobs("evt_1") }),
        ),
        (
            "/v1/jobs/bulk",
            backend,
            "/v1/jobs/bulk".to_owned(),
            json!({ "kind": "confirm_payment", "jobs": [{ "payload": jobs("evt_2") }] }),
        ),
        ("/v1/jobs/{job}/payload", operator.clone(), format!("/v1/jobs/{job}/payload"), why.clone()),
        ("/v1/jobs/{job}/{act}", operator.clone(), format!("/v1/jobs/{job}/hold"), why.clone()),
        (
            "/v1/bulk-acts",
            operator.clone(),
            "/v1/bulk-acts".to_owned(),
            json!({ "act": "retry", "jobs": { "code": "mail_refused" }, "why": "a test" }),
        ),
        (
            "/v1/dead-letters/{fate}",
            operator.clone(),
            "/v1/dead-letters/redrive".to_owned(),
            json!({ "all": true, "why": "a test" }),
        ),
        (
            "/v1/controls/{scope}/{name}",
            operator.clone(),
            "/v1/controls/queue/training".to_owned(),
            json!({ "paused": true, "why": "a test" }),
        ),
        ("/v1/breakers/{provider}/close", operator.clone(), "/v1/breakers/fal/close".to_owned(), why.clone()),
        (
            "/v1/schedules/{name}",
            operator,
            "/v1/schedules/sweep_retention".to_owned(),
            json!({ "paused": true, "why": "a test" }),
        ),
        ("/v1/me/consents", ann.clone(), "/v1/me/consents".to_owned(), agreeing("compare")),
        (
            "/v1/me/consents/withdraw",
            ann.clone(),
            "/v1/me/consents/withdraw".to_owned(),
            json!({ "purpose": "compare" }),
        ),
        ("/v1/me/exports", ann.clone(), "/v1/me/exports".to_owned(), json!({})),
        ("/v1/me/erase", ann, "/v1/me/erase".to_owned(), json!({})),
    ]
}

#[tokio::test]
async fn a_key_is_honoured_on_every_post() {
    let house = House::build().await;
    let wishes = wishes(&house).await;
    let mut asked: Vec<&str> = wishes.iter().map(|(pattern, ..)| *pattern).collect();
    let tokens = rights::ROUTES.iter().filter(|(method, ..)| *method == "post").map(|(_, path, _)| *path);
    let signed_in = persons::ROUTES.iter().filter(|(method, _)| *method == "post").map(|(_, path)| *path);
    let mut all: Vec<&str> = tokens.chain(signed_in).collect();
    asked.sort_unstable();
    all.sort_unstable();
    assert_eq!(asked, all, "each of them, and nothing else");
    for (number, (pattern, bearer, path, body)) in wishes.iter().enumerate() {
        let key = format!("key-{number}");
        let first = house.post_once(bearer, &key, path, body.clone()).await;
        assert!(first.status.is_success(), "{pattern}: {}", first.text);
        assert_eq!(first.header("idempotent-replayed"), "", "{pattern}");
        let again = house.post_once(bearer, &key, path, body.clone()).await;
        assert_eq!(
            (again.status, again.header("idempotent-replayed")),
            (first.status, "true"),
            "{pattern}: {}",
            again.text
        );
        if *pattern != "/v1/batches/{batch}/uploads" {
            assert_eq!(again.body, first.body, "{pattern}");
        }
        let mut other = body.clone();
        other["another"] = json!("request");
        assert_eq!(house.post_once(bearer, &key, path, other).await.code(), "idempotency_key_reused", "{pattern}");
    }
}

#[tokio::test]
async fn a_persons_key_outlasts_their_sign_in_and_is_nobody_elses() {
    let house = House::build().await;
    let ann = SignedIn::at(&house, "koselfie", "ann").await;
    let ben = SignedIn::at(&house, "koselfie", "ben").await;
    let first = house.post_once(&ann.jwt, "once", "/v1/me/consents", agreeing("compare")).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    let renewed = ann.sign_in(&house, |token| token.expires_at += 60);
    assert_ne!(renewed, ann.jwt);
    let again = house.post_once(&renewed, "once", "/v1/me/consents", agreeing("compare")).await;
    assert_eq!((again.header("idempotent-replayed"), &again.body), ("true", &first.body), "{}", again.text);
    let other = house.post_once(&ben.jwt, "once", "/v1/me/consents", agreeing("compare")).await;
    assert_eq!((other.status, other.header("idempotent-replayed")), (StatusCode::CREATED, ""), "{}", other.text);
    assert_eq!(house.count("from safelight.consents").await, 2);
    let user: String = sqlx::query_scalar("select auth_user::text from safelight.accounts order by 1 limit 1")
        .fetch_one(&house.owner)
        .await
        .expect("one");
    assert_eq!(
        house
            .count(&format!(
                "from safelight.idempotent_answers where token_id::text = '{user}' or body::text like '%{user}%'"
            ))
            .await,
        0
    );
}

#[tokio::test]
async fn a_key_outlasts_the_rotation_of_its_token_and_is_no_other_tokens() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let body = json!({ "email": "ann@example.org" });
    let first = house.post_once(&token, "key", "/v1/subjects", body.clone()).await;
    let known = tokens::list(&house.owner).await.expect("a list")[0].id;
    let second = tokens::rotate(&house.owner, known, 1).await.expect("rotated").expect("it held");
    let id = tokens::id_of(&second).expect("an id");
    let third = tokens::rotate(&house.owner, id, 1).await.expect("rotated").expect("it held");
    for token in [token.as_str(), second.expose(), third.expose()] {
        let again = house.post_once(token, "key", "/v1/subjects", body.clone()).await;
        assert_eq!((&again.body, again.header("idempotent-replayed")), (&first.body, "true"));
        let other = house.post_once(token, "key", "/v1/subjects", json!({ "email": "bob@example.org" })).await;
        assert_eq!(other.code(), "idempotency_key_reused");
    }
    assert_eq!(house.count("from safelight.subjects").await, 1);
}

#[tokio::test]
async fn an_answer_that_the_version_before_remembered_is_given_again() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let body = json!({ "email": "ann@example.org" });
    let first = house.post_once(&token, "key", "/v1/subjects", body.clone()).await;
    let as_before = format!("{token}/v1/subjects\\000{body}");
    let remembered = format!("update safelight.idempotent_answers set request_sha256 = sha256('{as_before}'::bytea)");
    house.run(&remembered).await;
    let again = house.post_once(&token, "key", "/v1/subjects", body).await;
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&first.body, "true"), "{}", again.text);
}
