//! An order's progress as it happens, over server-sent events: its state at once, and again with each change, until it has
//! ended. A stream lasts less than half a minute, and ends when the process stops; browsers and clients come back by
//! themselves and say what they know, and nothing is sent twice.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream;
use safelight_jobs::{
    id::{Id, Order},
    look,
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::orders::{self, OrderView};
use crate::{
    caller::{Read, To},
    error::Error,
    input::At,
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
    waiting,
};

/// How often a quiet stream shows that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// What a stream knows between two events.
struct Stream {
    state: ApiState,
    order: Id<Order>,
    tenant: Option<String>,
    /// The tag of what was sent last.
    last: Option<String>,
    over: bool,
    until: Instant,
    _seat: OwnedSemaphorePermit,
}

impl Stream {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        while !self.over && Instant::now() < self.until && !self.state.waiters.is_closed() {
            let view: OrderView = orders::view(&self.state, self.order, self.tenant.as_deref()).await.ok()?;
            let value = serde_json::to_value(&view).ok()?;
            let tag = waiting::tag(&value);
            if self.last.as_deref() != Some(tag.as_str()) {
                self.over = view.has_ended();
                let event = Event::default().event("order").id(tag.trim_matches('"')).data(value.to_string());
                self.last = Some(tag);
                return Some((Ok(event), self));
            }
            self.over = view.has_ended();
            tokio::time::sleep(waiting::LOOK).await;
        }
        None
    }
}

/// Follow an order. Each event `order` holds what `GET /v1/orders/{order}` answers; its id goes into `last-event-id` of the
/// next request. The stream ends when the order has ended, or after 25 seconds: then come back.
#[utoipa::path(get, path = "/v1/orders/{order}/events", tag = "orders", operation_id = "followOrder",
    params(("order" = String, Path, description = "order_…"), WhatFor), security(("token" = ["read"])),
    responses((status = 200, description = "Events", body = OrderView, content_type = "text/event-stream"), (status = 204, description = "The order has ended, and `last-event-id` says that its end is known: do not come back"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn follow(
    caller: To<Read>,
    State(state): State<ApiState>,
    At(order): At<Order>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let tenant = caller.sees_only().map(str::to_owned);
    // Whoever may not see it is told so, not sent an empty stream.
    let stands = orders::view(&state, order, tenant.as_deref()).await?;
    let entry = look::entry().order(order).subject(stands.subject);
    caller.looks_at(&state, &order.to_string(), entry).await?;
    let seat = Arc::clone(&state.waiters).try_acquire_owned().map_err(|_| Error::Busy)?;
    let known = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    // No content is how a stream tells a browser not to come back (HTML, 9.2.3).
    if stands.has_ended()
        && known.is_some_and(|id| waiting::tag_of(&stands).is_ok_and(|tag| tag.trim_matches('"') == id))
    {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let stream = Stream {
        state,
        order,
        tenant,
        last: known.map(|id| format!("\"{id}\"")),
        over: false,
        until: Instant::now() + waiting::LONGEST,
        _seat: seat,
    };
    let events = stream::unfold(stream, Stream::next);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE)).into_response())
}
