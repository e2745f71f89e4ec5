//! The overview: what needs a person now, charts, the queues with their load, the orders, the open deletions.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use safelight_jobs::id::{Deletion, Id, Order};
use uuid::Uuid;

use super::{Page, Trouble, charts, needs, parts, refresh::Again, review, sign_in::Viewer, waits, watched, words};
use crate::{error::Error, house::House, numbers::Numbers, state::ApiState};

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
    // At once what does not wait for another: on one connection after the other it would take the sum.
    let (numbers, house) = tokio::try_join!(Numbers::read(&state.pool, tenant), house(&state, tenant))?;
    let (charts, orders, deletions) = tokio::try_join!(
        charts::section(&state, tenant, &numbers),
        orders(&state, tenant, now),
        deletions(&state, tenant, now)
    )?;
    let head = html! { h1 { "Overview" } };
    let body = html! {
        (needs::section(&numbers, house.as_ref()))
        (charts)
        (queues(&numbers))
        (orders)
        (deletions)
    };
    Ok(watched("Overview", Page::Overview, &viewer, &head, &body, Some(Again { seconds: EVERY, now })))
}

/// The numbers of the house, for its own people.
async fn house(state: &ApiState, tenant: Option<&str>) -> Result<Option<House>, sqlx::Error> {
    match tenant {
        None => House::read(&state.pool).await.map(Some),
        Some(_) => Ok(None),
    }
}

fn queues(numbers: &Numbers) -> Markup {
    html! {
        section {
            h2 { "Queues" span.aside { (numbers.workers) @if numbers.workers == 1 { " worker" } @else { " workers" } " seen within a minute" } }
            (parts::table("Queues", &["queue", "#ready", "#later", "#set aside", "#running", "#held", "#oldest ready"], &numbers.queues, |queue| html! {
                th scope="row" { (jobs_of(queue.name)) @if queue.paused { " " (words::state("paused")) } }
                (count(queue.ready)) (count(queue.waiting)) (count(queue.aside)) (count(queue.running)) (count(queue.held))
                td.n { @match queue.oldest_seconds { Some(seconds) => (words::age(seconds)), None => span.none { "–" } } }
            }))
        }
    }
}

/// A queue's name, which leads to its jobs.
pub(super) fn jobs_of(queue: &str) -> Markup {
    html! { a href={ "/console/jobs?queue=" (queue) } { (queue) } }
}

pub(super) fn count(number: i64) -> Markup {
    html! { td.n { @if number == 0 { span.none { "0" } } @else { (words::many(number)) } } }
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
    let may_wait = recent.iter().filter(|row| waits::may_wait(&row.state)).map(|row| row.id).collect();
    let waiting = waits::of_orders(&state.pool, may_wait).await?;
    let in_review: Vec<Uuid> = recent.iter().filter(|row| review::is_in_review(&row.state)).map(|row| row.id).collect();
    let reviews = review::of(&state.pool, &in_review).await?;
    Ok(html! {
        section {
            h2 { "Orders" span.aside { "the newest " (TALLIED) " counted" } }
            @if recent.is_empty() { p.none { "No orders yet." } } @else {
                ul.tally { @for row in &states {
                    li { strong { (row.count) } " " (words::state(&row.state)) " " span.dimmed { (row.tenant) } }
                } }
                (parts::table("Newest orders", &["order", "state", "problem", "#placed", "plan", "tenant"], &recent, |row| html! {
                    td { (link("orders", &Id::<Order>::from(row.id).to_string())) }
                    td { (review::state(&row.state, reviews.get(&row.id).copied())) }
                    td { (waits::order_said(&row.state, row.problem.as_deref(), waiting.get(&row.id))) }
                    td.n { (words::distance(now, row.created_at)) } td { (row.plan) } td { (row.tenant) }
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
            (parts::listed("None is open.", "Open deletions", &["open deletion", "#legal deadline", "state", "#steps seen", "because of", "tenant"], &rows, |row| html! {
                td { (link("deletions", &Id::<Deletion>::from(row.id).to_string())) }
                td.n { (words::distance(now, row.answer_due)) }
                td { @if row.answer_due < now { (words::state("late")) " " } (words::state(&row.state)) }
                td.n { (row.settled) " of " (row.steps) }
                td { (words::said(&row.trigger)) } td { (row.tenant) }
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
