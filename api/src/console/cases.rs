//! Cases: what people ask for by mail or letter, with the deadline of the answer and what each waits for. Ids and codes; the mail
//! itself is in a mailbox. And beside them what people objected to, and the exports that were made for them: never whose words, never
//! what is in them.

use axum::{
    extract::{Query, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use safelight_jobs::{
    export_data::ExportData,
    intake::{self, CaseRow, ExportRow, ObjectionRow},
    job::{Job, JobKey},
    place::Place,
};
use serde::Deserialize;

use super::{
    Page, Trouble, act, decisions,
    job::Done,
    open,
    overview::link,
    page as framed,
    parts::{self, MOST},
    sign_in::Viewer,
    waits, words,
};
use crate::{numbers, state::ApiState};

/// Which cases, and which part of each list.
#[derive(Deserialize)]
pub(super) struct Wanted {
    /// Closed ones too.
    all: Option<String>,
    /// Where a later page of a list begins.
    cases_after: Option<String>,
    objections_after: Option<String>,
    exports_before: Option<String>,
}

/// The page. A later page of one list is about that list only.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(done): Query<Done>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Trouble> {
    let all = wanted.all.is_some();
    let [cases_after, objections_after, exports_before] =
        [&wanted.cases_after, &wanted.objections_after, &wanted.exports_before].map(|text| parts::place(text.as_ref()));
    let whole = cases_after.or(objections_after).or(exports_before).is_none();
    let restricted = numbers::restricted(&state.pool, viewer.tenant()).await?;
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let body = html! {
        h1 { "Cases" }
        (act::said(done.done.as_deref()))
        p.lead { "The clock runs from the receipt, whoever it is: one month. " (words::many(restricted)) @if restricted == 1 { " person is" } @else { " people are" } " restricted: their data are stored, and nothing is done with them." }
        @if whole { (open::of_anybody(&state, &viewer).await?) }
        @if whole || cases_after.is_some() { (cases(&state, &viewer, all, cases_after, now).await?) }
        @if whole || objections_after.is_some() { (objections(&state, &viewer, all, objections_after, now).await?) }
        @if whole || exports_before.is_some() { (exports(&state, viewer.tenant(), exports_before, now).await?) }
    };
    Ok(framed("Cases", Page::Cases, &viewer, &body))
}

/// The address of a later page of a list, up to its place.
fn later(all: bool, list: &str) -> String {
    format!("/console/cases?{}{list}=", if all { "all=1&" } else { "" })
}

async fn cases(
    state: &ApiState,
    viewer: &Viewer,
    all: bool,
    after: Option<Place>,
    now: DateTime<Utc>,
) -> Result<Markup, sqlx::Error> {
    let cases = intake::cases_after(&state.pool, viewer.tenant(), all, after, parts::one_more(MOST)).await?;
    let (cases, next) = parts::page(cases, MOST, CaseRow::place);
    Ok(html! {
        section {
            h2 { @if all { "All" } @else { "Open" } span.aside { "the nearest deadline first" }
                @if all { a href="/console/cases" { "Only open ones" } } @else { a href="/console/cases?all=1" { "Closed ones too" } } }
            @if cases.is_empty() { p.none { @if all { "There are none." } @else { "None is open." } } } @else { (table(viewer, &cases, now)) }
            (parts::more(next, &later(all, "cases_after"), "", "Later deadlines"))
        }
    })
}

fn table(viewer: &Viewer, cases: &[CaseRow], now: DateTime<Utc>) -> Markup {
    html! {
        (parts::table("Cases", &["case", "tenant", "asks for", "identity", "state", "waits for", "deletion", "#received", "#legal deadline"], cases, |case| html! {
            td { code { (case.case) } } td { (case.tenant) } td { (words::said(&case.kind)) @for one in &case.objections { ", " (words::said(&one.purpose)) " " (words::state(&one.state)) } } td { (words::state(&case.identity)) }
            td { @if case.late { (words::state("late")) " " } (words::state(&case.state)) } td.free { (waits_for(case)) (decisions::of_case(viewer, case)) }
            td { @if let Some(deletion) = case.deletion { (link("deletions", &deletion.to_string())) } }
            td.n { (words::distance(now, case.received_at)) } td.n { (words::distance(now, case.answer_due)) }
        }))
    }
}

/// Why it is not closed yet.
fn waits_for(case: &CaseRow) -> &'static str {
    match (case.state.as_str(), case.identity.as_str(), case.deletion.is_some()) {
        ("open", "unverified", _) => "somebody who verifies who it is",
        ("open", ..) if case.objections.iter().any(|one| one.state == "open") => {
            "somebody who decides about the objection, then an answer"
        }
        ("open", _, true) => "the deletion, then an answer",
        ("open", ..) => "an answer",
        _ => "",
    }
}

async fn objections(
    state: &ApiState,
    viewer: &Viewer,
    all: bool,
    after: Option<Place>,
    now: DateTime<Utc>,
) -> Result<Markup, sqlx::Error> {
    let objections = intake::objections_after(&state.pool, viewer.tenant(), all, after, parts::one_more(MOST)).await?;
    let (objections, next) = parts::page(objections, MOST, ObjectionRow::place);
    Ok(html! {
        section {
            h2 { "Objections" span.aside { "the person is restricted until somebody decides; upheld, nothing is done for the purpose any more" } }
            (parts::listed("None is open.", "Objections", &["person", "tenant", "objects to", "state", "decided by", "why", "#received"], &objections, |objection| html! {
                td { (link("subjects", &objection.subject.to_string())) } td { (objection.tenant) } td { (words::said(&objection.purpose)) } td { (words::state(&objection.state)) (decisions::of_objection(viewer, objection)) }
                td { (objection.decided_by.as_deref().unwrap_or_default()) } td { (objection.why.as_deref().map(words::said).unwrap_or_default()) }
                td.n { (words::distance(now, objection.received_at)) }
            }))
            (parts::more(next, &later(all, "objections_after"), "", "Later objections"))
        }
    })
}

async fn exports(
    state: &ApiState,
    tenant: Option<&str>,
    before: Option<Place>,
    now: DateTime<Utc>,
) -> Result<Markup, sqlx::Error> {
    let exports = intake::exports_before(&state.pool, tenant, before, parts::one_more(MOST)).await?;
    let (exports, next) = parts::page(exports, MOST, ExportRow::place);
    let key = |row: &ExportRow| ExportData { export: row.export }.key();
    let making: Vec<JobKey> = exports.iter().filter(|row| row.state == "making").map(key).collect();
    let waiting = waits::of(&state.pool, &making, tenant).await?;
    Ok(html! {
        section {
            h2 { "Exports" span.aside { "made for a person who asked what there is about them" } }
            (parts::listed("There is none.", "Exports", &["export", "tenant", "state", "waits for", "asked by", "why", "#asked", "#goes"], &exports, |export| html! {
                td { code { (export.export) } } td { (export.tenant) } td { (words::state(&export.state)) }
                td { @if export.state == "making" { (waits::said(waiting.get(key(export).as_str()), "its job ended: ask for it again")) } }
                td { @match &export.by { Some(by) => (by), None => "the person" } } td { (export.why.as_deref().map(words::said).unwrap_or_default()) }
                td.n { (words::distance(now, export.asked_at)) }
                td.n { @if let Some(at) = export.expires_at { (words::distance(now, at)) } }
            }))
            (parts::more(next, &later(false, "exports_before"), "", "Older exports"))
        }
    })
}
