//! One order: its timeline, its images as a contact sheet of numbers, its jobs and its provider calls.

use axum::{
    extract::{Query, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use safelight_jobs::{
    id::{self, Id, Intent, Order, Subject},
    look,
    place::{self, Place},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Page, Trouble, act, job::Done, money, overview::link, parts, refresh::Again, refund, rest, review, sign_in::Viewer,
    stands::Stands, watched, words,
};
use crate::{error::Error, input::At, state::ApiState};

/// How often an order that is under way is looked at, in seconds.
const EVERY: u32 = 5;
/// Rows of each list: more than most orders have.
const MOST: usize = 200;

/// Where a later page of a list begins.
#[derive(Deserialize)]
pub(super) struct Part {
    entries_after: Option<String>,
    jobs_after: Option<String>,
    calls_after: Option<String>,
    money_after: Option<String>,
}

/// The page. A later page of one list is about that list, below what the order is.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    order: Result<At<Order>, Error>,
    Query(done): Query<Done>,
    Query(part): Query<Part>,
) -> Result<Response, Trouble> {
    let At(order) = order?;
    let entries = part.entries_after.and_then(|seq| seq.parse::<i64>().ok());
    let [jobs_after, calls_after, money_after] =
        [&part.jobs_after, &part.calls_after, &part.money_after].map(|text| parts::place(text.as_ref()));
    let whole = entries.is_none() && jobs_after.or(calls_after).or(money_after).is_none();
    let row = sqlx::query!(
        r#"select tenant, subject_id, plan, state, problem, needs_model, images_wanted, amount_cents, currency, created_at,
            checkout_at, paid_at, delivered_at from safelight.orders where id = $1 and ($2::text is null or tenant = $2)"#,
        order.uuid(),
        viewer.tenant()
    )
    .fetch_optional(&state.pool)
    .await?
    .ok_or_else(|| Error::not_found(order))?;
    let entry = look::entry().order(order).tenant(&row.tenant);
    viewer.looks_at(&state, &order.to_string(), entry).await?;
    let head = html! {
        p.eyebrow { a href="/console/orders" { "Orders" } " / order" }
        h1.id { (order) }
        (act::said(done.done.as_deref()))
    };
    let review = review::of(&state.pool, &[order.uuid()]).await?.remove(&order.uuid());
    let stands = Stands {
        order,
        state: &row.state,
        problem: row.problem.as_deref(),
        checkout: row.checkout_at.is_some(),
        review,
    };
    let body = html! {
        p.lead { (review::state(&row.state, review)) @if let Some(problem) = &row.problem { " " (words::said(problem)) } }
        (stands.section(&state, viewer.tenant()).await?)
        dl.facts {
            div { dt { "tenant" } dd { (row.tenant) } }
            div { dt { "plan" } dd { (row.plan) @if row.needs_model { ", with a model" } } }
            div { dt { "images bought" } dd { (row.images_wanted) } }
            div { dt { "price" } dd { (row.amount_cents / 100) "." (format!("{:02}", row.amount_cents % 100)) " " (row.currency.to_uppercase()) } }
            div { dt { "placed" } dd { (words::time(row.created_at)) } }
            div { dt { "checkout" } dd { (words::maybe_time(row.checkout_at)) } }
            div { dt { "paid" } dd { (words::maybe_time(row.paid_at)) } }
            div { dt { "delivered" } dd { (words::maybe_time(row.delivered_at)) } }
            div.wide { dt { "subject" } dd { (link("subjects", &Id::<Subject>::from(row.subject_id).to_string())) } }
        }
        @if whole || money_after.is_some() { (money::of_order(&state, order, viewer.tenant(), money_after).await?) }
        @if whole { (refund::section(&state, &viewer, order).await?) (rest::section(&viewer, order, &row.state)) }
        @if whole { (images(&state, order).await?) }
        @if whole || entries.is_some() { (timeline(&state, order, entries).await?) }
        @if whole || jobs_after.is_some() { (jobs(&state, order, jobs_after).await?) }
        @if whole || calls_after.is_some() { (calls(&state, order, calls_after).await?) }
    };
    let works = matches!(row.state.as_str(), "placed" | "paid" | "training" | "generating");
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    Ok(watched("Order", Page::Orders, &viewer, &head, &body, works.then_some(Again { seconds: EVERY, now })))
}

async fn images(state: &ApiState, order: Id<Order>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select a.position, a.state, a.verdict, a.delivered_at, a.delete_after, safelight.readable(a) as "readable!",
            s.verdict as "alike?", s.mean_best3, s.best, s.compared as "compared?", c.flagged as "flagged?", c.probability
        from safelight.artifacts a left join safelight.similarities s on s.image_id = a.id
            left join safelight.image_checks c on c.image_id = a.id
        where a.order_id = $1 and a.class = 'image' order by a.position, a.id"#,
        order.uuid()
    )
    .fetch_all(&state.pool)
    .await?;
    if rows.is_empty() {
        return Ok(html! { section { h2 { "Images" } p.none { "There are none, or none any more." } } });
    }
    Ok(html! {
        section {
            h2 { "Images" span.aside { "similarity to the selfies, mean of the three nearest" } }
            ol.sheet { @for row in &rows {
                li class={ "frame" @if row.state == "withheld" { " struck" } } {
                    span.place { @match row.position { Some(place) => (format!("{:02}", place + 1)), None => "–" } }
                    @match row.mean_best3 {
                        Some(mean) => {
                            strong.number { (format!("{mean:.3}")) }
                            meter min="0" max="1" value=(format!("{:.3}", mean.max(0.0))) { (format!("{mean:.3}")) }
                        }
                        None => strong.number.none { "–" }
                    }
                    span.verdict-word { (row.alike.as_deref().map_or_else(|| "not compared".to_owned(), words::said)) }
                    @if let (Some(best), Some(compared)) = (row.best, row.compared) {
                        span.small { "best " (format!("{best:.3}")) " of " (compared) }
                    }
                    @if let Some(flagged) = row.flagged { span.small {
                        @if flagged { "flagged" } @else { "safe" }
                        @if let Some(probability) = row.probability { " " (format!("{probability:.2}")) }
                    } }
                    (words::state(shown(&row.state, row.delivered_at, row.readable)))
                    @if let Some(verdict) = &row.verdict { span.small { (words::said(verdict)) } }
                    @if let Some(until) = row.delete_after { span.small { "until " (until.format("%Y-%m-%d %H:%M")) } }
                }
            } }
        }
    })
}

