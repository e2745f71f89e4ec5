//! Deleting what is left of an order that came to nothing, from its page, by the function of `safelight delete order`: what was never
//! delivered, the model, the words, copies at providers, and the row where nothing was sold. Sent twice, it is one deletion. Never of an
//! order that is under way or was delivered: that one is refused.

use axum::{extract::State, response::Response};
use maud::{Markup, html};
use safelight_jobs::{
    id::{Id, Order},
    intake, queue,
    run::Tx,
};

use super::{
    Trouble,
    act::{self, Form},
    sign_in::Viewer,
};
use crate::{error::Error, input::At, state::ApiState};

/// The form, where the order came to nothing.
pub(super) fn section(viewer: &Viewer, order: Id<Order>, stands: &str) -> Markup {
    if !viewer.operates() || !matches!(stands, "refused" | "expired" | "refund_review") {
        return html! {};
    }
    let fields = html! {
        p.small { "What was never delivered goes at every processor, and the order's words; the row too, where nothing was sold. What was sold can still be given back." }
        (act::typed(&order.to_string()))
    };
    html! { section aria-label="What is left of it" {
        h2 { "What is left of it" span.aside { "goes by itself when its term is over" } }
        div.acts { (act::button(viewer, &format!("/console/orders/{order}/delete"), "Delete what is left", &format!("of {order}"), &fields)) }
    } }
}

/// Begin it, and show it.
pub(super) async fn delete(
    State(state): State<ApiState>,
    order: Result<At<Order>, Error>,
    form: Form,
) -> Result<Response, Trouble> {
    let At(order) = order?;
    let by = form.reason()?;
    form.typed(&order.to_string())?;
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    let code = form.viewer().code();
    let begun = intake::delete_failed_order(&mut tx, form.viewer().tenant(), order, Some(&code)).await?;
    if !begun.already {
        queue::keep_act(&mut tx, "order.deletion_asked", "fenced", &order.to_string(), by).await?;
    }
    tx.commit().await?;
    Ok(act::done(&format!("/console/deletions/{}", begun.deletion), "its_deletion_has_begun"))
}
