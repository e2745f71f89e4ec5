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
mod door;
pub mod error;
mod heard;
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

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::get};
use tower_http::catch_panic::CatchPanicLayer;

use door::Door;

pub use beside::serve_beside;
pub use certificate_page::certificate_page;
pub use connections::{Limits, serve, serve_within};
pub use error::Error;
pub use openapi::openapi;
pub use operators::OperatorSignIn;
pub use recorder::{RecorderError, metrics_recorder};
pub use register_page::register_page;
pub use request::REQUEST_ID;
pub use state::{ApiConfig, ApiState};

/// The longest that a request may take.
const REQUEST_LIFE: Duration = Duration::from_secs(30);

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
    layered(behind(all, Door::default()), REQUEST_LIFE).with_state(state)
}

/// Nobody is looked at who did not come through the door, which has read the body already.
fn behind<S: Clone + Send + Sync + 'static>(router: Router<S>, door: Door) -> Router<S> {
    router.layer(DefaultBodyLimit::disable()).layer(middleware::from_fn_with_state(Arc::new(door), door::enter))
}

/// Whatever happens below, the caller gets an answer of our form.
fn layered<S: Clone + Send + Sync + 'static>(router: Router<S>, life: Duration) -> Router<S> {
    router
        .layer(CatchPanicLayer::custom(request::after_panic))
        .layer(middleware::from_fn_with_state(life, request::in_time))
        .layer(middleware::from_fn(request::around))
}

#[cfg(test)]
mod tests;
