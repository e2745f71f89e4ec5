//! The HTTP intake: routes, tokens, webhooks, and a console that reads. It enqueues and decides nothing: what it takes is
//! decided by the domain's functions and by gates. Knows neither apalis nor the worker.
//!
//! Read first: `routes`, then `caller` and [`idempotency`]. [`router`] is the whole of it as one service.

mod beside;
mod caller;
mod certificate_page;
pub mod codes;
mod connections;
mod console;
pub mod error;
mod house;
pub mod idempotency;
mod input;
mod looks;
mod numbers;
mod openapi;
mod operators;
mod person;
mod rates;
mod recorder;
mod reference;
mod register_page;
mod request;
mod routes;
mod seats;
mod state;
pub mod tokens;
mod trace;
mod waiting;

use std::{sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, middleware, routing::get};
use tokio::sync::Semaphore;
use tower_http::{
    catch_panic::CatchPanicLayer,
    timeout::{RequestBodyTimeoutLayer, TimeoutLayer},
};

pub use beside::serve_beside;
pub use certificate_page::certificate_page;
pub use connections::serve;
pub use error::Error;
pub use openapi::openapi;
pub use operators::OperatorSignIn;
pub use recorder::{RecorderError, metrics_recorder};
pub use register_page::register_page;
pub use request::REQUEST_ID;
pub use state::{ApiConfig, ApiState};

/// The longest that a request may take.
const REQUEST_LIFE: Duration = Duration::from_secs(30);

/// The longest that a request's body may pause.
const BODY_PAUSE: Duration = Duration::from_secs(5);

/// Everything that is answered.
pub fn router(state: ApiState) -> Router {
    let (v1, _) = routes::v1(&state).split_for_parts();
    let (me, _) = routes::me(&state).split_for_parts();
    let (open, _) = routes::open().split_for_parts();
    let description = openapi().to_json().unwrap_or_default();
    let all = v1.merge(me).merge(open).merge(console::router()).route("/docs", get(reference::page)).route(
        "/openapi.json",
        get(move || async move { ([(axum::http::header::CONTENT_TYPE, "application/json")], description) }),
    );
    layered(seated(all, Arc::new(Semaphore::new(seats::MOST)))).with_state(state)
}

/// So many requests at once and no more; a body that does not go on ends.
fn seated<S: Clone + Send + Sync + 'static>(router: Router<S>, seats: Arc<Semaphore>) -> Router<S> {
    router.layer(RequestBodyTimeoutLayer::new(BODY_PAUSE)).layer(middleware::from_fn_with_state(seats, seats::take_one))
}

/// Whatever happens below, the caller gets an answer of our form.
fn layered<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .layer(CatchPanicLayer::custom(request::after_panic))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_LIFE))
        .layer(middleware::from_fn(request::around))
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
        routing::post,
    };
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt;

    use super::*;

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
        let (status, body) = ask(layered(Router::new().route("/", get(panics))), "/").await;
        assert_eq!((status.as_u16(), &body["code"]), (500, &serde_json::json!("internal")));
        assert!(!body.to_string().contains("ann@"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_given_up() {
        let (status, body) = ask(layered(Router::new().route("/", get(never))), "/").await;
        assert_eq!((status.as_u16(), &body["code"]), (408, &serde_json::json!("request_timeout")));
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
        let routes = Router::new().route("/", get(slow)).route("/health", get(|| async { axum::Json(()) }));
        let router = layered(seated(routes, Arc::new(Semaphore::new(2))));
        let sat: Vec<_> = (0..2).map(|_| tokio::spawn(router.clone().oneshot(asking("/")))).collect();
        let _ = entered.acquire_many(2).await.unwrap();
        let refused = router.clone().oneshot(asking("/")).await.unwrap();
        assert_eq!(refused.headers()[axum::http::header::RETRY_AFTER], "1");
        let (status, body) = ask(router.clone(), "/").await;
        assert_eq!((status.as_u16(), &body["code"]), (503, &serde_json::json!("overloaded")));
        assert_eq!(ask(router.clone(), "/health").await.0, StatusCode::OK);
        leave.cancel();
        for one in sat {
            assert_eq!(one.await.unwrap().unwrap().status(), StatusCode::OK);
        }
        assert_eq!(router.oneshot(asking("/")).await.unwrap().status(), StatusCode::OK, "the seats are free again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_pauses_ends_its_request_and_frees_its_seat() {
        let seats = Arc::new(Semaphore::new(1));
        let router =
            layered(seated(Router::new().route("/", post(async |_: axum::body::Bytes| "read")), seats.clone()));
        let stalled = Body::from_stream(futures::stream::pending::<Result<axum::body::Bytes, std::io::Error>>());
        let request = Request::builder().method("POST").uri("/").body(stalled).unwrap();
        let began = tokio::time::Instant::now();
        let status = router.oneshot(request).await.unwrap().status();
        assert_eq!((status, began.elapsed()), (StatusCode::BAD_REQUEST, BODY_PAUSE));
        assert_eq!(seats.available_permits(), 1);
    }
}
