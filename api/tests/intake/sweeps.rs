//! Sweeps that a cron starts.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};

use crate::house::{Answer, House, SWEEP_SECRET};

const JOBS: &str = "from safelight.jobs where queue = 'sweeps'";

async fn ask(house: &House, method: Method, sweep: &str, bearer: Option<&str>) -> Answer {
    let mut builder =
        Request::builder().method(method).uri(format!("/sweeps/{sweep}")).header("user-agent", "vercel-cron/1.0");
    if let Some(bearer) = bearer {
        builder = builder.header("authorization", format!("Bearer {bearer}"));
    }
    house.send(builder.header("x-vercel-cron-schedule", "0 3 * * *").body(Body::empty()).expect("a request")).await
}

#[tokio::test]
async fn a_cron_may_get_or_post_and_calls_in_one_minute_are_one_job() {
    let house = House::build().await;
    let mut jobs = std::collections::BTreeSet::new();
    // The minute may turn in between.
    for _ in 0..2 {
        for method in [Method::GET, Method::POST, Method::GET] {
            let began = std::time::Instant::now();
            let answer = ask(&house, method, "retention", Some(SWEEP_SECRET)).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
            assert!(began.elapsed() < std::time::Duration::from_secs(1));
            jobs.insert(answer.body["job"].as_str().expect("a job").to_owned());
        }
    }
    assert!(jobs.len() <= 2, "six calls, at most two minutes: {jobs:?}");
    assert_eq!(house.count(JOBS).await, jobs.len() as i64);
    for sweep in ["reconcile", "consents"] {
        assert_eq!(ask(&house, Method::GET, sweep, Some(SWEEP_SECRET)).await.status, StatusCode::ACCEPTED);
    }
    assert_eq!(
        house
            .count("from safelight.jobs where kind in ('sweep_retention', 'reconcile_calls', 'expire_consents')")
            .await,
        jobs.len() as i64 + 2
    );
}

#[tokio::test]
async fn who_asks_for_the_head_of_an_answer_starts_nothing() {
    let house = House::build().await;
    let answer = ask(&house, Method::HEAD, "deletions", Some(SWEEP_SECRET)).await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, POST"));
    assert_eq!(house.count(JOBS).await, 0);
}

#[tokio::test]
async fn a_wrong_or_missing_secret_starts_nothing() {
    let house = House::build().await;
    let token = house.token(None, &safelight_api::tokens::Scope::ALL).await;
    for bearer in [None, Some(""), Some("wrong"), Some(&SWEEP_SECRET[1..]), Some(token.as_str())] {
        for method in [Method::GET, Method::POST] {
            let answer = ask(&house, method, "retention", bearer).await;
            assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, "sweep_refused"));
        }
    }
    // Whether a sweep exists is told to who knows the secret only.
    assert_eq!(ask(&house, Method::GET, "everything", None).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&house, Method::GET, "everything", Some(SWEEP_SECRET)).await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.count(JOBS).await, 0);
}

#[tokio::test]
async fn an_unset_secret_refuses_every_sweep() {
    for unset in [None, Some(safelight_jobs::providers::Secret::new(""))] {
        let house = House::with(|config| config.sweep_secret = unset).await;
        for bearer in [None, Some(""), Some(SWEEP_SECRET)] {
            let answer = ask(&house, Method::POST, "retention", bearer).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(house.count(JOBS).await, 0);
    }
}
