//! A person's consents as they were said, a page at a time: what a settings page and a support desk ask for. Reads only.

use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{Batch, Grant, Id, Order, Subject},
    look,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{list_jobs::Part, standing};
use crate::{
    caller::{Read, To},
    error::Error,
    idempotency,
    input::{Asked, At},
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
};

/// Something that was said about a consent.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConsentLine {
    /// The event.
    #[schema(value_type = String, example = "grant_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    grant: Id<Grant>,
    /// `granted`, `withdrawn` or `expired`.
    event: String,
    /// For what.
    purpose: String,
    /// Where: `sign_up`, `upload`, `checkout` or `settings`.
    capture_point: String,
    /// For which act of uploading.
    #[schema(value_type = Option<String>)]
    batch: Option<Id<Batch>>,
    /// For which order.
    #[schema(value_type = Option<String>)]
    order: Option<Id<Order>>,
    /// The policy version that was shown.
    policy_version: String,
    /// SHA-256 of the sentence that stood beside the box; none where nothing was shown.
    wording_sha256: Option<String>,
    /// Who said it: `subject`, `operator` or `system`.
    actor: String,
    /// When.
    at: DateTime<Utc>,
}

/// A page of them.
#[derive(Serialize, ToSchema)]
pub(crate) struct Consents {
    /// Newest first.
    consents: Vec<ConsentLine>,
    /// Send it as `cursor`, for what is older; none: that was all.
    #[schema(value_type = Option<String>)]
    next: Option<Id<Grant>>,
}

/// List what a person agreed to, took back, and what ran out, newest first.
#[utoipa::path(get, path = "/v1/subjects/{subject}/consents", tag = "consents", operation_id = "listConsents",
    params(("subject" = String, Path, description = "subject_…"), Part, WhatFor), security(("token" = ["read"])),
    responses((status = 200, description = "A page", body = Consents), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(
    caller: To<Read>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
    Asked(part): Asked<Part>,
) -> Result<Response, Error> {
    let cursor = part.cursor::<Grant>()?;
    standing::is_known(&state, subject, caller.sees_only()).await?;
    caller.looks_at(&state, &subject.to_string(), look::entry().subject(subject)).await?;
    let rows = sqlx::query!(
        r#"select id, event, purpose, capture_point, batch_id, order_id, policy_version, wording_sha256, actor, at
        from safelight.consents where subject_id = $1
            and ($2::uuid is null or seq < (select c.seq from safelight.consents c where c.id = $2 and c.subject_id = $1))
        order by seq desc limit $3"#,
        subject.uuid(),
        cursor.map(Id::uuid),
        part.rows()
    )
    .fetch_all(&state.pool)
    .await?;
    let lines = rows.into_iter().map(|row| ConsentLine {
        grant: row.id.into(),
        event: row.event,
        purpose: row.purpose,
        capture_point: row.capture_point,
        batch: row.batch_id.map(Id::from),
        order: row.order_id.map(Id::from),
        policy_version: row.policy_version,
        wording_sha256: row.wording_sha256,
        actor: row.actor,
        at: row.at,
    });
    let (consents, next) = part.cut(lines.collect(), |line: &ConsentLine| line.grant);
    let view = serde_json::to_value(Consents { consents, next }).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}
