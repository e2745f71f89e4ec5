//! Money from the books: what became of an order's, and what a person has to look at although no order asks for it.
//!
//! Amounts, codes and times; Stripe's ids stay in the books.

use std::collections::BTreeMap;

use maud::{Markup, html};
use safelight_jobs::{
    id::{Id, Order},
    job::{Job, JobKey},
    place::{self, Place},
    refund_payment::RefundPayment,
};
use uuid::Uuid;

use super::{
    order,
    overview::link,
    parts::{self, MOST},
    refund,
    sign_in::Viewer,
    waits::{self, Waits},
    words,
};
use crate::{error::Error, state::ApiState};

/// The state of a refund that Stripe has not made yet.
const ASKED: &str = "asked";

/// An amount in minor units, with its currency.
pub(super) fn amount(cents: i64, currency: &str) -> String {
    format!(
        "{}{}.{:02} {}",
        if cents < 0 { "-" } else { "" },
        cents.abs() / 100,
        cents.abs() % 100,
        currency.to_uppercase()
    )
}

fn key(refund: Uuid) -> JobKey {
    RefundPayment { refund: refund.into() }.key()
}

/// What a refund that is asked for waits for.
fn refund_waits(refund: Uuid, waiting: &BTreeMap<String, Waits>) -> Markup {
    waits::said(waiting.get(key(refund).as_str()), "no job asks Stripe for it any more")
}

/// What came for an order, what went back, and what a bank asks back.
pub(super) async fn of_order(
    state: &ApiState,
    order: Id<Order>,
    tenant: Option<&str>,
    after: Option<Place>,
) -> Result<Markup, Error> {
    let sale = sqlx::query!(
        r#"select stripe_session as "session!", status as "status!", review, currency as "currency!", sold_at as "sold_at!",
            amount_cents as "amount!", refunded_cents as "refunded!", asked_cents as "asked!", disputed_cents as "disputed!", kept_cents as "kept!"
        from safelight_fiscal.balance where order_id = $1"#,
        order.uuid()
    )
    .fetch_optional(&state.pool)
    .await?;
    let Some(sale) = sale else {
        return Ok(html! { section { h2 { "Money" } p.none { "None has come." } } });
    };
    let (at, id) = place::halves(after);
    let moved = sqlx::query!(
        r#"select what as "what!", amount as "amount!", currency as "currency!", state as "state!", code, at as "at!", id as "id!" from (
            select 'refund' as what, amount_cents as amount, currency, state, coalesce(code, why) as code, asked_at as at, id
            from safelight_fiscal.refunds where stripe_session = $1
            union all
            select 'dispute', amount_cents, currency, state, null, opened_at, md5(stripe_dispute)::uuid
            from safelight_fiscal.disputes where stripe_session = $1) m
        where $2::timestamptz is null or (at, id) > ($2, $3::uuid) order by at, id limit $4"#,
        sale.session,
        at,
        id,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (moved, next) = parts::page(moved, MOST, |row| Place::of(row.at, row.id));
    let asked: Vec<JobKey> = moved.iter().filter(|row| row.state == ASKED).map(|row| key(row.id)).collect();
    let waiting = waits::of(&state.pool, &asked, tenant).await?;
    let sum = |cents: i64| amount(cents, &sale.currency);
    Ok(html! {
        section aria-label="Money" {
            h2 { "Money" span.aside { (words::said(&sale.status)) @if let Some(review) = &sale.review { ", to be looked at: " (words::said(review)) } } }
            dl.facts {
                div { dt { "came" } dd { (sum(sale.amount)) } }
                div { dt { "came at" } dd { (words::time(sale.sold_at)) } }
                div { dt { "given back" } dd { (sum(sale.refunded)) } }
                div { dt { "asked to go back" } dd { (sum(sale.asked)) } }
                div { dt { "taken by a bank" } dd { (sum(sale.disputed)) } }
                div { dt { "kept" } dd { (sum(sale.kept)) } }
            }
            @if !moved.is_empty() { (parts::table("Refunds and disputes", &["what", "#amount", "state", "why", "waits for", "since"], &moved, |row| html! {
                th scope="row" { (row.what) } td.n { (amount(row.amount, &row.currency)) } td { (words::state(&row.state)) }
                td { (row.code.as_deref().map(words::said).unwrap_or_default()) }
                td.free { @if row.state == ASKED { (refund_waits(row.id, &waiting)) } } td { (words::time(row.at)) }
            })) }
            (parts::more(next, &order::later(order, "money_after"), "", "Later refunds"))
        }
    })
}

/// Sales that a person has to look at for a reason of their own: money for somebody who was erased, a refund that failed.
pub(super) async fn to_look_at(
    state: &ApiState,
    viewer: &Viewer,
    tenant: Option<&str>,
    after: Option<Place>,
    later: &str,
) -> Result<Markup, Error> {
    let (at, id) = place::halves(after);
    // Stripe's id is in no address: the row's own puts two of one time into an order.
    let rows = sqlx::query!(
        r#"select tenant as "tenant!", order_id, review as "review!", currency as "currency!", sold_at as "sold_at!", kept_cents as "kept!",
            asked_cents as "asked!", dispute_open as "disputed!", id as "id!"
        from safelight_fiscal.balance join (select id, stripe_session from safelight_fiscal.sales) s using (stripe_session)
        where review is not null and ($1::text is null or tenant = $1)
            and ($2::timestamptz is null or (sold_at, id) > ($2, $3::uuid))
        order by sold_at, id limit $4"#,
        tenant,
        at,
        id,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| Place::of(row.sold_at, row.id));
    let sales: Vec<Uuid> = rows.iter().filter(|row| row.asked > 0).map(|row| row.id).collect();
    let asked = sqlx::query!(
        r#"select s.id as sale, r.id, r.amount_cents, r.currency from safelight_fiscal.sales s
            join safelight_fiscal.refunds r on r.stripe_session = s.stripe_session
        where s.id = any ($1) and r.state = 'asked' order by r.asked_at, r.id"#,
        &sales
    )
    .fetch_all(&state.pool)
    .await?;
    let keys: Vec<JobKey> = asked.iter().map(|refund| key(refund.id)).collect();
    let waiting = waits::of(&state.pool, &keys, tenant).await?;
    Ok(html! { @if !rows.is_empty() {
        section aria-label="Money to look at" {
            h2 { "Money to look at" span.aside { "what an order holds is given back on its page" } }
            (parts::table("Money to look at", &["order", "tenant", "why", "#kept", "came", "to give back"], &rows, |row| html! {
                td { @match row.order_id { Some(order) => (link("orders", &Id::<Order>::from(order).to_string())), None => span.none { "erased" } } }
                td { (row.tenant) }
                td.free { (words::said(&row.review)) @for refund in asked.iter().filter(|refund| refund.sale == row.id) {
                    "; " (amount(refund.amount_cents, &refund.currency)) " asked to go back: " (refund_waits(refund.id, &waiting)) } }
                td.n { (amount(row.kept, &row.currency)) } td { (words::time(row.sold_at)) }
                td.free { @if row.order_id.is_none() { (refund::of_sale(viewer, row.id, &row.sold_at.format("%Y-%m-%d %H:%M").to_string(), row.kept - row.asked, &row.currency, row.disputed)) } }
            }))
            (parts::more(next, later, "", "Later sales"))
        }
    } })
}
