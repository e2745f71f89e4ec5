use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{seats::Seats, *};

async fn panics() -> &'static str {
    panic!("planted: ann@example.org")
}

async fn never() -> &'static str {
    std::future::pending().await
}

fn asking(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::empty()).unwrap()
}

async fn ask(router: Router, path: &str) -> (StatusCode, serde_json::Value) {
    let response = router.oneshot(asking(path)).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_panic_ends_one_request_and_tells_nothing_of_it() {
    let (status, body) = ask(layered(Router::new().route("/", get(panics)), REQUEST_LIFE), "/").await;
    assert_eq!((status.as_u16(), &body["code"]), (500, &serde_json::json!("internal")));
    assert!(!body.to_string().contains("ann@"));
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_for_us_is_told_that_the_outcome_is_not_known_and_how_to_ask_again() {
    let router = layered(Router::new().route("/", get(never)), REQUEST_LIFE);
    let began = tokio::time::Instant::now();
    let answer = router.clone().oneshot(asking("/")).await.unwrap();
    assert_eq!(began.elapsed(), REQUEST_LIFE);
    assert!(answer.headers().contains_key(axum::http::header::RETRY_AFTER));
    let (status, body) = ask(router, "/").await;
    assert_eq!((status.as_u16(), &body["code"]), (503, &serde_json::json!("outcome_unknown")));
    assert!(body["detail"].as_str().unwrap().contains("idempotency-key"), "{body}");
}

#[tokio::test]
async fn who_finds_no_seat_is_told_at_once_to_come_again_and_the_processs_health_is_told_in_any_case() {
    let (entered, leave) = (Arc::new(Semaphore::new(0)), CancellationToken::new());
    let (inside, left) = (entered.clone(), leave.clone());
    let slow = move || async move {
        inside.add_permits(1);
        left.cancelled().await;
        "done"
    };
    let well = || get(|| async { axum::Json(()) });
    let routes = Router::new().route("/", get(slow)).route("/health", well()).route("/ready", well());
    let router = layered(behind(routes, Door::of(Seats::of(2, 1, 1), REQUEST_LIFE)), REQUEST_LIFE);
    let sat: Vec<_> = (0..2).map(|_| tokio::spawn(router.clone().oneshot(asking("/")))).collect();
    let _ = entered.acquire_many(2).await.unwrap();
    let refused = router.clone().oneshot(asking("/")).await.unwrap();
    assert_eq!(refused.headers()[axum::http::header::RETRY_AFTER], "1");
    let (status, body) = ask(router.clone(), "/").await;
    assert_eq!((status.as_u16(), &body["code"]), (503, &serde_json::json!("overloaded")));
    for path in ["/health", "/ready"] {
        assert_eq!(ask(router.clone(), path).await.0, StatusCode::OK, "{path}");
    }
    leave.cancel();
    for one in sat {
        assert_eq!(one.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(router.oneshot(asking("/")).await.unwrap().status(), StatusCode::OK, "the seats are free again");
}
