//! The sealed log: whether it is sealed and brought outside, and its newest entries; and what operators did and looked at, with who and why.
//! Looking for what was done about one person's case is a look at it, and kept.

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::{Markup, html};
use safelight_jobs::{look, sealer};
use serde::Deserialize;
use uuid::Uuid;

use super::{Page, Trouble, entries, page as framed, parts, sign_in::Viewer, words};
use crate::{error::Error, state::ApiState};

/// Rows of one page.
const MOST: i64 = 50;

/// How many of the newest acts one page looks through for one person's.
const WINDOW: i64 = 20_000;

/// Which part of the acts. An empty field does not narrow.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Wanted {
    about: String,
    who: String,
    before: Option<Uuid>,
    entries_before: Option<i64>,
}

impl Wanted {
    fn is_narrow(&self) -> bool {
        !self.about.trim().is_empty() || !self.who.trim().is_empty()
    }
}

/// The page. For people of the house.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Trouble> {
    viewer.of_the_house()?;
    if look::acts_are_one(&wanted.about) {
        viewer.looks_at_acts(&state, wanted.about.trim()).await?;
    }
    let body = html! {
        h1 { "Audit" }
        (log(&state).await?)
        @if wanted.entries_before.is_none() { (acts(&state, &wanted).await?) }
        @if !wanted.is_narrow() && wanted.before.is_none() { (entries::section(&state, wanted.entries_before).await?) }
    };
    Ok(framed("Audit", Page::Audit, &viewer, &body))
}

async fn log(state: &ApiState) -> Result<Markup, Error> {
    let lag = sealer::lag(&state.pool).await?;
    let refused =
        sqlx::query_scalar!(r#"select not safelight.may_claim() as "refused!""#).fetch_one(&state.pool).await?;
    let last =
        sqlx::query!("select size, signed_at, key_ids from safelight.audit_checkpoints order by size desc limit 1")
            .fetch_optional(&state.pool)
            .await?;
    let places =
        sqlx::query!("select name, delivered, tries, code, updated_at from safelight.audit_destinations order by name")
            .fetch_all(&state.pool)
            .await?;
    Ok(html! {
        @if refused { p.verdict.lit { "This database was restored or moved and is not compared with the erasure ledger: nothing is worked on. "
            code { "safelight restore check" } ", then " code { "safelight restore replay" } "." } }
        section aria-label="The sealed log" {
            dl.facts {
                div { dt { "entries in the log" } dd { (lag.size) } }
                div { dt { "not sealed yet" } dd { (lag.unsealed) @if lag.unsealed > 0 { span.small { ", the oldest for " (words::age(lag.oldest_seconds as i64)) } } } }
                div { dt { "not signed yet" } dd { (lag.unsigned) } }
                div { dt { "certificates due" } dd { (lag.certificates_due) } }
                @match &last {
                    Some(last) => { div { dt { "last checkpoint" } dd { "of " (last.size) " entries, " (words::time(last.signed_at)) } } div.wide { dt { "signed with" } dd { code { (last.key_ids.join(", ")) } } } },
                    None => { div { dt { "last checkpoint" } dd { "none: no process has the log's key" } } },
                }
            }
            @if places.is_empty() { p.after { "No checkpoint leaves the house: the log is unverified, whatever it says of itself." } } @else {
                (parts::table("Places outside", &["place outside", "#has entries up to", "#failed tries", "code", "at"], &places, |place| html! {
                    th scope="row" { (place.name) } td.n { (place.delivered) } td.n { (place.tries) }
                    td { (place.code.as_deref().map(words::said).unwrap_or_default()) } td { (words::time(place.updated_at)) }
                }))
            }
            p.after { "Verify it from outside: " code { "safelight audit verify --database --key KEY --checkpoints FOLDER" } "." }
        }
    })
}

async fn acts(state: &ApiState, wanted: &Wanted) -> Result<Markup, Error> {
    let word = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    // What an act was about has an index; who acted is looked for among the newest.
    let rows = sqlx::query!(
        r#"select id as "id!", at as "at!", actor as "actor!", why as "why!", action as "action!", outcome as "outcome!", about as "about!" from (
            select * from safelight.operator_acts where ($1::uuid is null or id < $1) and ($2::text is null or about = $2) order by id desc limit $3) newest
        where $4::text is null or actor = $4 order by id desc limit $5"#,
        wanted.before,
        word(&wanted.about),
        WINDOW,
        word(&wanted.who),
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    // Behind the last row of a whole page, or behind the last act that was looked through.
    let next = match rows.get(MOST as usize - 1) {
        Some(row) => Some(row.id),
        None => {
            sqlx::query_scalar!(
                r#"select id from safelight.operator_acts where ($1::uuid is null or id < $1) and ($2::text is null or about = $2)
                order by id desc offset $3 limit 1"#,
                wanted.before,
                word(&wanted.about),
                WINDOW - 1
            )
            .fetch_optional(&state.pool)
            .await?
        }
    };
    let none = match (wanted.is_narrow(), next) {
        (true, Some(_)) => format!("None matches among {WINDOW}; older ones may."),
        (true, None) => "None matches.".to_owned(),
        (false, _) => "Nothing yet.".to_owned(),
    };
    Ok(html! {
        section #acts {
            h2 { "What operators did and looked at" }
            form.filter method="get" action="/console/audit" role="search" {
                label.wide { "About" input name="about" type="text" value=(wanted.about) placeholder="order_…" autocomplete="off" spellcheck="false"; }
                label { "Who" input name="who" type="text" value=(wanted.who) autocomplete="off" spellcheck="false"; }
                button type="submit" { "Find" }
            }
            (parts::listed(&none, "Acts", &["at", "who", "did", "about", "why"], &rows, |row| html! {
                td { (words::time(row.at)) } td { (row.actor) } td { (words::said(&row.action.replace('.', " "))) " " (words::state(&row.outcome)) }
                td { @match page_of(&row.about) { Some(page) => { a.id href=(page) { (row.about) } }, None => (row.about) } } td.free { (row.why) }
            }))
            @if let Some(next) = next { p.after { a href=(address(wanted, next)) rel="next" { "Older" } } }
        }
    })
}

/// The address of a later page of the acts.
fn address(wanted: &Wanted, before: Uuid) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in [("about", wanted.about.trim()), ("who", wanted.who.trim())] {
        if !value.is_empty() {
            query.append_pair(name, value);
        }
    }
    query.append_pair("before", &before.to_string());
    format!("/console/audit?{}", query.finish())
}

/// The page of what an act was about, if it has one, or of what it belongs to: an objection is named by its person and its purpose.
fn page_of(about: &str) -> Option<String> {
    let id = about.split(' ').next()?;
    let pages = [
        ("job_", "jobs"),
        ("order_", "orders"),
        ("deletion_", "deletions"),
        ("subject_", "subjects"),
        ("bulk_", "bulk"),
    ];
    let parts = ["case_", "token_", "refund_", "intent_", "artifact_"];
    let part = || parts.iter().any(|prefix| id.starts_with(prefix)).then(|| format!("/console/find?id={id}"));
    pages
        .iter()
        .find(|(prefix, _)| id.starts_with(prefix))
        .map(|(_, page)| format!("/console/{page}/{id}"))
        .or_else(part)
}
