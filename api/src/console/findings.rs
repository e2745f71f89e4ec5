//! Findings: what a sweep or a comparison found and no page of a single thing shows. Differences in money, rows whose object the store
//! does not have, sales without a fiscal rule, results that may be another person's. The oldest first, since they are to be worked off.
//!
//! Stripe's ids stay in the books: the commands that this page names print them to whoever acts.

use std::fmt::Display;

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::{Markup, html};
use safelight_jobs::{
    id::{self, Artifact, Id, Order},
    place::{self, Place},
};
use serde::Deserialize;

use super::{Page, Trouble, money::amount, overview::link, page as framed, parts, sign_in::Viewer, words};
use crate::{error::Error, state::ApiState};

/// Rows of one list.
const MOST: usize = 100;

/// Where a later page of a list begins.
#[derive(Deserialize)]
pub(super) struct Part {
    another_after: Option<String>,
    money_after: Option<String>,
    objects_after: Option<String>,
    rules_after: Option<String>,
}

/// The page; a tenant's token sees what is of that tenant. A later page of one list is about that list.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(part): Query<Part>,
) -> Result<Response, Trouble> {
    let tenant = viewer.tenant();
    let another_after = part.another_after.and_then(|seq| seq.parse::<i64>().ok());
    let [money_after, objects_after, rules_after] =
        [&part.money_after, &part.objects_after, &part.rules_after].map(|text| parts::place(text.as_ref()));
    let whole = another_after.is_none() && money_after.or(objects_after).or(rules_after).is_none();
    let body = html! {
        h1 { "Findings" }
        p.lead { "What was found and stands on no page of its own. Each is gone from here when it is settled." }
        @if whole || another_after.is_some() { (another(&state, tenant, another_after).await?) }
        @if whole || money_after.is_some() { (money(&state, tenant, money_after).await?) }
        @if whole || objects_after.is_some() { (objects(&state, tenant, objects_after).await?) }
        @if whole || rules_after.is_some() { (rules(&state, tenant, rules_after).await?) }
    };
    Ok(framed("Findings", Page::Findings, &viewer, &body))
}

/// The link to what is later in a list.
fn later(next: Option<impl Display>, list: &str, says: &str) -> Markup {
    parts::more(next, &format!("/console/findings?{list}="), "", says)
}

fn of_order(order: Option<uuid::Uuid>) -> Markup {
    html! { @match order { Some(order) => (link("orders", &Id::<Order>::from(order).to_string())), None => span.none { "–" } } }
}

async fn another(state: &ApiState, tenant: Option<&str>, after: Option<i64>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select seq as "seq!", at as "at!", tenant, order_id, job_id from safelight.audit_entries
        where action = 'call.request_differs' and outcome = 'taken_home' and at > safelight.now() - interval '168 hours'
            and ($1::text is null or tenant = $1) and ($2::bigint is null or seq > $2) order by seq limit $3"#,
        tenant,
        after,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| row.seq);
    Ok(html! {
        section #another {
            h2 { "Results that may be another person's" span.aside { "of seven days; Fal's report named another request than the one that was taken home" } }
            (parts::listed("There are none.", "Results that may be another person's", &["at", "order", "job", "tenant"], &rows, |row| html! {
                td { (words::time(row.at)) } td { (of_order(row.order_id)) }
                td { @if let Some(job) = row.job_id { (link("jobs", &Id::<id::Job>::from(job).to_string())) } }
                td { (row.tenant.as_deref().unwrap_or("–")) }
            }))
            (later(next, "another_after", "Later results"))
        }
    })
}

