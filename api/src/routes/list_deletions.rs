//! Deletions by person and state, newest first, a page at a time. Reads only.

use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use safelight_jobs::id::{Deletion, Id, Subject};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    list_jobs::{Limit, Part},
    window::Cases,
};
use crate::{
    caller::{Read, To},
    error::Error,
    idempotency,
    input::Asked,
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
};

/// The states of a deletion, and all but the last of them together.
const STATES: [&str; 6] = ["open", "fenced", "planned", "deleting", "stuck", "complete"];

/// What is looked for; what is left out does not narrow.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SoughtDeletions {
    /// Of one person: `subject_…`.
    subject: Option<String>,
    /// `open` (all but the complete ones), `fenced`, `planned`, `deleting`, `stuck` or `complete`.
    state: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Entries of one page: 50 if none is said, 200 at the most.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
}

/// One deletion of a list, without its steps.
#[derive(Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct DeletionLine {
    /// The deletion.
    #[schema(value_type = String, example = "deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    #[sqlx(rename = "id", try_from = "Uuid")]
    deletion: Id<Deletion>,
    /// Whose data.
    #[schema(value_type = String)]
    #[sqlx(rename = "subject_id", try_from = "Uuid")]
    subject: Id<Subject>,
    /// As in the deletion itself.
    trigger: String,
    /// The purpose that was withdrawn or objected to.
    purpose: Option<String>,
    /// As in the deletion itself.
    state: String,
    /// Since when.
    requested_at: DateTime<Utc>,
    /// The legal deadline of an answer.
    answer_due: DateTime<Utc>,
    /// When everything was seen to be gone.
    completed_at: Option<DateTime<Utc>>,
}

/// A page of deletions.
#[derive(Serialize, ToSchema)]
pub(crate) struct Deletions {
    /// Newest first.
    deletions: Vec<DeletionLine>,
    /// Send it as `cursor`, for what is older; none: that was all. Where no person is named a page looks through the newest that are
    /// left: it may be short, or empty, and yet have a next one.
    #[schema(value_type = Option<String>)]
    next: Option<Id<Deletion>>,
}

/// List deletions, newest first.
#[utoipa::path(get, path = "/v1/deletions", tag = "rights", operation_id = "listDeletions", params(SoughtDeletions, WhatFor), security(("token" = ["read"])),
    responses((status = 200, description = "A page", body = Deletions), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(
    caller: To<Read>,
    State(state): State<ApiState>,
    Asked(sought): Asked<SoughtDeletions>,
) -> Result<Response, Error> {
    let part = Part::new(sought.cursor, sought.limit);
    super::a_state(sought.state.as_deref(), &STATES)?;
    let cases = Cases {
        table: "deletions",
        columns: "id, subject_id, trigger, purpose, state, requested_at, answer_due, completed_at",
        state: sought.state.as_deref().map(|state| match state {
            "open" => ("state <> ", "complete"),
            state => ("state = ", state),
        }),
    };
    let (deletions, next) =
        cases.page(&state, &caller, sought.subject, &part, |line: &DeletionLine| line.deletion).await?;
    let view = serde_json::to_value(Deletions { deletions, next }).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}
