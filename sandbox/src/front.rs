//! The door of every stand-in: reads the request, writes it down, lets the faults act, and passes it on.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use crate::calls::Calls;
use crate::faults::{Fault, Faults};
use crate::server::Cut;

/// The largest request body that is taken, bytes.
const LARGEST_BODY: usize = 256 * 1024 * 1024;

/// Pieces of an answer that drips.
const PIECES: usize = 16;

/// What the door of one stand-in knows.
pub(crate) struct Front {
    pub(crate) calls: Calls,
    pub(crate) faults: Faults,
    /// Says a refusal in the provider's own words.
    pub(crate) refuse: fn(Fault) -> Response,
}

impl Front {
    /// The routes behind this door.
    pub(crate) fn before(self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(Arc::new(self), at_the_door))
    }
}

/// Middleware over all routes of a stand-in.
async fn at_the_door(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let cut = parts.extensions.get::<ConnectInfo<Cut>>().map(|ConnectInfo(cut)| cut.clone());
    let label = format!("{} {}", parts.method, parts.uri.path());
    let head = parts.method == Method::HEAD;
    let call = front.calls.arrived(&parts.method, &parts.uri, &parts.headers, &body);

    let response = match front.faults.take_at_the_door(&label) {
        Some(Fault::Unreachable) => return lose(cut),
        Some(fault) => (front.refuse)(fault),
        None => {
            let lost = front.faults.take(&label, Fault::LostAnswer);
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            if lost {
                return lose(cut);
            }
            response
        }
    };
    front.calls.answered(call, response.status().as_u16());
    // An answer to HEAD is its headers, which come in one piece.
    if head {
        return response;
    }
    match front.faults.take_drip(&label) {
        Some(millis) => drip(response, Duration::from_millis(millis)).await,
        None => response,
    }
}

/// The same answer in small pieces, each this long after the one before.
async fn drip(response: Response, gap: Duration) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(whole) = to_bytes(body, LARGEST_BODY).await else { return StatusCode::BAD_GATEWAY.into_response() };
    if whole.is_empty() {
        return Response::from_parts(parts, Body::empty());
    }
    parts.headers.insert(header::CONTENT_LENGTH, whole.len().into());
    let size = whole.len().div_ceil(PIECES).max(1);
    let pieces = futures::stream::unfold(whole, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(gap).await;
        let piece = rest.split_to(size.min(rest.len()));
        Some((Ok::<_, std::convert::Infallible>(piece), rest))
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

fn lose(cut: Option<Cut>) -> Response {
    if let Some(cut) = cut {
        cut.cut();
    }
    StatusCode::BAD_GATEWAY.into_response()
}
