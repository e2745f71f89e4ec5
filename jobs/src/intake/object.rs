//! Objections (Art. 21): noted, answered by a restriction until somebody has decided, and decided with a reason.
//!
//! Only to what rests on a legitimate interest: a consent is withdrawn, a contract ends with the erasure. Upheld, an objection
//! closes the gates for its one purpose, for good, and what was done for it goes (Art. 17(1)(c)). Codes only.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    audit::Entry,
    delete_data::DeleteData,
    deliver_order::DeliverOrder,
    id::{Deletion, Id, Subject},
    place::{self, Place},
    policy::Purpose,
    run::Tx,
};

use super::{Ground, IntakeError, Told, consent::kinds_of, entry, refund::code, release, restrict};

/// An objection that was noted.
#[derive(Debug, Clone, Copy)]
pub struct Objected {
    /// It stood there already.
    pub already: bool,
    /// It was upheld before: the gates are closed for this purpose, and nothing is to be decided.
    pub upheld: bool,
    /// Jobs that are held until it is decided.
    pub jobs_held: i32,
}

/// What a decision set going.
#[derive(Debug, Clone, Copy, Default)]
pub struct Decided {
    /// Jobs of the purpose that left the queue.
    pub jobs_cancelled: i32,
    /// The deletion of what was done for the purpose, of an objection that was upheld.
    pub deletion: Option<Id<Deletion>>,
    /// The restriction is over.
    pub released: bool,
}

/// An objection as it stands.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ObjectionRow {
    /// Its own, by which nobody calls it.
    #[serde(skip)]
    id: Uuid,
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

impl ObjectionRow {
    /// Where it stands among the others.
    pub fn place(&self) -> Place {
        Place::of(self.received_at, self.id)
    }
}

/// Note an objection, and restrict the person's data until it is decided. `by`: who of the house notes it, as a code, where it came
/// by mail or letter.
///
/// # Errors
/// A purpose that the tenant's policy in force does not rest on a legitimate interest; a person who is erased; a `by` that is no
/// code.
pub async fn object(
    tx: &mut Tx,
    tenant: &str,
    subject: Id<Subject>,
    purpose: Purpose,
    by: Option<&str>,
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
    let upheld = sqlx::query_scalar!(
        r#"select exists (select from safelight.objections where subject_id = $1 and purpose = $2 and state = 'upheld') as "is!""#,
        subject.uuid(),
        purpose.as_str()
    )
    .fetch_one(&mut **tx)
    .await?;
    if upheld {
        return Ok(Objected { already: true, upheld, jobs_held: 0 });
    }
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
    let jobs_held = if state == "active" { restrict(tx, tenant, subject, Ground::Objection, by).await? } else { 0 };
    if new {
        entry("objection.noted", "restricted", by)?.subject(subject).purpose(purpose).write(tx).await?;
    }
    Ok(Objected { already: !new, upheld, jobs_held })
}

