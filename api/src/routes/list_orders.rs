//! Orders by person and state, newest first, a page at a time. Reads only, and never a wish in words or a link.

use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{Id, Order, Subject},
    look,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::list_jobs::Part;
use crate::{
    caller::{Read, To},
    error::Error,
    idempotency,
    input::Asked,
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
};

/// The states of an order.
const STATES: [&str; 8] =
    ["placed", "paid", "training", "generating", "delivered", "refused", "expired", "refund_review"];
/// How many of the newest orders one page looks through, where no person narrows it.
const WINDOW: i64 = 20_000;

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
    limit: Option<usize>,
}

/// One order of a list, without its images.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderLine {
    /// The order.
    #[schema(value_type = String, example = "order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    order: Id<Order>,
    /// The buyer.
    #[schema(value_type = String)]
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

struct Row {
    id: Uuid,
    subject_id: Uuid,
    plan: String,
    state: String,
    problem: Option<String>,
    amount_cents: i64,
    currency: String,
    created_at: DateTime<Utc>,
    paid_at: Option<DateTime<Utc>>,
    delivered_at: Option<DateTime<Utc>>,
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
    let before = part.cursor::<Order>()?.map(Id::uuid);
    let subject = super::an_id::<Subject>(sought.subject)?;
    super::a_state(sought.state.as_deref(), &STATES)?;
    if let Some(subject) = subject {
        caller.looks_at(&state, &subject.to_string(), look::entry().subject(subject)).await?;
    }
    let rows = match subject {
        Some(subject) => {
            sqlx::query_as!(
                Row,
                r#"select id, subject_id, plan, state, problem, amount_cents, currency, created_at, paid_at, delivered_at
                from safelight.orders where subject_id = $1 and ($2::text is null or tenant = $2) and ($3::text is null or state = $3)
                    and ($4::uuid is null or id < $4) order by id desc limit $5"#,
                subject.uuid(),
                caller.sees_only(),
                sought.state,
                before,
                part.rows()
            )
            .fetch_all(&state.pool)
            .await?
        }
        None => {
            sqlx::query_as!(
                Row,
                r#"select id as "id!", subject_id as "subject_id!", plan as "plan!", state as "state!", problem, amount_cents as "amount_cents!",
                    currency as "currency!", created_at as "created_at!", paid_at, delivered_at
                from (select * from safelight.orders where $1::uuid is null or id < $1 order by id desc limit $2) newest
                where ($3::text is null or tenant = $3) and ($4::text is null or state = $4) order by id desc limit $5"#,
                before,
                WINDOW,
                caller.sees_only(),
                sought.state,
                part.rows()
            )
            .fetch_all(&state.pool)
            .await?
        }
    };
    let lines = rows.into_iter().map(|row| OrderLine {
        order: row.id.into(),
        subject: row.subject_id.into(),
        plan: row.plan,
        state: row.state,
        problem: row.problem,
        amount_cents: row.amount_cents,
        currency: row.currency,
        created_at: row.created_at,
        paid_at: row.paid_at,
        delivered_at: row.delivered_at,
    });
    let (orders, mut next) = part.cut(lines.collect(), |line: &OrderLine| line.order);
    if next.is_none() && subject.is_none() {
        next = floor(&state, before).await?;
    }
    let view = serde_json::to_value(Orders { orders, next }).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}

/// The oldest order of the window, where it was full: what is older was not looked at.
async fn floor(state: &ApiState, before: Option<Uuid>) -> Result<Option<Id<Order>>, Error> {
    let floor = sqlx::query_scalar!(
        "select id from safelight.orders where $1::uuid is null or id < $1 order by id desc offset $2 limit 1",
        before,
        WINDOW - 1
    )
    .fetch_optional(&state.pool)
    .await?;
    Ok(floor.map(Id::from))
}
