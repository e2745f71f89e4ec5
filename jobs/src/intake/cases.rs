//! Cases: what somebody asks for by mail, letter or in the product, with the deadline that runs from its receipt.
//!
//! Nothing is done for somebody whose identity is not verified, and the clock runs all the same (N28). Codes and ids only: the
//! mail itself stays in the mailbox.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, types::Json};

use super::{IntakeError, erase};
use crate::{
    audit::Entry,
    id::{Case, Deletion, Id, Subject},
    place::{self, Place},
    run::Tx,
};

/// What somebody may ask for.
pub const KINDS: [&str; 7] =
    ["access", "portability", "rectification", "erasure", "restriction", "objection", "withdrawal"];
/// How it may have come.
pub const CHANNELS: [&str; 3] = ["mail", "product", "letter"];

/// What was received.
#[derive(Debug, Clone)]
pub struct NewCase<'a> {
    /// At which tenant.
    pub tenant: &'a str,
    /// Whom the sender says to be, if anybody knows.
    pub subject: Option<Id<Subject>>,
    /// One of [`KINDS`].
    pub kind: &'a str,
    /// One of [`CHANNELS`].
    pub channel: &'a str,
    /// When it was received: the mail's own time. None: now.
    pub received_at: Option<DateTime<Utc>>,
    /// Who of the house opens it, as a code.
    pub by: &'a str,
}

/// A case as it stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CaseRow {
    /// Which.
    pub case: Id<Case>,
    /// At which tenant.
    pub tenant: String,
    /// Whom it is about.
    pub subject: Option<Id<Subject>>,
    /// What is asked for.
    pub kind: String,
    /// `unverified`, `verified` or `refused`.
    pub identity: String,
    /// `open`, `answered` or `refused`.
    pub state: String,
    /// Since when the clock runs.
    pub received_at: DateTime<Utc>,
    /// When an answer is due.
    pub answer_due: DateTime<Utc>,
    /// It is open and the deadline has passed.
    pub late: bool,
    /// The deletion that it set going.
    pub deletion: Option<Id<Deletion>>,
    /// Of a case about an objection: what its person objected to, and what was decided.
    pub objections: Vec<CaseObjection>,
}

impl CaseRow {
    /// Where it stands among the others.
    pub fn place(&self) -> Place {
        Place::of(self.answer_due, self.case.uuid())
    }
}

/// One objection of a case's person.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CaseObjection {
    /// To what.
    pub purpose: String,
    /// `open`; `upheld`: no gate opens for it any more; or `overridden`.
    pub state: String,
}

/// Open one. Answers it with its deadline: one calendar month after the receipt.
///
/// # Errors
/// A word that is none of the above, a receipt in the future, a person or a tenant that is not there.
pub async fn open_case(tx: &mut Tx, new: &NewCase<'_>) -> Result<(Id<Case>, DateTime<Utc>), IntakeError> {
    let case = Id::<Case>::new();
    let due = open_as(tx, new, case).await?.ok_or_else(received_later)?;
    Ok((case, due))
}

