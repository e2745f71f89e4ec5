//! The photos of one act of uploading: which are awaited, which are there and until when. Reads only, and never a link: an original
//! is nobody's to read.

use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{Artifact, Batch, Id, Subject},
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

/// An act of uploading as it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchView {
    /// The act.
    #[schema(value_type = String, example = "batch_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    batch: Id<Batch>,
    /// Whose.
    #[schema(value_type = String)]
    subject: Id<Subject>,
    /// Its photos, in the order of their places. Those that were deleted are not there any more.
    uploads: Vec<Photo>,
}

/// One photo.
#[derive(Serialize, ToSchema)]
pub(crate) struct Photo {
    /// The photo.
    #[schema(value_type = String, example = "artifact_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    artifact: Id<Artifact>,
    /// `expected`: there is a place; `stored`: its bytes arrived; `withheld`; or `gone`: its time is over, or it is being deleted.
    state: &'static str,
    /// What it is, read from the bytes.
    content_type: Option<String>,
    /// Its size.
    bytes: Option<i64>,
    /// When it arrived.
    uploaded_at: Option<DateTime<Utc>>,
    /// When it is deleted.
    delete_after: Option<DateTime<Utc>>,
}

/// Read an act of uploading with its photos.
#[utoipa::path(get, path = "/v1/batches/{batch}", tag = "uploads", operation_id = "readBatch",
    params(("batch" = String, Path, description = "batch_…"), WhatFor), security(("token" = ["read"])),
    responses((status = 200, description = "As it stands", body = BatchView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn read(
    caller: To<Read>,
    State(state): State<ApiState>,
    At(batch): At<Batch>,
) -> Result<Response, Error> {
    let subject: Id<Subject> = sqlx::query_scalar!(
        "select subject_id from safelight.upload_batches where id = $1 and ($2::text is null or tenant = $2)",
        batch.uuid(),
        caller.sees_only()
    )
    .fetch_optional(&state.pool)
    .await?
    .ok_or_else(|| Error::not_found(batch))?
    .into();
    caller.looks_at(&state, &batch.to_string(), look::entry().subject(subject)).await?;
    let rows = sqlx::query!(
        r#"select a.id, a.state, a.content_type, a.bytes, a.uploaded_at, a.delete_after, safelight.readable(a) as "readable!"
        from safelight.artifacts a where a.batch_id = $1 and a.class = 'upload' order by a.id"#,
        batch.uuid()
    )
    .fetch_all(&state.pool)
    .await?;
    let uploads = rows.into_iter().map(|row| Photo {
        artifact: row.id.into(),
        state: match row.state.as_str() {
            "expected" => "expected",
            "withheld" => "withheld",
            _ if row.readable => "stored",
            _ => "gone",
        },
        content_type: row.content_type,
        bytes: row.bytes,
        uploaded_at: row.uploaded_at,
        delete_after: row.delete_after,
    });
    let view = BatchView { batch, subject, uploads: uploads.collect() };
    let view = serde_json::to_value(view).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}
