//! Access and portability (Art. 15 and 20): a person asks for what there is about them.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::{
    audit::Entry,
    export_data::ExportData,
    id::{Artifact, Id, Subject},
    keys,
    place::{self, Place},
    queue::By,
    run::Tx,
};

use super::{IntakeError, refund::code};

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
    // Two that ask at once are one after the other: the second finds the first one's.
    sqlx::query!("select safelight.own_subject($1)", subject.uuid()).fetch_one(&mut **tx).await?;
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

/// Ask for one on a person's behalf: somebody of the house, with who and why as codes. The caller keeps the act as `export.asked`
/// about the export: the list shows it.
///
/// # Errors
/// As [`ask_export`]; a `by` or `why` that is no code.
pub async fn ask_export_for(tx: &mut Tx, subject: Id<Subject>, by: By<'_>) -> Result<ExportAsked, IntakeError> {
    let by = By { actor: code("by", by.actor)?, why: code("why", by.why)? };
    let tenant = sqlx::query_scalar!("select tenant from safelight.subjects where id = $1", subject.uuid())
        .fetch_optional(&mut **tx)
        .await?
        .ok_or_else(|| IntakeError::not_found(subject))?;
    let asked = ask_export(tx, &tenant, subject).await?;
    if !asked.already {
        let entry = Entry::new("operator", "export.asked", "enqueued")
            .subject(subject)
            .code("by", by.actor)
            .code("why", by.why);
        entry.write(tx).await?;
    }
    Ok(asked)
}

/// An export as whoever watches may see it: nothing of whose it is.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ExportRow {
    /// It.
    pub export: Id<Artifact>,
    /// Of which tenant.
    pub tenant: String,
    /// `making`, `ready`, or `over`: its time has passed, and the sweep takes it.
    pub state: String,
    /// When it was asked for.
    pub asked_at: DateTime<Utc>,
    /// When it goes.
    pub expires_at: Option<DateTime<Utc>>,
    /// Who of the house asked for it; none: the person, through the tenant's backend.
    pub by: Option<String>,
    /// Why, as a code.
    pub why: Option<String>,
}

impl ExportRow {
    /// Where it stands among the others.
    pub fn place(&self) -> Place {
        Place::of(self.asked_at, self.export.uuid())
    }
}

/// Those that are there, the newest first.
///
/// # Errors
/// Those of the database.
pub async fn exports(pool: &PgPool, tenant: Option<&str>) -> Result<Vec<ExportRow>, sqlx::Error> {
    exports_before(pool, tenant, None, i64::MAX).await
}

/// At most so many of them, those older than a place of [`ExportRow::place`].
///
/// # Errors
/// Those of the database.
pub async fn exports_before(
    pool: &PgPool,
    tenant: Option<&str>,
    before: Option<Place>,
    most: i64,
) -> Result<Vec<ExportRow>, sqlx::Error> {
    let (at, id) = place::halves(before);
    sqlx::query_as!(
        ExportRow,
        r#"select a.id as export, a.tenant, a.created_at as asked_at, a.delete_after as expires_at, o.actor as "by?", o.why as "why?",
            case when a.delete_after <= safelight.now() then 'over' when a.state = 'stored' then 'ready' else 'making' end as "state!"
        from (select x.id, x.tenant, x.created_at, x.delete_after, x.state from safelight.artifacts x
            where x.class = 'export' and ($1::text is null or x.tenant = $1)
                and ($2::timestamptz is null or (x.created_at, x.id) < ($2, $3::uuid)) order by x.created_at desc, x.id desc limit $4) a
        left join lateral (select actor, why from safelight.operator_acts
            where about = 'artifact_' || replace(a.id::text, '-', '') and action = 'export.asked' order by id desc limit 1) o on true
        order by a.created_at desc, a.id desc"#,
        tenant,
        at,
        id,
        most
    )
    .fetch_all(pool)
    .await
}
