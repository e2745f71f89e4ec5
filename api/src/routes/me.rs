//! What a signed-in person may do about themselves, without the tenant's backend in between: see how it stands, consent,
//! withdraw, have everything exported, be erased. Answered by the state of the person, never by the sign-in alone.
//!
//! An `Idempotency-Key` belongs to the person here, and outlasts the sign-in, which is renewed every hour.

use axum::{Json as Body, extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{Artifact, Deletion, Id, Subject},
    intake,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    consents::{Granted, NewGrant, Withdrawal, Withdrawn, one_consent, receipt},
    rights::{Exported, Exporting, export_of},
    subjects::Erasure,
};
use crate::{
    error::Error,
    input::{At, Json, RawJson},
    openapi::Problem,
    person::Person,
    state::ApiState,
};

/// How a person stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct Me {
    /// The person.
    #[schema(value_type = String, example = "subject_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    subject: Id<Subject>,
    /// `active`, `restricted` or `erasing`.
    state: String,
    /// For each purpose the last that was said, by the person or by time.
    consents: Vec<Said>,
    /// What the person objected to, the oldest first.
    objections: Vec<ObjectedTo>,
    /// The erasure that is under way.
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

/// See how one stands oneself.
#[utoipa::path(get, path = "/v1/me", tag = "me", operation_id = "readMe", security(("sign_in" = [])),
    responses((status = 200, description = "As it stands", body = Me), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn read(person: Person, State(state): State<ApiState>) -> Result<Body<Me>, Error> {
    let subject = person.subject;
    let row = sqlx::query!(
        r#"select s.state, d.id as "deletion?", d.answer_due as "answer_due?" from safelight.subjects s
        left join safelight.deletions d on d.subject_id = s.id and d.trigger = 'erasure'
        where s.id = $1"#,
        subject.uuid()
    )
    .fetch_optional(&state.pool)
    .await?
    .ok_or(Error::SignInUnknown)?;
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
    Ok(Body(Me { subject, state: row.state, consents, objections, erasure, answer_due }))
}

/// Give one consent.
#[utoipa::path(post, path = "/v1/me/consents", tag = "me", operation_id = "grantMyConsent",
    request_body = NewGrant, security(("sign_in" = [])),
    responses((status = 201, description = "Recorded", body = Granted), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn grant(person: Person, State(state): State<ApiState>, body: RawJson) -> Result<Response, Error> {
    let grant = one_consent(&body, person.subject)?;
    let mut tx = person.begin(&state).await?;
    let receipt = receipt(&state, &mut tx, &person.tenant, grant).await?;
    person.finish(tx, StatusCode::CREATED, &receipt).await
}

/// Withdraw every consent for one purpose.
#[utoipa::path(post, path = "/v1/me/consents/withdraw", tag = "me", operation_id = "withdrawMyConsent",
    request_body = Withdrawal, security(("sign_in" = [])),
    responses((status = 202, description = "Withdrawn; the deletion follows", body = Withdrawn), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn withdraw(
    person: Person,
    State(state): State<ApiState>,
    body: Json<Withdrawal>,
) -> Result<Response, Error> {
    let mut tx = person.begin(&state).await?;
    let done = intake::withdraw(&mut tx, &person.tenant, person.subject, body.value.purpose).await?;
    person.finish(tx, StatusCode::ACCEPTED, &Withdrawn::from(done)).await
}

/// Ask for everything that there is about oneself, as one JSON document (Art. 15 and 20).
#[utoipa::path(post, path = "/v1/me/exports", tag = "me", operation_id = "exportMe", security(("sign_in" = [])),
    responses((status = 202, description = "Being made", body = Exporting), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn export(person: Person, State(state): State<ApiState>) -> Result<Response, Error> {
    let mut tx = person.begin(&state).await?;
    let asked = intake::ask_export(&mut tx, &person.tenant, person.subject).await?;
    person.finish(tx, StatusCode::ACCEPTED, &Exporting::from(asked)).await
}

/// Read where one's export is.
#[utoipa::path(get, path = "/v1/me/exports/{artifact}", tag = "me", operation_id = "readMyExport",
    params(("artifact" = String, Path, description = "artifact_…")), security(("sign_in" = [])),
    responses((status = 200, description = "Where it is", body = Exported),
        (status = 410, description = "Its time is over", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn read_export(
    person: Person,
    State(state): State<ApiState>,
    At(artifact): At<Artifact>,
) -> Result<Response, Error> {
    export_of(&state, artifact, person.subject, Some(&person.tenant)).await
}

/// Be erased. Accepted in every state; nothing new begins from here on, the deleting follows.
#[utoipa::path(post, path = "/v1/me/erase", tag = "me", operation_id = "eraseMe", security(("sign_in" = [])),
    responses((status = 202, description = "Begun", body = Erasure), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn erase(person: Person, State(state): State<ApiState>) -> Result<Response, Error> {
    let mut tx = person.begin(&state).await?;
    let begun = intake::erase(&mut tx, &person.tenant, person.subject).await?;
    person.finish(tx, StatusCode::ACCEPTED, &Erasure::from(begun)).await
}
