//! The overview: what needs a person now, the queues, the orders, the open deletions.

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Redirect, Response},
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use safelight_jobs::{
    due,
    id::{self, Deletion, Id, Intent, Order},
    intake,
};
use serde::Deserialize;

use super::{Trouble, page as framed, sign_in::Viewer, words};
use crate::{
    error::Error,
    numbers::{self, Numbers, SweepNumbers},
    state::ApiState,
};

/// The most rows of one list.
const MOST: i64 = 20;

/// The page.
pub(super) async fn page(State(state): State<ApiState>, viewer: Viewer) -> Result<Response, Trouble> {
    let tenant = viewer.tenant();
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let numbers = Numbers::read(&state.pool, tenant).await?;
    let body = html! {
        div.head {
            h1 { "Overview" }
            form.find method="get" action="/console/find" role="search" {
                input name="id" aria-label="Order or deletion id" placeholder="order or deletion id" autocomplete="off" spellcheck="false";
                button type="submit" { "Open" }
            }
        }
        (needs(&numbers))
        (queues(&numbers))
        (orders(&state, tenant, now).await?)
        (deletions(&state, tenant, now).await?)
        (cases(&intake::cases(&state.pool, tenant, false).await?, now, numbers.restricted))
        (due(&due::due(&state.pool, tenant).await?))
        (sweeps(&numbers::sweeps(&state.pool).await?))
        (unknown_calls(&state, tenant, now).await?)
        (dead_letters(&state, tenant, now).await?)
        @if tenant.is_none() { (workers(&state).await?) }
    };
    Ok(framed("Overview", &viewer, &body))
}

/// A call that is unknown for longer than this needs a person: webhook and listing have had their time.
const UNKNOWN_TOO_LONG_SECONDS: i64 = 3600;

fn needs(numbers: &Numbers) -> Markup {
    let too_long = numbers.oldest_unknown_seconds > UNKNOWN_TOO_LONG_SECONDS;
    let cards = [
        (numbers.deletions_late, "deletions past their deadline"),
        (numbers.cases_late, "cases past their deadline"),
        (numbers.deletions_stuck, "deletions stuck"),
        (
            numbers.unknown_calls,
            if too_long { "provider calls unknown (call_unknown_too_long)" } else { "provider calls unknown" },
        ),
        (numbers.refund_reviews, "refund reviews"),
        (numbers.differences, "differences in money"),
        (numbers.dead_letters, "dead letters"),
        (numbers.overdue_artifacts, "objects an hour past their term"),
        (numbers.missing_objects, "rows without their object"),
        (numbers.claims_refused, "database that must be compared with the erasure ledger"),
    ];
    let calm = cards.iter().all(|(count, _)| *count == 0);
    html! {
        section.needs aria-label="What needs a person" {
            p class={ "verdict" @if !calm { " lit" } } {
                @if calm { "Nothing needs a person now." } @else { "This needs a look." }
            }
            ul.cards {
                @for (count, what) in cards {
                    li class={ "card" @if count > 0 { " lit" } } { strong { (count) } span { (what) } }
                }
            }
        }
    }
}

fn queues(numbers: &Numbers) -> Markup {
    html! {
        section {
            h2 { "Queues" span.aside { (numbers.workers) " workers seen within a minute" } }
            div.scroll { table {
                thead { tr { th { "queue" } th.n { "ready" } th.n { "later" } th.n { "set aside" } th.n { "running" } th.n { "held" } th.n { "oldest ready" } } }
                tbody { @for queue in &numbers.queues { tr {
                    th scope="row" { (queue.name) }
                    (count(queue.ready)) (count(queue.waiting)) (count(queue.aside)) (count(queue.running)) (count(queue.held))
                    td.n { @match queue.oldest_seconds { Some(seconds) => (words::age(seconds)), None => span.none { "–" } } }
                } } }
            } }
        }
    }
}

fn count(number: i64) -> Markup {
    html! { td.n { @if number == 0 { span.none { "0" } } @else { (number) } } }
}

