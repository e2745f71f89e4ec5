//! Bad input: a clear refusal with a stable code, and nothing changed.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use safelight_jobs::id::{self, Id};
use serde_json::{Value, json};

use crate::house::{House, POLICY, new_database, own_postgres, request};

fn raw(path: &str, token: &str, kind: &str, body: &str) -> Request<Body> {
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", kind)
        .body(Body::from(body.to_owned()))
        .expect("a request")
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_its_place_and_without_its_value() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let subject = Id::<id::Subject>::new();
    let deep = format!(r#"{{"kind":"train_model","payload":{}"#, "[".repeat(200));
    let json = "application/json";
    let cases = [
        ("/v1/subjects".to_owned(), json, "{", 400, "bad_json"),
        ("/v1/subjects".to_owned(), json, "", 400, "bad_json"),
        ("/v1/jobs".to_owned(), json, deep.as_str(), 400, "bad_json"),
        ("/v1/subjects".to_owned(), json, r#"["a@example.org",null,null,null]"#, 422, "bad_body"),
        ("/v1/subjects".to_owned(), json, "[]", 422, "bad_body"),
        ("/v1/subjects".to_owned(), json, "{}", 422, "bad_body"),
        ("/v1/subjects".to_owned(), json, r#"{"email":"a@example.org","shoe_size":42}"#, 422, "bad_body"),
        ("/v1/subjects".to_owned(), json, r#"{"email":7}"#, 422, "bad_body"),
        ("/v1/subjects".to_owned(), json, r#"{"email":"a@example.org","email":"b@example.org"}"#, 422, "bad_body"),
        ("/v1/subjects".to_owned(), json, r#"{"email":"a\u0000@example.org"}"#, 422, "bad_body"),
        ("/v1/subjects".to_owned(), json, r#"{"email":"nobody"}"#, 422, "bad_email"),
        ("/v1/subjects".to_owned(), json, r#"{"email":"a@example.org\r\nBcc: b@example.org"}"#, 422, "bad_email"),
        ("/v1/subjects".to_owned(), json, r#"{"email":"Ann <a@example.org>"}"#, 422, "bad_email"),
        ("/v1/subjects".to_owned(), json, r#"{"email":"a@example.org,b@example.org"}"#, 422, "bad_email"),
        ("/v1/subjects".to_owned(), json, r#"{"email":"a@b@example.org"}"#, 422, "bad_email"),
        ("/v1/subjects".to_owned(), json, r#"{"email":" a@example.org"}"#, 422, "bad_email"),
        ("/v1/subjects".to_owned(), json, r#"{"email":"@example.org"}"#, 422, "bad_email"),
        ("/v1/subjects".to_owned(), json, r#"{"email":"a@example..org"}"#, 422, "bad_email"),
        ("/v1/subjects".to_owned(), json, r#"{"email":"a@example.org","auth_user":"planted-value"}"#, 422, "bad_body"),
        ("/v1/subjects".to_owned(), "text/plain", r#"{"email":"a@example.org"}"#, 415, "not_json"),
        ("/v1/subjects/planted-value/erase".to_owned(), json, "{}", 400, "bad_id"),
        ("/v1/subjects/order_0123456789abcdef0123456789abcdef/erase".to_owned(), json, "{}", 400, "bad_id"),
        ("/v1/subjects/%ff/erase".to_owned(), json, "{}", 400, "bad_id"),
        (format!("/v1/subjects/{subject}/erase"), json, "{}", 404, "not_found"),
        ("/v1/nothing".to_owned(), json, "{}", 404, "no_such_address"),
    ];
    for (path, kind, body, status, code) in cases {
        let answer = house.send(raw(&path, &token, kind, body)).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{path} {body}: {}", answer.text);
        is_a_problem(&answer.body, &answer.headers);
        assert!(!answer.text.contains("planted-value"), "{}", answer.text);
    }
    let large = format!(r#"{{"email":"{}@example.org"}}"#, "a".repeat(70_000));
    let answer = house.send(raw("/v1/subjects", &token, json, &large)).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
    let answer = house.send(request(Method::DELETE, "/v1/subjects", &token, None)).await;
    assert_eq!(
        (answer.status, answer.code(), answer.header("allow")),
        (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "POST")
    );
    assert_eq!(house.count("from safelight.subjects").await, 0);
}

fn is_a_problem(body: &Value, headers: &axum::http::HeaderMap) {
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(body["request_id"].as_str(), headers["x-request-id"].to_str().ok());
    assert_eq!(
        body["type"].as_str(),
        Some(format!("urn:safelight:problem:{}", body["code"].as_str().expect("a code")).as_str())
    );
    for field in ["title", "detail"] {
        assert!(body[field].as_str().is_some_and(|text| text.len() > 5), "{body}");
    }
    assert!(body["status"].is_u64());
}

#[tokio::test]
async fn a_request_keeps_its_id_and_a_strange_one_is_replaced() {
    let house = House::build().await;
    for (sent, kept) in [("abc-123", true), ("a b", false), (&*"x".repeat(65), false)] {
        let mut request = request(Method::GET, "/health", "", None);
        request.headers_mut().insert("x-request-id", sent.parse().expect("a value"));
        let answer = house.send(request).await;
        assert_eq!(answer.header("x-request-id") == sent, kept);
        assert!(!answer.header("x-request-id").is_empty());
    }
}

#[tokio::test]
async fn a_bundle_of_purposes_is_no_consent_in_any_form() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let subject = house.person(&token).await;
    let path = format!("/v1/subjects/{subject}/consents");
    let one = json!({ "purpose": "compare", "capture_point": "sign_up", "wording_sha256": "0".repeat(64), "policy_version": POLICY });
    let with = |field: &str, value: Value| {
        let mut body = one.clone();
        body[field] = value;
        body.to_string()
    };
    let bundles = [
        json!([one, one]).to_string(),
        with("purpose", json!(["compare", "train"])),
        with("purpose", json!("compare,train")),
        with("purpose", json!({ "compare": true, "train": true })),
        with("train", json!(true)),
        with("accept_all", json!(false)),
        json!({ "purposes": ["compare"], "capture_point": "sign_up" }).to_string(),
        one.to_string().replacen('{', r#"{"purpose":"train","#, 1),
    ];
    for body in bundles {
        let answer = house.send(raw(&path, &token, "application/json", &body)).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::UNPROCESSABLE_ENTITY, "consent_bundled"),
            "{body}: {}",
            answer.text
        );
    }
    for (body, code) in [
        (with("note", json!("and one more thing")), "bad_body"),
        (with("purpose", json!("world_domination")), "bad_body"),
        (with("purpose", json!("pay")), "consent_not_asked_for"),
        (with("policy_version", json!("2020-01-01")), "consent_not_asked_for"),
        (with("wording_sha256", json!("short")), "consent_wording"),
        (with("batch", json!(Id::<id::Batch>::new())), "consent_scope"),
    ] {
        let answer = house.send(raw(&path, &token, "application/json", &body)).await;
        assert_eq!(answer.code(), code, "{body}: {}", answer.text);
    }
    assert_eq!(house.count("from safelight.consents").await, 0);
    assert_eq!(house.post(&token, &path, one).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn without_its_database_the_intake_says_so_and_goes_on_when_it_is_back() {
    let postgres = own_postgres().await;
    let house = House::on(&new_database(&postgres).await, |_| {}).await;
    let token = house.backend("koselfie").await;
    assert_eq!(house.get("", "/ready").await.status, StatusCode::OK);
    postgres.stop().await.expect("stopped");
    let (read, ready, wrote) = tokio::join!(
        house.get(&token, "/v1/jobs/kinds"),
        house.get("", "/ready"),
        house.post(&token, "/v1/subjects", json!({ "email": "ann@example.org" }))
    );
    for answer in [read, ready, wrote] {
        assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable"));
        assert_eq!(answer.header("retry-after"), "5");
    }
    assert_eq!(house.get("", "/health").await.status, StatusCode::OK, "the process itself is fine");
    postgres.restart().await.expect("restarted");
    assert_eq!(house.get("", "/ready").await.status, StatusCode::OK);
    assert_eq!(house.get(&token, "/v1/jobs/kinds").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_schema_without_this_versions_migrations_is_not_ready() {
    let house = House::build().await;
    // Not the newest: one that came late has a lower number than some that are there.
    house.run("delete from _sqlx_migrations where version = (select version from _sqlx_migrations order by version desc offset 3 limit 1)").await;
    let answer = house.get("", "/ready").await;
    assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, "schema_outdated"));
}

#[tokio::test]
async fn the_numbers_and_the_description_are_served() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    let subject = house.person(&token).await;
    house.post(&token, &format!("/v1/subjects/{subject}/erase"), json!({})).await;
    let numbers = house.get("", "/metrics").await;
    assert!(numbers.text.contains("safelight_jobs{queue=\"deletion\",state=\"ready\"} 1"), "{}", numbers.text);
    assert!(numbers.text.contains("\nsafelight_deletions_open 1\n"));
    let document = house.get("", "/openapi.json").await;
    assert_eq!(document.body["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
    assert!(document.body["paths"]["/webhooks/stripe"]["post"].is_object());
    let closed =
        House::with(|config| config.metrics_secret = Some(safelight_jobs::providers::Secret::new("numbers"))).await;
    assert_eq!(closed.get("", "/metrics").await.code(), "metrics_refused");
    assert_eq!(closed.get("numbers", "/metrics").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_foreign_pages_script_is_told_of_no_permission() {
    let house = House::build().await;
    let token = house.backend("koselfie").await;
    for path in ["/v1/subjects", "/v1/orders", "/v1/me", "/console", "/webhooks/stripe", "/openapi.json"] {
        for method in [Method::OPTIONS, Method::GET, Method::POST] {
            let mut asking = request(method.clone(), path, &token, Some(&json!({})));
            for (name, value) in [
                ("origin", "https://elsewhere.example"),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "authorization, content-type"),
            ] {
                asking.headers_mut().insert(name, value.parse().expect("a header"));
            }
            let answer = house.send(asking).await;
            let told: Vec<_> =
                answer.headers.keys().filter(|name| name.as_str().starts_with("access-control-")).collect();
            assert!(told.is_empty(), "{method} {path}: {told:?}");
            assert!(
                method != Method::OPTIONS || !answer.status.is_success(),
                "{path} answers a preflight: {}",
                answer.status
            );
        }
    }
}

#[tokio::test]
async fn five_hundred_jobs_with_a_time_each_fit_into_one_request() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_bulk").await;
    let one = json!({ "payload": { "order": order, "event": "evt_1NG8Du2eZvKYlo2CUI79vXWy" }, "run_at": "2026-11-28T05:00:00.000000Z" });
    let many = json!({ "kind": "confirm_payment", "jobs": vec![one; 500] });
    assert!(many.to_string().len() > 64 * 1024);
    let answer = house.post(&token, "/v1/jobs/bulk", many).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    assert_eq!(house.count("from safelight.jobs where kind = 'confirm_payment'").await, 1, "one wish");
}
