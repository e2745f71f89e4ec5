//! Rights of a person, as the tenant's backend passes them on: correction, a contested score, restriction and its release, export.

use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{self, Artifact, Id, Subject},
    intake::{self, Correction, Ground, Way},
    keys, look,
    providers::storage::StorageError,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::images;
use crate::{
    caller::{Enqueue, Read, To},
    error::Error,
    idempotency,
    input::{At, Json},
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
};

/// What is corrected; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAccount {
    /// Mail address.
    email: Option<String>,
    /// Name.
    name: Option<String>,
}

/// It is corrected.
#[derive(Serialize, ToSchema)]
pub(crate) struct Corrected {
    /// The person.
    #[schema(value_type = String, example = "subject_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    subject: Id<Subject>,
    /// Who has a copy of the address and is told of it (Art. 19); nobody where it is not corrected, or nobody else has it.
    told: Vec<Told>,
}

/// A recipient that is told.
#[derive(Serialize, ToSchema)]
struct Told {
    /// Who: `supabase`, for the address of the sign-in user.
    processor: &'static str,
    /// The job that tells it; of a restricted person after the release.
    #[schema(value_type = String, example = "job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    job: Id<id::Job>,
}

/// Correct mail address or name (Art. 16). Mails that wait go to the new address, and Supabase Auth is told of it.
#[utoipa::path(post, path = "/v1/subjects/{subject}/rectify", tag = "rights", operation_id = "rectifySubject",
    params(("subject" = String, Path, description = "subject_…")), request_body = NewAccount, security(("token" = ["enqueue"])),
    responses((status = 200, description = "Corrected", body = Corrected), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn rectify(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
    body: Json<NewAccount>,
) -> Result<Response, Error> {
    let NewAccount { email, name } = body.value;
    if name.as_ref().is_some_and(|name| name.len() > 512) {
        return Err(Error::BadBody { why: "`name` is longer than 512 bytes".to_owned() });
    }
    let mut tx = caller.begin(&state).await?;
    let correction = Correction { email, name };
    let told = intake::rectify(&mut tx, &state.vault, caller.tenant()?, subject, &correction).await?;
    let told = told.iter().map(|one| Told { processor: one.processor.as_str(), job: one.job }).collect();
    caller.finish(tx, StatusCode::OK, &Corrected { subject, told }).await
}

/// A score that is measured anew.
#[derive(Serialize, ToSchema)]
pub(crate) struct ComparedAgain {
    /// The job that does it.
    #[schema(value_type = String, example = "job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    job: Id<id::Job>,
    /// It was asked for already and has not ended.
    already: bool,
}

/// Contest a score (Art. 16): the image is compared once more with the photos that are there now, and the new score replaces
/// the old one.
#[utoipa::path(post, path = "/v1/subjects/{subject}/images/{artifact}/compare", tag = "rights", operation_id = "contestSimilarity",
    params(("subject" = String, Path, description = "subject_…"), ("artifact" = String, Path, description = "artifact_…")),
    security(("token" = ["enqueue"])),
    responses((status = 202, description = "Enqueued, or known", body = ComparedAgain), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn contest(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
    At(image): At<Artifact>,
) -> Result<Response, Error> {
    let mut tx = caller.begin(&state).await?;
    let contested = intake::contest_similarity(&mut tx, caller.tenant()?, subject, image).await?;
    let answer = ComparedAgain { job: contested.job, already: contested.already };
    caller.finish(tx, StatusCode::ACCEPTED, &answer).await
}

/// Why the data are restricted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Restriction {
    /// `accuracy`, `unlawful`, `claims` or `objection`: GDPR Art. 18(1)(a) to (d).
    ground: Word,
    /// For `unlawful` and `claims`: until when the data are kept whatever their term says.
    keep_until: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Word {
    Accuracy,
    Unlawful,
    Claims,
    Objection,
}

/// The data are restricted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Restricted {
    /// Jobs that are held until the release.
    jobs_held: i32,
}

/// Restrict (Art. 18): the data stay, and nothing is done with them. Queued work is held, what runs stops at its next gate.
#[utoipa::path(post, path = "/v1/subjects/{subject}/restrict", tag = "rights", operation_id = "restrictSubject",
    params(("subject" = String, Path, description = "subject_…")), request_body = Restriction, security(("token" = ["enqueue"])),
    responses((status = 200, description = "Restricted", body = Restricted), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn restrict(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
    body: Json<Restriction>,
) -> Result<Response, Error> {
    let ground = match (body.value.ground, body.value.keep_until) {
        (Word::Accuracy, None) => Ground::Accuracy,
        (Word::Objection, None) => Ground::Objection,
        (Word::Unlawful, Some(until)) => Ground::Unlawful(until),
        (Word::Claims, Some(until)) => Ground::Claims(until),
        _ => {
            return Err(Error::BadBody {
                why: "`keep_until` belongs to the grounds `unlawful` and `claims`, and only to them".to_owned(),
            });
        }
    };
    let mut tx = caller.begin(&state).await?;
    let jobs_held = intake::restrict(&mut tx, caller.tenant()?, subject, ground, None).await?;
    caller.finish(tx, StatusCode::OK, &Restricted { jobs_held }).await
}

/// That the person was told that the restriction ends. Without it nobody is released: `not_told`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Telling {
    /// How: `mail`, `product` (where they saw it), or `letter`.
    told: Option<ToldBy>,
    /// When: after the restriction was set, and not later than now.
    told_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ToldBy {
    Mail,
    Product,
    Letter,
}

impl Telling {
    /// Only both together say something.
    fn said(&self) -> Option<intake::Told> {
        let by = match self.told? {
            ToldBy::Mail => Way::Mail,
            ToldBy::Product => Way::Product,
            ToldBy::Letter => Way::Letter,
        };
        Some(intake::Told { by, at: self.told_at? })
    }
}

/// The restriction is over.
#[derive(Serialize, ToSchema)]
pub(crate) struct Released {
    /// Jobs that go on.
    jobs_released: i32,
}

/// Release a restriction. The person is told before (Art. 18(3)); how and when stays as evidence.
#[utoipa::path(post, path = "/v1/subjects/{subject}/release", tag = "rights", operation_id = "releaseSubject",
    params(("subject" = String, Path, description = "subject_…")), request_body = Telling, security(("token" = ["enqueue"])),
    responses((status = 200, description = "Released", body = Released), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn release(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
    body: Json<Telling>,
) -> Result<Response, Error> {
    let mut tx = caller.begin(&state).await?;
    let jobs_released = intake::release(&mut tx, caller.tenant()?, subject, body.value.said(), None).await?;
    caller.finish(tx, StatusCode::OK, &Released { jobs_released }).await
}

/// An export that is being made.
#[derive(Serialize, ToSchema)]
pub(crate) struct Exporting {
    /// It; the same one while it is being made.
    #[schema(value_type = String, example = "artifact_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    export: Id<Artifact>,
    /// When it goes again.
    expires_at: DateTime<Utc>,
    /// It was being made already.
    already: bool,
}

/// Ask for everything that there is about a person, as one JSON document (Art. 15 and 20).
#[utoipa::path(post, path = "/v1/subjects/{subject}/exports", tag = "rights", operation_id = "exportSubject",
    params(("subject" = String, Path, description = "subject_…")), security(("token" = ["enqueue"])),
    responses((status = 202, description = "Being made", body = Exporting), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn export(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
) -> Result<Response, Error> {
    let mut tx = caller.begin(&state).await?;
    let asked = intake::ask_export(&mut tx, caller.tenant()?, subject).await?;
    caller.finish(tx, StatusCode::ACCEPTED, &Exporting::from(asked)).await
}

impl From<intake::ExportAsked> for Exporting {
    fn from(asked: intake::ExportAsked) -> Self {
        Self { export: asked.export, expires_at: asked.expires_at, already: asked.already }
    }
}

/// An export as it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct Exported {
    /// `making` or `ready`.
    state: &'static str,
    /// When it goes again.
    expires_at: Option<DateTime<Utc>>,
    /// Works for five minutes, and never longer than the export is there. Whoever has it can read: hand it to the person only.
    url: Option<String>,
}

/// Read where an export is.
#[utoipa::path(get, path = "/v1/subjects/{subject}/exports/{artifact}", tag = "rights", operation_id = "readExport",
    params(("subject" = String, Path, description = "subject_…"), ("artifact" = String, Path, description = "artifact_…"), WhatFor),
    security(("token" = ["read"])),
    responses((status = 200, description = "Where it is", body = Exported),
        (status = 410, description = "Its time is over", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn read_export(
    caller: To<Read>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
    At(artifact): At<Artifact>,
) -> Result<Response, Error> {
    let export = export_of(&state, artifact, subject, caller.sees_only()).await?;
    caller.looks_at(&state, &artifact.to_string(), look::entry().subject(subject)).await?;
    Ok(export)
}

/// One person's export, for who may see that tenant's; none: every tenant's.
pub(super) async fn export_of(
    state: &ApiState,
    artifact: Id<Artifact>,
    subject: Id<Subject>,
    tenant: Option<&str>,
) -> Result<Response, Error> {
    let row = sqlx::query!(
        r#"select a.storage_key, a.state, a.delete_after, safelight.readable(a) as "readable!", a.delete_after <= safelight.now() as "over!",
            floor(extract(epoch from a.delete_after - safelight.now()))::bigint as left_seconds
        from safelight.artifacts a
        where a.id = $1 and a.subject_id = $2 and a.class = 'export' and ($3::text is null or a.tenant = $3)"#,
        artifact.uuid(),
        subject.uuid(),
        tenant
    )
    .fetch_optional(&state.pool)
    .await?
    .ok_or_else(|| Error::not_found(artifact))?;
    if row.over || row.state == "stored" && !row.readable {
        return Err(Error::Gone { what: artifact.to_string() });
    }
    let url = if row.readable {
        let life = images::life(row.left_seconds).ok_or_else(|| Error::Gone { what: artifact.to_string() })?;
        match state.storage.signed_get(&keys::stored(&row.storage_key)?, life).await {
            Ok(link) => Some(link.expose().to_owned()),
            Err(StorageError::NotSupported) => None,
            Err(error) => return Err(error.into()),
        }
    } else {
        None
    };
    let view = Exported { state: if row.readable { "ready" } else { "making" }, expires_at: row.delete_after, url };
    let view = serde_json::to_value(&view).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}
