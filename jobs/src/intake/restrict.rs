//! Restriction of processing (Art. 18) and its release: the data stay, and nothing is done with them.

use chrono::{DateTime, Utc};

use crate::{
    deliver_order::DeliverOrder,
    gate::Refusal,
    id::{Id, Subject},
    run::Tx,
};

use super::{IntakeError, entry};

/// The longest that data are held beyond their term: as long as the longest limitation of a claim (BGB section 197).
const LONGEST_YEARS: i32 = 30;

/// Why a person's data are restricted: Art. 18(1)(a) to (d).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ground {
    /// The person says that the data are wrong. The clocks go on.
    Accuracy,
    /// The processing is unlawful, and the person wants the data kept instead of erased until then.
    Unlawful(DateTime<Utc>),
    /// The service needs them no more, and the person needs them for a claim until then.
    Claims(DateTime<Utc>),
    /// The person has objected, and whose interest is the greater is not decided. The clocks go on.
    Objection,
}

impl Ground {
    /// The stored word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Unlawful(_) => "unlawful",
            Self::Claims(_) => "claims",
            Self::Objection => "objection",
        }
    }

    /// From the stored word and the day that goes with it; none: they do not belong together.
    #[must_use]
    pub fn stored(word: &str, keep_until: Option<DateTime<Utc>>) -> Option<Self> {
        match (word, keep_until) {
            ("accuracy", None) => Some(Self::Accuracy),
            ("objection", None) => Some(Self::Objection),
            ("unlawful", Some(until)) => Some(Self::Unlawful(until)),
            ("claims", Some(until)) => Some(Self::Claims(until)),
            _ => None,
        }
    }

    /// Until when the clocks are held; none: they go on.
    #[must_use]
    pub const fn keep_until(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Accuracy | Self::Objection => None,
            Self::Unlawful(until) | Self::Claims(until) => Some(until),
        }
    }
}

/// Restrict: gates close, queued jobs are held. Answers how many jobs. Erasure and withdrawal stay possible. `by`: who of the house
/// does it, as a code; none: the tenant's backend.
///
/// # Errors
/// Restricted or erased already; nobody of this id at this tenant; a clock that would be held until a day that is over; a `by` that
/// is no code.
pub async fn restrict(
    tx: &mut Tx,
    tenant: &str,
    subject: Id<Subject>,
    ground: Ground,
    by: Option<&str>,
) -> Result<i32, IntakeError> {
    let hold = sqlx::query!(
        r#"select $1::timestamptz <= safelight.now() as "over?", $1::timestamptz > safelight.now() + make_interval(years => $2) as "too_long?""#,
        ground.keep_until(),
        LONGEST_YEARS
    )
    .fetch_one(&mut **tx)
    .await?;
    if hold.over == Some(true) {
        return Err(IntakeError::invalid("hold_is_over", "`keep_until` is over already: it would hold nothing"));
    }
    if hold.too_long == Some(true) {
        let why = format!(
            "`keep_until` is more than {LONGEST_YEARS} years away: no claim lasts longer, and what is held is not deleted"
        );
        return Err(IntakeError::invalid("hold_too_long", why));
    }
    restrict_again(tx, tenant, subject, ground, by).await
}

/// The same of a restriction that a restored backup has forgotten: its day may be over meanwhile.
///
/// # Errors
/// As [`restrict`].
pub(crate) async fn restrict_again(
    tx: &mut Tx,
    tenant: &str,
    subject: Id<Subject>,
    ground: Ground,
    by: Option<&str>,
) -> Result<i32, IntakeError> {
    super::subject_of(tx, tenant, subject).await?;
    let done = sqlx::query!(
        "select code, held from safelight.restrict_subject($1, $2, $3)",
        subject.uuid(),
        ground.as_str(),
        ground.keep_until()
    )
    .fetch_one(&mut **tx)
    .await?;
    if let Some(code) = done.code {
        return Err(Refusal::new(&code, None).into());
    }
    let held = done.held.unwrap_or_default();
    entry("subject.restricted", ground.as_str(), by)?.subject(subject).count("jobs_held", held).write(tx).await?;
    Ok(held)
}

/// How a person was told that their restriction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By mail.
    Mail,
    /// In the product, where they saw it.
    Product,
    /// By letter.
    Letter,
    /// By whoever released them before: a restored backup had forgotten it.
    Replayed,
}

impl Way {
    /// The stored word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Product => "product",
            Self::Letter => "letter",
            Self::Replayed => "replayed",
        }
    }
}

/// That a person was told before their restriction ends (Art. 18(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// How.
    pub by: Way,
    /// When: after it was set, and before it ends.
    pub at: DateTime<Utc>,
}

impl Told {
    /// Of a release that the erasure ledger has, at this second.
    pub(crate) fn before(at: i64) -> Self {
        Self { by: Way::Replayed, at: DateTime::from_timestamp(at, 0).unwrap_or_default() }
    }
}

/// Release: gates open, held jobs go on. Answers how many. The person was told before; that stays as evidence. `by` as in [`restrict`].
///
/// # Errors
/// Not restricted; not told, or told before the restriction was set or at a time that is still to come; nobody of this id at this
/// tenant; a `by` that is no code.
pub async fn release(
    tx: &mut Tx,
    tenant: &str,
    subject: Id<Subject>,
    told: Option<Told>,
    by: Option<&str>,
) -> Result<i32, IntakeError> {
    super::subject_of(tx, tenant, subject).await?;
    let done = sqlx::query!(
        "select code, released from safelight.release_told($1, $2, $3)",
        subject.uuid(),
        told.map(|told| told.by.as_str()),
        told.map(|told| told.at)
    )
    .fetch_one(&mut **tx)
    .await?;
    match done.code.as_deref() {
        None => {}
        Some("not_restricted") => {
            return Err(IntakeError::Conflict { code: "not_restricted", why: format!("{subject} is not restricted") });
        }
        Some("not_told") => {
            return Err(IntakeError::Conflict {
                code: "not_told",
                why: format!(
                    "{subject} is to be told before the restriction ends: tell them, then say how (`told`) and when (`told_at`), \
                    after it was set and not later than now"
                ),
            });
        }
        Some(code) => return Err(Refusal::new(code, None).into()),
    }
    let released = done.released.unwrap_or_default();
    let mut entry = entry("subject.released", "active", by)?.subject(subject).count("jobs_released", released);
    if let Some(told) = told {
        entry = entry.code("told", told.by.as_str()).count("told_at", told.at.timestamp());
    }
    entry.write(tx).await?;
    // An image whose last look came in during the restriction waits for nothing any more.
    DeliverOrder::all_of(tx, subject, &format!("released:{}", uuid::Uuid::now_v7().simple())).await?;
    for queue in crate::job::Queue::ALL {
        tx.ring(queue);
    }
    Ok(released)
}
