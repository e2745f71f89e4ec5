//! What a signed-in person may do about themselves, without the tenant's backend in between: see how it stands, consent,
//! withdraw, have everything exported, be erased. Answered by the state of the person, never by the sign-in alone.
//!
//! An `Idempotency-Key` belongs to the person here, and outlasts the sign-in, which is renewed every hour.

use axum::{Json as Body, extract::State, http::StatusCode, response::Response};
use safelight_jobs::{id::Artifact, intake};

use super::{
    consents::{Granted, NewGrant, Withdrawal, Withdrawn, one_consent, receipt},
    rights::{Exported, Exporting, export_of},
    standing::{self, Standing},
    subjects::Erasure,
};
use crate::{
    error::Error,
    input::{At, Json, RawJson},
    openapi::Problem,
    person::Person,
    state::ApiState,
};

/// See how one stands oneself.
#[utoipa::path(get, path = "/v1/me", tag = "me", operation_id = "readMe", security(("sign_in" = [])),
    responses((status = 200, description = "As it stands", body = Standing), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn read(person: Person, State(state): State<ApiState>) -> Result<Body<Standing>, Error> {
    standing::of(&state, person.subject, Some(&person.tenant)).await?.map(Body).ok_or(Error::SignInUnknown)
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
    let begun = intake::erase(&mut tx, &person.tenant, person.subject, None).await?;
    person.finish(tx, StatusCode::ACCEPTED, &Erasure::from(begun)).await
}
