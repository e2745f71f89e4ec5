//! Uploads: a place for each photo, and the arrival of its bytes.

use axum::{extract::State, http::StatusCode, response::Response};
use safelight_jobs::{
    id::{Artifact, Batch, Id},
    intake,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    caller::{Caller, Enqueue, To},
    error::Error,
    input::At,
    openapi::Problem,
    state::ApiState,
};

/// A place for one photo.
#[derive(Serialize, ToSchema)]
pub(crate) struct Slot {
    /// The photo.
    #[schema(value_type = String, example = "artifact_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    artifact: Id<Artifact>,
    /// PUT the bytes here within an hour. Whoever has the link can write there. Null in a repeated answer, once the photo has arrived
    /// or its hour is over.
    put_url: Option<String>,
}

/// Make a place for one photo.
#[utoipa::path(post, path = "/v1/batches/{batch}/uploads", tag = "uploads", operation_id = "makeUploadSlot",
    params(("batch" = String, Path, description = "batch_…")), security(("token" = ["enqueue"])),
    responses((status = 201, description = "Made", body = Slot), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn slot(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(batch): At<Batch>,
) -> Result<Response, Error> {
    let tenant = caller.tenant()?;
    let mut tx = caller.begin(&state).await?;
    let subject = sqlx::query_scalar!(
        "select subject_id from safelight.upload_batches where id = $1 and tenant = $2",
        batch.uuid(),
        tenant
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or_else(|| Error::not_found(batch))?;
    let slot = intake::slot(&mut tx, &state.storage, tenant, subject.into(), batch).await?;
    let answer = Slot { artifact: slot.artifact, put_url: Some(slot.put_url.expose().to_owned()) };
    caller.finish_without(tx, StatusCode::CREATED, &answer, &["put_url"]).await
}

/// A repeated answer about a place gets a link of its own, which ends when the first one does: a deletion waits for late writers until
/// then, and no longer. None where the photo has arrived, its hour is over, or nobody may write for the person any more.
pub(crate) async fn sign_anew(state: &ApiState, caller: &Caller, answer: &mut Value) -> Result<(), Error> {
    let artifact: Id<Artifact> = match (answer.get("put_url"), answer["artifact"].as_str().map(str::parse)) {
        (Some(Value::Null), Some(Ok(artifact))) => artifact,
        _ => return Ok(()),
    };
    if let Some(link) = intake::sign_slot_anew(&state.pool, &state.storage, caller.tenant()?, artifact).await? {
        answer["put_url"] = Value::String(link.expose().to_owned());
    }
    Ok(())
}

/// A photo that is in the store.
#[derive(Serialize, ToSchema)]
pub(crate) struct Arrived {
    /// The photo.
    #[schema(value_type = String, example = "artifact_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    artifact: Id<Artifact>,
    /// `image/jpeg`, `image/png` or `image/webp`, read from the bytes.
    content_type: &'static str,
    /// Its size.
    bytes: u64,
    /// It had arrived before; its clock did not move.
    already: bool,
}

/// The bytes are in the store: they are looked at, and the clock of the photo starts.
#[utoipa::path(post, path = "/v1/uploads/{artifact}/arrived", tag = "uploads", operation_id = "uploadArrived",
    params(("artifact" = String, Path, description = "artifact_…")), security(("token" = ["enqueue"])),
    responses((status = 200, description = "Taken", body = Arrived), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn arrived(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(artifact): At<Artifact>,
) -> Result<Response, Error> {
    let looked =
        intake::arrived(&state.pool, &state.bell, &state.vault, &state.storage, caller.tenant()?, artifact).await?;
    let answer = Arrived { artifact, content_type: looked.content_type, bytes: looked.bytes, already: looked.already };
    // The arrival is committed already, and saying it twice changes nothing.
    let tx = caller.begin(&state).await?;
    caller.finish(tx, StatusCode::OK, &answer).await
}
