//! Who may do what: tokens, scopes, tenants.

use axum::http::{Method, StatusCode};
use safelight_api::tokens::{self, Scope};
use safelight_jobs::id::{self, Id};
use serde_json::{Value, json};

use crate::{
    house::{House, SWEEP_SECRET, request},
    log, persons,
};

/// Every route that needs a token, and the scopes that open it.
pub(crate) const ROUTES: &[(&str, &str, &[Scope])] = &[
    ("post", "/v1/subjects", &[Scope::Enqueue]),
    ("get", "/v1/subjects/{subject}", &[Scope::Read, Scope::Operate]),
    ("get", "/v1/subjects/{subject}/consents", &[Scope::Read, Scope::Operate]),
    ("get", "/v1/batches/{batch}", &[Scope::Read, Scope::Operate]),
    ("get", "/v1/orders", &[Scope::Read, Scope::Operate]),
    ("get", "/v1/deletions", &[Scope::Read, Scope::Operate]),
    ("post", "/v1/subjects/{subject}/batches", &[Scope::Enqueue]),
    ("post", "/v1/subjects/{subject}/erase", &[Scope::Enqueue]),
    ("post", "/v1/subjects/{subject}/rectify", &[Scope::Enqueue]),
    ("post", "/v1/subjects/{subject}/images/{artifact}/compare", &[Scope::Enqueue]),
    ("post", "/v1/subjects/{subject}/restrict", &[Scope::Enqueue]),
    ("post", "/v1/subjects/{subject}/release", &[Scope::Enqueue]),
    ("post", "/v1/subjects/{subject}/objections", &[Scope::Enqueue]),
    ("post", "/v1/subjects/{subject}/exports", &[Scope::Enqueue]),
    ("get", "/v1/subjects/{subject}/exports/{artifact}", &[Scope::Read, Scope::Operate]),
    ("post", "/v1/subjects/{subject}/consents", &[Scope::Enqueue]),
    ("post", "/v1/subjects/{subject}/consents/withdraw", &[Scope::Enqueue]),
    ("post", "/v1/batches/{batch}/uploads", &[Scope::Enqueue]),
    ("post", "/v1/uploads/{artifact}/arrived", &[Scope::Enqueue]),
    ("post", "/v1/orders", &[Scope::Enqueue]),
    ("post", "/v1/orders/{order}/checkout", &[Scope::Enqueue]),
    ("post", "/v1/orders/{order}/refund", &[Scope::Operate]),
    ("get", "/v1/orders/{order}", &[Scope::Read, Scope::Operate]),
    ("get", "/v1/orders/{order}/events", &[Scope::Read, Scope::Operate]),
    ("get", "/v1/subjects/{subject}/images/{artifact}", &[Scope::Read, Scope::Operate]),
    ("post", "/v1/photos/{artifact}/delete", &[Scope::Enqueue]),
    ("post", "/v1/orders/{order}/delete", &[Scope::Enqueue]),
    ("get", "/v1/deletions/{deletion}", &[Scope::Read, Scope::Operate]),
    ("get", "/v1/deletions/{deletion}/certificate", &[Scope::Audit, Scope::Operate]),
    ("get", "/v1/deletions/{deletion}/certificate.html", &[Scope::Audit, Scope::Operate]),
    ("post", "/v1/jobs", &[Scope::Enqueue]),
    ("get", "/v1/jobs", &[Scope::Read, Scope::Operate]),
    ("post", "/v1/jobs/bulk", &[Scope::Enqueue]),
    ("get", "/v1/jobs/{job}", &[Scope::Read, Scope::Operate]),
    ("get", "/v1/jobs/kinds", &[Scope::Read, Scope::Operate]),
    ("post", "/v1/jobs/{job}/{act}", &[Scope::Operate]),
    ("post", "/v1/jobs/{job}/payload", &[Scope::Operate]),
    ("get", "/v1/bulk-acts", &[Scope::Read, Scope::Operate]),
    ("post", "/v1/bulk-acts", &[Scope::Operate]),
    ("get", "/v1/bulk-acts/preview", &[Scope::Operate]),
    ("get", "/v1/bulk-acts/{bulk}", &[Scope::Read, Scope::Operate]),
    ("get", "/v1/dead-letters", &[Scope::Read, Scope::Operate]),
    ("post", "/v1/dead-letters/{fate}", &[Scope::Operate]),
    ("get", "/v1/controls", &[Scope::Read, Scope::Operate]),
    ("post", "/v1/controls/{scope}/{name}", &[Scope::Operate]),
    ("post", "/v1/breakers/{provider}/close", &[Scope::Operate]),
    ("get", "/v1/schedules", &[Scope::Read, Scope::Operate]),
    ("post", "/v1/schedules/{name}", &[Scope::Operate]),
];

