//! Access and portability (Art. 15 and 20): a person asks for what there is about them.

use chrono::{DateTime, Utc};

use crate::{
    audit::Entry,
    export_data::ExportData,
    id::{Artifact, Id, Subject},
    keys,
    run::Tx,
};

use super::IntakeError;

/// An export that is being made.
#[derive(Debug, Clone)]
pub struct ExportAsked {
    /// It; the same one while it is being made.
    pub export: Id<Artifact>,
    /// When it goes again.
    pub expires_at: DateTime<Utc>,
    /// It was being made already.
    pub already: bool,
}

/// Ask for one. Also while the person is restricted.
///
/// # Errors
/// Nobody of this id at this tenant; a person who is erased.
pub async fn ask_export(tx: &mut Tx, tenant: &str, subject: Id<Subject>) -> Result<ExportAsked, IntakeError> {
    super::subject_of(tx, tenant, subject).await?;
    let wanted = Id::<Artifact>::new();
    let key = keys::of(tenant, subject, "export", wanted)?;
    let row = sqlx::query!(
        r#"select id as "id!", expires_at as "expires_at!" from safelight.record_export($1, $2, $3)"#,
        wanted.uuid(),
        subject.uuid(),
        key.as_str()
    )
    .fetch_one(&mut **tx)
    .await?;
    let export: Id<Artifact> = row.id.into();
    let already = export != wanted;
    if !already {
        tx.enqueue(&ExportData { export }).await?;
        Entry::new("intake", "export.asked", "enqueued").subject(subject).write(tx).await?;
    }
    Ok(ExportAsked { export, expires_at: row.expires_at, already })
}
