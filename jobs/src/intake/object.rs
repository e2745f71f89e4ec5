//! Objections (Art. 21): noted, answered by a restriction until somebody has decided, and decided with a reason.
//!
//! Only to what rests on a legitimate interest: a consent is withdrawn, a contract ends with the erasure. Codes only.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::{
    audit::Entry,
    id::{Id, Subject},
    policy::Purpose,
    run::Tx,
};

use super::{Ground, IntakeError, refund::code, release, restrict};

/// An objection that was noted.
#[derive(Debug, Clone, Copy)]
pub struct Objected {
    /// It stood there already and is not decided.
    pub already: bool,
    /// Jobs that are held until it is decided.
    pub jobs_held: i32,
}

/// An objection as it stands.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ObjectionRow {
    /// Whose.
    pub subject: Id<Subject>,
    /// At which tenant.
    pub tenant: String,
    /// To what.
    pub purpose: String,
    /// Since when.
    pub received_at: DateTime<Utc>,
    /// `open`, `upheld` or `overridden`.
    pub state: String,
    /// Who decided, as a code.
    pub decided_by: Option<String>,
    /// Why, as a code.
    pub why: Option<String>,
}

/// Note an objection, and restrict the person's data until it is decided.
///
/// # Errors
/// A purpose that the tenant's policy in force does not rest on a legitimate interest; a person who is erased.
pub async fn object(
    tx: &mut Tx,
    tenant: &str,
    subject: Id<Subject>,
    purpose: Purpose,
) -> Result<Objected, IntakeError> {
    super::subject_of(tx, tenant, subject).await?;
    // The person first, then rows: the restriction asks for the same lock.
    sqlx::query!("select safelight.own_subject($1)", subject.uuid()).fetch_one(&mut **tx).await?;
    let state = sqlx::query_scalar!("select state from safelight.subjects where id = $1", subject.uuid())
        .fetch_one(&mut **tx)
        .await?;
    if !matches!(state.as_str(), "active" | "restricted") {
        return Err(crate::gate::Refusal::new("subject_erased", None).into());
    }
    let rests = sqlx::query!(
        r#"select version, basis from safelight.policy_purposes
        where tenant = $1 and version = safelight.policy_in_force($1) and purpose = $2"#,
        tenant,
        purpose.as_str()
    )
    .fetch_optional(&mut **tx)
    .await?;
    let Some(rests) = rests.filter(|rests| rests.basis == "legitimate_interest") else {
        return Err(IntakeError::Conflict {
            code: "no_objection",
            why: format!(
                "`{purpose}` does not rest on a legitimate interest here: withdraw a consent, or ask for the erasure"
            ),
        });
    };
    let new = sqlx::query!(
        "insert into safelight.objections (tenant, subject_id, purpose, policy_version) values ($1, $2, $3, $4) on conflict do nothing",
        tenant,
        subject.uuid(),
        purpose.as_str(),
        rests.version
    )
    .execute(&mut **tx)
    .await?
    .rows_affected()
        == 1;
    let jobs_held = if state == "active" { restrict(tx, tenant, subject, Ground::Objection).await? } else { 0 };
    if new {
        Entry::new("intake", "objection.noted", "restricted").subject(subject).purpose(purpose).write(tx).await?;
    }
    Ok(Objected { already: !new, jobs_held })
}

/// Decide one: the person is right (`upheld`), or the controller's grounds are compelling. Overridden, and no other one open: the
/// restriction that it brought is over, and held jobs go on. Upheld: it stays, until the person is erased or released.
///
/// # Errors
/// No open objection of this person to this purpose; a `by` or `why` that is no code.
pub async fn decide_objection(
    tx: &mut Tx,
    subject: Id<Subject>,
    purpose: Purpose,
    upheld: bool,
    by: &str,
    why: &str,
) -> Result<(), IntakeError> {
    let (by, why) = (code("by", by)?, code("why", why)?);
    let state = if upheld { "upheld" } else { "overridden" };
    sqlx::query!("select safelight.own_subject($1)", subject.uuid()).fetch_one(&mut **tx).await?;
    let tenant = sqlx::query_scalar!(
        r#"update safelight.objections set state = $3, decided_at = safelight.now(), decided_by = $4, why = $5
        where subject_id = $1 and purpose = $2 and state = 'open' returning tenant"#,
        subject.uuid(),
        purpose.as_str(),
        state,
        by,
        why
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or_else(|| IntakeError::not_found(format!("an open objection of {subject} to {purpose}")))?;
    Entry::new("operator", "objection.decided", if upheld { "upheld" } else { "overridden" })
        .subject(subject)
        .purpose(purpose)
        .code("by", by)
        .code("why", why)
        .write(tx)
        .await?;
    let over = sqlx::query_scalar!(
        r#"select exists (select from safelight.restrictions where subject_id = $1 and lifted_at is null and ground = 'objection')
            and not exists (select from safelight.objections where subject_id = $1 and state in ('open', 'upheld')) as "it!""#,
        subject.uuid()
    )
    .fetch_one(&mut **tx)
    .await?;
    if over {
        release(tx, &tenant, subject).await?;
    }
    Ok(())
}

/// Open ones, or all of them, the oldest first.
///
/// # Errors
/// Those of the database.
pub async fn objections(
    pool: &PgPool,
    tenant: Option<&str>,
    decided_too: bool,
) -> Result<Vec<ObjectionRow>, sqlx::Error> {
    sqlx::query_as!(
        ObjectionRow,
        r#"select subject_id as subject, tenant, purpose, received_at, state, decided_by, why from safelight.objections
        where ($1::text is null or tenant = $1) and ($2 or state = 'open') order by received_at, id limit 500"#,
        tenant,
        decided_too
    )
    .fetch_all(pool)
    .await
}
