//! One job: why it does not run, its attempts and waits, the provider calls it made, what operators did, what the audit log
//! says, and what may be done to it. Its payload is shown to operators only, to each who says why.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use maud::{Markup, html};
use safelight_jobs::{
    id::{self, Id, Intent, Order, Subject},
    look,
    operate::{self, Act},
    payload as payloads,
    place::{self, Place},
    queue::{self, Explanation},
    run::Tx,
};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Page, Trouble,
    act::{self, Form},
    overview::link,
    page as framed, parts,
    sign_in::Viewer,
    words,
};
use crate::{error::Error, input::At, state::ApiState};

/// Rows of each list.
const MOST: usize = 100;

/// What was done a moment ago.
#[derive(Deserialize)]
pub(super) struct Done {
    pub(super) done: Option<String>,
}

/// Where a later page of a list begins.
#[derive(Deserialize)]
pub(super) struct Part {
    attempts_before: Option<String>,
    calls_after: Option<String>,
    acts_before: Option<String>,
    entries_after: Option<String>,
}

/// The page. A later page of one list is about that list, below what the job is.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    job: Result<At<id::Job>, Error>,
    Query(done): Query<Done>,
    Query(part): Query<Part>,
) -> Result<Response, Trouble> {
    let At(job) = job?;
    let [attempts_before, calls_after] =
        [&part.attempts_before, &part.calls_after].map(|text| parts::place(text.as_ref()));
    let acts_before = part.acts_before.and_then(|id| id.parse::<Uuid>().ok());
    let entries_after = part.entries_after.and_then(|seq| seq.parse::<i64>().ok());
    let whole = attempts_before.is_none() && calls_after.is_none() && acts_before.is_none() && entries_after.is_none();
    let row = sqlx::query!(
        r#"select kind as "kind!", queue as "queue!", tenant, state as "state!", code, attempt as "attempt!", max_attempts, waits as "waits!",
            crashes, subject_id, order_id, lane, run_at, created_at as "created_at!", started_at, finished_at, worker, traceparent, deadline_at
        from (
            select kind, queue, tenant, case state when 0 then 'ready' when 1 then 'running' when 2 then 'held' when 3 then 'scheduled'
                    else 'set_aside' end as state, why as code, attempt, max_attempts, waits, crashes, subject_id, order_id, lane, run_at, created_at,
                started_at, null::timestamptz as finished_at, worker, traceparent, deadline_at
            from safelight.jobs where id = $1
            union all
            select kind, queue, tenant, outcome, code, attempt, null, waits, null, subject_id, order_id, null, run_at, created_at,
                started_at, finished_at, null, null, null
            from safelight.jobs_archive where id = $1
            union all
            select kind, queue, tenant, 'dead', code, attempt, max_attempts, waits, crashes, subject_id, order_id, lane, null, created_at,
                null, died_at, null, traceparent, null
            from safelight.dead_letters where id = $1
        ) j where $2::text is null or tenant is null or tenant = $2
        order by finished_at desc nulls first limit 1"#,
        job.uuid(),
        viewer.tenant()
    )
    .fetch_optional(&state.pool)
    .await?
    .ok_or_else(|| Error::not_found(job))?;
    let mut entry = look::entry().job(&row.kind, job);
    if let Some(tenant) = &row.tenant {
        entry = entry.tenant(tenant);
    }
    viewer.looks_at(&state, &job.to_string(), entry).await?;
    let explained = queue::explain(&state.pool, job, viewer.tenant()).await?;
    let own = viewer.tenant().is_none() || row.tenant.as_deref() == viewer.tenant();
    let body = html! {
        p.eyebrow { a href="/console/jobs" { "Jobs" } " / " (words::said(&row.kind)) }
        h1.id { (job) }
        (act::said(done.done.as_deref()))
        p.lead { (words::state(&row.state)) " " (sentence(explained.as_ref(), row.code.as_deref())) }
        @if own { (buttons(&viewer, job, &row.state)) }
        dl.facts {
            div { dt { "kind" } dd { (words::said(&row.kind)) } }
            div { dt { "queue" } dd { (row.queue) } }
            div { dt { "tenant" } dd { (row.tenant.as_deref().unwrap_or("the house")) } }
            div { dt { "attempts spent" } dd { (row.attempt) @if let Some(most) = row.max_attempts.filter(|most| *most < i32::MAX) { " of " (most) } } }
            div { dt { "waits" } dd { (row.waits) } }
            @if let Some(crashes) = row.crashes.filter(|n| *n > 0) { div { dt { "crashes" } dd { (crashes) } } }
            div { dt { "made" } dd { (words::time(row.created_at)) } }
            @if let Some(at) = row.run_at { div { dt { "due" } dd { (words::time(at)) } } }
            @if let Some(at) = row.started_at { div { dt { "started" } dd { (words::time(at)) } } }
            @if let Some(at) = row.finished_at { div { dt { "ended" } dd { (words::time(at)) } } }
            @if let Some(at) = row.deadline_at { div { dt { "tried until" } dd { (words::time(at)) } } }
            @if let Some(worker) = &row.worker { div { dt { "worker" } dd { code { (worker) } } } }
            @if let Some(lane) = &row.lane { div.wide { dt { "lane" } dd { code { (lane) } } } }
            @if let Some(order) = row.order_id { div.wide { dt { "order" } dd { (link("orders", &Id::<Order>::from(order).to_string())) } } }
            @if let Some(subject) = row.subject_id { div.wide { dt { "subject" } dd { (link("subjects", &Id::<Subject>::from(subject).to_string())) } } }
            @if let Some(trace) = &row.traceparent { div.wide { dt { "trace" } dd { code { (trace) } } } }
        }
        @if whole || attempts_before.is_some() { (attempts(&state, job, attempts_before).await?) }
        @if whole || calls_after.is_some() { (calls(&state, job, row.order_id, row.subject_id, calls_after).await?) }
        @if whole || acts_before.is_some() { (acts(&state, job, acts_before).await?) }
        @if whole || entries_after.is_some() { (audit(&state, job, entries_after).await?) }
    };
    Ok(framed("Job", Page::Jobs, &viewer, &body))
}

