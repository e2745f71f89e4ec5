//! Enqueue one typed job. A tenant's token enqueues work on that tenant's people and orders only; what belongs to the house
//! needs the scope `sweep`. A payload holds ids and codes, never a text about a person.

use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, TimeDelta, Utc};
use safelight_jobs::{
    check_image::CheckImage,
    compare_faces::CompareFaces,
    generate_batch::GenerateBatch,
    id::{self, Id},
    job::{Job, Scope as Whose},
    measure_selfies::MeasureSelfies,
    policy::Purpose,
    queue::{OwnKey, Wish},
    registry::{self, BadWish},
    resolve_call::ResolveCall,
    run::Tx,
    train_model::TrainModel,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    caller::{Caller, Enqueue, To},
    error::Error,
    input::{self, Json},
    openapi::Problem,
    state::ApiState,
    tokens::Scope,
};

/// How far ahead a job may be scheduled, in days. What was promised for later is found by sweeps.
const DAYS_AHEAD: i64 = 366;

/// A job to enqueue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewJob {
    /// One of `GET /v1/jobs/kinds`.
    #[schema(example = "train_model")]
    kind: String,
    /// The kind's payload: ids only.
    #[schema(value_type = Object)]
    payload: Value,
    /// Your own key, of at most 128 letters, digits and `_-:.`, and nobody's name: the same key of your tenant and this kind again is the same job, whatever
    /// became of it, and with another payload a conflict. It is kept for 30 days after the job was due. Without one the payload
    /// alone makes a wish the same, which holds with one as well.
    #[schema(example = "compare-again-2026-11")]
    key: Option<String>,
    /// Not before this instant; now if none.
    run_at: Option<DateTime<Utc>>,
}

/// An enqueued job.
#[derive(Serialize, ToSchema)]
pub(crate) struct Enqueued {
    /// The job; the same one for the same wish.
    #[schema(value_type = String, example = "job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    job: Id<id::Job>,
    /// The wish was known.
    already: bool,
}

/// Enqueue one typed job.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", operation_id = "enqueueJob",
    request_body = NewJob, security(("token" = ["enqueue"])),
    responses((status = 202, description = "Enqueued, or known", body = Enqueued), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn enqueue(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    body: Json<NewJob>,
) -> Result<Response, Error> {
    let NewJob { kind, payload, key, run_at } = body.value;
    let mut tx = caller.begin(&state).await?;
    let mut wish = wish(&state, &mut tx, &caller, &kind, Asked { payload, key, run_at }).await?;
    wish.traceparent = caller.traceparent();
    let enqueued = wish.enqueue(&mut tx).await?;
    tx.ring(enqueued.queue);
    let answer = Enqueued { job: enqueued.id, already: enqueued.already };
    caller.finish(tx, StatusCode::ACCEPTED, &answer).await
}

/// One wish as it was asked for.
pub(super) struct Asked {
    pub(super) payload: Value,
    pub(super) key: Option<String>,
    pub(super) run_at: Option<DateTime<Utc>>,
}

/// A wish of this caller, if it may have it.
pub(super) async fn wish(
    state: &ApiState,
    tx: &mut Tx,
    caller: &Caller,
    kind: &str,
    Asked { payload, key, run_at }: Asked,
) -> Result<Wish, Error> {
    let fields: Vec<String> = payload
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, _)| name.clone())
        .collect();
    let mut wish = registry::wish(kind, payload).map_err(|error| match error {
        BadWish::UnknownKind(_) => Error::Invalid {
            code: "job_unknown_kind",
            why: "there is no such kind of job; GET /v1/jobs/kinds lists them".to_owned(),
        },
        BadWish::Payload { kind, source } => {
            Error::Invalid { code: "job_payload", why: format!("the payload of `{kind}`: {}", input::unfit(&source)) }
        }
    })?;
    // Left out it would be a promise that nothing keeps.
    if let Some(unknown) = fields.iter().find(|field| wish.payload.get(field).is_none()) {
        let named = if input::is_plain_word(unknown) { format!(" `{unknown}`") } else { String::new() };
        return Err(Error::Invalid {
            code: "job_payload",
            why: format!("the payload of `{}` has no field{named}", wish.kind),
        });
    }
    if !holds_plain_words_only(&wish.payload) {
        return Err(Error::Invalid {
            code: "job_payload",
            why: "a payload holds ids and codes only: at most 128 letters, digits and `_-:.` in each text".to_owned(),
        });
    }
    if let Some(key) = key {
        if key.is_empty() || !input::is_plain_word(&key) {
            return Err(Error::Invalid {
                code: "job_key",
                why: "`key` is 1 to 128 letters, digits and `_-:.`".to_owned(),
            });
        }
        wish.own_key = Some(OwnKey { holder: caller.sees_only().map(str::to_owned), key });
    }
    // It holds who said what became of a call: a person who is signed in says that, nobody else in their name.
    if wish.kind == ResolveCall::NAME {
        return Err(Error::Invalid {
            code: "job_unknown_kind",
            why: "a person says what became of a call, in the console or with `safelight provider resolve`".to_owned(),
        });
    }
    if let Some(tenant) = may_enqueue(tx, caller, wish.scope).await? {
        has_purpose(state, &tenant, wish.kind)?;
    }
    if let Some(run_at) = run_at {
        let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&mut **tx).await?;
        if run_at > now + TimeDelta::days(DAYS_AHEAD) {
            return Err(Error::Invalid {
                code: "run_at_too_far",
                why: format!("`run_at` is more than {DAYS_AHEAD} days ahead"),
            });
        }
        // What is due already is due now, and no older than it is.
        wish.run_at = Some(run_at.max(now));
    }
    Ok(wish)
}

