//! Orders by person and state, newest first, a page at a time. Reads only, and never a wish in words or a link.

use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{Id, Order, Subject},
    intake::ORDER_STATES,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    list_jobs::{Limit, Part},
    window::Cases,
};
use crate::{
    caller::{Read, To},
    error::Error,
    idempotency,
    input::Asked,
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
};

/// What is looked for; what is left out does not narrow.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SoughtOrders {
    /// Of one person: `subject_…`.
    subject: Option<String>,
    /// `placed`, `paid`, `training`, `generating`, `delivered`, `refused`, `expired` or `refund_review`.
    state: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Entries of one page: 50 if none is said, 200 at the most.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
}

/// One order of a list, without its images.
#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct OrderLine {
    /// The order.
    #[schema(value_type = String, example = "order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    #[sqlx(rename = "id", try_from = "Uuid")]
    order: Id<Order>,
    /// The buyer.
    #[schema(value_type = String)]
    #[sqlx(rename = "subject_id", try_from = "Uuid")]
    subject: Id<Subject>,
    /// The plan.
    plan: String,
    /// As in the order itself.
    state: String,
    /// Why it was refused or is in refund review.
    problem: Option<String>,
    /// The price in minor units.
    amount_cents: i64,
    /// Lower-case code.
    currency: String,
    /// When it was placed.
    created_at: DateTime<Utc>,
    /// When it was paid.
    paid_at: Option<DateTime<Utc>>,
    /// When it was delivered.
    delivered_at: Option<DateTime<Utc>>,
}

/// A page of orders.
#[derive(Serialize, ToSchema)]
pub(crate) struct Orders {
    /// Newest first.
    orders: Vec<OrderLine>,
    /// Send it as `cursor`, for what is older; none: that was all. Where no person is named a page looks through the newest that are
    /// left: it may be short, or empty, and yet have a next one.
    #[schema(value_type = Option<String>)]
    next: Option<Id<Order>>,
}

/// List orders, newest first.
#[utoipa::path(get, path = "/v1/orders", tag = "orders", operation_id = "listOrders", params(SoughtOrders, WhatFor), security(("token" = ["read"])),
    responses((status = 200, description = "A page", body = Orders), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(
    caller: To<Read>,
    State(state): State<ApiState>,
    Asked(sought): Asked<SoughtOrders>,
) -> Result<Response, Error> {
    let part = Part::new(sought.cursor, sought.limit);
    super::a_state(sought.state.as_deref(), &ORDER_STATES)?;
    let cases = Cases {
        table: "orders",
        columns: "id, subject_id, plan, state, problem, amount_cents, currency, created_at, paid_at, delivered_at",
        state: sought.state.as_deref().map(|state| ("state = ", state)),
    };
    let (orders, next) = cases.page(&state, &caller, sought.subject, &part, |line: &OrderLine| line.order).await?;
    let view = serde_json::to_value(Orders { orders, next }).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}
