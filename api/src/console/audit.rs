//! The sealed log: whether it is sealed and brought outside, and its newest entries; and what operators did and looked at, with who and why.

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::{Markup, html};
use safelight_jobs::sealer;
use serde::Deserialize;
use uuid::Uuid;

use super::{Page, Trouble, entries, page as framed, parts, sign_in::Viewer, words};
use crate::{error::Error, state::ApiState};

/// Rows of one page.
const MOST: i64 = 50;

/// Which part of the acts.
#[derive(Deserialize)]
pub(super) struct Wanted {
    before: Option<Uuid>,
    entries_before: Option<i64>,
}

/// The page. For people of the house.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Trouble> {
    viewer.of_the_house()?;
    let body = html! {
        h1 { "Audit" }
        (log(&state).await?)
        (entries::section(&state, wanted.entries_before).await?)
        (acts(&state, wanted.before).await?)
    };
    Ok(framed("Audit", Page::Audit, &viewer, &body))
}

async fn log(state: &ApiState) -> Result<Markup, Error> {
    let lag = sealer::lag(&state.pool).await?;
    let last =
        sqlx::query!("select size, signed_at, key_ids from safelight.audit_checkpoints order by size desc limit 1")
            .fetch_optional(&state.pool)
            .await?;
    let places =
        sqlx::query!("select name, delivered, tries, code, updated_at from safelight.audit_destinations order by name")
            .fetch_all(&state.pool)
            .await?;
    Ok(html! {
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

async fn acts(state: &ApiState, before: Option<Uuid>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select id, at, actor, why, action, outcome, about from safelight.operator_acts
        where $1::uuid is null or id < $1 order by id desc limit $2"#,
        before,
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let next = rows.get(MOST as usize - 1).map(|row| row.id);
    Ok(html! {
        section {
            h2 { "What operators did and looked at" }
            (parts::listed("Nothing yet.", "Acts", &["at", "who", "did", "about", "why"], &rows, |row| html! {
                td { (words::time(row.at)) } td { (row.actor) } td { (words::said(&row.action.replace('.', " "))) " " (words::state(&row.outcome)) }
                td { @match page_of(&row.about) { Some(page) => { a.id href=(page) { (row.about) } }, None => (row.about) } } td.free { (row.why) }
            }))
            @if let Some(next) = next { p.after { a href={ "/console/audit?before=" (next) } rel="next" { "Older" } } }
        }
    })
}

/// The page of what an act was about, if it has one.
fn page_of(about: &str) -> Option<String> {
    let pages = [
        ("job_", "jobs"),
        ("order_", "orders"),
        ("deletion_", "deletions"),
        ("subject_", "subjects"),
        ("bulk_", "bulk"),
    ];
    pages.iter().find(|(prefix, _)| about.starts_with(prefix)).map(|(_, page)| format!("/console/{page}/{about}"))
}
