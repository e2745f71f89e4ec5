//! One person, as an id: how they stand, which consents are in force, what restricts them, what they objected to and asked for, and
//! the work about them. Never a name, a mail address or an image; opening it is a look that is kept.

use std::fmt::Display;

use axum::{
    extract::{Query, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use safelight_jobs::{
    id::{Batch, Case, Deletion, Id, Order, Subject},
    look,
    place::{self, Place},
    queue::search::{self, Search},
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Page, Trouble, act,
    job::Done,
    jobs::table,
    overview::link,
    page as framed,
    parts::{self, MOST, one_more},
    rights,
    sign_in::Viewer,
    words,
};
use crate::{error::Error, input::At, state::ApiState};

/// Where a later page of a list begins, all of them the newest first.
#[derive(Deserialize)]
pub(super) struct Part {
    consents_before: Option<String>,
    restrictions_before: Option<String>,
    objections_before: Option<String>,
    cases_before: Option<String>,
    orders_before: Option<String>,
    deletions_before: Option<String>,
}

/// The page. A later page of one list is about that list, below who it is.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    subject: Result<At<Subject>, Error>,
    Query(done): Query<Done>,
    Query(part): Query<Part>,
) -> Result<Response, Trouble> {
    let At(subject) = subject?;
    let consents_before = part.consents_before.and_then(|seq| seq.parse::<i64>().ok());
    let [restrictions_before, objections_before, cases_before] =
        [&part.restrictions_before, &part.objections_before, &part.cases_before]
            .map(|text| parts::place(text.as_ref()));
    let orders_before = part.orders_before.and_then(|id| id.parse::<Id<Order>>().ok()).map(Id::uuid);
    let deletions_before = part.deletions_before.and_then(|id| id.parse::<Id<Deletion>>().ok()).map(Id::uuid);
    let whole = consents_before.is_none()
        && restrictions_before.or(objections_before).or(cases_before).is_none()
        && orders_before.or(deletions_before).is_none();
    let row = sqlx::query!(
        r#"select tenant, state, created_at, erased_at, safelight.now() as "now!" from safelight.subjects
        where id = $1 and ($2::text is null or tenant = $2)"#,
        subject.uuid(),
        viewer.tenant()
    )
    .fetch_optional(&state.pool)
    .await?
    .ok_or_else(|| Error::not_found(subject))?;
    let entry = look::entry().subject(subject).tenant(&row.tenant);
    viewer.looks_at(&state, &subject.to_string(), entry).await?;
    let jobs = search::search(&state.pool, Search { subject: Some(subject), ..Search::default() }, MOST).await?;
    let aside = search::why_aside(&state.pool, &jobs.jobs).await?;
    let body = html! {
        p.eyebrow { a href="/console/cases" { "Cases" } " / person" }
        h1.id { (subject) }
        (act::said(done.done.as_deref()))
        p.lead { (words::state(&row.state)) }
        dl.facts {
            div { dt { "tenant" } dd { (row.tenant) } }
            div { dt { "registered" } dd { (words::time(row.created_at)) } }
            @if let Some(at) = row.erased_at { div { dt { "erased" } dd { (words::time(at)) } } }
        }
        @if whole { (rights::section(&state, &viewer, &row.tenant, subject, &row.state).await?) }
        @if whole || consents_before.is_some() { (consents(&state, subject, consents_before).await?) }
        @if whole || restrictions_before.is_some() { (restrictions(&state, subject, restrictions_before).await?) }
        @if whole || objections_before.is_some() { (objections(&state, subject, objections_before).await?) }
        @if whole || cases_before.is_some() { (cases(&state, subject, cases_before, row.now).await?) }
        @if whole || orders_before.is_some() { (orders(&state, subject, orders_before, row.now).await?) }
        @if whole || deletions_before.is_some() { (deletions(&state, subject, deletions_before, row.now).await?) }
        @if whole { section {
            h2 { "Jobs" }
            @if jobs.jobs.is_empty() { p.none { "There are none." } } @else { (table(&jobs.jobs, &aside, row.now)) }
            @if jobs.next.is_some() { p.after { a href={ "/console/jobs?id=" (subject) } { "All of them" } } }
        } }
    };
    Ok(framed("Person", Page::Cases, &viewer, &body))
}

/// The link to a later page of one list.
fn older(subject: Id<Subject>, next: Option<impl Display>, list: &str, says: &str) -> Markup {
    parts::more(next, &format!("/console/subjects/{subject}?{list}="), "", says)
}

/// A list as a table, each row drawn by `line`, or a sentence where there is nothing; below it the link to what is older.
fn list<R>(
    title: &str,
    none: &str,
    columns: &[&str],
    rows: &[R],
    older: &Markup,
    line: impl Fn(&R) -> Markup,
) -> Markup {
    html! {
        section {
            h2 { (title) }
            (parts::listed(none, title, columns, rows, line))
            (older)
        }
    }
}

/// Those that a gate would find: granted, and since then neither withdrawn, nor expired, nor given anew in the same place.
async fn consents(state: &ApiState, subject: Id<Subject>, before: Option<i64>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select g.seq, g.purpose, g.capture_point, g.batch_id, g.order_id, g.at, g.policy_version from safelight.consents g
        where g.subject_id = $1 and g.event = 'granted' and not exists (select from safelight.consents c
            where c.subject_id = g.subject_id and c.purpose = g.purpose and c.seq > g.seq and case c.event
                when 'granted' then c.capture_point = g.capture_point
                    and c.batch_id is not distinct from g.batch_id and c.order_id is not distinct from g.order_id
                else c.batch_id is null and c.order_id is null or c.batch_id = g.batch_id or c.order_id = g.order_id end)
            and ($2::bigint is null or g.seq < $2)
        order by g.seq desc limit $3"#,
        subject.uuid(),
        before,
        one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| row.seq);
    let older = older(subject, next, "consents_before", "Older consents");
    let columns = ["purpose", "covers", "given at", "when", "policy"];
    Ok(list("Consents in force", "None is in force.", &columns, &rows, &older, |row| {
        html! {
            td { (words::said(&row.purpose)) }
            td { @match (row.order_id, row.batch_id) {
                (Some(order), _) => (link("orders", &Id::<Order>::from(order).to_string())),
                (_, Some(batch)) => { code { (Id::<Batch>::from(batch)) } },
                _ => "the account",
            } }
            td { (words::said(&row.capture_point)) } td { (words::time(row.at)) } td { (row.policy_version) }
        }
    }))
}

