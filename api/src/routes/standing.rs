//! How a person stands: asked by the tenant's backend, and by the person ([`super::me`]). Reads only.

use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{Deletion, Id, Subject},
    look,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    caller::{Read, To},
    error::Error,
    idempotency,
    input::At,
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
};

/// How a person stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct Standing {
    /// The person.
    #[schema(value_type = String, example = "subject_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    subject: Id<Subject>,
    /// `active`, `restricted`, `erasing` or `erased`.
    state: String,
    /// For each purpose the last that was said, by the person or by time.
    consents: Vec<Said>,
    /// What the person objected to, the oldest first.
    objections: Vec<ObjectedTo>,
    /// The erasure that is under way, or done.
    #[schema(value_type = Option<String>, example = "deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    erasure: Option<Id<Deletion>>,
    /// Its legal deadline.
    answer_due: Option<DateTime<Utc>>,
}

/// The last word on one purpose.
#[derive(Serialize, ToSchema)]
pub(crate) struct Said {
    /// For what.
    purpose: String,
    /// `granted`, `withdrawn` or `expired`.
    event: String,
    /// Where: `sign_up`, `upload`, `checkout` or `settings`.
    capture_point: String,
    /// When.
    at: DateTime<Utc>,
}

/// One objection.
#[derive(Serialize, ToSchema)]
pub(crate) struct ObjectedTo {
    /// To what.
    purpose: String,
    /// `open` until somebody has decided; `upheld`: nothing is done for this purpose any more; or `overridden`.
    state: String,
    /// Since when.
    received_at: DateTime<Utc>,
    /// When it was decided.
    decided_at: Option<DateTime<Utc>>,
}

/// See how a person stands. What was there is gone after an erasure; that it was done is told on.
#[utoipa::path(get, path = "/v1/subjects/{subject}", tag = "subjects", operation_id = "readSubject",
    params(("subject" = String, Path, description = "subject_…"), WhatFor), security(("token" = ["read"])),
    responses((status = 200, description = "As it stands", body = Standing), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn read(
    caller: To<Read>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
) -> Result<Response, Error> {
    let standing = of(&state, subject, caller.sees_only()).await?.ok_or_else(|| Error::not_found(subject))?;
    caller.looks_at(&state, &subject.to_string(), look::entry().subject(subject)).await?;
    let standing = serde_json::to_value(&standing).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &standing))
}

/// How this person of this tenant stands; none: there is no such person there.
pub(super) async fn of(
    state: &ApiState,
    subject: Id<Subject>,
    tenant: Option<&str>,
) -> Result<Option<Standing>, Error> {
    let row = sqlx::query!(
        r#"select s.state, d.id as "deletion?", d.answer_due as "answer_due?" from safelight.subjects s
        left join safelight.deletions d on d.subject_id = s.id and d.trigger = 'erasure'
        where s.id = $1 and ($2::text is null or s.tenant = $2)"#,
        subject.uuid(),
        tenant
    )
    .fetch_optional(&state.pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let consents = sqlx::query_as!(
        Said,
        "select distinct on (purpose) purpose, event, capture_point, at from safelight.consents
        where subject_id = $1 order by purpose, seq desc",
        subject.uuid()
    )
    .fetch_all(&state.pool)
    .await?;
    let objections = sqlx::query_as!(
        ObjectedTo,
        "select purpose, state, received_at, decided_at from safelight.objections where subject_id = $1 order by received_at, id",
        subject.uuid()
    )
    .fetch_all(&state.pool)
    .await?;
    let (erasure, answer_due) = (row.deletion.map(Id::from), row.answer_due);
    Ok(Some(Standing { subject, state: row.state, consents, objections, erasure, answer_due }))
}

/// There is such a person of this tenant.
pub(super) async fn is_known(state: &ApiState, subject: Id<Subject>, tenant: Option<&str>) -> Result<(), Error> {
    sqlx::query_scalar!(
        "select id from safelight.subjects where id = $1 and ($2::text is null or tenant = $2)",
        subject.uuid(),
        tenant
    )
    .fetch_optional(&state.pool)
    .await?
    .map(|_| ())
    .ok_or_else(|| Error::not_found(subject))
}
