//! The door: what a request has to pass before it is looked at. Its body is read, as far as its route takes one, and only then does it
//! take a seat ([`Seats`]): who sends a letter a second holds a socket for as long as a body may take, and never a seat.
//!
//! Never waits for a seat, and never reads more of a body than its route takes.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use tokio::sync::Semaphore;

use crate::{
    error::Error,
    routes,
    seats::{self, Seats},
};

/// The longest that a request's body may take.
const BODY_LIFE: Duration = Duration::from_secs(5);
/// Bytes of all bodies that are not there as a whole yet.
const UNREAD: usize = 64 * 1024 * 1024;
/// Here a GET does something. A HEAD must not, and nobody needs to know how long the answer would be.
const GET_ACTS: [&str; 2] = ["/sweeps/{sweep}", "/console/sign-in/oidc"];

/// What stands at the door.
pub(crate) struct Door {
    pub(crate) seats: Seats,
    pub(crate) body_life: Duration,
    unread: Semaphore,
}

impl Default for Door {
    fn default() -> Self {
        Self::of(Seats::default(), BODY_LIFE)
    }
}

impl Door {
    pub(crate) fn of(seats: Seats, body_life: Duration) -> Self {
        Self { seats, body_life, unread: Semaphore::new(UNREAD) }
    }
}

/// The layer.
pub(crate) async fn enter(State(door): State<Arc<Door>>, request: Request, next: Next) -> Result<Response, Error> {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    if request.method() == Method::HEAD && GET_ACTS.contains(&route) {
        let allow = [(header::ALLOW, HeaderValue::from_static("GET, POST"))];
        return Ok((allow, Error::Method).into_response());
    }
    // Who would find no seat is told before anything is read.
    drop(door.seats.take(route)?);
    let request = door.read(route, request).await?;
    let _seat = door.seats.take(route)?;
    Ok(next.run(request).await)
}

impl Door {
    /// The request with its whole body.
    async fn read(&self, route: &str, request: Request) -> Result<Request, Error> {
        // Nobody reads what is sent to an address that is not there.
        if route.is_empty() || request.body().is_end_stream() {
            return Ok(request);
        }
        let most = routes::most_body(route);
        if request.body().size_hint().lower() > most as u64 {
            return Err(Error::TooLarge);
        }
        let (parts, body) = request.into_parts();
        let whole =
            tokio::time::timeout(self.body_life, self.whole(body, most)).await.map_err(|_| Error::TooSlow)??;
        Ok(Request::from_parts(parts, Body::from(whole)))
    }

    async fn whole(&self, body: Body, most: usize) -> Result<Bytes, Error> {
        let (mut parts, mut read) = (body.into_data_stream(), Vec::new());
        let mut held = self.unread.try_acquire_many(0).map_err(|_| seats::full())?;
        while let Some(part) = parts.next().await {
            let part = part.map_err(|_| Error::BodyBroke)?;
            if read.len() + part.len() > most {
                return Err(Error::TooLarge);
            }
            let bytes = u32::try_from(part.len()).map_err(|_| Error::TooLarge)?;
            held.merge(self.unread.try_acquire_many(bytes).map_err(|_| seats::full())?);
            read.extend_from_slice(&part);
        }
        Ok(read.into())
    }
}

#[cfg(test)]
mod tests;
