//! Deletions: the steps and what was seen; and the two of a part that a tenant's backend may ask for.

use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{Artifact, Deletion, Id, Order, Subject},
    intake::{self, DeletionStarted},
    look,
    policy::DataClass,
    stays::{self, Stays, StaysError},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    caller::{Enqueue, Read, To},
    error::Error,
    idempotency,
    input::At,
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
};

/// A deletion as it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletionView {
    /// The deletion.
    #[schema(value_type = String, example = "deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    deletion: Id<Deletion>,
    /// Whose data.
    #[schema(value_type = String, example = "subject_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    subject: Id<Subject>,
    /// `erasure`, `retention`, `withdrawal`, `objection`, `one_photo` or `failed_order`.
    trigger: String,
    /// The purpose that was withdrawn.
    purpose: Option<String>,
    /// `fenced`, `planned`, `deleting`, `complete` or `stuck`.
    state: String,
    /// Since when.
    requested_at: DateTime<Utc>,
    /// The legal deadline of an answer.
    answer_due: DateTime<Utc>,
    /// When everything was seen to be gone.
    completed_at: Option<DateTime<Utc>>,
    /// The deadline has passed and it is not complete.
    late: bool,
    /// What is deleted, in this order.
    steps: Vec<Step>,
    /// What no step takes: rows that are kept, and copies that no call of ours reaches. What may be there, for everybody alike.
    stays: Vec<StaysView>,
}

/// Something that a deletion does not take.
#[derive(Serialize, ToSchema)]
pub(crate) struct StaysView {
    /// Which kinds of data; none: it names nobody.
    classes: Vec<&'static str>,
    /// A table, or what the copy is.
    place: String,
    /// At whom.
    processor: &'static str,
    /// Why, and until when.
    why: String,
}

impl From<Stays> for StaysView {
    fn from(one: Stays) -> Self {
        let classes = one.classes.into_iter().map(DataClass::as_str).collect();
        Self { classes, place: one.place, processor: one.processor.as_str(), why: one.why }
    }
}

/// One class of data at one processor.
#[derive(Serialize, ToSchema)]
pub(crate) struct Step {
    /// Its place.
    seq: i32,
    /// What kind of data.
    class: String,
    /// Where.
    processor: String,
    /// `todo`, `doing`, `deleted`, `verified`, `waiting_provider`, `retained_by_law`, `held` or `stuck`.
    state: String,
    /// How many were to be deleted.
    planned: i32,
    /// How many were.
    deleted: i32,
    /// How absence was checked and what was seen; for what stays: by which law and until when.
    evidence: Option<String>,
    /// How often it was tried.
    tries: i32,
    /// Why it waits or is stuck.
    code: Option<String>,
    /// When absence was seen.
    verified_at: Option<DateTime<Utc>>,
}

/// Read a deletion with its steps.
#[utoipa::path(get, path = "/v1/deletions/{deletion}", tag = "rights", operation_id = "readDeletion",
    params(("deletion" = String, Path, description = "deletion_…"), WhatFor), security(("token" = ["read"])),
    responses((status = 200, description = "The deletion", body = DeletionView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn read(
    caller: To<Read>,
    State(state): State<ApiState>,
    At(deletion): At<Deletion>,
) -> Result<Response, Error> {
    let view = view(&state, deletion, caller.sees_only()).await?;
    let entry = look::entry().deletion(deletion).subject(view.subject);
    caller.looks_at(&state, &deletion.to_string(), entry).await?;
    let view = serde_json::to_value(&view).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}

async fn view(state: &ApiState, deletion: Id<Deletion>, tenant: Option<&str>) -> Result<DeletionView, Error> {
    let row = sqlx::query!(
        r#"select subject_id, trigger, purpose, state, requested_at, answer_due, completed_at,
            (state <> 'complete' and answer_due < safelight.now()) as "late!"
        from safelight.deletions where id = $1 and ($2::text is null or tenant = $2)"#,
        deletion.uuid(),
        tenant
    )
    .fetch_optional(&state.pool)
    .await?
    .ok_or_else(|| Error::not_found(deletion))?;
    let steps = sqlx::query_as!(
        Step,
        r#"select seq, class, processor, state, planned, deleted, evidence, tries, code, verified_at
        from safelight.deletion_steps where deletion_id = $1 order by seq"#,
        deletion.uuid()
    )
    .fetch_all(&state.pool)
    .await?;
    let stays = what_stays(state, deletion).await?;
    Ok(DeletionView {
        deletion,
        subject: row.subject_id.into(),
        trigger: row.trigger,
        purpose: row.purpose,
        state: row.state,
        requested_at: row.requested_at,
        answer_due: row.answer_due,
        completed_at: row.completed_at,
        late: row.late,
        steps,
        stays: stays.into_iter().map(StaysView::from).collect(),
    })
}

/// For the answer and for the console.
pub(crate) async fn what_stays(state: &ApiState, deletion: Id<Deletion>) -> Result<Vec<Stays>, Error> {
    stays::after(&mut *state.pool.acquire().await?, deletion).await.map_err(|error| match error {
        StaysError::Database(error) => error.into(),
        StaysError::Map(_) => Error::Internal,
    })
}

/// A deletion that has begun.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletionBegun {
    /// The same one however often it is asked for.
    #[schema(value_type = String, example = "deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    deletion: Id<Deletion>,
    /// Until when it is to be done.
    answer_due: DateTime<Utc>,
    /// It had begun before, or another deletion had taken it on.
    already: bool,
}

impl From<DeletionStarted> for DeletionBegun {
    fn from(started: DeletionStarted) -> Self {
        let DeletionStarted { deletion, answer_due, already } = started;
        Self { deletion, answer_due, already }
    }
}

/// Delete one uploaded photo or one generated image before its time. Nobody reads it from the answer on; vectors, scores and
/// copies that rest on it go with it.
#[utoipa::path(post, path = "/v1/photos/{artifact}/delete", tag = "rights", operation_id = "deletePhoto",
    params(("artifact" = String, Path, description = "artifact_…")), security(("token" = ["enqueue"])),
    responses((status = 202, description = "Begun", body = DeletionBegun), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn delete_photo(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(photo): At<Artifact>,
) -> Result<Response, Error> {
    let mut tx = caller.begin(&state).await?;
    let started = intake::delete_photo(&mut tx, Some(caller.tenant()?), photo, None).await?;
    caller.finish(tx, StatusCode::ACCEPTED, &DeletionBegun::from(started)).await
}

/// Delete what is left of an order that was refused, expired, or is in refund review: what was never delivered, the model, and
/// the order itself where nothing was sold. Delivered images keep their term.
#[utoipa::path(post, path = "/v1/orders/{order}/delete", tag = "rights", operation_id = "deleteFailedOrder",
    params(("order" = String, Path, description = "order_…")), security(("token" = ["enqueue"])),
    responses((status = 202, description = "Begun", body = DeletionBegun), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn delete_failed_order(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(order): At<Order>,
) -> Result<Response, Error> {
    let mut tx = caller.begin(&state).await?;
    let started = intake::delete_failed_order(&mut tx, Some(caller.tenant()?), order, None).await?;
    caller.finish(tx, StatusCode::ACCEPTED, &DeletionBegun::from(started)).await
}