fn filled(path: &str) -> String {
    path.replace("{subject}", &Id::<id::Subject>::new().to_string())
        .replace("{batch}", &Id::<id::Batch>::new().to_string())
        .replace("{artifact}", &Id::<id::Artifact>::new().to_string())
        .replace("{order}", &Id::<id::Order>::new().to_string())
        .replace("{deletion}", &Id::<id::Deletion>::new().to_string())
        .replace("{bulk}", &Id::<id::Bulk>::new().to_string())
        .replace("{job}", &Id::<id::Job>::new().to_string())
        .replace("{act}", "hold")
        .replace("{fate}", "redrive")
        .replace("{scope}", "queue")
        .replace("{name}", "training")
        .replace("{provider}", "fal")
}

fn body_for(method: &str) -> Option<Value> {
    (method == "post").then(|| json!({}))
}

#[tokio::test]
async fn h24_each_route_opens_to_its_scopes_and_to_no_other() {
    let house = House::build().await;
    for scope in Scope::ALL {
        let token = house.token(Some("koselfie"), &[scope]).await;
        for (method, path, opened_by) in ROUTES {
            let verb: Method = method.to_uppercase().parse().expect("a method");
            let answer = house.send(request(verb, &filled(path), &token, body_for(method).as_ref())).await;
            let refused = (answer.status, answer.code()) == (StatusCode::FORBIDDEN, "scope_missing");
            assert_eq!(!refused, opened_by.contains(&scope), "{method} {path} with {scope}: {}", answer.text);
            assert!(answer.status.as_u16() < 500, "{method} {path} with {scope}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn no_route_is_missing_from_the_matrix() {
    let document = serde_json::to_value(safelight_api::openapi()).expect("a document");
    let mut described: Vec<(String, String)> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .filter(|(path, _)| path.starts_with("/v1/") && !path.starts_with(persons::ROOT))
        .flat_map(|(path, methods)| methods.as_object().expect("methods").keys().map(|m| (m.clone(), path.clone())))
        .collect();
    let mut known: Vec<(String, String)> = ROUTES.iter().map(|(m, p, _)| ((*m).to_owned(), (*p).to_owned())).collect();
    described.sort();
    known.sort();
    assert_eq!(described, known);
    // And each says in the document which scope it needs.
    for (method, path, opened_by) in ROUTES {
        let needs = &document["paths"][path][method]["security"][0]["token"][0];
        assert_eq!(needs.as_str(), Some(opened_by[0].as_str()), "{method} {path}");
    }
}

#[tokio::test]
async fn h24_without_a_token_that_holds_nothing_opens() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let (id, secret) = token.rsplit_once('_').expect("parts");
    let other = house.backend("koselfie").await;
    let (other_id, _) = other.rsplit_once('_').expect("parts");
    let wrong = format!("{id}_{}", "0".repeat(64));
    let crossed = format!("{other_id}_{secret}");
    for (presented, code) in [
        ("", "no_token"),
        ("slt_", "bad_token"),
        ("slt_x_y", "bad_token"),
        (wrong.as_str(), "bad_token"),
        (crossed.as_str(), "bad_token"),
    ] {
        for (method, path, _) in ROUTES {
            let verb: Method = method.to_uppercase().parse().expect("a method");
            let answer = house.send(request(verb, &filled(path), presented, body_for(method).as_ref())).await;
            assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, code), "{method} {path}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
}

#[tokio::test]
async fn a_revoked_or_expired_token_opens_nothing() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    assert_eq!(house.get(&token, "/v1/jobs/kinds").await.status, StatusCode::OK);
    let known = tokens::list(&house.owner).await.expect("a list");
    assert_eq!((known.len(), known[0].tenant.as_deref()), (1, Some("koselfie")));
    assert!(tokens::revoke(&house.owner, known[0].id).await.expect("revoked"));
    assert!(!tokens::revoke(&house.owner, known[0].id).await.expect("revoked before"));
    assert_eq!(house.get(&token, "/v1/jobs/kinds").await.code(), "bad_token");
    let token = house.backend("koselfie").await;
    house.run("update safelight.tokens set expires_at = safelight.now() + interval '1 hour'").await;
    assert_eq!(house.get(&token, "/v1/jobs/kinds").await.status, StatusCode::OK);
    house.turn_clock_to("61 minutes").await;
    assert_eq!(house.get(&token, "/v1/jobs/kinds").await.code(), "bad_token");
    assert!(
        !house.everything_stored().await.contains(token.rsplit_once('_').expect("parts").1),
        "tokens are stored as hashes"
    );
}

#[tokio::test]
async fn a_tenant_sees_and_touches_nothing_of_another() {
    let house = House::build().await;
    let ours = house.backend("haloprofile").await;
    let subject = house.person(&ours).await;
    let order = house.order(&ours, subject, "cs_test_ours").await;
    let leaving = house.person(&ours).await;
    let erasure = house.post(&ours, &format!("/v1/subjects/{leaving}/erase"), json!({})).await;
    let deletion = erasure.body["deletion"].as_str().expect("a deletion").to_owned();
    let batch: uuid::Uuid =
        sqlx::query_scalar("select id from safelight.upload_batches").fetch_one(&house.owner).await.expect("a batch");
    let batch = Id::<id::Batch>::from(batch);
    let artifact: uuid::Uuid =
        sqlx::query_scalar("select id from safelight.artifacts limit 1").fetch_one(&house.owner).await.expect("one");
    let artifact = Id::<id::Artifact>::from(artifact);
    let job: uuid::Uuid = sqlx::query_scalar("select id from safelight.jobs where subject_id is not null limit 1")
        .fetch_one(&house.owner)
        .await
        .expect("a job");
    let job = Id::<id::Job>::from(job);
    let theirs = house.backend("koselfie").await;
    // The day of its first use is kept.
    for token in [&ours, &theirs] {
        house.get(token, "/v1/jobs/kinds").await;
    }
    let before = house.everything_stored().await.len();
    for path in [format!("/v1/orders/{order}"), format!("/v1/deletions/{deletion}"), format!("/v1/jobs/{job}")] {
        assert_eq!(house.get(&ours, &path).await.status, StatusCode::OK, "{path}");
        let answer = house.get(&theirs, &path).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "not_found"), "{path}");
    }
    let wording = "0".repeat(64);
    for (path, body) in [
        (format!("/v1/subjects/{subject}/batches"), json!({})),
        (format!("/v1/subjects/{subject}/erase"), json!({})),
        (format!("/v1/subjects/{subject}/rectify"), json!({ "email": "eve@example.org" })),
        (format!("/v1/subjects/{subject}/restrict"), json!({ "ground": "accuracy" })),
        (format!("/v1/subjects/{subject}/release"), json!({})),
        (format!("/v1/subjects/{subject}/objections"), json!({ "purpose": "observe" })),
        (format!("/v1/subjects/{subject}/exports"), json!({})),
        (format!("/v1/subjects/{subject}/images/{artifact}/compare"), json!({})),
        (
            format!("/v1/subjects/{subject}/consents"),
            json!({ "purpose": "train", "capture_point": "sign_up", "wording_sha256": wording, "policy_version": "1" }),
        ),
        (format!("/v1/subjects/{subject}/consents/withdraw"), json!({ "purpose": "train" })),
        (format!("/v1/batches/{batch}/uploads"), json!({})),
        (format!("/v1/uploads/{artifact}/arrived"), json!({})),
        (format!("/v1/photos/{artifact}/delete"), json!({})),
        (format!("/v1/orders/{order}/delete"), json!({})),
        ("/v1/orders".to_owned(), json!({ "subject": subject, "batch": batch, "plan": "pro" })),
        (format!("/v1/orders/{order}/checkout"), json!({ "session": "cs_test_theirs" })),
        ("/v1/jobs".to_owned(), json!({ "kind": "train_model", "payload": { "order": order } })),
        ("/v1/jobs/bulk".to_owned(), json!({ "kind": "train_model", "jobs": [{ "payload": { "order": order } }] })),
        ("/v1/jobs".to_owned(), json!({ "kind": "delete_data", "payload": { "deletion": deletion } })),
    ] {
        let answer = house.post(&theirs, &path, body).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "not_found"), "{path}: {}", answer.text);
    }
    assert_eq!(house.everything_stored().await.len(), before, "nothing was changed");
}

