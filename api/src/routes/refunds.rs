//! Refunds: a person of the house gives money back, which is kept with who and why. Stripe is asked by a job.

use axum::{extract::State, http::StatusCode, response::Response};
use safelight_jobs::{
    id::{self, Id, Order},
    intake::{self, Paid, RefundWish},
    queue,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    caller::{Operate, To},
    error::Error,
    input::{At, Json},
    openapi::Problem,
    state::ApiState,
};

/// What to give back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundRequest {
    /// Why, as a code of small letters, digits and underscores; never a name.
    #[schema(example = "goodwill")]
    why: String,
    /// In minor units; without it all that is left.
    amount_cents: Option<i64>,
}

/// A refund that is on its way to Stripe.
#[derive(Serialize, ToSchema)]
pub(crate) struct RefundAsked {
    /// The refund.
    #[schema(value_type = String, example = "refund_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    refund: Id<id::Refund>,
    /// In minor units.
    amount_cents: i64,
    /// Lower-case code.
    currency: String,
}

/// Give an order's money back, all that is left of it or a part. Once: what is on its way counts as given.
#[utoipa::path(post, path = "/v1/orders/{order}/refund", tag = "orders", operation_id = "refundOrder",
    params(("order" = String, Path, description = "order_…")), request_body = RefundRequest, security(("token" = ["operate"])),
    responses((status = 202, description = "Asked for", body = RefundAsked), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn ask(
    caller: To<Operate>,
    State(state): State<ApiState>,
    At(order): At<Order>,
    body: Json<RefundRequest>,
) -> Result<Response, Error> {
    let by = caller.token.to_string();
    let wish = RefundWish {
        tenant: caller.sees_only(),
        paid: &Paid::Order(order),
        amount_cents: body.value.amount_cents,
        why: &body.value.why,
        by: &by,
    };
    let mut tx = caller.begin(&state).await?;
    let asked = intake::ask_refund(&mut tx, &wish).await?;
    queue::keep_act(&mut tx, "refund.asked", "asked", &order.to_string(), caller.operator(&body.value.why).by).await?;
    let answer = RefundAsked { refund: asked.refund, amount_cents: asked.amount_cents, currency: asked.currency };
    caller.finish(tx, StatusCode::ACCEPTED, &answer).await
}