fn shown(state: &str, delivered: Option<DateTime<Utc>>, readable: bool) -> &'static str {
    match state {
        "withheld" => "withheld",
        "stored" if !readable => "gone",
        "stored" if delivered.is_some() => "delivered",
        "stored" => "stored",
        _ => "pending",
    }
}

/// The address of a later page of a list, up to its place.
pub(super) fn later(order: Id<Order>, list: &str) -> String {
    format!("/console/orders/{order}?{list}=")
}

async fn timeline(state: &ApiState, order: Id<Order>, after: Option<i64>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select seq, at, actor, action, outcome, purpose, job_kind, cardinality(grants) as "grants!", counts,
            (select f.at from safelight.audit_entries f where f.order_id = $1 and f.action <> 'console.look' order by f.seq limit 1) as began
        from safelight.audit_entries where order_id = $1 and action <> 'console.look' and ($2::bigint is null or seq > $2)
        order by seq limit $3"#,
        order.uuid(),
        after,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| row.seq);
    let began = rows.first().and_then(|row| row.began);
    Ok(html! {
        section {
            h2 { "Timeline" }
            @if rows.is_empty() { p.none { "Nothing is recorded." } } @else { ol.line {
                @for row in &rows { li {
                    span.when { (words::time(row.at)) @if let Some(began) = began { span.small { " +" (words::age((row.at - began).num_seconds())) } } }
                    span.what {
                        strong { (spoken(&row.action)) } " " (words::state(&row.outcome))
                        span.small {
                            " " (row.actor)
                            @if let Some(kind) = &row.job_kind { " · " (words::said(kind)) }
                            @if let Some(purpose) = &row.purpose { " · for " (purpose) }
                            @if row.grants > 0 { " · on " (row.grants) " consents" }
                            (counts(&row.counts))
                        }
                    }
                } }
            } }
            (parts::more(next, &later(order, "entries_after"), "", "Later entries"))
        }
    })
}