fn sentence(explained: Option<&Explanation>, code: Option<&str>) -> Markup {
    html! {
        @match explained {
            Some(known) => { strong { (words::said(&known.code)) } ": " (known.detail) "." },
            None => { (code.map(words::said).unwrap_or_default()) },
        }
    }
}

fn buttons(viewer: &Viewer, job: Id<id::Job>, stands: &str) -> Markup {
    let fitting: &[(Act, &str)] = match stands {
        "ready" | "set_aside" => &[(Act::Hold, "Hold"), (Act::Cancel, "Cancel")],
        "running" => &[(Act::Cancel, "Cancel"), (Act::Hold, "Hold")],
        "held" => &[(Act::Release, "Release"), (Act::Cancel, "Cancel")],
        "scheduled" => &[(Act::Retry, "Retry now"), (Act::Hold, "Hold"), (Act::Cancel, "Cancel")],
        "dead" => &[(Act::Retry, "Redrive"), (Act::Discard, "Discard")],
        _ => &[],
    };
    html! {
        div.acts { @for (what, label) in fitting {
            (act::button(viewer, &format!("/console/jobs/{job}/{}", what.as_str()), label, "this job", &html! {}))
        }
            (act::button(viewer, &format!("/console/jobs/{job}/payload"), "Read payload", "of this job", &html! {}))
        }
    }
}

/// The address of a later page of a list, up to its place.
fn later(job: Id<id::Job>, list: &str) -> String {
    format!("/console/jobs/{job}?{list}=")
}

async fn attempts(state: &ApiState, job: Id<id::Job>, before: Option<Place>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select at, attempt, verdict, code, worker from safelight.job_attempts
        where job_id = $1 and ($2::timestamptz is null or at < $2) order by at desc limit $3"#,
        job.uuid(),
        before.map(|place| place.at),
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    // One attempt ends before the next: no two have one time.
    let (rows, next) = parts::page(rows, MOST, |row| Place::of(row.at, job.uuid()));
    // As many as its kind has names for.
    let steps =
        sqlx::query!("select name, at from safelight.job_steps where job_id = $1 order by at, name", job.uuid())
            .fetch_all(&state.pool)
            .await?;
    Ok(html! {
        section {
            h2 { "Attempts and waits" span.aside { "newest first; an attempt that simply succeeded is not in here" } }
            @if rows.is_empty() { p.none { "None failed, waited or was cut." } } @else { ol.line {
                @for row in &rows { li {
                    span.when { (words::time(row.at)) }
                    span.what { (words::state(&row.verdict)) " " strong { (words::said(&row.code)) }
                        span.small { " attempt " (row.attempt + 1) @if let Some(worker) = &row.worker { " · " (worker) } } }
                } }
            } }
            (parts::more(next, &later(job, "attempts_before"), "", "Earlier attempts"))
            @if !steps.is_empty() { p.after { "Steps that are done and are not repeated: "
                @for (n, step) in steps.iter().enumerate() { @if n > 0 { ", " } (words::said(&step.name)) } "." } }
        }
    })
}

