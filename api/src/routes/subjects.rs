//! People: register, open an act of uploading, erase.

use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{Batch, Deletion, Id, Subject},
    intake::{self, Account},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    caller::{Enqueue, To},
    error::Error,
    input::{At, Json},
    openapi::Problem,
    state::ApiState,
};

/// A person as known at sign-up: these fields and no others. Sealed under a key of that person.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSubject {
    /// Mail address.
    email: String,
    /// Name, where the service asks for one.
    name: Option<String>,
    /// Google account id, where sign-in is by Google.
    google_id: Option<String>,
    /// The sign-in user at Supabase.
    auth_user: Option<Uuid>,
}

/// A registered person.
#[derive(Serialize, ToSchema)]
pub(crate) struct Registered {
    /// The person from now on.
    #[schema(value_type = String, example = "subject_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    subject: Id<Subject>,
}

/// Register a person.
#[utoipa::path(post, path = "/v1/subjects", tag = "subjects", operation_id = "registerSubject",
    request_body = NewSubject, security(("token" = ["enqueue"])),
    responses((status = 201, description = "Registered", body = Registered), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn register(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    body: Json<NewSubject>,
) -> Result<Response, Error> {
    let NewSubject { email, name, google_id, auth_user } = body.value;
    if name.as_ref().is_some_and(|name| name.len() > 512) || google_id.as_ref().is_some_and(|id| id.len() > 255) {
        return Err(Error::BadBody { why: "`name` is longer than 512 bytes, or `google_id` than 255".to_owned() });
    }
    let account = Account { email, name, google_id, auth_user };
    let mut tx = caller.begin(&state).await?;
    let subject = intake::register(&mut tx, &state.vault, caller.tenant()?, &account).await?;
    caller.finish(tx, StatusCode::CREATED, &Registered { subject }).await
}

/// An act of uploading.
#[derive(Serialize, ToSchema)]
pub(crate) struct Opened {
    /// What one consent at the upload covers.
    #[schema(value_type = String, example = "batch_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    batch: Id<Batch>,
}

/// Open an act of uploading.
#[utoipa::path(post, path = "/v1/subjects/{subject}/batches", tag = "uploads", operation_id = "openBatch",
    params(("subject" = String, Path, description = "subject_…")), security(("token" = ["enqueue"])),
    responses((status = 201, description = "Opened", body = Opened), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn open_batch(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
) -> Result<Response, Error> {
    let mut tx = caller.begin(&state).await?;
    let batch = intake::open_batch(&mut tx, caller.tenant()?, subject).await?;
    caller.finish(tx, StatusCode::CREATED, &Opened { batch }).await
}

/// An erasure that has begun.
#[derive(Serialize, ToSchema)]
pub(crate) struct Erasure {
    /// The same one however often it is asked for.
    #[schema(value_type = String, example = "deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    deletion: Id<Deletion>,
    /// One calendar month after the request was received.
    answer_due: DateTime<Utc>,
    /// It had begun before.
    already: bool,
}

/// Erase a person. Accepted in every state; the fence is committed before the answer, the deleting follows.
#[utoipa::path(post, path = "/v1/subjects/{subject}/erase", tag = "rights", operation_id = "eraseSubject",
    params(("subject" = String, Path, description = "subject_…")), security(("token" = ["enqueue"])),
    responses((status = 202, description = "Begun", body = Erasure), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn erase(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
) -> Result<Response, Error> {
    let mut tx = caller.begin(&state).await?;
    let begun = intake::erase(&mut tx, caller.tenant()?, subject, None).await?;
    caller.finish(tx, StatusCode::ACCEPTED, &Erasure::from(begun)).await
}

impl From<intake::ErasureStarted> for Erasure {
    fn from(begun: intake::ErasureStarted) -> Self {
        Self { deletion: begun.deletion, answer_due: begun.answer_due, already: begun.already }
    }
}