fn spoken(action: &str) -> String {
    words::said(&action.replace('.', " "))
}

/// Numbers only: a count is never a text.
fn counts(counts: &Value) -> Markup {
    html! { @if let Some(counts) = counts.as_object() { @for (name, count) in counts {
        @if count.is_number() { " · " (words::said(name)) " " (count) }
    } } }
}

async fn jobs(state: &ApiState, order: Id<Order>, after: Option<Place>) -> Result<Markup, Error> {
    let (at, id) = place::halves(after);
    let rows = sqlx::query!(
        r#"select id as "id!", kind as "kind!", state as "state!", why, attempt as "attempt!", waits as "waits!", created_at as "created_at!",
            ran_ms,
            (select string_agg(t.verdict || ' ' || t.code || case when t.n > 1 then ' ×' || t.n else '' end, ', ') from (
                select a.verdict, a.code, count(*) as n, min(a.at) as first from safelight.job_attempts a
                where a.job_id = j.id group by a.verdict, a.code order by first) t) as tries
        from (
            select id, kind, case state when 1 then 'running' when 2 then 'held' when 4 then 'set_aside' else
                    case when run_at > safelight.now() then 'waiting' else 'ready' end end as state,
                why, attempt, waits, created_at, null::bigint as ran_ms from safelight.jobs where order_id = $1
            union all
            select id, kind, outcome, code, attempt, waits, created_at,
                (extract(epoch from finished_at - started_at) * 1000)::bigint
            from safelight.jobs_archive where order_id = $1
            union all
            select id, kind, 'dead', code, attempt, waits, created_at, null from safelight.dead_letters where order_id = $1
        ) j where $2::timestamptz is null or (created_at, id) > ($2, $3::uuid) order by created_at, id limit $4"#,
        order.uuid(),
        at,
        id,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| Place::of(row.created_at, row.id));
    Ok(html! {
        section {
            h2 { "Jobs" }
            (parts::listed("There are none.", "Jobs", &["job", "kind", "state", "why", "#attempts", "#waits", "#ran", "on the way"], &rows, |row| html! {
                td { (link("jobs", &Id::<id::Job>::from(row.id).to_string())) }
                td { (words::said(&row.kind)) }
                td { (words::state(&row.state)) }
                td { (row.why.as_deref().map(words::said).unwrap_or_default()) }
                td.n { (row.attempt) } td.n { (row.waits) }
                td.n { @match row.ran_ms { Some(ms) if ms >= 0 => { (ms) " ms" }, _ => span.none { "–" } } }
                td.free { (row.tries.as_deref().map(words::said).unwrap_or_default()) }
            }))
            (parts::more(next, &later(order, "jobs_after"), "", "Later jobs"))
        }
    })
}

async fn calls(state: &ApiState, order: Id<Order>, after: Option<Place>) -> Result<Markup, Error> {
    let (at, id) = place::halves(after);
    let rows = sqlx::query!(
        r#"select id, processor, purpose, model, state, code, purge, created_at, submitted_at, finished_at, collected_at
        from safelight.provider_calls where order_id = $1
            and ($2::timestamptz is null or (created_at, id) > ($2, $3::uuid)) order by created_at, id limit $4"#,
        order.uuid(),
        at,
        id,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| Place::of(row.created_at, row.id));
    Ok(html! {
        section {
            h2 { "Provider calls" }
            (parts::listed("Nobody was asked.", "Provider calls", &["call", "processor", "purpose", "model", "state", "code", "there", "intended", "submitted", "collected"], &rows, |row| html! {
                td { code { (Id::<Intent>::from(row.id)) } }
                td { (row.processor) } td { (row.purpose) } td { (row.model) }
                td { (words::state(&row.state)) } td { (row.code.as_deref().map(words::said).unwrap_or_default()) }
                td { @match row.purge.as_str() { "none" if matches!(row.state.as_str(), "refused" | "unknown" | "intended") => "–", "none" => "kept", "wanted" => "to be purged", "purged" => "purged", _ => "not purged" } }
                td { (words::time(row.created_at)) } td { (words::maybe_time(row.submitted_at)) }
                td { (words::maybe_time(row.collected_at.or(row.finished_at))) }
            }))
            (parts::more(next, &later(order, "calls_after"), "", "Later calls"))
        }
    })
}
