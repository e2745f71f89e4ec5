//! The overview: what needs a person now, charts, the queues with their load, the orders, the open deletions.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use safelight_jobs::{
    id::{Deletion, Id, Order},
    queue::COUNTED,
};

use super::{Page, Trouble, charts, parts, sign_in::Viewer, watched, words};
use crate::{error::Error, numbers::Numbers, state::ApiState};

/// How often it is looked at, in seconds.
const EVERY: u32 = 15;
/// The most rows of one list.
const MOST: i64 = 10;
/// How many of the newest orders are counted by state.
const TALLIED: i64 = 10_000;

/// The page.
pub(super) async fn page(State(state): State<ApiState>, viewer: Viewer) -> Result<Response, Trouble> {
    let tenant = viewer.tenant();
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let numbers = Numbers::read(&state.pool, tenant).await?;
    let head = html! { h1 { "Overview" } };
    let body = html! {
        (needs(&numbers, tenant.is_none()))
        (charts::section(&state, tenant, &numbers).await?)
        (queues(&numbers))
        (orders(&state, tenant, now).await?)
        (deletions(&state, tenant, now).await?)
    };
    Ok(watched("Overview", Page::Overview, &viewer, &head, &body, Some(EVERY)))
}

/// A call that is unknown for longer than this needs a person: webhook and listing have had their time.
const UNKNOWN_TOO_LONG_SECONDS: i64 = 3600;

fn needs(numbers: &Numbers, house: bool) -> Markup {
    let opens = |page: &str| {
        house || !Page::ALL.iter().any(|(_, address, _, of_the_house)| *of_the_house && page.starts_with(address))
    };
    let too_long = numbers.oldest_unknown_seconds > UNKNOWN_TOO_LONG_SECONDS;
    let cards = [
        (numbers.deletions_late, "deletions past their deadline", "/console/deletions"),
        (numbers.cases_late, "cases past their deadline", "/console/cases"),
        (numbers.deletions_stuck, "deletions stuck", "/console/deletions"),
        (
            numbers.unknown_calls,
            if too_long { "provider calls unknown (call_unknown_too_long)" } else { "provider calls unknown" },
            "/console/providers#calls",
        ),
        (numbers.taken_home, "results that may be another person's", "/console/audit"),
        (numbers.refund_reviews, "refund reviews", "/console/orders?state=refund_review"),
        (numbers.differences, "differences in money", "/console/orders?state=refund_review"),
        (numbers.sales_without_rule, "sales without a fiscal rule", "/console/sweeps"),
        (numbers.dead_letters, "dead letters", "/console/dead"),
        (numbers.overdue_artifacts, "objects an hour past their term", "/console/sweeps"),
        (numbers.missing_objects, "rows without their object", "/console/sweeps"),
        (numbers.claims_refused, "database that must be compared with the erasure ledger", "/console/audit"),
        (numbers.controls_set, "pauses and open breakers", "/console/controls"),
        (numbers.workers_silent, "workers silent", "/console/workers"),
    ];
    let calm = cards.iter().all(|(count, ..)| *count == 0);
    html! {
        section.needs aria-label="What needs a person" {
            p class={ "verdict" @if !calm { " lit" } } {
                @if calm { "Nothing needs a person now." } @else { "This needs a look." }
            }
            ul.cards {
                @for (count, what, page) in cards {
                    li class={ "card" @if count > 0 { " lit" } } { strong { (count) } @if count > 0 && opens(page) { a href=(page) { (what) } } @else { span { (what) } } }
                }
            }
        }
    }
}

fn queues(numbers: &Numbers) -> Markup {
    html! {
        section {
            h2 { "Queues" span.aside { (numbers.workers) @if numbers.workers == 1 { " worker" } @else { " workers" } " seen within a minute" } }
            (parts::table("Queues", &["queue", "#ready", "#later", "#set aside", "#running", "#held", "#oldest ready"], &numbers.queues, |queue| html! {
                th scope="row" { (queue.name) @if queue.paused { " " (words::state("paused")) } }
                (count(queue.ready)) (count(queue.waiting)) (count(queue.aside)) (count(queue.running)) (count(queue.held))
                td.n { @match queue.oldest_seconds { Some(seconds) => (words::age(seconds)), None => span.none { "–" } } }
            }))
        }
    }
}