async fn restrictions(state: &ApiState, subject: Id<Subject>, before: Option<Place>) -> Result<Markup, Error> {
    let (at, id) = place::halves(before);
    let rows = sqlx::query!(
        r#"select id, ground, set_at, keep_until, lifted_at, told, told_at from safelight.restrictions where subject_id = $1
            and ($2::timestamptz is null or (set_at, id) < ($2, $3::uuid)) order by set_at desc, id desc limit $4"#,
        subject.uuid(),
        at,
        id,
        one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| Place::of(row.set_at, row.id));
    let older = older(subject, next, "restrictions_before", "Older restrictions");
    let columns = ["ground", "since", "clocks held until", "told of its end", "when", "lifted"];
    Ok(list("Restrictions", "None was ever set.", &columns, &rows, &older, |row| {
        html! {
            td { (words::said(&row.ground)) } td { (words::time(row.set_at)) } td { (words::maybe_time(row.keep_until)) }
            td { (row.told.as_deref().map(words::said).unwrap_or_default()) } td { (words::maybe_time(row.told_at)) }
            td { (words::maybe_time(row.lifted_at)) }
        }
    }))
}

async fn objections(state: &ApiState, subject: Id<Subject>, before: Option<Place>) -> Result<Markup, Error> {
    let (at, id) = place::halves(before);
    let rows = sqlx::query!(
        r#"select id, purpose, state, received_at, decided_at, decided_by, why from safelight.objections where subject_id = $1
            and ($2::timestamptz is null or (received_at, id) < ($2, $3::uuid)) order by received_at desc, id desc limit $4"#,
        subject.uuid(),
        at,
        id,
        one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| Place::of(row.received_at, row.id));
    let older = older(subject, next, "objections_before", "Older objections");
    let columns = ["objects to", "state", "received", "decided", "by", "why"];
    Ok(list("Objections", "There are none.", &columns, &rows, &older, |row| {
        html! {
            td { (words::said(&row.purpose)) } td { (words::state(&row.state)) } td { (words::time(row.received_at)) }
            td { (words::maybe_time(row.decided_at)) } td { (row.decided_by.as_deref().unwrap_or_default()) }
            td { (row.why.as_deref().map(words::said).unwrap_or_default()) }
        }
    }))
}