async fn money(state: &ApiState, tenant: Option<&str>, after: Option<Place>) -> Result<Markup, Error> {
    let (at, id) = place::halves(after);
    let rows = sqlx::query!(
        r#"select md5(code || object)::uuid as "id!", code, provider, tenant, amount_cents, about_at, first_seen_at, last_seen_at from safelight.differences
        where resolved_at is null and ($1::text is null or tenant = $1) 
            and ($2::timestamptz is null or (first_seen_at, md5(code || object)::uuid) > ($2, $3::uuid)) order by first_seen_at, md5(code || object)::uuid limit $4"#,
        tenant,
        at,
        id,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| Place::of(row.first_seen_at, row.id));
    Ok(html! {
        section #money {
            h2 { "Differences in money" span.aside { "our books and a provider's; looking again did not mend them" } }
            (parts::listed("There are none.", "Differences in money", &["difference", "#amount", "tenant", "provider", "about", "seen first", "seen last"], &rows, |row| html! {
                td { code { (row.code) } }
                td.n { @match row.amount_cents { Some(cents) => (amount(cents, "")), None => span.none { "–" } } }
                td { (row.tenant.as_deref().unwrap_or("–")) } td { (row.provider) } td { (words::time(row.about_at)) }
                td { (words::time(row.first_seen_at)) } td { (words::time(row.last_seen_at)) }
            }))
            (later(next, "money_after", "Later differences"))
            @if !rows.is_empty() { p.after { "With the provider's ids: " code { "safelight sweep money" } "." } }
        }
    })
}

async fn objects(state: &ApiState, tenant: Option<&str>, after: Option<Place>) -> Result<Markup, Error> {
    let (at, id) = place::halves(after);
    let rows = sqlx::query!(
        r#"select m.artifact_id, m.tenant, m.first_seen_at, m.last_seen_at, a.class as "class?", a.order_id as "order_id?" from safelight.missing_objects m
        left join safelight.artifacts a on a.id = m.artifact_id
        where ($1::text is null or m.tenant = $1) 
            and ($2::timestamptz is null or (m.first_seen_at, m.artifact_id) > ($2, $3::uuid)) order by m.first_seen_at, m.artifact_id limit $4"#,
        tenant,
        at,
        id,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| Place::of(row.first_seen_at, row.artifact_id));
    Ok(html! {
        section #objects {
            h2 { "Rows without their object" span.aside { "the store does not have what a row names" } }
            (parts::listed("There are none.", "Rows without their object", &["class", "order", "tenant", "seen first", "seen last", "artifact"], &rows, |row| html! {
                td { (row.class.as_deref().map_or_else(|| "no row any more".to_owned(), words::said)) } td { (of_order(row.order_id)) } td { (row.tenant) }
                td { (words::time(row.first_seen_at)) } td { (words::time(row.last_seen_at)) } td { code { (Id::<Artifact>::from(row.artifact_id)) } }
            }))
            (later(next, "objects_after", "Later seen ones"))
        }
    })
}

async fn rules(state: &ApiState, tenant: Option<&str>, after: Option<Place>) -> Result<Markup, Error> {
    let (at, id) = place::halves(after);
    let rows = sqlx::query!(
        r#"select id as "id!", tenant, country, order_id, amount_cents, currency, sold_at from safelight_fiscal.sales
        where keep_until is null and ($1::text is null or tenant = $1) 
            and ($2::timestamptz is null or (sold_at, id) > ($2, $3::uuid)) order by sold_at, id limit $4"#,
        tenant,
        at,
        id,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| Place::of(row.sold_at, row.id));
    Ok(html! {
        section #rules {
            h2 { "Sales without a fiscal rule" span.aside { "no policy says how long a sale of that country is kept" } }
            (parts::listed("There are none.", "Sales without a fiscal rule", &["country", "tenant", "#amount", "sold", "order"], &rows, |row| html! {
                td { (row.country.as_deref().unwrap_or("not known")) } td { (row.tenant) } td.n { (amount(row.amount_cents, &row.currency)) }
                td { (words::time(row.sold_at)) } td { (of_order(row.order_id)) }
            }))
            (later(next, "rules_after", "Later sales"))
        }
    })
}
