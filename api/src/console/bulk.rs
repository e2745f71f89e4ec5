//! Acting on all jobs that match a search: what it would be done to, the form that asks for it with a reason, and how far it has
//! come.

use axum::{
    extract::{Query, State},
    http::Uri,
    response::{IntoResponse, Redirect, Response},
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use safelight_jobs::{
    bulk::{self, BulkAct, Listed, Preview, SHOWN},
    id::Bulk,
    operate::Act,
    queue,
    queue::search::{self, State as Stands, Wanted},
    run::Tx,
};
use serde::Deserialize;

use super::{
    Page, Trouble,
    act::Form,
    jobs::{Sought, table},
    overview::link,
    page as framed, parts,
    refresh::Again,
    sign_in::Viewer,
    watched, words,
};
use crate::{error::Error, input::At, state::ApiState};

/// How often an act that is under way is looked at, in seconds.
const EVERY: u32 = 3;
/// Acts of one page.
const MOST: usize = 50;

/// Which part of the acts.
#[derive(Deserialize)]
pub(super) struct Part {
    before: Option<String>,
}

/// What is to be done.
#[derive(Deserialize)]
pub(super) struct Wish {
    act: String,
}

/// What each act does, for the choice below the search.
pub(super) const ACTS: [(Act, &str); 5] = [
    (Act::Retry, "Retry: what waits for its time is due now, dead letters rise"),
    (Act::Hold, "Hold: they do not run until they are released"),
    (Act::Release, "Release: those that are held run"),
    (Act::Cancel, "Cancel: out of the queue for good"),
    (Act::Discard, "Discard: dead letters are given up for good"),
];

/// What an act would be done to, and the form that asks for it.
pub(super) async fn preview(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(wish): Query<Wish>,
    Query(sought): Query<Sought>,
) -> Result<Response, Trouble> {
    if !viewer.operates() {
        return Err(Error::Scope { needs: "operate" }.into());
    }
    let act = Act::named(&wish.act).ok_or(Error::NoRoute)?;
    let wanted = sought.wanted(&viewer)?;
    viewer.looks_for(&state, &wanted).await?;
    let seen = bulk::preview(&state.pool, act, wanted.clone(), viewer.operator("")).await?;
    let aside = search::why_aside(&state.pool, &seen.first).await?;
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let body = html! {
        p.eyebrow { a href="/console/jobs" { "Jobs" } " / all that match" }
        h1 { (label(act)) " " (number(&seen)) }
        p.lead { "All jobs made before now with " code { (wanted) } ". "
            @if matches!(act, Act::Cancel | Act::Discard) { "Deletions and purges stay. " }
            "A worker does it in batches, newest first." }
        @if seen.counted.jobs > 0 || !seen.counted.whole { (confirmation(&viewer, act, &wanted, &seen)) }
        section {
            h2 { "The newest of them" span.aside { "at most " (SHOWN) } }
            @if seen.first.is_empty() { p.none { @if seen.counted.whole { "There is none to which this can be done." } @else { "None among the newest; older ones are looked at when it is done." } } } @else { (table(&seen.first, &aside, now)) }
        }
    };
    Ok(framed("Act on all", Page::Jobs, &viewer, &body))
}

fn number(seen: &Preview) -> Markup {
    html! { @if !seen.counted.whole { "at least " } (seen.counted.jobs) @if seen.counted.jobs == 1 { " job" } @else { " jobs" } }
}

fn label(act: Act) -> &'static str {
    match act {
        Act::Cancel => "Cancel",
        Act::Hold => "Hold",
        Act::Release => "Release",
        Act::Retry => "Retry",
        Act::Discard => "Discard",
    }
}

fn confirmation(viewer: &Viewer, act: Act, wanted: &Wanted, seen: &Preview) -> Markup {
    html! {
        form.confirm method="post" action="/console/bulk" {
            input type="hidden" name="csrf" value=(viewer.csrf());
            input type="hidden" name="act" value=(act.as_str());
            @for (name, word) in wanted.words() { input type="hidden" name=(name) value=(word); }
            label { "Why" input name="why" type="text" required maxlength="200"; }
            button type="submit" { (label(act)) " " (number(seen)) }
        }
    }
}

/// Ask for it.
pub(super) async fn ask(State(state): State<ApiState>, form: Form) -> Result<Response, Trouble> {
    let act = form.field("act").and_then(Act::named).ok_or(Error::NoRoute)?;
    let at = |name: &str| -> Result<Option<DateTime<Utc>>, Error> {
        let why = || Error::Invalid { code: "value_refused", why: format!("`{name}` is no time") };
        form.field(name).map(|text| text.parse().map_err(|_| why())).transpose()
    };
    let bad = |_| Error::BadId("an id of another kind".to_owned());
    let wanted = Wanted {
        job: form.field("job").map(str::parse).transpose().map_err(bad)?,
        kind: form.field("kind").map(str::to_owned),
        state: form.field("state").map(str::parse::<Stands>).transpose()?,
        queue: form.field("queue").map(str::to_owned),
        tenant: form.field("tenant").map(str::to_owned),
        order: form.field("order").map(str::parse).transpose().map_err(bad)?,
        subject: form.field("subject").map(str::parse).transpose().map_err(bad)?,
        code: form.field("code").map(str::to_owned),
        from: at("from")?,
        until: at("until")?,
    };
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    let bulk = bulk::ask(&mut tx, &state.pool, act, wanted, form.operator()).await?;
    tx.commit().await?;
    Ok(Redirect::to(&format!("/console/bulk/{bulk}")).into_response())
}