async fn cases(
    state: &ApiState,
    subject: Id<Subject>,
    before: Option<Place>,
    now: DateTime<Utc>,
) -> Result<Markup, Error> {
    let (at, id) = place::halves(before);
    let rows = sqlx::query!(
        r#"select id, kind, identity, state, received_at, answer_due from safelight.cases where subject_id = $1
            and ($2::timestamptz is null or (received_at, id) < ($2, $3::uuid)) order by received_at desc, id desc limit $4"#,
        subject.uuid(),
        at,
        id,
        one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| Place::of(row.received_at, row.id));
    let older = older(subject, next, "cases_before", "Older cases");
    let columns = ["case", "asks for", "identity", "state", "received", "legal deadline"];
    Ok(list("Cases", "Nothing was asked for by mail or letter.", &columns, &rows, &older, |row| {
        html! {
            td { code { (Id::<Case>::from(row.id)) } } td { (words::said(&row.kind)) } td { (words::state(&row.identity)) }
            td { @if row.state == "open" && row.answer_due < now { (words::state("late")) " " } (words::state(&row.state)) }
            td { (words::time(row.received_at)) } td { (words::time(row.answer_due)) }
        }
    }))
}

async fn orders(
    state: &ApiState,
    subject: Id<Subject>,
    before: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select id, plan, state, problem, created_at from safelight.orders where subject_id = $1 and ($2::uuid is null or id < $2)
        order by id desc limit $3"#,
        subject.uuid(),
        before,
        one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| Id::<Order>::from(row.id));
    let older = older(subject, next, "orders_before", "Older orders");
    let columns = ["order", "plan", "state", "problem", "placed"];
    Ok(list("Orders", "There are none.", &columns, &rows, &older, |row| {
        html! {
            td { (link("orders", &Id::<Order>::from(row.id).to_string())) } td { (row.plan) } td { (words::state(&row.state)) }
            td { (row.problem.as_deref().map(words::said).unwrap_or_default()) } td { (words::distance(now, row.created_at)) }
        }
    }))
}

async fn deletions(
    state: &ApiState,
    subject: Id<Subject>,
    before: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select id, trigger, purpose, state, answer_due, completed_at from safelight.deletions
        where subject_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3"#,
        subject.uuid(),
        before,
        one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| Id::<Deletion>::from(row.id));
    let older = older(subject, next, "deletions_before", "Older deletions");
    let columns = ["deletion", "because of", "state", "legal deadline", "complete"];
    Ok(list("Deletions", "There are none.", &columns, &rows, &older, |row| {
        html! {
            td { (link("deletions", &Id::<Deletion>::from(row.id).to_string())) }
            td { (words::said(&row.trigger)) @if let Some(purpose) = &row.purpose { " for " (purpose) } }
            td { @if row.completed_at.is_none() && row.answer_due < now { (words::state("late")) " " } (words::state(&row.state)) }
            td { (words::time(row.answer_due)) } td { (words::maybe_time(row.completed_at)) }
        }
    }))
}
