//! What a web backend tells Safelight: people, consents, uploads, orders, withdrawals, erasures. Each is one short
//! transaction that decides nothing which a gate would not decide again.

mod cases;
mod consent;
mod erase;
mod export;
mod object;
mod order;
mod part;
mod rectify;
mod refund;
mod restrict;
mod subject;
mod upload;

pub use cases::{
    CHANNELS, CaseObjection, CaseRow, KINDS, NewCase, cases, cases_after, close_case, extend_case, open_case,
    open_case_once, verify_case,
};
pub use consent::{Grant, Withdrawn, grant, withdraw};
pub use erase::{ErasureStarted, erase};
pub use export::{ExportAsked, ExportRow, ask_export, ask_export_for, exports, exports_before};
pub use object::{
    Decided, Objected, ObjectionRow, decide_objection, jobs_of_purpose, object, objections, objections_after,
};
pub(crate) use order::lock_session;
pub use order::{Checkout, NewOrder, ORDER_STATES, place, start_checkout};
pub(crate) use part::begin_failed_order;
pub use part::{DeletionStarted, delete_failed_order, delete_photo};
pub use rectify::{Contested, Correction, Recipient, contest_similarity, rectify};
pub use refund::{InReview, Paid, RefundAsked, RefundWish, ask_refund, ask_refund_once, in_review, is_code};
pub(crate) use restrict::restrict_again;
pub use restrict::{Ground, Told, Way, release, restrict};
pub use subject::{Account, register};
pub(crate) use upload::UPLOAD_LINK_LIFE;
pub use upload::{Arrival, UploadSlot, arrived, open_batch, sign_slot_anew, slot};

use crate::{audit::Entry, gate::Refusal, queue::EnqueueError, vault::VaultError};

/// Why the intake did not take something. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// 404. No such person, order, batch or object of this tenant.
    #[error("{what} does not exist, or is not of this tenant")]
    NotFound {
        /// Which id.
        what: String,
    },
    /// 409. What was asked for does not fit what is there.
    #[error("{why}")]
    Conflict {
        /// Stable code.
        code: &'static str,
        /// A sentence.
        why: String,
    },
    /// 422. A value that cannot be taken.
    #[error("{why}")]
    Invalid {
        /// Stable code.
        code: &'static str,
        /// A sentence.
        why: String,
    },
    /// 409. A gate is closed.
    #[error("not allowed now: {0}")]
    Refused(#[from] Refusal),
    /// Sealing failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A job was not taken.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The store did not answer.
    #[error(transparent)]
    Storage(#[from] crate::providers::storage::StorageError),
    /// The database did not answer.
    #[error("the database did not answer")]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for IntakeError {
    fn from(error: sqlx::Error) -> Self {
        match Refusal::from_database(&error) {
            Some(refusal) => Self::Refused(refusal),
            None => Self::Database(error),
        }
    }
}

impl IntakeError {
    fn not_found(what: impl std::fmt::Display) -> Self {
        Self::NotFound { what: what.to_string() }
    }
    fn invalid(code: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { code, why: why.into() }
    }
}

/// The entry of what was asked for: by who of the house, as a code, or through the tenant's backend.
fn entry(action: &'static str, outcome: &'static str, by: Option<&str>) -> Result<Entry, IntakeError> {
    Ok(match by {
        None => Entry::new("intake", action, outcome),
        Some(by) => Entry::new("operator", action, outcome).code("by", refund::code("by", by)?),
    })
}

/// A form of a page was sent before and said something else then: whoever went back to it filled in anew what had been done.
fn sent_before() -> IntakeError {
    IntakeError::Conflict {
        code: "idempotency_key_reused",
        why: "this form was sent before and said something else: open its page anew, and fill it in there".to_owned(),
    }
}

/// The person exists and is of this tenant. The state is the business of gates.
async fn subject_of(
    tx: &mut sqlx::PgConnection,
    tenant: &str,
    subject: crate::id::Id<crate::id::Subject>,
) -> Result<(), IntakeError> {
    let known = sqlx::query_scalar!("select tenant from safelight.subjects where id = $1", subject.uuid())
        .fetch_optional(tx)
        .await?;
    if known.as_deref() == Some(tenant) { Ok(()) } else { Err(IntakeError::not_found(subject)) }
}

/// The same, and nobody asked for their erasure or restriction: something new may begin. Locked in share mode, so that it
/// is still so when the caller commits.
async fn active_subject_of(
    tx: &mut sqlx::PgConnection,
    tenant: &str,
    subject: crate::id::Id<crate::id::Subject>,
) -> Result<(), IntakeError> {
    sqlx::query!("select safelight.share_subject($1)", subject.uuid()).fetch_one(&mut *tx).await?;
    subject_of(tx, tenant, subject).await?;
    let state =
        sqlx::query_scalar!("select state from safelight.subjects where id = $1", subject.uuid()).fetch_one(tx).await?;
    match state.as_str() {
        "active" => Ok(()),
        "restricted" => Err(Refusal::new("subject_restricted", None).into()),
        _ => Err(Refusal::new("subject_erased", None).into()),
    }
}