fn holds_plain_words_only(payload: &Value) -> bool {
    match payload {
        Value::String(text) => input::is_plain_word(text),
        Value::Array(items) => items.iter().all(holds_plain_words_only),
        Value::Object(fields) => fields.values().all(holds_plain_words_only),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// A job whose purpose the tenant's policy does not have is not even taken. Everything else is the gate's to decide.
fn has_purpose(state: &ApiState, tenant: &str, kind: &str) -> Result<(), Error> {
    let purpose = match kind {
        TrainModel::NAME => Purpose::Train,
        GenerateBatch::NAME => Purpose::Generate,
        CheckImage::NAME => Purpose::Nsfw,
        MeasureSelfies::NAME | CompareFaces::NAME => Purpose::Compare,
        _ => return Ok(()),
    };
    match state.policy(tenant)?.purpose(purpose) {
        Some(_) => Ok(()),
        None => Err(Error::Conflict {
            code: "purpose_not_allowed",
            why: format!("the policy of {tenant} has no purpose `{purpose}`"),
        }),
    }
}

/// What the job is about exists and is of the caller's tenant. Answers that tenant; none for work of the house.
async fn may_enqueue(tx: &mut Tx, caller: &Caller, whose: Whose) -> Result<Option<String>, Error> {
    let (tenant, what) = match whose {
        Whose::System if caller.may(Scope::Sweep) => return Ok(None),
        Whose::System => return Err(Error::Scope { needs: Scope::Sweep.as_str() }),
        Whose::Order(order) => (
            sqlx::query_scalar!("select tenant from safelight.orders where id = $1", order.uuid())
                .fetch_optional(&mut **tx)
                .await?,
            order.to_string(),
        ),
        Whose::Subject(subject) => (
            sqlx::query_scalar!("select tenant from safelight.subjects where id = $1", subject.uuid())
                .fetch_optional(&mut **tx)
                .await?,
            subject.to_string(),
        ),
        Whose::Artifact(artifact) => (
            sqlx::query_scalar!("select tenant from safelight.artifacts where id = $1", artifact.uuid())
                .fetch_optional(&mut **tx)
                .await?,
            artifact.to_string(),
        ),
        Whose::Call(call) => (
            sqlx::query_scalar!("select tenant from safelight.provider_calls where id = $1", call.uuid())
                .fetch_optional(&mut **tx)
                .await?,
            call.to_string(),
        ),
        Whose::Notice(notice) => (
            sqlx::query_scalar!("select tenant from safelight.notices where id = $1", notice.uuid())
                .fetch_optional(&mut **tx)
                .await?,
            notice.to_string(),
        ),
        Whose::Deletion(deletion) => (
            sqlx::query_scalar!("select tenant from safelight.deletions where id = $1", deletion.uuid())
                .fetch_optional(&mut **tx)
                .await?,
            deletion.to_string(),
        ),
    };
    match tenant {
        Some(tenant) if caller.sees_only().is_none_or(|own| own == tenant) => Ok(Some(tenant)),
        _ => Err(Error::NotFound { what }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_with_a_mail_address_or_a_sentence_is_seen() {
        assert!(holds_plain_words_only(&json!({ "order": "order_0123", "event": "evt_1A", "grace_seconds": 3 })));
        assert!(!holds_plain_words_only(&json!({ "because": "ann@example.org" })));
        assert!(!holds_plain_words_only(&json!({ "because": ["a face with freckles"] })));
    }
}