/// How far one act has come.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    bulk: Result<At<Bulk>, Error>,
) -> Result<Response, Trouble> {
    let At(bulk) = bulk?;
    let act = bulk::read(&state.pool, bulk, viewer.tenant()).await?.ok_or_else(|| Error::not_found(bulk))?;
    let waits =
        if act.state() == "done" { None } else { queue::explain(&state.pool, act.job, viewer.tenant()).await? };
    let head = html! {
        p.eyebrow { a href="/console/bulk" { "Acts on many jobs" } " / act" }
        h1.id { (bulk) }
    };
    let body = html! {
        p.lead { (words::state(act.state())) " " (label(act.act)) " " (progress(&act)) "." }
        progress aria-label="Progress" max=(act.matched.jobs.max(act.done + act.passed_over)) value=(act.done + act.passed_over) { (act.done + act.passed_over) }
        @if act.state() == "under_way" { p.after { a.button href={ "/console/bulk/" (bulk) } { "Look again" } } }
        dl.facts {
            div { dt { "act" } dd { (label(act.act)) } }
            div { dt { "matched" } dd { @if !act.matched.whole { "at least " } (act.matched.jobs) } }
            div { dt { "done" } dd { (act.done) } }
            div { dt { "stood elsewhere" } dd { (act.passed_over) } }
            div { dt { "asked for" } dd { (words::time(act.asked_at)) } }
            div { dt { "over" } dd { (words::maybe_time(act.finished_at)) } }
            div { dt { "who" } dd { (act.actor) } }
            div.wide { dt { "why" } dd { (act.why) } }
            div.wide { dt { "jobs with" } dd { code { (act.wanted) } } }
            div.wide { dt { "carried out by" } dd { (link("jobs", &act.job.to_string())) @if let Some(known) = waits { ": " (words::said(&known.code)) ", " (known.detail) } } }
        }
        @if act.state() == "stopped" { p.after { "Its job was cancelled or gave up; what was done stays done. A dead letter that is redriven goes on where it was." } }
    };
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let again = (act.state() == "under_way").then_some(Again { seconds: EVERY, now });
    Ok(watched("Act on many jobs", Page::Jobs, &viewer, &head, &body, again))
}

fn progress(act: &BulkAct) -> Markup {
    // Counted when it was asked for: by its turn more may match.
    let seen = act.done + act.passed_over;
    html! { (act.done) " of " @if !act.matched.whole { "at least " } @else if seen > act.matched.jobs { "about " } (act.matched.jobs.max(seen)) @if act.passed_over > 0 { ", " (act.passed_over) " stood elsewhere" } }
}

/// The acts, newest first.
pub(super) async fn list(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(part): Query<Part>,
) -> Result<Response, Trouble> {
    let before = part.before.and_then(|id| id.parse().ok());
    let Listed { acts, next } = bulk::list(&state.pool, viewer.tenant(), before, MOST).await?;
    let body = html! {
        h1 { "Acts on many jobs" }
        p.lead { "Find jobs, and act on all that match: " a href="/console/jobs" { "Jobs" } "." }
        section aria-label="Acts" {
            (parts::listed("Nobody has acted on many jobs yet.", "Acts", &["act", "state", "#done", "jobs with", "who", "why", "asked for"], &acts, |act| html! {
                td { a.id href={ "/console/bulk/" (act.id) } { (label(act.act)) span.hidden { " " (act.id) } } }
                td { (words::state(act.state())) } td.n { (progress(act)) } td { code { (act.wanted) } }
                td { (act.actor) } td.free { (act.why) } td { (words::time(act.asked_at)) }
            }))
            @if let Some(next) = next { p.after { a href={ "/console/bulk?before=" (next) } rel="next" { "Older" } } }
        }
    };
    Ok(framed("Acts on many jobs", Page::Jobs, &viewer, &body))
}

/// The choice of an act below a search that found something.
pub(super) fn choice(viewer: &Viewer, address: &Uri) -> Markup {
    let words = url::form_urlencoded::parse(address.query().unwrap_or_default().as_bytes());
    let words: Vec<(String, String)> = words
        .filter(|(name, word)| name != "before" && !word.is_empty())
        .map(|(n, w)| (n.into_owned(), w.into_owned()))
        .collect();
    html! { @if viewer.operates() && !words.is_empty() {
        form.all method="get" action="/console/bulk/preview" {
            @for (name, word) in &words { input type="hidden" name=(name) value=(word); }
            label { "Act on all that match" select name="act" { @for (act, says) in ACTS { option value=(act.as_str()) { (says) } } } }
            button.quiet type="submit" { "Preview" }
        }
    } }
}