/// The same under an id that the caller made, for a form that may be sent twice: is it new?
///
/// # Errors
/// As [`open_case`]; a case of this id that says something else, which is changed in nothing.
pub async fn open_case_once(tx: &mut Tx, new: &NewCase<'_>, case: Id<Case>) -> Result<bool, IntakeError> {
    if open_as(tx, new, case).await?.is_some() {
        return Ok(true);
    }
    let known = sqlx::query!(
        "select tenant, subject_id, kind, channel, received_at from safelight.cases where id = $1",
        case.uuid()
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or_else(received_later)?;
    // Meanwhile somebody may have said who it is.
    let same = known.tenant == new.tenant
        && (known.kind.as_str(), known.channel.as_str()) == (new.kind, new.channel)
        && new.subject.is_none_or(|subject| known.subject_id == Some(subject.uuid()))
        && new.received_at.is_none_or(|at| known.received_at == at);
    if same { Ok(false) } else { Err(super::sent_before()) }
}

fn received_later() -> IntakeError {
    IntakeError::invalid("received_later", "a case cannot have been received in the future")
}

/// None: it was received in the future, or there is a case of this id.
async fn open_as(tx: &mut Tx, new: &NewCase<'_>, case: Id<Case>) -> Result<Option<DateTime<Utc>>, IntakeError> {
    if let Some(subject) = new.subject {
        super::subject_of(tx, new.tenant, subject).await?;
    }
    let opened = sqlx::query_scalar!(
        r#"insert into safelight.cases (id, tenant, subject_id, kind, channel, received_at, answer_due, opened_by)
        select $1, $2, $3, $4, $5, at, at + interval '1 month', $6 from (select coalesce($7, safelight.now()) as at) r
        where at <= safelight.now() on conflict (id) do nothing returning answer_due"#,
        case.uuid(),
        new.tenant,
        new.subject.map(Id::uuid),
        new.kind,
        new.channel,
        new.by,
        new.received_at
    )
    .fetch_optional(&mut **tx)
    .await
    .map_err(|error| match error.as_database_error() {
        Some(refused) if refused.is_foreign_key_violation() => IntakeError::not_found("a tenant of this name"),
        _ => unknown_word(error),
    })?;
    let Some(due) = opened else { return Ok(None) };
    let mut entry = Entry::new("operator", "case.opened", "unverified")
        .tenant(new.tenant)
        .code("kind", new.kind)
        .code("case", case.to_string());
    if let Some(subject) = new.subject {
        entry = entry.subject(subject);
    }
    entry.write(tx).await?;
    Ok(Some(due))
}

/// The house knows by now who it is. An erasure begins with that, and its deadline is the case's. Said again it changes nothing.
///
/// # Errors
/// Closed already, a person of another tenant, or another one than whom it was opened or verified about: a case is of one
/// person, and a mail about one of them erases nobody else.
pub async fn verify_case(
    tx: &mut Tx,
    case: Id<Case>,
    subject: Id<Subject>,
    by: &str,
) -> Result<Option<Id<Deletion>>, IntakeError> {
    let row = open_row(tx, case).await?;
    super::subject_of(tx, &row.tenant, subject).await?;
    if let Some(other) = row.subject.filter(|known| *known != subject) {
        return Err(IntakeError::Conflict {
            code: "case_of_another",
            why: format!("{case} is of {other}: refuse it, and open one of its own for {subject}"),
        });
    }
    if row.identity == "verified" {
        return Ok(row.deletion);
    }
    let deletion = match row.kind.as_str() {
        "erasure" => {
            let begun = erase(tx, &row.tenant, subject, Some(by)).await?;
            // The person asked before the house knew who it was: the deadline counts from there.
            sqlx::query!(
                "update safelight.deletions set answer_due = least(answer_due, $2) where id = $1",
                begun.deletion.uuid(),
                row.answer_due
            )
            .execute(&mut **tx)
            .await?;
            Some(begun.deletion)
        }
        _ => None,
    };
    sqlx::query!(
        "update safelight.cases set identity = 'verified', identity_by = $2, subject_id = $3, deletion_id = $4 where id = $1",
        case.uuid(),
        by,
        subject.uuid(),
        deletion.map(Id::uuid)
    )
    .execute(&mut **tx)
    .await
    .map_err(unknown_word)?;
    Entry::new("operator", "case.verified", "verified")
        .subject(subject)
        .code("case", case.to_string())
        .write(tx)
        .await?;
    Ok(deletion)
}

/// Two months more, once, with a reason, and only while the first month runs: the person has to be told within it.
///
/// # Errors
/// Too late, extended before, or closed.
pub async fn extend_case(tx: &mut Tx, case: Id<Case>, why: &str) -> Result<DateTime<Utc>, IntakeError> {
    let due = sqlx::query_scalar!(
        r#"update safelight.cases set answer_due = received_at + interval '3 months', extended_at = safelight.now(), extended_why = $2
        where id = $1 and state = 'open' and extended_at is null and answer_due > safelight.now() returning answer_due"#,
        case.uuid(),
        why
    )
    .fetch_optional(&mut **tx)
    .await
    .map_err(unknown_word)?;
    let Some(due) = due else {
        return Err(IntakeError::Conflict {
            code: "cannot_extend",
            why: format!("{case} is closed, was extended before, or its first month is over"),
        });
    };
    Entry::new("operator", "case.extended", "told").code("case", case.to_string()).code("why", why).write(tx).await?;
    Ok(due)
}

/// Close it: `answered`, or refused with a reason as a code. What was not verified can only be refused.
///
/// # Errors
/// Closed already; an answer to nobody.
pub async fn close_case(tx: &mut Tx, case: Id<Case>, refused: Option<&str>) -> Result<(), IntakeError> {
    let row = open_row(tx, case).await?;
    if refused.is_none() && row.identity != "verified" {
        return Err(IntakeError::Conflict {
            code: "identity_unverified",
            why: format!("{case} is of somebody whom nobody has verified: verify it, or refuse it with a reason"),
        });
    }
    let state = if refused.is_some() { "refused" } else { "answered" };
    sqlx::query!(
        r#"update safelight.cases set state = $2, why = $3, closed_at = safelight.now(),
            identity = case when identity = 'unverified' then 'refused' else identity end where id = $1"#,
        case.uuid(),
        state,
        refused
    )
    .execute(&mut **tx)
    .await
    .map_err(unknown_word)?;
    Entry::new("operator", "case.closed", state).code("case", case.to_string()).write(tx).await?;
    Ok(())
}

/// All open ones, or all of them, the nearest deadline first.
///
/// # Errors
/// Those of the database.
pub async fn cases(pool: &PgPool, tenant: Option<&str>, closed_too: bool) -> Result<Vec<CaseRow>, sqlx::Error> {
    cases_after(pool, tenant, closed_too, None, i64::MAX).await
}

/// At most so many of them, those behind a place of [`CaseRow::place`].
///
/// # Errors
/// Those of the database.
pub async fn cases_after(
    pool: &PgPool,
    tenant: Option<&str>,
    closed_too: bool,
    after: Option<Place>,
    most: i64,
) -> Result<Vec<CaseRow>, sqlx::Error> {
    let (at, id) = place::halves(after);
    let rows = sqlx::query!(
        r#"select id, tenant, subject_id, kind, identity, state, received_at, answer_due, deletion_id,
            state = 'open' and answer_due < safelight.now() as "late!",
            coalesce((select jsonb_agg(jsonb_build_object('purpose', o.purpose, 'state', o.state) order by o.received_at, o.id)
                from safelight.objections o where c.kind = 'objection' and o.subject_id = c.subject_id), '[]')
                as "objections!: Json<Vec<CaseObjection>>"
        from safelight.cases c where ($1::text is null or tenant = $1) and ($2 or state = 'open')
            and ($3::timestamptz is null or (answer_due, id) > ($3, $4::uuid)) order by answer_due, id limit $5"#,
        tenant,
        closed_too,
        at,
        id,
        most
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| CaseRow {
            case: row.id.into(),
            tenant: row.tenant,
            subject: row.subject_id.map(Id::from),
            kind: row.kind,
            identity: row.identity,
            state: row.state,
            received_at: row.received_at,
            answer_due: row.answer_due,
            late: row.late,
            deletion: row.deletion_id.map(Id::from),
            objections: row.objections.0,
        })
        .collect())
}

