//! The HTTP intake: routes, tokens, webhooks, and a console that reads. It enqueues and decides nothing: what it takes is
//! decided by the domain's functions and by gates. Knows neither apalis nor the worker.
//!
//! Read first: [`routes`], then [`caller`] and [`idempotency`]. [`router`] is the whole of it as one service.

mod caller;
pub mod codes;
mod console;
pub mod error;
pub mod idempotency;
mod input;
mod numbers;
mod openapi;
mod recorder;
mod request;
mod routes;
mod state;
pub mod tokens;

use std::{io, time::Duration};

use axum::{Router, http::StatusCode, middleware, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

pub use error::Error;
pub use openapi::openapi;
pub use recorder::{RecorderError, metrics_recorder};
pub use request::REQUEST_ID;
pub use state::{ApiConfig, ApiState};

/// The longest that a request may take.
const REQUEST_LIFE: Duration = Duration::from_secs(30);

/// Everything that is answered.
pub fn router(state: ApiState) -> Router {
    let (v1, _) = routes::v1(&state).split_for_parts();
    let (open, _) = routes::open().split_for_parts();
    let description = openapi().to_json().unwrap_or_default();
    v1.merge(open)
        .merge(console::router())
        .route(
            "/openapi.json",
            get(move || async move { ([(axum::http::header::CONTENT_TYPE, "application/json")], description) }),
        )
        .layer(CatchPanicLayer::custom(request::after_panic))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_LIFE))
        .layer(middleware::from_fn(request::around))
        .with_state(state)
}

/// Answer until `stop`; then take no more and let what is under way come to its end.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}
