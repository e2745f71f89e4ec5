//! What is left to do about the money of orders in refund review. Such an order stays in that state for good: what was decided about it
//! stands in the books.

use std::collections::BTreeMap;

use maud::{Markup, html};
use sqlx::PgPool;
use uuid::Uuid;

use super::words;

/// Why nobody has to decide about the money of an order any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Review {
    /// Nothing of it is kept.
    Back,
    /// All that is kept is asked to go back.
    UnderWay,
    /// The customer's bank took it and has not decided.
    AtTheBank,
}

/// Of these orders in refund review: those about whose money nobody has to decide.
pub(super) async fn of(pool: &PgPool, orders: &[Uuid]) -> Result<BTreeMap<Uuid, Review>, sqlx::Error> {
    if orders.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query!(
        r#"select order_id as "order_id!", kept_cents as "kept!", dispute_open as "disputed!" from safelight_fiscal.balance
        where order_id = any ($1) and kept_cents <= asked_cents"#,
        orders
    )
    .fetch_all(pool)
    .await?;
    let review = |kept: i64, disputed: bool| match (kept > 0, disputed) {
        (true, _) => Review::UnderWay,
        (false, true) => Review::AtTheBank,
        (false, false) => Review::Back,
    };
    Ok(rows.into_iter().map(|row| (row.order_id, review(row.kept, row.disputed))).collect())
}

/// The state of an order. One in refund review is lit only while it waits for a decision, as it is counted on the first page.
pub(super) fn state(state: &str, review: Option<Review>) -> Markup {
    match review.filter(|_| is_in_review(state)) {
        None => words::state(state),
        Some(Review::UnderWay) => html! { (words::state(state)) " " (words::state("refund_under_way")) },
        Some(Review::AtTheBank) => html! { (settled(state)) " " (words::state("at_the_bank")) },
        Some(Review::Back) => html! { (settled(state)) " " (words::state("money_is_back")) },
    }
}

fn settled(state: &str) -> Markup {
    html! { span.tag.dim { (words::said(state)) } }
}

/// Is it in refund review?
pub(super) fn is_in_review(state: &str) -> bool {
    state == "refund_review"
}