async fn orders(state: &ApiState, tenant: Option<&str>, now: DateTime<Utc>) -> Result<Markup, Error> {
    let states = sqlx::query!(
        r#"select tenant, state, count(*) as "count!" from safelight.orders
        where $1::text is null or tenant = $1 group by tenant, state order by tenant, state"#,
        tenant
    )
    .fetch_all(&state.pool)
    .await?;
    let recent = sqlx::query!(
        r#"select id, tenant, plan, state, problem, created_at from safelight.orders
        where $1::text is null or tenant = $1 order by created_at desc, id desc limit $2"#,
        tenant,
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    Ok(html! {
        section {
            h2 { "Orders" }
            @if recent.is_empty() { p.none { "No orders yet." } } @else {
                ul.tally { @for row in &states {
                    li { strong { (row.count) } " " (words::state(&row.state)) " " span.dimmed { (row.tenant) } }
                } }
                div.scroll { table {
                    thead { tr { th { "order" } th { "tenant" } th { "plan" } th { "state" } th { "problem" } th.n { "placed" } } }
                    tbody { @for row in &recent { tr {
                        td { (link("orders", &Id::<Order>::from(row.id).to_string())) }
                        td { (row.tenant) } td { (row.plan) } td { (words::state(&row.state)) }
                        td { (row.problem.as_deref().map(words::said).unwrap_or_default()) }
                        td.n { (words::distance(now, row.created_at)) }
                    } } }
                } }
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
            @if rows.is_empty() { p.none { "None is open." } } @else { div.scroll { table {
                thead { tr { th { "open deletion" } th { "tenant" } th { "because of" } th { "state" } th.n { "steps seen" } th.n { "legal deadline" } } }
                tbody { @for row in &rows { tr {
                    td { (link("deletions", &Id::<Deletion>::from(row.id).to_string())) }
                    td { (row.tenant) } td { (words::said(&row.trigger)) }
                    td { @if row.answer_due < now { (words::state("late")) " " } (words::state(&row.state)) }
                    td.n { (row.settled) " of " (row.steps) }
                    td.n { (words::distance(now, row.answer_due)) }
                } } }
            } } }
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

fn cases(cases: &[intake::CaseRow], now: DateTime<Utc>, restricted: i64) -> Markup {
    html! {
        section {
            h2 { "Cases" span.aside { (restricted) " people restricted" } }
            @if cases.is_empty() { p.none { "None is open." } } @else { div.scroll { table {
                thead { tr { th { "case" } th { "tenant" } th { "asks for" } th { "identity" } th { "deletion" } th.n { "legal deadline" } } }
                tbody { @for case in cases.iter().take(usize::try_from(MOST).unwrap_or_default()) { tr {
                    td { code { (case.case) } } td { (case.tenant) } td { (words::said(&case.kind)) } td { (words::state(&case.identity)) }
                    td { @if let Some(deletion) = case.deletion { (link("deletions", &deletion.to_string())) } }
                    td.n { @if case.late { (words::state("late")) " " } (words::distance(now, case.answer_due)) }
                } } }
            } } }
        }
    }
}

fn due(due: &[due::Due]) -> Markup {
    html! {
        section {
            h2 { "Due by its clock" span.aside { "unreadable from its instant on; the sweep comes every minute" } }
            @if due.is_empty() { p.none { "Nothing is due now or in the next seven days." } } @else { div.scroll { table {
                thead { tr { th { "tenant" } th { "class" } th.n { "now" } @for day in 1..=due::DAYS { th.n { "day " (day) } } } }
                tbody { @for line in due { tr {
                    td { (line.tenant) } td { (words::said(&line.class)) } (count(line.now)) @for day in line.days { (count(day)) }
                } } }
            } } }
        }
    }
}

fn sweeps(sweeps: &[SweepNumbers]) -> Markup {
    html! {
        section {
            h2 { "Sweeps" }
            div.scroll { table {
                thead { tr { th { "sweep" } th.n { "last run" } th.n { "found" } th.n { "acted" } th.n { "left" } } }
                tbody { @for sweep in sweeps { tr {
                    th scope="row" { (sweep.name) }
                    @match sweep.age_seconds {
                        None => { td.n colspan="4" { span.none { "never" } } }
                        Some(seconds) => {
                            td.n { (words::age(seconds)) " ago" } (count(sweep.found)) (count(sweep.acted))
                            @match sweep.residue { Some(residue) => (count(residue)), None => td.n { (words::state("could_not_check")) } }
                        }
                    }
                } } }
            } }
        }
    }
}

async fn unknown_calls(state: &ApiState, tenant: Option<&str>, now: DateTime<Utc>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select id, tenant, processor, purpose, order_id, created_at from safelight.provider_calls
        where state = 'unknown' and ($1::text is null or tenant = $1) order by created_at limit $2"#,
        tenant,
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    if rows.is_empty() {
        return Ok(html! {});
    }
    Ok(html! {
        section {
            h2 { "Provider calls with unknown outcome" }
            div.scroll { table {
                thead { tr { th { "call" } th { "tenant" } th { "processor" } th { "purpose" } th { "order" } th.n { "made" } } }
                tbody { @for row in &rows { tr {
                    td { code { (Id::<Intent>::from(row.id)) } }
                    td { (row.tenant) } td { (row.processor) } td { (row.purpose) }
                    td { @if let Some(order) = row.order_id { (link("orders", &Id::<Order>::from(order).to_string())) } }
                    td.n { (words::distance(now, row.created_at)) }
                } } }
            } }
        }
    })
}

async fn dead_letters(state: &ApiState, tenant: Option<&str>, now: DateTime<Utc>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select id, kind, code, tenant, order_id, attempt, died_at from safelight.dead_letters
        where $1::text is null or tenant = $1 order by died_at desc limit $2"#,
        tenant,
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    if rows.is_empty() {
        return Ok(html! {});
    }
    Ok(html! {
        section {
            h2 { "Dead letters" }
            div.scroll { table {
                thead { tr { th { "job" } th { "kind" } th { "code" } th { "order" } th.n { "attempts" } th.n { "gave up" } } }
                tbody { @for row in &rows { tr {
                    td { code { (Id::<id::Job>::from(row.id)) } }
                    td { (words::said(&row.kind)) } td { (words::said(&row.code)) }
                    td { @if let Some(order) = row.order_id { (link("orders", &Id::<Order>::from(order).to_string())) } }
                    td.n { (row.attempt) } td.n { (words::distance(now, row.died_at)) }
                } } }
            } }
        }
    })
}

async fn workers(state: &ApiState) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select host, pid, queues, version, started_at,
            floor(extract(epoch from clock_timestamp() - seen_at))::bigint as "silent!"
        from safelight.workers order by seen_at desc, name limit $1"#,
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    Ok(html! {
        section {
            h2 { "Workers" }
            @if rows.is_empty() { p.none { "No worker has been seen. Start one with " code { "safelight worker" } "." } } @else {
                div.scroll { table {
                    thead { tr { th { "host" } th.n { "process" } th { "version" } th { "queues" } th { "since" } th.n { "last seen" } } }
                    tbody { @for row in &rows { tr {
                        td { (row.host) } td.n { (row.pid) } td { (row.version) } td { (row.queues.join(", ")) }
                        td { (words::time(row.started_at)) } td.n { (words::age(row.silent)) " ago" }
                    } } }
                } }
            }
        }
    })
}

pub(super) fn link(what: &str, id: &str) -> Markup {
    html! { a.id href={ "/console/" (what) "/" (id) } { (id) } }
}

/// What to open.
#[derive(Deserialize)]
pub(super) struct Wanted {
    id: String,
}

/// From an id to its page. Ids are random: they name nobody.
pub(super) async fn find(_viewer: Viewer, Query(wanted): Query<Wanted>) -> Result<Response, Trouble> {
    let id = wanted.id.trim();
    if let Ok(order) = id.parse::<Id<Order>>() {
        return Ok(Redirect::to(&format!("/console/orders/{order}")).into_response());
    }
    match id.parse::<Id<Deletion>>() {
        Ok(deletion) => Ok(Redirect::to(&format!("/console/deletions/{deletion}")).into_response()),
        Err(_) => {
            Err(Error::BadId("paste the id of an order (order_…) or of a deletion (deletion_…)".to_owned()).into())
        }
    }
}
