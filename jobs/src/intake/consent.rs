//! Consent given and withdrawn. A grant names one purpose: a bundle of purposes is not a consent.

use chrono::{DateTime, Utc};

use crate::{
    audit::Entry,
    delete_data::DeleteData,
    deliver_order::DeliverOrder,
    id::{self, Batch, Deletion, Id, Order, Subject},
    job::Job,
    policy::{CapturePoint, Purpose},
    run::Tx,
};

use super::IntakeError;

/// One consent, as it was given.
#[derive(Debug, Clone)]
pub struct Grant {
    /// By whom.
    pub subject: Id<Subject>,
    /// For what: exactly one purpose.
    pub purpose: Purpose,
    /// Where the box was ticked.
    pub capture_point: CapturePoint,
    /// For which act of uploading, at the upload.
    pub batch: Option<Id<Batch>>,
    /// For which order, at the checkout.
    pub order: Option<Id<Order>>,
    /// SHA-256 of the sentence that stood beside the box, hexadecimal.
    pub wording_sha256: String,
    /// The policy version that was shown.
    pub policy_version: String,
}

/// Record a grant.
pub async fn grant(tx: &mut Tx, tenant: &str, grant: &Grant) -> Result<Id<id::Grant>, IntakeError> {
    super::subject_of(tx, tenant, grant.subject).await?;
    let scope_fits = match grant.capture_point {
        CapturePoint::Upload => grant.batch.is_some() && grant.order.is_none(),
        CapturePoint::Checkout => grant.order.is_some() && grant.batch.is_none(),
        CapturePoint::SignUp | CapturePoint::Settings => grant.batch.is_none() && grant.order.is_none(),
    };
    if !scope_fits {
        return Err(IntakeError::invalid(
            "consent_scope",
            "a consent at `upload` names its `batch`, one at `checkout` its `order`, the others neither",
        ));
    }
    if grant.wording_sha256.len() != 64
        || !grant.wording_sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        return Err(IntakeError::invalid(
            "consent_wording",
            "`wording_sha256` is not 64 hexadecimal digits in lower case",
        ));
    }
    let id = Id::<id::Grant>::new();
    sqlx::query!(
        "select safelight.grant_consent($1, $2, $3, $4, $5, $6, $7, $8)",
        id.uuid(),
        grant.subject.uuid(),
        grant.purpose.as_str(),
        grant.capture_point.as_str(),
        grant.batch.map(Id::uuid),
        grant.order.map(Id::uuid),
        grant.wording_sha256,
        grant.policy_version
    )
    .fetch_one(&mut **tx)
    .await?;
    Entry::new("intake", "consent.granted", grant.capture_point.as_str())
        .subject(grant.subject)
        .purpose(grant.purpose)
        .write(tx)
        .await?;
    Ok(id)
}

/// What a withdrawal set going.
#[derive(Debug, Clone)]
pub struct Withdrawn {
    /// Jobs that left the queue.
    pub jobs_cancelled: i32,
    /// The deletion of what rested on the consent.
    pub deletion: Id<Deletion>,
    /// Its legal deadline.
    pub answer_due: DateTime<Utc>,
}

/// Jobs that do the work of a purpose, by stored name.
pub(super) fn kinds_of(purpose: Purpose) -> Vec<String> {
    let kinds: &[&str] = match purpose {
        Purpose::Train => &[crate::train_model::TrainModel::NAME, crate::collect_model::CollectModel::NAME],
        Purpose::Compare => &[crate::measure_selfies::MeasureSelfies::NAME, crate::compare_faces::CompareFaces::NAME],
        // The looks at images, too: there is nothing to look at any more.
        Purpose::Generate => &[
            crate::generate_batch::GenerateBatch::NAME,
            crate::check_image::CheckImage::NAME,
            crate::compare_faces::CompareFaces::NAME,
        ],
        Purpose::Nsfw => &[crate::check_image::CheckImage::NAME],
        Purpose::Notify => &[crate::send_notice::SendNotice::NAME],
        Purpose::Pay | Purpose::Host | Purpose::Observe | Purpose::Fiscal | Purpose::Dsr | Purpose::Security => &[],
    };
    kinds.iter().map(|&kind| kind.to_owned()).collect()
}

/// Withdraw every consent for one purpose. Commits without asking any provider; takes no more than giving it did. What the
/// withdrawal does to orders, models and calls in flight is done by the database function, under the person's lock.
pub async fn withdraw(
    tx: &mut Tx,
    tenant: &str,
    subject: Id<Subject>,
    purpose: Purpose,
) -> Result<Withdrawn, IntakeError> {
    super::subject_of(tx, tenant, subject).await?;
    let event = Id::<id::Grant>::new();
    let jobs_cancelled = sqlx::query_scalar!(
        r#"select safelight.withdraw_consent($1, $2, $3, 'subject', $4) as "n!""#,
        event.uuid(),
        subject.uuid(),
        purpose.as_str(),
        &kinds_of(purpose)
    )
    .fetch_one(&mut **tx)
    .await?;
    let deletion = Id::<Deletion>::new();
    let answer_due = sqlx::query_scalar!(
        r#"insert into safelight.deletions (id, tenant, subject_id, trigger, purpose, answer_due)
        values ($1, $2, $3, 'withdrawal', $4, safelight.now() + interval '1 month') returning answer_due"#,
        deletion.uuid(),
        tenant,
        subject.uuid(),
        purpose.as_str()
    )
    .fetch_one(&mut **tx)
    .await?;
    tx.enqueue(&DeleteData { deletion }).await?;
    if purpose == Purpose::Compare {
        // The images were paid for; they do without the comparison (N31).
        DeliverOrder::all_of(tx, subject, &event.to_string()).await?;
    }
    Entry::new("intake", "consent.withdrawn", "withdrawn")
        .subject(subject)
        .purpose(purpose)
        .count("jobs_cancelled", jobs_cancelled)
        .write(tx)
        .await?;
    Ok(Withdrawn { jobs_cancelled, deletion, answer_due })
}
