//! Orders: newest first, by state, problem and tenant; above them money that a person has to look at, below them a way to give back what
//! was paid for an order that is not there any more.

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::{Markup, html};
use safelight_jobs::{
    id::{Id, Order},
    intake::ORDER_STATES,
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Page, Trouble, act, job::Done, jobs::meant, late, money, overview::link, page as framed, parts, refund, review,
    sign_in::Viewer, waits, words,
};
use crate::state::ApiState;

/// Rows of one page.
const MOST: i64 = 50;
/// How many of the newest orders one page looks through.
const WINDOW: i64 = 20_000;

/// What the form asks for. An empty field does not narrow.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Wanted {
    state: String,
    problem: String,
    tenant: String,
    before: String,
    /// Where a later page of the money to look at begins.
    money_after: String,
}

/// The page.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(done): Query<Done>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Trouble> {
    let [stands, problem, tenant] = [&wanted.state, &wanted.problem, &wanted.tenant].map(|word| meant(word));
    let wanted = Wanted { state: stands, problem, tenant, ..wanted };
    let word = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let tenant = viewer.tenant().map(str::to_owned).or_else(|| word(&wanted.tenant));
    let before = wanted.before.parse::<Id<Order>>().ok().map(Id::uuid);
    let money_after = wanted.money_after.parse().ok();
    let rows = sqlx::query!(
        r#"select id, tenant, plan, state, problem, created_at, paid_at, delivered_at, safelight.now() as "now!" from (
            select * from safelight.orders where $1::uuid is null or id < $1 order by id desc limit $2) newest
        where ($3::text is null or tenant = $3) and ($4::text is null or state = $4) and ($5::text is null or problem = $5)
        order by id desc limit $6"#,
        before,
        WINDOW,
        tenant,
        word(&wanted.state),
        word(&wanted.problem),
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let last =
        match rows.get(MOST as usize - 1) {
            Some(row) => Some(row.id),
            None => sqlx::query_scalar!(
                "select id from safelight.orders where $1::uuid is null or id < $1 order by id desc offset $2 limit 1",
                before,
                WINDOW - 1
            )
            .fetch_optional(&state.pool)
            .await?,
        };
    let may_wait = rows.iter().filter(|row| waits::may_wait(&row.state)).map(|row| row.id).collect();
    let waiting = waits::of_orders(&state.pool, may_wait).await?;
    let in_review: Vec<Uuid> = rows.iter().filter(|row| review::is_in_review(&row.state)).map(|row| row.id).collect();
    let reviews = review::of(&state.pool, &in_review).await?;
    let body = html! {
        h1 { "Orders" }
        (act::said(done.done.as_deref()))
        p.lead { a href=(late::ADDRESS) { "Those that were paid two hours ago and are not at an end" } }
        (form(&wanted, &viewer))
        @if before.is_none() { (money::to_look_at(&state, &viewer, tenant.as_deref(), money_after, &address(&wanted, "money_after", "")).await?) }
        @if money_after.is_none() { section aria-label="Found" {
            @if rows.is_empty() { p.none { "No order matches" @if last.is_some() { " among the newest " (WINDOW) } "." } } @else {
                (parts::table("Orders", &["order", "state", "problem", "#placed", "paid", "delivered", "plan", "tenant"], &rows, |row| html! {
                    td { (link("orders", &Id::<Order>::from(row.id).to_string())) } td { (review::state(&row.state, reviews.get(&row.id).copied())) }
                    td { (waits::order_said(&row.state, row.problem.as_deref(), waiting.get(&row.id))) }
                    td.n { (words::distance(row.now, row.created_at)) } td { (words::maybe_time(row.paid_at)) } td { (words::maybe_time(row.delivered_at)) }
                    td { (row.plan) } td { (row.tenant) }
                }))
            }
            @if let Some(last) = last { p.after { a href=(address(&wanted, "before", &Id::<Order>::from(last).to_string())) rel="next" { "Older" } } }
        } }
        @if before.is_none() && money_after.is_none() { (refund::by_session(&viewer)) }
    };
    Ok(framed("Orders", Page::Orders, &viewer, &body))
}

/// The address of a later page of a list.
fn address(wanted: &Wanted, list: &str, place: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in [("state", &wanted.state), ("problem", &wanted.problem), ("tenant", &wanted.tenant)] {
        if !value.is_empty() {
            query.append_pair(name, value);
        }
    }
    query.append_pair(list, place);
    format!("/console/orders?{}", query.finish())
}

fn form(wanted: &Wanted, viewer: &Viewer) -> Markup {
    html! {
        form.filter method="get" action="/console/orders" role="search" {
            label { "State" select name="state" {
                option value="" { "any" }
                @for state in ORDER_STATES { option value=(state) selected[wanted.state == state] { (words::said(state)) } }
            } }
            label { "Problem" input name="problem" type="text" value=(wanted.problem) placeholder="work_died" autocomplete="off" spellcheck="false"; }
            @if viewer.tenant().is_none() { label { "Tenant" input name="tenant" type="text" value=(wanted.tenant) autocomplete="off" spellcheck="false"; } }
            button type="submit" { "Find" }
        }
    }
}
