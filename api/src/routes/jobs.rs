//! Jobs as they stand, and their kinds. No payload is ever shown.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{self, Id, Order, Subject},
    queue, registry,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    caller::{Read, To},
    error::Error,
    idempotency,
    input::{Asked, At},
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
    waiting::{Wait, Waiting},
};

/// A job as it stands, without its payload.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobView {
    /// The job.
    #[schema(value_type = String, example = "job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    job: Id<id::Job>,
    /// Its kind.
    kind: String,
    /// Its queue.
    queue: String,
    /// As a search names it: `ready`, `scheduled` for its time, `set_aside` until there is room, `running`, `held`, `done`, `cancelled` or `dead`.
    state: String,
    /// What it waits for, why it is held, or why it ended.
    why: Option<String>,
    /// Why it does not run now, or what became of it, in one sentence.
    explanation: Option<String>,
    /// Attempts spent.
    attempts: i32,
    /// Attempts that may be spent; an ended job does not say.
    max_attempts: Option<i32>,
    /// How often it waited without spending an attempt.
    waits: i32,
    /// Of which person.
    #[schema(value_type = Option<String>)]
    subject: Option<Id<Subject>>,
    /// Of which order.
    #[schema(value_type = Option<String>)]
    order: Option<Id<Order>>,
    /// Not before this instant.
    run_at: Option<DateTime<Utc>>,
    /// Since when.
    created_at: DateTime<Utc>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
}

/// Read a job.
#[utoipa::path(get, path = "/v1/jobs/{job}", tag = "jobs", operation_id = "readJob",
    params(("job" = String, Path, description = "job_…"), Wait, WhatFor), security(("token" = ["read"])),
    responses((status = 200, description = "The job", body = JobView), (status = 304, description = "It is the one that you know"), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn read(
    caller: To<Read>,
    State(state): State<ApiState>,
    At(job): At<id::Job>,
    Asked(wait): Asked<Wait>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let mut view = stands(&state, job, caller.sees_only()).await?;
    if view.subject.is_some() || view.order.is_some() {
        caller.looks_at_job(&state, job).await?;
    }
    let waiting = Waiting::begin(&state.waiters, &headers, &wait);
    loop {
        if let Some(answer) = waiting.answer(&view, view.finished_at.is_some()).await? {
            return Ok(answer);
        }
        view = stands(&state, job, caller.sees_only()).await?;
    }
}

async fn stands(state: &ApiState, job: Id<id::Job>, tenant: Option<&str>) -> Result<JobView, Error> {
    let row = sqlx::query!(
        r#"select kind as "kind!", queue as "queue!", state as "state!", why, attempt as "attempt!", max_attempts, waits as "waits!",
            subject_id, order_id, run_at, created_at as "created_at!", finished_at
        from (
            select tenant, kind, queue, case state when 1 then 'running' when 2 then 'held' when 4 then 'set_aside'
                    when 3 then 'scheduled' else 'ready' end as state,
                why, attempt, max_attempts, waits, subject_id, order_id, run_at, created_at, null::timestamptz as finished_at
            from safelight.jobs where id = $1
            union all
            select tenant, kind, queue, outcome, code, attempt, null, waits, subject_id, order_id, run_at, created_at, finished_at
            from safelight.jobs_archive where id = $1
            union all
            select tenant, kind, queue, 'dead', code, attempt, max_attempts, waits, subject_id, order_id, null, created_at, died_at
            from safelight.dead_letters where id = $1
        ) j where $2::text is null or tenant is null or tenant = $2
        order by finished_at desc nulls first limit 1"#,
        job.uuid(),
        tenant
    )
    .fetch_optional(&state.pool)
    .await?
    .ok_or_else(|| Error::not_found(job))?;
    let explained = queue::explain(&state.pool, job, tenant).await?;
    Ok(JobView {
        job,
        explanation: explained.map(|known| known.detail),
        kind: row.kind,
        queue: row.queue,
        state: row.state,
        why: row.why,
        attempts: row.attempt,
        // Tried until it is so: no number says when it ends.
        max_attempts: row.max_attempts.filter(|most| *most < i32::MAX),
        waits: row.waits,
        subject: row.subject_id.map(Id::from),
        order: row.order_id.map(Id::from),
        run_at: row.run_at,
        created_at: row.created_at,
        finished_at: row.finished_at,
    })
}

/// A kind of job.
#[derive(Serialize, ToSchema)]
pub(crate) struct KindView {
    /// Its stored name.
    kind: &'static str,
    /// Its queue.
    queue: &'static str,
    /// How many attempts it may spend; none: it is tried until it is so.
    attempts: Option<i32>,
}

/// All kinds of jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct Kinds {
    /// Sorted by name.
    kinds: Vec<KindView>,
}

/// List the kinds of jobs.
#[utoipa::path(get, path = "/v1/jobs/kinds", tag = "jobs", operation_id = "listJobKinds", security(("token" = ["read"])),
    responses((status = 200, description = "The kinds", body = Kinds), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn kinds(_caller: To<Read>) -> Result<Response, Error> {
    let mut kinds: Vec<KindView> = registry::ALL
        .iter()
        .map(|known| KindView {
            kind: known.name,
            queue: known.queue.as_str(),
            attempts: (known.effect != safelight_jobs::job::Effect::UntilVerified).then_some(known.retry.attempts),
        })
        .collect();
    kinds.sort_by_key(|view| view.kind);
    let view = serde_json::to_value(Kinds { kinds }).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}
