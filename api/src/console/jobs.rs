//! Finding jobs: by id, kind, state, queue, tenant, order, person, code and time, newest first, a page at a time. Looking for the jobs of one
//! order or person is a look at their case, and is kept.

use std::collections::BTreeMap;

use axum::{
    extract::{Query, State},
    http::Uri,
    response::{IntoResponse, Redirect, Response},
};
use chrono::{DateTime, NaiveDateTime, Utc};
use maud::{Markup, html};
use safelight_jobs::{
    id::{self, Id, Order, Subject},
    job::Queue,
    queue::search::{self, Search, State as Stands, Wanted},
    registry,
};
use serde::Deserialize;
use uuid::Uuid;

use super::{Page, Trouble, bulk, find, overview::link, page as framed, parts, sign_in::Viewer, words};
use crate::{error::Error, state::ApiState};

/// Rows of one page.
const MOST: usize = 50;

/// What the form asks for. An empty field does not narrow.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Sought {
    id: String,
    kind: String,
    state: String,
    queue: String,
    tenant: String,
    code: String,
    from: String,
    until: String,
    before: String,
}

/// A word as it is stored: pages show codes with blanks, and a phone begins each field with a capital.
pub(super) fn meant(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join("_").to_lowercase()
}

/// A code as it is stored. What is waited for stands behind the code and a colon, in words of its own.
fn code(text: &str) -> String {
    meant(text.split_once(": ").map_or(text, |(code, _)| code))
}

impl Sought {
    /// With each word as it is stored.
    fn meant(self) -> Self {
        let [kind, state, queue, tenant] = [&self.kind, &self.state, &self.queue, &self.tenant].map(|word| meant(word));
        Self { kind, state, queue, tenant, code: code(&self.code), ..self }
    }

    /// As the domain asks it, for this viewer.
    pub(super) fn wanted(&self, viewer: &Viewer) -> Result<Wanted, Error> {
        let word = |text: String| Some(text).filter(|text| !text.is_empty());
        let mut wanted = Wanted {
            kind: word(meant(&self.kind)),
            state: word(meant(&self.state)).map(|state| state.parse()).transpose()?,
            queue: word(meant(&self.queue)),
            tenant: viewer.tenant().map(str::to_owned).or(word(meant(&self.tenant))),
            code: word(code(&self.code)),
            from: instant(&self.from)?,
            until: instant(&self.until)?,
            ..Wanted::default()
        };
        if !self.id.trim().is_empty() {
            let id = find::id_in(&self.id).unwrap_or_default();
            let (order, subject) = (id.parse::<Id<Order>>(), id.parse::<Id<Subject>>());
            let bare = || id.parse::<Uuid>().ok().map(Id::<id::Job>::from);
            match (id.parse::<Id<id::Job>>().ok().or_else(bare), order, subject) {
                (Some(job), ..) => wanted.job = Some(job),
                (_, Ok(order), _) => wanted.order = Some(order),
                (.., Ok(subject)) => wanted.subject = Some(subject),
                _ => {
                    return Err(Error::BadId(
                        "paste the id of a job (job_…), an order (order_…) or a person (subject_…)".to_owned(),
                    ));
                }
            }
        }
        Ok(wanted.checked()?)
    }

    /// The address of the page that begins here.
    fn address(&self, before: Uuid) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("id", &self.id),
            ("kind", &self.kind),
            ("state", &self.state),
            ("queue", &self.queue),
            ("tenant", &self.tenant),
            ("code", &self.code),
            ("from", &self.from),
            ("until", &self.until),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.append_pair("before", &Id::<id::Job>::from(before).to_string());
        format!("/console/jobs?{}", query.finish())
    }
}

/// As a browser's field for times sends it, in UTC.
pub(super) fn instant(text: &str) -> Result<Option<DateTime<Utc>>, Error> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let shapes = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"];
    let read = shapes.iter().find_map(|shape| NaiveDateTime::parse_from_str(text, shape).ok());
    let why = || Error::Invalid { code: "value_refused", why: "write a time as 2026-11-26T21:00, in UTC".to_owned() };
    read.map(|at| Some(at.and_utc())).ok_or_else(why)
}