#[tokio::test]
async fn a_token_of_the_house_reads_every_tenant_and_acts_for_none() {
    let house = House::build().await;
    let ours = house.backend("haloprofile").await;
    let subject = house.person(&ours).await;
    let erasure = house.post(&ours, &format!("/v1/subjects/{subject}/erase"), json!({})).await;
    let operator = house.token(None, &[Scope::Enqueue, Scope::Operate]).await;
    let path = format!("/v1/deletions/{}", erasure.body["deletion"].as_str().expect("an id"));
    assert_eq!(house.looks(&operator, &path, "a test").await.status, StatusCode::OK);
    let answer = house.post(&operator, "/v1/subjects", json!({ "email": "a@example.org" })).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::FORBIDDEN, "tenant_required"));
}

#[tokio::test]
async fn a_typed_job_is_taken_once_and_only_about_ones_own() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_jobs").await;
    let wish = json!({ "kind": "confirm_payment", "payload": { "order": order, "event": "evt_1" }, "run_at": "2026-01-01T00:00:00Z" });
    let first = house.post(&token, "/v1/jobs", wish.clone()).await;
    assert_eq!((first.status, &first.body["already"]), (StatusCode::ACCEPTED, &json!(false)), "{}", first.text);
    let second = house.post(&token, "/v1/jobs", wish).await;
    assert_eq!((&second.body["job"], &second.body["already"]), (&first.body["job"], &json!(true)));
    let view = house.get(&token, &format!("/v1/jobs/{}", first.body["job"].as_str().expect("an id"))).await;
    assert_eq!((&view.body["state"], &view.body["kind"]), (&json!("ready"), &json!("confirm_payment")));
    assert!(view.body.get("payload").is_none());

    let refusals = [
        (json!({ "kind": "no_such_job", "payload": {} }), "job_unknown_kind"),
        (json!({ "kind": "confirm_payment", "payload": { "order": subject, "event": "e" } }), "job_payload"),
        (
            json!({ "kind": "confirm_payment", "payload": { "order": order, "event": "ann@example.org" } }),
            "job_payload",
        ),
        (
            json!({ "kind": "confirm_payment", "payload": { "order": order, "event": "e" }, "run_at": "2099-01-01T00:00:00Z" }),
            "run_at_too_far",
        ),
        (json!({ "kind": "sweep_retention", "payload": { "because": "me" } }), "scope_missing"),
    ];
    for (wish, code) in refusals {
        let answer = house.post(&token, "/v1/jobs", wish).await;
        assert_eq!(answer.code(), code, "{}", answer.text);
    }
    assert_eq!(house.count("from safelight.jobs").await, 1);
    let sweeper = house.token(Some("haloprofile"), &[Scope::Enqueue, Scope::Sweep]).await;
    let swept =
        house.post(&sweeper, "/v1/jobs", json!({ "kind": "sweep_retention", "payload": { "because": "me" } })).await;
    assert_eq!(swept.status, StatusCode::ACCEPTED, "{}", swept.text);
}

