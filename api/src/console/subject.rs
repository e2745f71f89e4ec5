//! One person, as an id: how they stand, which consents are in force, what restricts them, what they objected to and asked for, and
//! the work about them. Never a name, a mail address or an image; opening it is a look that is kept.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use safelight_jobs::{
    id::{Batch, Case, Deletion, Id, Order, Subject},
    look,
    queue::search::{self, Search},
};

use super::{Page, Trouble, jobs::table, overview::link, page as framed, sign_in::Viewer, words};
use crate::{error::Error, input::At, state::ApiState};

/// Rows of each list, newest first.
const MOST: i64 = 50;

/// The page.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    subject: Result<At<Subject>, Error>,
) -> Result<Response, Trouble> {
    let At(subject) = subject?;
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
    let jobs =
        search::search(&state.pool, Search { subject: Some(subject), ..Search::default() }, MOST as usize).await?;
    let body = html! {
        p.eyebrow { a href="/console/cases" { "Cases" } " / person" }
        h1.id { (subject) }
        p.lead { (words::state(&row.state)) }
        dl.facts {
            div { dt { "tenant" } dd { (row.tenant) } }
            div { dt { "registered" } dd { (words::time(row.created_at)) } }
            @if let Some(at) = row.erased_at { div { dt { "erased" } dd { (words::time(at)) } } }
        }
        (consents(&state, subject).await?)
        (restrictions(&state, subject).await?)
        (objections(&state, subject).await?)
        (cases(&state, subject, row.now).await?)
        (orders(&state, subject, row.now).await?)
        (deletions(&state, subject, row.now).await?)
        section {
            h2 { "Jobs" }
            @if jobs.jobs.is_empty() { p.none { "There are none." } } @else { (table(&jobs.jobs, row.now)) }
            @if jobs.next.is_some() { p.after { a href={ "/console/jobs?id=" (subject) } { "All of them" } } }
        }
    };
    Ok(framed("Person", Page::Cases, &viewer, &body))
}

/// A list as a table, each row drawn by `line`, or a sentence where there is nothing.
fn list<R>(title: &str, none: &str, columns: &[&str], rows: &[R], line: impl Fn(&R) -> Markup) -> Markup {
    html! {
        section {
            h2 { (title) }
            @if rows.is_empty() { p.none { (none) } } @else { div.scroll tabindex="0" role="region" aria-label=(title) { table {
                thead { tr { @for column in columns { th scope="col" { (column) } } } }
                tbody { @for row in rows { tr { (line(row)) } } }
            } } }
        }
    }
}

/// Those that a gate would find: granted, and since then neither withdrawn, nor expired, nor given anew in the same place.
async fn consents(state: &ApiState, subject: Id<Subject>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select g.purpose, g.capture_point, g.batch_id, g.order_id, g.at, g.policy_version from safelight.consents g
        where g.subject_id = $1 and g.event = 'granted' and not exists (select from safelight.consents c
            where c.subject_id = g.subject_id and c.purpose = g.purpose and c.seq > g.seq and case c.event
                when 'granted' then c.capture_point = g.capture_point
                    and c.batch_id is not distinct from g.batch_id and c.order_id is not distinct from g.order_id
                else c.batch_id is null and c.order_id is null or c.batch_id = g.batch_id or c.order_id = g.order_id end)
        order by g.seq desc limit $2"#,
        subject.uuid(),
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let columns = ["purpose", "covers", "given at", "when", "policy"];
    Ok(list("Consents in force", "None is in force.", &columns, &rows, |row| {
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

async fn restrictions(state: &ApiState, subject: Id<Subject>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        "select ground, set_at, keep_until, lifted_at, told, told_at from safelight.restrictions where subject_id = $1 order by set_at desc limit $2",
        subject.uuid(),
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let columns = ["ground", "since", "clocks held until", "told of its end", "when", "lifted"];
    Ok(list("Restrictions", "None was ever set.", &columns, &rows, |row| {
        html! {
            td { (words::said(&row.ground)) } td { (words::time(row.set_at)) } td { (words::maybe_time(row.keep_until)) }
            td { (row.told.as_deref().map(words::said).unwrap_or_default()) } td { (words::maybe_time(row.told_at)) }
            td { (words::maybe_time(row.lifted_at)) }
        }
    }))
}

async fn objections(state: &ApiState, subject: Id<Subject>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        "select purpose, state, received_at, decided_at, decided_by, why from safelight.objections where subject_id = $1
        order by received_at desc, id desc limit $2",
        subject.uuid(),
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let columns = ["objects to", "state", "received", "decided", "by", "why"];
    Ok(list("Objections", "There are none.", &columns, &rows, |row| {
        html! {
            td { (words::said(&row.purpose)) } td { (words::state(&row.state)) } td { (words::time(row.received_at)) }
            td { (words::maybe_time(row.decided_at)) } td { (row.decided_by.as_deref().unwrap_or_default()) }
            td { (row.why.as_deref().map(words::said).unwrap_or_default()) }
        }
    }))
}

async fn cases(state: &ApiState, subject: Id<Subject>, now: DateTime<Utc>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        "select id, kind, identity, state, received_at, answer_due from safelight.cases where subject_id = $1
        order by received_at desc, id desc limit $2",
        subject.uuid(),
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let columns = ["case", "asks for", "identity", "state", "received", "legal deadline"];
    Ok(list("Cases", "Nothing was asked for by mail or letter.", &columns, &rows, |row| {
        html! {
            td { code { (Id::<Case>::from(row.id)) } } td { (words::said(&row.kind)) } td { (words::state(&row.identity)) }
            td { @if row.state == "open" && row.answer_due < now { (words::state("late")) " " } (words::state(&row.state)) }
            td { (words::time(row.received_at)) } td { (words::time(row.answer_due)) }
        }
    }))
}

async fn orders(state: &ApiState, subject: Id<Subject>, now: DateTime<Utc>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        "select id, plan, state, problem, created_at from safelight.orders where subject_id = $1 order by id desc limit $2",
        subject.uuid(),
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let columns = ["order", "plan", "state", "problem", "placed"];
    Ok(list("Orders", "There are none.", &columns, &rows, |row| {
        html! {
            td { (link("orders", &Id::<Order>::from(row.id).to_string())) } td { (row.plan) } td { (words::state(&row.state)) }
            td { (row.problem.as_deref().map(words::said).unwrap_or_default()) } td { (words::distance(now, row.created_at)) }
        }
    }))
}

async fn deletions(state: &ApiState, subject: Id<Subject>, now: DateTime<Utc>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        "select id, trigger, purpose, state, answer_due, completed_at from safelight.deletions where subject_id = $1 order by id desc limit $2",
        subject.uuid(),
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let columns = ["deletion", "because of", "state", "legal deadline", "complete"];
    Ok(list("Deletions", "There are none.", &columns, &rows, |row| {
        html! {
            td { (link("deletions", &Id::<Deletion>::from(row.id).to_string())) }
            td { (words::said(&row.trigger)) @if let Some(purpose) = &row.purpose { " for " (purpose) } }
            td { @if row.completed_at.is_none() && row.answer_due < now { (words::state("late")) " " } (words::state(&row.state)) }
            td { (words::time(row.answer_due)) } td { (words::maybe_time(row.completed_at)) }
        }
    }))
}
