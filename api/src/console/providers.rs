//! The providers: what holds their jobs back, how many run and wait, what became of the newest calls, and calls without news.

use axum::{
    extract::{Query, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use safelight_jobs::{
    id::{Id, Intent, Order},
    place::{self, Place},
    queue::{self, Scope},
};
use serde::Deserialize;

use super::{
    Page, Trouble, act,
    controls::View,
    job::Done,
    overview::link,
    page as framed,
    parts::{self, MOST},
    resolve,
    sign_in::Viewer,
    words,
};
use crate::{error::Error, state::ApiState};

/// How many of the newest calls are counted by what became of them.
const TALLIED: i64 = 20_000;
/// Rows of that table at most.
const GROUPS: usize = 200;
/// Before the place of a call in an address.
const UNKNOWN: &str = "unknown.";

/// Which part of the calls without an end.
#[derive(Deserialize)]
pub(super) struct Part {
    /// The last of the page before, behind `unknown.` if its outcome was unknown then: it may have an end by now.
    calls_after: Option<String>,
    /// The job that carries out what was said of a call a moment ago.
    said: Option<String>,
}

impl Part {
    /// Not unknown, and which.
    fn last(&self) -> Option<(bool, Place)> {
        let last = self.calls_after.as_deref()?;
        let (known, place) = last.strip_prefix(UNKNOWN).map_or((true, last), |place| (false, place));
        Some((known, place.parse().ok()?))
    }
}

/// The page. For people of the house.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(done): Query<Done>,
    Query(part): Query<Part>,
) -> Result<Response, Trouble> {
    viewer.of_the_house()?;
    let (controls, breakers) = (queue::controls(&state.pool).await?, queue::breakers(&state.pool).await?);
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let loads = queue::provider_loads(&state.pool).await?;
    let view = View { viewer: &viewer, controls: &controls, breakers: &breakers, now, page: "/console/providers" };
    let body = html! {
        h1 { "Providers" }
        (act::said(done.done.as_deref()))
        (resolve::said(&state.pool, part.said.as_deref()).await?)
        p.lead { "A pause, a limit, a rate and a breaker hold back all jobs that ask a provider, in the whole fleet; what waits spends nothing." }
        section aria-label="Providers" { ul.controls { @for load in &loads {
            (view.one(Scope::Provider, &load.provider, &html! {
                p.small { (load.running) " running · " (words::many(load.aside)) " set aside until there is room"
                    @if let Some(oldest) = load.oldest { ", the oldest for " (words::age((now - oldest).num_seconds())) } }
            }))
        } } }
        (calls(&state).await?)
        (without_news(&state, &viewer, now, part.last()).await?)
    };
    Ok(framed("Providers", Page::Providers, &viewer, &body))
}

async fn calls(state: &ApiState) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select processor as "processor!", purpose as "purpose!", state as "state!", code, count(*) as "number!", max(created_at) as "last!",
            safelight.now() as "now!"
        from (select processor, purpose, state, code, created_at from safelight.provider_calls order by id desc limit $1) newest
        group by 1, 2, 3, 4 order by 5 desc, 1, 2, 3, 4 limit $2"#,
        TALLIED,
        parts::one_more(GROUPS)
    )
    .fetch_all(&state.pool)
    .await?;
    let (mut rows, more) = parts::page(rows, GROUPS, |_| ());
    rows.sort_by(|a, b| (&a.processor, &a.purpose, &a.state).cmp(&(&b.processor, &b.purpose, &b.state)));
    Ok(html! {
        section {
            h2 { "What became of calls" span.aside { "the newest " (TALLIED) " counted" } }
            (parts::listed("Nobody has been called yet.", "Calls by outcome", &["processor", "purpose", "state", "code", "#calls", "#the last"], &rows, |row| html! {
                th scope="row" { (row.processor) } td { (row.purpose) } td { (words::state(&row.state)) }
                td { (row.code.as_deref().map(words::said).unwrap_or_default()) } td.n { (row.number) } td.n { (words::distance(row.now, row.last)) }
            }))
            @if more.is_some() { p.small { "The " (GROUPS) " outcomes with the most calls; others are not shown." } }
        }
    })
}

/// What a call without news waits for.
fn waits_for(state: &str) -> &'static str {
    match state {
        "unknown" => "the outcome is looked for; after an hour a person must say it",
        "intended" => "its request is being made",
        _ => "the provider works on it, or its news is looked for",
    }
}

async fn without_news(
    state: &ApiState,
    viewer: &Viewer,
    now: DateTime<Utc>,
    after: Option<(bool, Place)>,
) -> Result<Markup, Error> {
    let (known, last) = after.unzip();
    let (at, id) = place::halves(last);
    let rows = sqlx::query!(
        r#"select id, tenant, processor, purpose, state, order_id, created_at from safelight.provider_calls
        where state in ('intended', 'unknown', 'submitted') and ($1::boolean is null or (state <> 'unknown', created_at, id) > ($1, $2::timestamptz, $3::uuid))
        order by state <> 'unknown', created_at, id limit $4"#,
        known,
        at,
        id,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| {
        format!("{}{}", if row.state == "unknown" { UNKNOWN } else { "" }, Place::of(row.created_at, row.id))
    });
    Ok(html! {
        section #calls {
            h2 { "Calls without an end" span.aside { "unknown outcomes first, then the oldest" } }
            (parts::listed("Every call has ended.", "Calls without an end", &["call", "tenant", "processor", "purpose", "state", "order", "#made", "waits because"], &rows, |row| html! {
                td { code { (Id::<Intent>::from(row.id)) } } td { (row.tenant) } td { (row.processor) } td { (row.purpose) } td { (words::state(&row.state)) }
                td { @if let Some(order) = row.order_id { (link("orders", &Id::<Order>::from(order).to_string())) } }
                td.n { (words::distance(now, row.created_at)) } td.free { (waits_for(&row.state)) @if row.state == "unknown" { (resolve::buttons(viewer, row.id.into())) } }
            }))
            (parts::more(next, "/console/providers?calls_after=", "#calls", "More calls"))
        }
    })
}
