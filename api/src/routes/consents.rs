//! Consent given and withdrawn. One request, one purpose: a bundle of purposes is no consent, whatever its form.

use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{self, Batch, Deletion, Id, Order, Subject},
    intake::{self, Grant},
    policy::{CapturePoint, Purpose},
    run::Tx,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    caller::{Enqueue, To},
    error::Error,
    input::{At, Json, RawJson},
    openapi::Problem,
    state::ApiState,
};

/// One consent, as it was given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGrant {
    /// For what: exactly one purpose that the tenant's policy asks consent for.
    #[schema(value_type = String, example = "train")]
    purpose: Purpose,
    /// Where the box was ticked: `sign_up`, `upload`, `checkout` or `settings`.
    #[schema(value_type = String, example = "checkout")]
    capture_point: CapturePoint,
    /// For which act of uploading, at the upload.
    #[schema(value_type = Option<String>, example = "batch_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    batch: Option<Id<Batch>>,
    /// For which order, at the checkout.
    #[schema(value_type = Option<String>, example = "order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    order: Option<Id<Order>>,
    /// SHA-256 of the sentence that stood beside the box, in hexadecimal digits.
    wording_sha256: String,
    /// The policy version that was shown.
    policy_version: String,
}

/// What a receipt says of the rights of whoever gave it.
const RIGHTS: &str = "You may withdraw this consent at any time, as easily as you gave it; what was done before stays lawful. \
    You may complain to a data protection authority.";

/// A recorded consent: its receipt, to show or to send.
#[derive(Serialize, ToSchema)]
pub(crate) struct Granted {
    /// The consent event.
    #[schema(value_type = String, example = "grant_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    grant: Id<id::Grant>,
    /// Who answers for the data.
    controller: String,
    /// Where to write.
    contact: String,
    /// For what.
    #[schema(value_type = String, example = "train")]
    purpose: Purpose,
    /// Where the box was ticked.
    #[schema(value_type = String, example = "checkout")]
    capture_point: CapturePoint,
    /// The policy version that was shown.
    policy_version: String,
    /// SHA-256 of the sentence that stood beside the box.
    wording_sha256: String,
    /// When.
    given_at: DateTime<Utc>,
    /// What whoever gave it may do.
    rights: &'static str,
}

/// Record one consent.
#[utoipa::path(post, path = "/v1/subjects/{subject}/consents", tag = "consents", operation_id = "grantConsent",
    params(("subject" = String, Path, description = "subject_…")), request_body = NewGrant, security(("token" = ["enqueue"])),
    responses((status = 201, description = "Recorded", body = Granted), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn grant(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
    body: RawJson,
) -> Result<Response, Error> {
    let grant = one_consent(&body, subject)?;
    let mut tx = caller.begin(&state).await?;
    let receipt = receipt(&state, &mut tx, caller.tenant()?, grant).await?;
    caller.finish(tx, StatusCode::CREATED, &receipt).await
}

/// The consent that a body gives in this person's name.
pub(super) fn one_consent(body: &RawJson, subject: Id<Subject>) -> Result<Grant, Error> {
    if is_bundle(&body.read()?) {
        return Err(Error::ConsentBundled);
    }
    // From the bytes again, not from the value: there a doubled field is seen.
    let new: NewGrant = body.read().map_err(|error| match error {
        Error::BadBody { why } if why.starts_with("duplicate field `purpose`") => Error::ConsentBundled,
        other => other,
    })?;
    Ok(Grant {
        subject,
        purpose: new.purpose,
        capture_point: new.capture_point,
        batch: new.batch,
        order: new.order,
        wording_sha256: new.wording_sha256,
        policy_version: new.policy_version,
    })
}

/// Record a consent in the caller's transaction; answers its receipt.
pub(super) async fn receipt(state: &ApiState, tx: &mut Tx, tenant: &str, grant: Grant) -> Result<Granted, Error> {
    let id = intake::grant(tx, tenant, &grant).await?;
    let given_at =
        sqlx::query_scalar!("select at from safelight.consents where id = $1", id.uuid()).fetch_one(&mut **tx).await?;
    let policy = state.policy(tenant)?;
    Ok(Granted {
        grant: id,
        controller: policy.controller().to_owned(),
        contact: policy.contact().to_owned(),
        purpose: grant.purpose,
        capture_point: grant.capture_point,
        policy_version: grant.policy_version,
        wording_sha256: grant.wording_sha256,
        given_at,
        rights: RIGHTS,
    })
}

/// Several purposes, or flags instead of a purpose.
fn is_bundle(body: &Value) -> bool {
    let Some(fields) = body.as_object() else { return body.is_array() };
    let flagged = fields.values().any(Value::is_boolean);
    let several = match fields.get("purpose") {
        Some(Value::String(word)) => word.split([',', ';', '+', '|', ' ']).filter(|part| !part.is_empty()).count() > 1,
        Some(Value::Array(_) | Value::Object(_)) => true,
        _ => fields.contains_key("purposes") || fields.contains_key("consents"),
    };
    flagged || several
}

/// Which consent to withdraw: no more fields than giving it took.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Withdrawal {
    /// For what.
    #[schema(value_type = String, example = "compare")]
    pub(super) purpose: Purpose,
}

/// What a withdrawal set going.
#[derive(Serialize, ToSchema)]
pub(crate) struct Withdrawn {
    /// Jobs that left the queue.
    jobs_cancelled: i32,
    /// The deletion of what rested on the consent.
    #[schema(value_type = String, example = "deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    deletion: Id<Deletion>,
    /// Its legal deadline.
    answer_due: DateTime<Utc>,
}

/// Withdraw every consent for one purpose.
#[utoipa::path(post, path = "/v1/subjects/{subject}/consents/withdraw", tag = "consents", operation_id = "withdrawConsent",
    params(("subject" = String, Path, description = "subject_…")), request_body = Withdrawal, security(("token" = ["enqueue"])),
    responses((status = 202, description = "Withdrawn; the deletion follows", body = Withdrawn), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn withdraw(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
    body: Json<Withdrawal>,
) -> Result<Response, Error> {
    let mut tx = caller.begin(&state).await?;
    let done = intake::withdraw(&mut tx, caller.tenant()?, subject, body.value.purpose).await?;
    caller.finish(tx, StatusCode::ACCEPTED, &Withdrawn::from(done)).await
}

impl From<intake::Withdrawn> for Withdrawn {
    fn from(done: intake::Withdrawn) -> Self {
        Self { jobs_cancelled: done.jobs_cancelled, deletion: done.deletion, answer_due: done.answer_due }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bundle_is_seen_in_every_form() {
        assert!(is_bundle(&json!([{ "purpose": "train" }, { "purpose": "compare" }])));
        assert!(is_bundle(&json!({ "purpose": ["train", "compare"] })));
        assert!(is_bundle(&json!({ "purpose": ["train"] })));
        assert!(is_bundle(&json!({ "purposes": ["train"] })));
        assert!(is_bundle(&json!({ "purpose": "train,compare" })));
        assert!(is_bundle(&json!({ "train": true, "compare": true })));
        assert!(is_bundle(&json!({ "purpose": "train", "all": true })));
        assert!(!is_bundle(&json!({ "purpose": "train", "capture_point": "checkout" })));
    }
}
