//! One act on all jobs that match a search: looked at before, asked for with a reason, and followed while a worker carries it out.

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    bulk::{self, BulkAct},
    id::{self, Bulk, Id},
    operate::Act,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::list_jobs::{JobLine, Part, Sought, line};
use crate::{
    caller::{Operate, Read, To},
    error::Error,
    idempotency,
    input::{Asked, At, Json},
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
};

/// What would be done.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wish {
    /// `cancel`, `hold`, `release`, `retry` or `discard`.
    act: String,
}

/// What it would be done to.
#[derive(Serialize, ToSchema)]
pub(crate) struct Matching {
    /// How many.
    jobs: i64,
    /// Everything was looked at; else there may be more.
    whole: bool,
    /// The newest twenty.
    first: Vec<JobLine>,
}

fn act_named(word: &str) -> Result<Act, Error> {
    let why = || "`act` is one of: cancel, hold, release, retry, discard".to_owned();
    Act::named(word).ok_or_else(|| Error::Invalid { code: "unknown_word", why: why() })
}

/// See what an act on all that match would be done to: how many, and the newest of them. `cancel` and `discard` leave deletions and
/// purges alone; each act is done only where it means something, `retry` to what waits for its time and to dead letters.
#[utoipa::path(get, path = "/v1/bulk-acts/preview", tag = "operators", operation_id = "previewBulkAct", params(Wish, Sought, WhatFor), security(("token" = ["operate"])),
    responses((status = 200, description = "What matches", body = Matching), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn preview(
    caller: To<Operate>,
    State(state): State<ApiState>,
    Asked(wish): Asked<Wish>,
    address: Uri,
) -> Result<Response, Error> {
    let act = act_named(&wish.act)?;
    let wanted = Sought::of(&address, &["act"])?.wanted()?;
    caller.looks_for(&state, &wanted).await?;
    let seen = bulk::preview(&state.pool, act, wanted, caller.operator("")).await?;
    let first = seen.first.iter().map(line).collect();
    let view = Matching { jobs: seen.counted.jobs, whole: seen.counted.whole, first };
    let view = serde_json::to_value(view).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}

/// What is to be done, to what, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBulkAct {
    /// `cancel`, `hold`, `release`, `retry` or `discard`.
    act: String,
    /// To what: the words of `GET /v1/jobs`. Something must narrow it.
    jobs: Sought,
    /// In a few words, without anything about a person. At most 300 letters.
    why: String,
}

/// It is asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct BulkActBegun {
    /// Follow it at `GET /v1/bulk-acts/{bulk}`.
    #[schema(value_type = String, example = "bulk_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    bulk: Id<Bulk>,
}

/// Act on all jobs that match and were made before now. A worker does it in batches, newest first.
#[utoipa::path(post, path = "/v1/bulk-acts", tag = "operators", operation_id = "askBulkAct", request_body = NewBulkAct, security(("token" = ["operate"])),
    responses((status = 202, description = "Asked for", body = BulkActBegun), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn ask(
    caller: To<Operate>,
    State(state): State<ApiState>,
    body: Json<NewBulkAct>,
) -> Result<Response, Error> {
    let NewBulkAct { act, jobs, why } = body.value;
    let (act, wanted) = (act_named(&act)?, jobs.wanted()?);
    let mut tx = caller.begin(&state).await?;
    let bulk = bulk::ask(&mut tx, &state.pool, act, wanted, caller.operator(&why)).await?;
    caller.finish(tx, StatusCode::ACCEPTED, &BulkActBegun { bulk }).await
}

/// An act as it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct BulkActView {
    /// Which.
    #[schema(value_type = String)]
    bulk: Id<Bulk>,
    /// The job that carries it out. Cancel it to stop the act; what was done stays done.
    #[schema(value_type = String)]
    job: Id<id::Job>,
    /// What is done.
    act: &'static str,
    /// To what, in words.
    jobs: String,
    /// `under_way`, `done`, or `stopped`: its job was cancelled or gave up.
    state: &'static str,
    /// How many matched when it was asked for.
    matched: i64,
    /// Everything was looked at then; else there were more.
    whole: bool,
    /// It was done to so many.
    done: i64,
    /// So many stood elsewhere when it was their turn.
    passed_over: i64,
    /// Who wants it.
    actor: String,
    /// Why.
    why: String,
    /// Since when.
    asked_at: DateTime<Utc>,
    /// When it was over.
    finished_at: Option<DateTime<Utc>>,
}

fn view(act: BulkAct) -> BulkActView {
    BulkActView {
        bulk: act.id,
        job: act.job,
        act: act.act.as_str(),
        jobs: act.wanted.to_string(),
        state: act.state(),
        matched: act.matched.jobs,
        whole: act.matched.whole,
        done: act.done,
        passed_over: act.passed_over,
        actor: act.actor,
        why: act.why,
        asked_at: act.asked_at,
        finished_at: act.finished_at,
    }
}

/// Follow an act.
#[utoipa::path(get, path = "/v1/bulk-acts/{bulk}", tag = "operators", operation_id = "readBulkAct",
    params(("bulk" = String, Path, description = "bulk_…")), security(("token" = ["read"])),
    responses((status = 200, description = "The act", body = BulkActView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn read(
    caller: To<Read>,
    State(state): State<ApiState>,
    At(bulk): At<Bulk>,
) -> Result<Response, Error> {
    let act = bulk::read(&state.pool, bulk, caller.sees_only()).await?.ok_or_else(|| Error::not_found(bulk))?;
    let view = serde_json::to_value(view(act)).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}

/// A page of acts.
#[derive(Serialize, ToSchema)]
pub(crate) struct BulkActs {
    /// Newest first.
    bulk_acts: Vec<BulkActView>,
    /// Send it as `cursor`, for what is older; none: that was all.
    #[schema(value_type = Option<String>)]
    next: Option<Id<Bulk>>,
}

/// List the acts, newest first.
#[utoipa::path(get, path = "/v1/bulk-acts", tag = "operators", operation_id = "listBulkActs", params(Part), security(("token" = ["read"])),
    responses((status = 200, description = "A page", body = BulkActs), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(
    caller: To<Read>,
    State(state): State<ApiState>,
    Asked(part): Asked<Part>,
) -> Result<Response, Error> {
    let listed = bulk::list(&state.pool, caller.sees_only(), part.cursor()?, part.most()).await?;
    let view = BulkActs { bulk_acts: listed.acts.into_iter().map(view).collect(), next: listed.next };
    let view = serde_json::to_value(view).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}
