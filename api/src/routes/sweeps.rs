//! Sweeps that a cron starts: GET or POST with one bearer secret. Enqueues one job for each kind and minute, however often it
//! is called, and answers at once; the sweep itself asks the rows what is due.
//!
//! Only the bearer counts: the other headers of a cron can be sent by anybody. An unset secret refuses.
//! Source: vercel.com/docs/cron-jobs (GET, `Authorization: Bearer CRON_SECRET`, may come twice), read November 2026.

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use safelight_jobs::{
    audit::Entry,
    id::{self, Id},
    sweeps::Sweep,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{caller::bearer, error::Error, idempotency, openapi::Problem, state::ApiState, trace::Trace};

/// A sweep that was asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct SweepAsked {
    /// The job that does it: read it under `/v1/jobs/{job}`.
    #[schema(value_type = String, example = "job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    job: Id<id::Job>,
    /// It was asked for in this minute already.
    already: bool,
}

/// Start a sweep.
#[utoipa::path(get, path = "/sweeps/{sweep}", tag = "sweeps", operation_id = "sweepByGet",
    params(("sweep" = String, Path, description = "`retention`, `deletions`, `orphans`, `reconcile`, `consents`, `money`, `fiscal`, `history` or `notices`")), security(("sweep" = [])),
    responses((status = 202, description = "Enqueued, or known", body = SweepAsked), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn by_get(
    State(state): State<ApiState>,
    Path(sweep): Path<String>,
    trace: Trace,
    headers: HeaderMap,
) -> Result<Response, Error> {
    ask(&state, &sweep, trace, &headers).await
}

/// Start a sweep.
#[utoipa::path(post, path = "/sweeps/{sweep}", tag = "sweeps", operation_id = "sweepByPost",
    params(("sweep" = String, Path, description = "`retention`, `deletions`, `orphans`, `reconcile`, `consents`, `money`, `fiscal`, `history` or `notices`")), security(("sweep" = [])),
    responses((status = 202, description = "Enqueued, or known", body = SweepAsked), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn by_post(
    State(state): State<ApiState>,
    Path(sweep): Path<String>,
    trace: Trace,
    headers: HeaderMap,
) -> Result<Response, Error> {
    ask(&state, &sweep, trace, &headers).await
}

async fn ask(state: &ApiState, sweep: &str, trace: Trace, headers: &HeaderMap) -> Result<Response, Error> {
    let presented = bearer(headers).unwrap_or_default();
    if !state.config.sweep_secret.as_ref().is_some_and(|secret| secret.matches(presented)) {
        return Err(Error::SweepRefused);
    }
    let mut tx = trace.begin(state).await?;
    let minute = sqlx::query_scalar!(r#"select floor(extract(epoch from safelight.now()) / 60)::bigint as "minute!""#)
        .fetch_one(&mut *tx)
        .await?;
    let sweep = Sweep::named(sweep).ok_or_else(|| Error::not_found("this sweep"))?;
    let enqueued = sweep.ask(&mut tx, format!("cron:{minute}"), None).await?;
    let outcome = if enqueued.already { "already" } else { "enqueued" };
    Entry::new("cron", "sweep.asked", outcome).write(&mut tx).await?;
    tx.commit().await?;
    let answer = SweepAsked { job: enqueued.id, already: enqueued.already };
    let answer = serde_json::to_value(&answer).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::ACCEPTED, &answer))
}