pub(super) fn count(number: i64) -> Markup {
    html! { td.n { @if number == 0 { span.none { "0" } } @else if number >= i64::from(COUNTED) { (COUNTED) " or more" } @else { (number) } } }
}

async fn orders(state: &ApiState, tenant: Option<&str>, now: DateTime<Utc>) -> Result<Markup, Error> {
    let states = sqlx::query!(
        r#"select tenant, state, count(*) as "count!" from (
            select tenant, state from safelight.orders where $1::text is null or tenant = $1 order by id desc limit $2) newest
        group by tenant, state order by tenant, state"#,
        tenant,
        TALLIED
    )
    .fetch_all(&state.pool)
    .await?;
    let recent = sqlx::query!(
        r#"select id, tenant, plan, state, problem, created_at from safelight.orders
        where $1::text is null or tenant = $1 order by id desc limit $2"#,
        tenant,
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    Ok(html! {
        section {
            h2 { "Orders" span.aside { "the newest " (TALLIED) " counted" } }
            @if recent.is_empty() { p.none { "No orders yet." } } @else {
                ul.tally { @for row in &states {
                    li { strong { (row.count) } " " (words::state(&row.state)) " " span.dimmed { (row.tenant) } }
                } }
                (parts::table("Newest orders", &["order", "tenant", "plan", "state", "problem", "#placed"], &recent, |row| html! {
                    td { (link("orders", &Id::<Order>::from(row.id).to_string())) }
                    td { (row.tenant) } td { (row.plan) } td { (words::state(&row.state)) }
                    td { (row.problem.as_deref().map(words::said).unwrap_or_default()) }
                    td.n { (words::distance(now, row.created_at)) }
                }))
            }
        }
    })
}

async fn deletions(state: &ApiState, tenant: Option<&str>, now: DateTime<Utc>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select d.id, d.tenant, d.trigger, d.state, d.answer_due,
            (select count(*) from safelight.deletion_steps s where s.deletion_id = d.id) as "steps!",
            (select count(*) from safelight.deletion_steps s where s.deletion_id = d.id
                and s.state in ('verified', 'retained_by_law')) as "settled!"
        from safelight.deletions d where d.state <> 'complete' and ($1::text is null or d.tenant = $1)
        order by d.answer_due, d.id limit $2"#,
        tenant,
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let finished = sqlx::query!(
        r#"select id, tenant, trigger, completed_at as "at!" from safelight.deletions
        where state = 'complete' and ($1::text is null or tenant = $1) order by completed_at desc limit 5"#,
        tenant
    )
    .fetch_all(&state.pool)
    .await?;
    Ok(html! {
        section {
            h2 { "Deletions" }
            (parts::listed("None is open.", "Open deletions", &["open deletion", "tenant", "because of", "state", "#steps seen", "#legal deadline"], &rows, |row| html! {
                td { (link("deletions", &Id::<Deletion>::from(row.id).to_string())) }
                td { (row.tenant) } td { (words::said(&row.trigger)) }
                td { @if row.answer_due < now { (words::state("late")) " " } (words::state(&row.state)) }
                td.n { (row.settled) " of " (row.steps) }
                td.n { (words::distance(now, row.answer_due)) }
            }))
            @if !finished.is_empty() {
                p.after { "Completed last: " @for (n, row) in finished.iter().enumerate() {
                    @if n > 0 { ", " }
                    a.id href={ "/console/deletions/" (Id::<Deletion>::from(row.id)) } { (row.tenant) " " (words::said(&row.trigger)) }
                    " " (words::distance(now, row.at))
                } "." }
            }
        }
    })
}

pub(super) fn link(what: &str, id: &str) -> Markup {
    html! { a.id href={ "/console/" (what) "/" (id) } { (id) } }
}
