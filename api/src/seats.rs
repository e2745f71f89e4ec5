//! Seats: so many requests at once. Who finds none is told at once to come again, before anything is read or asked of the
//! database; a late answer would be worse than none, because it is given to somebody who has left.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tokio::sync::Semaphore;

use crate::{error::Error, waiting};

/// Requests at once in this process: the ones that wait for news, and as many beside them as twelve connections to the
/// database answer in a second or two.
pub(crate) const MOST: usize = waiting::MOST + 256;
/// Whether the process lives is told in any case: who restarts what is overloaded makes it worse.
const ALWAYS: &str = "/health";

/// A layer: each request takes a seat for as long as it is answered.
pub(crate) async fn take_one(
    State(seats): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    if request.uri().path() == ALWAYS {
        return Ok(next.run(request).await);
    }
    let Ok(_seat) = seats.try_acquire() else {
        metrics::counter!("safelight_http_overloaded_total").increment(1);
        return Err(Error::Overloaded);
    };
    Ok(next.run(request).await)
}