/// The page.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    address: Uri,
    Query(sought): Query<Sought>,
) -> Result<Response, Trouble> {
    let sought = sought.meant();
    let wanted = sought.wanted(&viewer)?;
    // One job is seen on its own page, which keeps the look.
    if wanted.job.is_none() {
        viewer.looks_for(&state, &wanted).await?;
    }
    let before = sought.before.parse::<Id<id::Job>>().ok().map(Id::uuid);
    let found = search::search(&state.pool, Search { before, ..wanted.search() }, MOST).await?;
    if let (Some(job), Some(_)) = (wanted.job, found.jobs.first()) {
        return Ok(Redirect::to(&format!("/console/jobs/{job}")).into_response());
    }
    let aside = search::why_aside(&state.pool, &found.jobs).await?;
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let body = html! {
        div.head { h1 { "Jobs" } a href="/console/bulk" { "Acts on many jobs" } }
        (form(&sought, &viewer))
        @if !found.jobs.is_empty() || found.next.is_some() { (bulk::choice(&viewer, &address)) }
        section aria-label="Found" {
            @if found.jobs.is_empty() { p.none {
                @if found.next.is_some() { "None among the newest. Older ones were not looked at yet." } @else { "No job matches." }
            } } @else { (table(&found.jobs, &aside, now)) }
            @if let Some(next) = found.next {
                p.after { a href=(sought.address(next)) rel="next" { "Older, from " (id_time(next)) } }
            }
        }
    };
    Ok(framed("Jobs", Page::Jobs, &viewer, &body))
}

/// When an id was made: ids grow with time.
fn id_time(id: Uuid) -> String {
    let milliseconds = i64::try_from(id.as_u128() >> 80).unwrap_or(0);
    DateTime::from_timestamp_millis(milliseconds)
        .map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}

fn form(wanted: &Sought, viewer: &Viewer) -> Markup {
    let mut kinds: Vec<&str> = registry::ALL.iter().map(|known| known.name).collect();
    kinds.sort_unstable();
    html! {
        form.filter method="get" action="/console/jobs" role="search" {
            label.wide { "Job, order or person" input name="id" type="text" value=(wanted.id) placeholder="job_… order_… subject_…" autocomplete="off" spellcheck="false"; }
            label { "Kind" select name="kind" {
                option value="" { "any" }
                @for kind in kinds { option value=(kind) selected[wanted.kind == kind] { (words::said(kind)) } }
            } }
            label { "State" select name="state" {
                option value="" { "any" }
                @for stands in Stands::ALL { option value=(stands.as_str()) selected[wanted.state == stands.as_str()] { (words::said(stands.as_str())) } }
            } }
            label { "Queue" select name="queue" {
                option value="" { "any" }
                @for queue in Queue::ALL.map(Queue::as_str) { option value=(queue) selected[wanted.queue == queue] { (queue) } }
            } }
            @if viewer.tenant().is_none() { label { "Tenant" input name="tenant" type="text" value=(wanted.tenant) autocomplete="off" spellcheck="false"; } }
            label { "Code" input name="code" type="text" value=(wanted.code) placeholder="fal_busy" autocomplete="off" spellcheck="false"; }
            label.moment { "Made from" input name="from" type="datetime-local" value=(wanted.from); }
            label.moment { "until" input name="until" type="datetime-local" value=(wanted.until); }
            button type="submit" { "Find" }
        }
    }
}

/// Jobs in a table. `aside` says how that stands for which some are set aside.
pub(super) fn table(jobs: &[search::Job], aside: &BTreeMap<String, String>, now: DateTime<Utc>) -> Markup {
    html! {
        (parts::table("Jobs", &["job", "kind", "state", "code", "#attempts", "#waits", "#made", "#ended", "order", "tenant"], jobs, |job| html! {
            td { (link("jobs", &Id::<id::Job>::from(job.id).to_string())) }
            td { (words::said(&job.kind)) }
            td { (words::state(&job.state)) }
            td { @if let Some(code) = &job.code {
                (words::said(code))
                @if job.state == Stands::SetAside.as_str() { @if let Some(word) = aside.get(code) { " " span.small { (words::said(word)) } } }
            } }
            td.n { (job.attempt) } td.n { (job.waits) }
            td.n { (words::distance(now, job.created_at)) }
            td.n { @match job.ended_at { Some(at) => (words::distance(now, at)), None => span.none { "–" } } }
            td { @if let Some(order) = job.order_id { (link("orders", &Id::<Order>::from(order).to_string())) } }
            td { (job.tenant.as_deref().unwrap_or("–")) }
        }))
    }
}