struct Open {
    tenant: String,
    kind: String,
    identity: String,
    answer_due: DateTime<Utc>,
    subject: Option<Id<Subject>>,
    deletion: Option<Id<Deletion>>,
}

async fn open_row(tx: &mut PgConnection, case: Id<Case>) -> Result<Open, IntakeError> {
    let row = sqlx::query!(
        "select tenant, kind, identity, state, answer_due, subject_id, deletion_id from safelight.cases where id = $1 for update",
        case.uuid()
    )
    .fetch_optional(tx)
    .await?
    .ok_or_else(|| IntakeError::not_found(case))?;
    if row.state != "open" {
        return Err(IntakeError::Conflict { code: "case_closed", why: format!("{case} is {}", row.state) });
    }
    Ok(Open {
        tenant: row.tenant,
        kind: row.kind,
        identity: row.identity,
        answer_due: row.answer_due,
        subject: row.subject_id.map(Id::from),
        deletion: row.deletion_id.map(Id::from),
    })
}

/// The table knows the words; one that it does not know is the caller's.
fn unknown_word(error: sqlx::Error) -> IntakeError {
    if error.as_database_error().is_some_and(|error| error.is_check_violation()) {
        return IntakeError::invalid(
            "unknown_word",
            "kind, channel or a code is none that a case may have; names of people are no codes",
        );
    }
    error.into()
}
