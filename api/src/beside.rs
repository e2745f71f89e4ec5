//! What a process that answers no one else shows of itself: `/metrics`, what it has counted, and `/health`, that it lives. For
//! workers; the intake has routes of its own for both, and what the database knows stands there only.

use std::io;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use safelight_jobs::providers::Secret;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{REQUEST_LIFE, caller::bearer, error::Error, layered, routes::health};

#[derive(Clone)]
struct Beside {
    counted: PrometheusHandle,
    /// Asked for as a bearer; open if none.
    secret: Option<Secret>,
}

/// Answer beside a worker until `stop`.
///
/// # Errors
/// The listener failed.
pub async fn serve_beside(
    listener: TcpListener,
    counted: PrometheusHandle,
    secret: Option<Secret>,
    stop: CancellationToken,
) -> io::Result<()> {
    let router = Router::new().route("/metrics", get(metrics)).route("/health", get(health::health));
    crate::serve(listener, layered(router, REQUEST_LIFE).with_state(Beside { counted, secret }), stop).await
}

async fn metrics(State(beside): State<Beside>, headers: HeaderMap) -> Result<Response, Error> {
    if beside.secret.is_some_and(|secret| !secret.matches(bearer(&headers).unwrap_or_default())) {
        return Err(Error::MetricsRefused);
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], beside.counted.render()).into_response())
}
