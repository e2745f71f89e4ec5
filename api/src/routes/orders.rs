//! Orders: place, note the checkout, read.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use safelight_jobs::{
    id::{Batch, Id, Order, Subject},
    intake::{self, NewOrder},
    look,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::images::{self, Image};
use crate::{
    caller::{Enqueue, Read, To},
    error::Error,
    input::{Asked, At, Json},
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
    waiting::{Wait, Waiting},
};

/// An order to place. Price and number of images follow from the plan.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderWish {
    /// The buyer.
    #[schema(value_type = String, example = "subject_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    subject: Id<Subject>,
    /// The photos it is made from.
    #[schema(value_type = String, example = "batch_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    batch: Id<Batch>,
    /// A plan of the tenant's policy.
    #[schema(example = "pro")]
    plan: String,
    /// The buyer's wish in words, sealed under the buyer's key.
    prompt: Option<String>,
}

/// A placed order and its price.
#[derive(Serialize, ToSchema)]
pub(crate) struct Placed {
    /// The order.
    #[schema(value_type = String, example = "order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    order: Id<Order>,
    /// In minor units.
    amount_cents: i64,
    /// Lower-case code.
    currency: String,
}

/// Place an order.
#[utoipa::path(post, path = "/v1/orders", tag = "orders", operation_id = "placeOrder",
    request_body = OrderWish, security(("token" = ["enqueue"])),
    responses((status = 201, description = "Placed", body = Placed), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn place(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    body: Json<OrderWish>,
) -> Result<Response, Error> {
    let policy = state.policy(caller.tenant()?)?;
    let OrderWish { subject, batch, plan, prompt } = body.value;
    let wanted = NewOrder { subject, batch, plan, prompt };
    let mut tx = caller.begin(&state).await?;
    let placed = intake::place(&mut tx, &state.vault, policy, &wanted).await?;
    let answer = Placed { order: placed.order, amount_cents: placed.amount_cents, currency: placed.currency };
    caller.finish(tx, StatusCode::CREATED, &answer).await
}

/// The payment session of an order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckoutStarted {
    /// Id of the Stripe Checkout Session.
    #[schema(example = "cs_test_a1b2c3")]
    session: String,
}

/// The order whose checkout was noted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Noted {
    /// The order.
    #[schema(value_type = String, example = "order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    order: Id<Order>,
}

/// Note that a payment session was opened. Consents that training needs are given by now.
#[utoipa::path(post, path = "/v1/orders/{order}/checkout", tag = "orders", operation_id = "startCheckout",
    params(("order" = String, Path, description = "order_…")), request_body = CheckoutStarted, security(("token" = ["enqueue"])),
    responses((status = 200, description = "Noted", body = Noted), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn checkout(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(order): At<Order>,
    body: Json<CheckoutStarted>,
) -> Result<Response, Error> {
    let mut tx = caller.begin(&state).await?;
    intake::start_checkout(&mut tx, caller.tenant()?, order, &body.value.session, state.config.livemode).await?;
    caller.finish(tx, StatusCode::OK, &Noted { order }).await
}

/// An order as it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderView {
    /// The order.
    #[schema(value_type = String, example = "order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    order: Id<Order>,
    /// The buyer.
    #[schema(value_type = String, example = "subject_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    pub(crate) subject: Id<Subject>,
    /// The plan.
    plan: String,
    /// `placed`, `paid`, `training`, `generating`, `delivered`, `refused`, `expired` or `refund_review`.
    state: String,
    /// Why it was refused or is in refund review.
    problem: Option<String>,
    /// How many images were bought.
    images_wanted: i32,
    /// The price in minor units.
    amount_cents: i64,
    /// Lower-case code.
    currency: String,
    /// When it was placed.
    created_at: chrono::DateTime<chrono::Utc>,
    /// When its checkout began.
    checkout_at: Option<chrono::DateTime<chrono::Utc>>,
    /// When it was paid.
    paid_at: Option<chrono::DateTime<chrono::Utc>>,
    /// When it was delivered.
    delivered_at: Option<chrono::DateTime<chrono::Utc>>,
    /// Its images, those withheld included.
    images: Vec<Image>,
}

impl OrderView {
    /// Does nothing happen with it by itself any more? Money and deletion are told elsewhere.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "delivered" | "refused" | "expired" | "refund_review")
    }
}

/// Read an order.
#[utoipa::path(get, path = "/v1/orders/{order}", tag = "orders", operation_id = "readOrder",
    params(("order" = String, Path, description = "order_…"), Wait, WhatFor), security(("token" = ["read"])),
    responses((status = 200, description = "The order", body = OrderView), (status = 304, description = "It is the one that you know"), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn read(
    caller: To<Read>,
    State(state): State<ApiState>,
    At(order): At<Order>,
    Asked(wait): Asked<Wait>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let mut stands = view(&state, order, caller.sees_only()).await?;
    let entry = look::entry().order(order).subject(stands.subject);
    caller.looks_at(&state, &order.to_string(), entry).await?;
    let waiting = Waiting::begin(&state.waiters, &headers, &wait);
    loop {
        if let Some(answer) = waiting.answer(&stands, stands.has_ended()).await? {
            return Ok(answer);
        }
        stands = view(&state, order, caller.sees_only()).await?;
    }
}

/// The order as it stands, if it is of this tenant.
pub(crate) async fn view(state: &ApiState, order: Id<Order>, tenant: Option<&str>) -> Result<OrderView, Error> {
    let row = sqlx::query!(
        r#"select subject_id, plan, state, problem, images_wanted, amount_cents, currency, created_at, checkout_at, paid_at,
            delivered_at from safelight.orders where id = $1 and ($2::text is null or tenant = $2)"#,
        order.uuid(),
        tenant
    )
    .fetch_optional(&state.pool)
    .await?
    .ok_or_else(|| Error::not_found(order))?;
    Ok(OrderView {
        order,
        subject: row.subject_id.into(),
        plan: row.plan,
        state: row.state,
        problem: row.problem,
        images_wanted: row.images_wanted,
        amount_cents: row.amount_cents,
        currency: row.currency,
        created_at: row.created_at,
        checkout_at: row.checkout_at,
        paid_at: row.paid_at,
        delivered_at: row.delivered_at,
        images: images::of_order(state, order).await?,
    })
}