#[tokio::test]
async fn h28_faces_are_not_compared_for_a_tenant_whose_policy_has_no_such_purpose_and_the_wish_is_refused() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_h28").await;
    let upload: uuid::Uuid =
        sqlx::query_scalar("select id from safelight.artifacts limit 1").fetch_one(&house.owner).await.expect("one");
    let upload = Id::<id::Artifact>::from(upload);
    for wish in [
        json!({ "kind": "measure_selfies", "payload": { "order": order } }),
        json!({ "kind": "compare_faces", "payload": { "image": upload } }),
        json!({ "kind": "check_image", "payload": { "image": upload } }),
    ] {
        let answer = house.post(&token, "/v1/jobs", wish).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::CONFLICT, "purpose_not_allowed"), "{}", answer.text);
    }
    assert_eq!(house.count("from safelight.jobs").await, 0);
    let other = house.backend("koselfie").await;
    let subject = house.person(&other).await;
    let order = house.order(&other, subject, "cs_test_not_h28").await;
    let taken =
        house.post(&other, "/v1/jobs", json!({ "kind": "measure_selfies", "payload": { "order": order } })).await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{}", taken.text);
}

#[tokio::test]
async fn h24_no_token_of_a_caller_or_of_a_call_reaches_the_log() {
    log::keep();
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let subject = house.person(&token).await;
    let (id, secret) = token.rsplit_once('_').expect("parts");
    let wrong = format!("{id}_{}", "0".repeat(64));
    let path = format!("/v1/subjects/{subject}/erase");
    house.post(&token, "/v1/subjects", json!({ "email": 7 })).await;
    house.post(&wrong, &path, json!({})).await;
    house.get("", &format!("/v1/orders/x?token={secret}")).await;
    let of_a_call = "5ec2e70000000000000000000000cafe";
    house.post("", &format!("/webhooks/fal/{of_a_call}"), json!({})).await;
    let logged = log::kept();
    assert!(logged.matches("answered").count() >= 4, "the log was captured");
    assert!(logged.contains("/webhooks/fal/{token}"), "a path is logged as its pattern");
    for word in [secret, &"0".repeat(64), of_a_call, SWEEP_SECRET] {
        assert!(!logged.contains(word), "`{word}` was logged");
    }
}
