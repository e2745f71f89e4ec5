//! Orders that were paid two hours ago and have not come to an end, the first paid first: the page behind the alarm `OrdersLate`. What
//! each waits for stands beside it. Those of somebody restricted wait for their release, and are not here.

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::html;
use safelight_jobs::late_orders::{LateOrder, late_orders};
use serde::Deserialize;

use super::{
    Page, Trouble,
    overview::link,
    page as framed,
    parts::{self, MOST},
    sign_in::Viewer,
    waits, words,
};
use crate::state::ApiState;

/// Where it is.
pub(super) const ADDRESS: &str = "/console/orders/late";

/// Which part of them.
#[derive(Deserialize)]
pub(super) struct Part {
    after: Option<String>,
}

/// The page.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(part): Query<Part>,
) -> Result<Response, Trouble> {
    let after = parts::place(part.after.as_ref());
    let rows = late_orders(&state.pool, viewer.tenant(), after, parts::one_more(MOST)).await?;
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let (rows, next) = parts::page(rows, MOST, LateOrder::place);
    let body = html! {
        p.eyebrow { a href="/console/orders" { "Orders" } " / late" }
        h1 { "Late orders" }
        p.lead { "Paid two hours ago or earlier, and not at an end. The first paid stands first. Orders of somebody restricted wait for the release." }
        section aria-label="Late" {
            (parts::listed("None is late.", "Late orders", &["order", "state", "waits for", "#paid", "plan", "tenant"], &rows, |row| html! {
                td { (link("orders", &row.order.to_string())) } td { (words::state(&row.state)) }
                td { (waits::order_said(&row.state, None, row.waits.as_ref())) }
                td.n { (words::distance(now, row.paid_at)) } td { (row.plan) } td { (row.tenant) }
            }))
            (parts::more(next, &format!("{ADDRESS}?after="), "", "Later paid ones"))
        }
    };
    Ok(framed("Late orders", Page::Orders, &viewer, &body))
}
