//! Giving an order's money back from its page: all that is left of it or a part, by the function of `POST /v1/orders/{order}/refund` and
//! `safelight refund`. Each form holds the id of the refund that it makes, so that it makes one however often it is sent; an amount
//! that is not there any more is refused. Never asks Stripe: a job does.

use axum::{extract::State, response::Response};
use maud::{Markup, html};
use safelight_jobs::{
    id::{Id, Order, Refund},
    intake::{self, Paid, RefundWish},
    queue,
    run::Tx,
};

use super::{
    Trouble,
    act::{self, Form},
    money::amount,
    sign_in::Viewer,
};
use crate::{error::Error, input::At, state::ApiState};

/// What can be given back, and the forms for it; nothing for who may only look, or where nothing is left.
pub(super) async fn section(state: &ApiState, viewer: &Viewer, order: Id<Order>) -> Result<Markup, Error> {
    if !viewer.operates() {
        return Ok(html! {});
    }
    let sale = sqlx::query!(
        r#"select kept_cents - asked_cents as "left!", currency as "currency!", dispute_open as "disputed!"
        from safelight_fiscal.balance where order_id = $1"#,
        order.uuid()
    )
    .fetch_optional(&state.pool)
    .await?;
    let Some(sale) = sale.filter(|sale| sale.left > 0) else { return Ok(html! {}) };
    let (all, address) = (amount(sale.left, &sale.currency), format!("/console/orders/{order}/refund"));
    let once = || html! { input type="hidden" name="refund" value=(Id::<Refund>::new()); };
    Ok(html! {
        section aria-label="Give money back" {
            h2 { "Give money back" span.aside { (all) " is left" } }
            @if sale.disputed { p.none { "The customer's bank decides about this money; Stripe refunds none of it meanwhile." } } @else { div.acts {
                (act::coded(viewer, &address, &format!("Give back {all}"), &order.to_string(), &html! {
                    (once()) input type="hidden" name="amount_cents" value=(sale.left);
                    (act::sure(&format!("Give {all} back. An order that is still under way is stopped.")))
                }))
                (act::coded(viewer, &address, "Give back a part", &order.to_string(), &html! {
                    (once())
                    label { "How many cents, at most " (sale.left) input name="amount_cents" type="number" min="1" max=(sale.left) inputmode="numeric" required; }
                    (act::sure("Give this part back. All that is left of it stops an order that is still under way."))
                }))
            } }
        }
    })
}

/// Ask for it.
pub(super) async fn ask(
    State(state): State<ApiState>,
    order: Result<At<Order>, Error>,
    form: Form,
) -> Result<Response, Trouble> {
    let At(order) = order?;
    let why = form.code()?;
    let unfit = |field: &str| Error::BadBody { why: format!("`{field}` is missing, or is none") };
    let amount =
        form.field("amount_cents").and_then(|cents| cents.parse().ok()).ok_or_else(|| unfit("amount_cents"))?;
    let refund = form.field("refund").and_then(|id| id.parse().ok()).ok_or_else(|| unfit("refund"))?;
    form.confirmed()?;
    let by = form.viewer().code();
    let paid = Paid::Order(order);
    let wish = RefundWish { tenant: form.viewer().tenant(), paid: &paid, amount_cents: Some(amount), why, by: &by };
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    if intake::ask_refund_once(&mut tx, &wish, refund).await? {
        queue::keep_act(&mut tx, "refund.asked", "asked", &order.to_string(), form.operator().by).await?;
    }
    tx.commit().await?;
    Ok(act::done(&format!("/console/orders/{order}"), "refund_asked_for"))
}
