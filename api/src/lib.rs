//! The HTTP intake: routes, tokens, webhooks, and a console that reads. It enqueues and decides nothing: what it takes is
//! decided by the domain's functions and by gates. Knows neither apalis nor the worker.
//!
//! Read first: `routes`, then `caller` and [`idempotency`]. [`router`] is the whole of it as one service.

mod caller;
mod certificate_page;
pub mod codes;
mod console;
pub mod error;
pub mod idempotency;
mod input;
mod numbers;
mod openapi;
mod rates;
mod recorder;
mod reference;
mod register_page;
mod request;
mod routes;
mod state;
pub mod tokens;
mod trace;
mod waiting;

use std::{io, time::Duration};

use axum::{Router, http::StatusCode, middleware, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

pub use certificate_page::certificate_page;
pub use error::Error;
pub use openapi::openapi;
pub use recorder::{RecorderError, metrics_recorder};
pub use register_page::register_page;
pub use request::REQUEST_ID;
pub use state::{ApiConfig, ApiState};

/// The longest that a request may take.
const REQUEST_LIFE: Duration = Duration::from_secs(30);

/// Everything that is answered.
pub fn router(state: ApiState) -> Router {
    let (v1, _) = routes::v1(&state).split_for_parts();
    let (open, _) = routes::open().split_for_parts();
    let description = openapi().to_json().unwrap_or_default();
    let all = v1.merge(open).merge(console::router()).route("/docs", get(reference::page)).route(
        "/openapi.json",
        get(move || async move { ([(axum::http::header::CONTENT_TYPE, "application/json")], description) }),
    );
    layered(all).with_state(state)
}

/// Whatever happens below, the caller gets an answer of our form.
fn layered<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .layer(CatchPanicLayer::custom(request::after_panic))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_LIFE))
        .layer(middleware::from_fn(request::around))
}

/// Answer until `stop`; then take no more and let what is under way come to its end.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tower::ServiceExt;

    use super::*;

    async fn panics() -> &'static str {
        panic!("planted: ann@example.org")
    }

    async fn never() -> &'static str {
        std::future::pending().await
    }

    async fn ask(router: Router, path: &str) -> (StatusCode, serde_json::Value) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
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
    async fn stopping_lets_what_is_under_way_end_and_takes_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, reached) = (CancellationToken::new(), CancellationToken::new());
        let (asked, goes_on) = (reached.clone(), CancellationToken::new());
        let wait = goes_on.clone();
        let slow = move || async move {
            asked.cancel();
            wait.cancelled().await;
            "done"
        };
        let server = tokio::spawn(serve(listener, layered(Router::new().route("/", get(slow))), stop.clone()));
        let mut under_way = tokio::net::TcpStream::connect(address).await.unwrap();
        under_way.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        reached.cancelled().await;
        stop.cancel();
        goes_on.cancel();
        let mut answer = String::new();
        under_way.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        server.await.unwrap().unwrap();
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
}