async fn calls(
    state: &ApiState,
    job: Id<id::Job>,
    order: Option<Uuid>,
    subject: Option<Uuid>,
    after: Option<Place>,
) -> Result<Markup, Error> {
    let (at, id) = place::halves(after);
    let rows = sqlx::query!(
        r#"select id, processor, purpose, model, state, code, created_at from safelight.provider_calls
        where (order_id = $2 or subject_id = $3) and job_id = $1 and ($4::timestamptz is null or (created_at, id) > ($4, $5::uuid))
        order by created_at, id limit $6"#,
        job.uuid(),
        order,
        subject,
        at,
        id,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| Place::of(row.created_at, row.id));
    Ok(html! { @if !rows.is_empty() {
        section {
            h2 { "Provider calls" }
            (parts::table("Provider calls", &["call", "processor", "purpose", "model", "state", "code", "intended"], &rows, |row| html! {
                td { code { (Id::<Intent>::from(row.id)) } } td { (row.processor) } td { (row.purpose) } td { (row.model) }
                td { (words::state(&row.state)) } td { (row.code.as_deref().map(words::said).unwrap_or_default()) }
                td { (words::time(row.created_at)) }
            }))
            (parts::more(next, &later(job, "calls_after"), "", "Later calls"))
        }
    } })
}

async fn acts(state: &ApiState, job: Id<id::Job>, before: Option<Uuid>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select id, at, actor, why, outcome from safelight.operator_acts
        where about = $1 and action <> 'console.look' and ($2::uuid is null or id < $2) order by id desc limit $3"#,
        job.to_string(),
        before,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| row.id);
    Ok(html! { @if !rows.is_empty() {
        section {
            h2 { "What operators did" }
            ol.line { @for row in &rows { li {
                span.when { (words::time(row.at)) }
                span.what { strong { (words::said(&row.outcome)) } " by " (row.actor) ": " (row.why) }
            } } }
            (parts::more(next, &later(job, "acts_before"), "", "Earlier acts"))
        }
    } })
}

async fn audit(state: &ApiState, job: Id<id::Job>, after: Option<i64>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select seq, at, actor, action, outcome, purpose, grants, policy_version, codes from safelight.audit_entries
        where job_id = $1 and action <> 'console.look' and ($2::bigint is null or seq > $2) order by seq limit $3"#,
        job.uuid(),
        after,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) = parts::page(rows, MOST, |row| row.seq);
    Ok(html! {
        section {
            h2 { "Audit entries" }
            @if rows.is_empty() { p.none { "It has had no effect yet." } } @else { ol.line {
                @for row in &rows { li {
                    span.when { (words::time(row.at)) }
                    span.what { strong { (words::said(&row.action.replace('.', " "))) } " " (words::state(&row.outcome))
                        span.small { " " (row.actor) " · entry " (row.seq) (codes(&row.codes)) }
                        @if let Some(purpose) = &row.purpose { span.small { " · gate passed for " (purpose)
                            @if let Some(version) = &row.policy_version { ", policy " (version) }
                            @for (n, grant) in row.grants.iter().enumerate() { @if n == 0 { ", on consent " } @else { ", " } code { (grant) } } } } }
                } }
            } }
            (parts::more(next, &later(job, "entries_after"), "", "Later entries"))
        }
    })
}

/// What else an entry says: codes and ids, as the table holds it to.
fn codes(codes: &Value) -> Markup {
    html! { @if let Some(codes) = codes.as_object() { @for (name, code) in codes {
        " · " (words::said(name)) " " (code.as_str().unwrap_or_default())
    } } }
}

/// Act on it.
pub(super) async fn act(
    State(state): State<ApiState>,
    job: Result<At<id::Job>, Error>,
    Path((_, verb)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Trouble> {
    let At(job) = job?;
    let wanted = Act::named(&verb).ok_or(Error::NoRoute)?;
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    if let Some(queue) = operate::on_job(&mut tx, wanted, job, form.operator()).await? {
        tx.ring(queue);
    }
    tx.commit().await?;
    Ok(act::done(&format!("/console/jobs/{job}"), wanted.outcome()))
}

/// Read its payload. Who did and why is kept before it is shown.
pub(super) async fn payload(
    State(state): State<ApiState>,
    job: Result<At<id::Job>, Error>,
    form: Form,
) -> Result<Response, Trouble> {
    let At(job) = job?;
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    let payload = payloads::read(&mut tx, job, form.operator()).await?;
    tx.commit().await?;
    let shown = serde_json::to_string_pretty(&payload).map_err(|_| Error::Internal)?;
    let body = html! {
        p.eyebrow { a href="/console/jobs" { "Jobs" } " / " a href={ "/console/jobs/" (job) } { "job" } " / payload" }
        h1.id { (job) }
        p.lead { "Ids and codes. That you read it is kept with your reason." }
        pre.scroll tabindex="0" { (shown) }
    };
    Ok(framed("Payload", Page::Jobs, form.viewer(), &body))
}