/// Decide one: the person is right (`upheld`), or the controller's grounds are compelling. Upheld: from this commit on no gate
/// opens for the purpose, its jobs leave the queue, and a deletion takes what was done for it. In both cases, when no other one is
/// open, the restriction that it brought is over, and everything else goes on; the person is told before (`told`, as in
/// [`release`]).
///
/// # Errors
/// No open objection of this person to this purpose; a `by` or `why` that is no code; a restriction would end, and the person was
/// not told.
pub async fn decide_objection(
    tx: &mut Tx,
    subject: Id<Subject>,
    purpose: Purpose,
    upheld: bool,
    by: &str,
    why: &str,
    told: Option<Told>,
) -> Result<Decided, IntakeError> {
    let (by, why) = (code("by", by)?, code("why", why)?);
    let state = if upheld { "upheld" } else { "overridden" };
    sqlx::query!("select safelight.own_subject($1)", subject.uuid()).fetch_one(&mut **tx).await?;
    let decided = sqlx::query!(
        r#"update safelight.objections set state = $3, decided_at = safelight.now(), decided_by = $4, why = $5
        where subject_id = $1 and purpose = $2 and state = 'open' returning id, tenant"#,
        subject.uuid(),
        purpose.as_str(),
        state,
        by,
        why
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or_else(|| IntakeError::not_found(format!("an open objection of {subject} to {purpose}")))?;
    let mut done = Decided::default();
    if upheld {
        done.jobs_cancelled = sqlx::query_scalar!(
            r#"select safelight.end_objected_work($1, $2, $3) as "n!""#,
            subject.uuid(),
            purpose.as_str(),
            &kinds_of(purpose)
        )
        .fetch_one(&mut **tx)
        .await?;
        done.deletion = Some(begin_deletion(tx, &decided.tenant, subject, purpose).await?);
    }
    Entry::new("operator", "objection.decided", state)
        .subject(subject)
        .purpose(purpose)
        .code("by", by)
        .code("why", why)
        .count("jobs_cancelled", done.jobs_cancelled)
        .write(tx)
        .await?;
    let left = sqlx::query!(
        r#"select exists (select from safelight.restrictions where subject_id = $1 and lifted_at is null) as "restricted!",
            exists (select from safelight.restrictions where subject_id = $1 and lifted_at is null and ground = 'objection')
            and not exists (select from safelight.objections where subject_id = $1 and state = 'open') as "over!""#,
        subject.uuid()
    )
    .fetch_one(&mut **tx)
    .await?;
    if left.over {
        release(tx, &decided.tenant, subject, told, Some(by)).await?;
        done.released = true;
    } else if upheld && !left.restricted {
        // Somebody released the person before: images that waited for a look of this purpose do without.
        DeliverOrder::all_of(tx, subject, &format!("upheld:{}", decided.id.simple())).await?;
    }
    Ok(done)
}

/// How many jobs of this person leave the queue if an objection to this purpose is upheld.
///
/// # Errors
/// Those of the database.
pub async fn jobs_of_purpose(pool: &PgPool, subject: Id<Subject>, purpose: Purpose) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "n!" from safelight.jobs where subject_id = $1 and kind = any($2)"#,
        subject.uuid(),
        &kinds_of(purpose)
    )
    .fetch_one(pool)
    .await
}

/// What was done for the purpose goes, too: copies at a processor, labels.
async fn begin_deletion(
    tx: &mut Tx,
    tenant: &str,
    subject: Id<Subject>,
    purpose: Purpose,
) -> Result<Id<Deletion>, IntakeError> {
    let deletion = Id::<Deletion>::new();
    sqlx::query!(
        r#"insert into safelight.deletions (id, tenant, subject_id, trigger, purpose, answer_due)
        values ($1, $2, $3, 'objection', $4, safelight.now() + interval '1 month')"#,
        deletion.uuid(),
        tenant,
        subject.uuid(),
        purpose.as_str()
    )
    .execute(&mut **tx)
    .await?;
    tx.enqueue(&DeleteData { deletion }).await?;
    Ok(deletion)
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
    objections_after(pool, tenant, decided_too, None, i64::MAX).await
}

/// At most so many of them, those behind a place of [`ObjectionRow::place`].
///
/// # Errors
/// Those of the database.
pub async fn objections_after(
    pool: &PgPool,
    tenant: Option<&str>,
    decided_too: bool,
    after: Option<Place>,
    most: i64,
) -> Result<Vec<ObjectionRow>, sqlx::Error> {
    let (at, id) = place::halves(after);
    sqlx::query_as!(
        ObjectionRow,
        r#"select id, subject_id as subject, tenant, purpose, received_at, state, decided_by, why from safelight.objections
        where ($1::text is null or tenant = $1) and ($2 or state = 'open')
            and ($3::timestamptz is null or (received_at, id) > ($3, $4::uuid)) order by received_at, id limit $5"#,
        tenant,
        decided_too,
        at,
        id,
        most
    )
    .fetch_all(pool)
    .await
}
