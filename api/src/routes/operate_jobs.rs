//! What an operator does to one job: cancel, hold, release, retry, discard, and reading its payload. Each says why, and is kept with who and why.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use safelight_jobs::{
    db,
    id::{self, Id},
    operate::{self, Act},
    payload,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    caller::{Caller, Operate, To},
    error::Error,
    input::{At, Json},
    openapi::Problem,
    state::ApiState,
};

/// Why somebody acts.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    /// In a few words, without anything about a person. At most 300 letters.
    #[schema(example = "the customer asked us to stop")]
    pub(crate) why: String,
}

/// A job that was acted on.
#[derive(Serialize, ToSchema)]
pub(crate) struct Acted {
    /// The job.
    #[schema(value_type = String, example = "job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    job: Id<id::Job>,
    /// `cancelled`, `held`, `released`, `retried` or `discarded`.
    outcome: &'static str,
}

/// Act on one job. `cancel` and `hold` cut a running attempt, which writes nothing any more; `release` lets a held job run;
/// `retry` makes a waiting job due now and gives a dead letter another life; `discard` gives a dead letter up for good.
#[utoipa::path(post, path = "/v1/jobs/{job}/{act}", tag = "operators", operation_id = "actOnJob",
    params(("job" = String, Path, description = "job_…"), ("act" = String, Path, description = "`cancel`, `hold`, `release`, `retry` or `discard`")),
    request_body = Reason, security(("token" = ["operate"])),
    responses((status = 200, description = "Done", body = Acted), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn act(
    caller: To<Operate>,
    State(state): State<ApiState>,
    At(job): At<id::Job>,
    path: Path<(String, String)>,
    body: Json<Reason>,
) -> Result<Response, Error> {
    let act = Act::named(&path.1).ok_or(Error::NoRoute)?;
    let mut tx = caller.begin(&state).await?;
    let rings = operate::on_job(&mut tx, act, job, caller.operator(&body.value.why)).await?;
    if let Some(queue) = rings {
        tx.ring(queue);
    }
    caller.finish(tx, StatusCode::OK, &Acted { job, outcome: act.outcome() }).await
}

/// What a job was given.
#[derive(Serialize, ToSchema)]
pub(crate) struct Payload {
    /// The job.
    #[schema(value_type = String, example = "job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    job: Id<id::Job>,
    /// Ids and codes.
    #[schema(value_type = Object)]
    payload: Value,
}

/// Read a job's payload. It is kept who read it and why.
#[utoipa::path(post, path = "/v1/jobs/{job}/payload", tag = "operators", operation_id = "readPayload",
    params(("job" = String, Path, description = "job_…")), request_body = Reason, security(("token" = ["operate"])),
    responses((status = 200, description = "The payload", body = Payload), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn payload(
    caller: To<Operate>,
    State(state): State<ApiState>,
    At(job): At<id::Job>,
    body: Json<Reason>,
) -> Result<Response, Error> {
    let mut tx = caller.begin(&state).await?;
    let payload = payload::read(&mut tx, job, caller.operator(&body.value.why)).await?;
    caller.finish_without(tx, StatusCode::OK, &Payload { job, payload }, &["payload"]).await
}

/// A repeated answer with a payload is another look at it: read anew, and kept anew with who and why.
pub(crate) async fn read_anew(
    state: &ApiState,
    caller: &Caller,
    request: &[u8],
    answer: &mut Value,
) -> Result<(), Error> {
    let job: Id<id::Job> = match (answer.get("payload"), answer["job"].as_str().map(str::parse)) {
        (Some(Value::Null), Some(Ok(job))) => job,
        _ => return Ok(()),
    };
    let Reason { why } = serde_json::from_slice(request).map_err(|_| Error::Internal)?;
    let mut tx = db::begin(&state.pool).await?;
    answer["payload"] = payload::read(&mut tx, job, caller.operator(&why)).await?;
    Ok(tx.commit().await?)
}
