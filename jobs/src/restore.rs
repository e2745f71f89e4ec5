//! After a restore: nobody works on the database before it has been compared with the erasure ledger outside it.
//!
//! Life: a worker with a ledger marks the database as guarded, before it claims anything -> every start of the server, every copy
//! and every standby that takes over is another life of the database, and claims find nothing in a life that is not cleared -> a
//! worker compares, both ways: nothing is missing, the life is cleared; something is, it refuses and says so -> `safelight restore
//! replay` fences the erased again, withdraws again, upholds objections again, and clears the life; the deletions that follow
//! leave evidence of their own.
//! Never: clears a life while the ledger cannot be read, has an entry that the database does not know, or lacks one that the
//! database has noted there: an empty folder would let the dead in.
//! Source: N17, erasure-notes 11.

mod compare;
mod note;

use std::time::Duration;

pub use compare::{Compared, compare};
pub use note::note;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    audit::Entry,
    intake::{self, IntakeError, Told},
    providers::ledger::{Act, Ledger, LedgerError},
    queue::{self, Bell, By},
    run::Tx,
};

/// How often a worker looks whether the database lives another life.
const LOOK: Duration = Duration::from_secs(2);
/// How often it looks again at one that it refuses.
const REFUSED: Duration = Duration::from_secs(15);

/// Why nothing was compared or replayed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The database.
    #[error("the database did not answer: {0}")]
    Database(#[from] sqlx::Error),
    /// The ledger is another one, or was cut.
    #[error(
        "the ledger lacks {lost} entries that this database has noted there: it is another ledger, or somebody took entries out; give the right one, \
        or say `--short-ledger` if you know that they may be missing"
    )]
    Short {
        /// How many.
        lost: usize,
    },
    /// An erasure or withdrawal could not begin.
    #[error("{0} could not be replayed: {1}")]
    Replay(String, IntakeError),
}

/// May this life of the database be worked on?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It was cleared before.
    Open,
    /// It was compared now, and nothing is missing.
    Cleared(Compared),
    /// Something is missing, here or there.
    Refused(Compared),
}

/// From now on no life of the database is worked on that nobody has compared. Said before the first claim of the first worker
/// that has a ledger: while it compares, others must find nothing.
///
/// # Errors
/// Those of the database.
pub async fn begin_to_guard(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut tx = crate::db::begin(pool).await?;
    sqlx::query!("update safelight.restore_gate set guarded = true where not guarded").execute(&mut *tx).await?;
    tx.commit().await
}

/// Guard the database from now on, and clear its life if nothing is missing in it.
///
/// # Errors
/// [`RestoreError`]: the life is not cleared.
pub async fn admit(pool: &PgPool, ledger: &Ledger) -> Result<Admission, RestoreError> {
    if is_cleared(pool).await? {
        return Ok(Admission::Open);
    }
    begin_to_guard(pool).await?;
    let compared = compare(pool, ledger).await?;
    if !compared.agree() {
        return Ok(Admission::Refused(compared));
    }
    let mut tx = crate::db::begin(pool).await?;
    clear(&mut tx, "nothing_missing", &compared).await?;
    tx.commit().await?;
    Ok(Admission::Cleared(compared))
}

/// Is this life of the database cleared, and guarded?
///
/// # Errors
/// Those of the database.
pub async fn is_cleared(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select guarded and cleared_life is not distinct from safelight.life() as "it!" from safelight.restore_gate"#
    )
    .fetch_one(pool)
    .await
}

/// Replay what is missing, then clear the life. Answers what was missing. Running it again replays nothing twice. `short`: a
/// person says that what the ledger lacks may be missing in it; from then on it is asked for no longer. `by`: who replays and why,
/// kept with each entry that is replayed, and where the life was not cleared before.
///
/// # Errors
/// [`RestoreError`]: what was replayed before it stays, and the life is not cleared.
pub async fn replay(
    pool: &PgPool,
    bell: &Bell,
    ledger: &Ledger,
    short: bool,
    by: By<'_>,
) -> Result<Compared, RestoreError> {
    let cleared = is_cleared(pool).await?;
    begin_to_guard(pool).await?;
    let compared = compare(pool, ledger).await?;
    if compared.lost > 0 && !short {
        return Err(RestoreError::Short { lost: compared.lost });
    }
    for entry in &compared.missing {
        let mut tx = Tx::begin(pool, bell).await?;
        let failed = |error| RestoreError::Replay(entry.subject.to_string(), error);
        let outcome = match entry.act {
            Act::Erasure => {
                let erasure = intake::erase(&mut tx, &entry.tenant, entry.subject, None).await.map_err(failed)?;
                // They were told, or were about to be, before the restore: no second mail.
                sqlx::query!(
                    "update safelight.deletions set told_before = true where id = $1",
                    erasure.deletion.uuid()
                )
                .execute(&mut *tx)
                .await?;
                "erased_again"
            }
            Act::Withdrawal(purpose) => {
                intake::withdraw(&mut tx, &entry.tenant, entry.subject, purpose).await.map_err(failed)?;
                "withdrawn_again"
            }
            Act::Objection(purpose) => {
                intake::object(&mut tx, &entry.tenant, entry.subject, purpose, None).await.map_err(failed)?;
                let told = Some(Told::before(entry.at));
                intake::decide_objection(&mut tx, entry.subject, purpose, true, "restore", "upheld_before", told)
                    .await
                    .map_err(failed)?;
                "objection_upheld_again"
            }
            Act::Restriction(ground) => {
                intake::restrict_again(&mut tx, &entry.tenant, entry.subject, ground, None).await.map_err(failed)?;
                "restricted_again"
            }
            Act::Release => {
                let told = Some(Told::before(entry.at));
                intake::release(&mut tx, &entry.tenant, entry.subject, told, None).await.map_err(failed)?;
                "released_again"
            }
            Act::Photo(photo) => {
                intake::delete_photo(&mut tx, Some(&entry.tenant), photo, None).await.map_err(failed)?;
                "photo_deleted_again"
            }
        };
        let (about, line) = (entry.subject.to_string(), Entry::new("operator", "restore.replayed", outcome));
        queue::note_act(&mut tx, "restore.replayed", outcome, &about, by, line.subject(entry.subject)).await?;
        tx.commit().await?;
    }
    let left = compare(pool, ledger).await?;
    if let Some(entry) = left.missing.first() {
        return Err(RestoreError::Replay(
            entry.subject.to_string(),
            IntakeError::NotFound { what: format!("what was replayed of {}", entry.subject) },
        ));
    }
    let mut tx = crate::db::begin(pool).await?;
    if compared.lost > 0 {
        sqlx::query!("update safelight.restore_gate set noted_from = safelight.now()").execute(&mut *tx).await?;
    }
    let outcome = if compared.lost > 0 { "short_ledger" } else { "replayed" };
    clear(&mut tx, outcome, &compared).await?;
    if !cleared || compared.lost > 0 {
        queue::keep_act(&mut tx, "restore.cleared", outcome, "erasure ledger", by).await?;
    }
    tx.commit().await?;
    Ok(compared)
}

async fn clear(tx: &mut sqlx::PgConnection, outcome: &'static str, compared: &Compared) -> Result<(), sqlx::Error> {
    sqlx::query!("update safelight.restore_gate set guarded = true, cleared_life = safelight.life(), cleared_at = safelight.now()")
        .execute(&mut *tx)
        .await?;
    Entry::new("worker", "restore.cleared", outcome)
        .count("entries", compared.entries)
        .count("replayed", compared.missing.len())
        .count("strangers", compared.strangers)
        .count("lost", compared.lost)
        .write(tx)
        .await
}

/// Look at every life that the database begins, until `stop` is cancelled.
pub async fn guard(pool: PgPool, ledger: Ledger, stop: CancellationToken) {
    let mut rest = Duration::ZERO;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
        }
        rest = LOOK;
        match admit(&pool, &ledger).await {
            Ok(Admission::Open) => {
                if let Err(error) = note(&pool, &ledger).await {
                    rest = REFUSED;
                    tracing::warn!(%error, "a restriction is not noted in the erasure ledger yet; it is tried again");
                }
            }
            Ok(Admission::Cleared(compared)) => {
                tracing::info!(
                    entries = compared.entries,
                    "the database knows everything that the erasure ledger knows: work may begin"
                );
            }
            Ok(Admission::Refused(compared)) => {
                rest = REFUSED;
                if compared.lost > 0 {
                    tracing::error!(
                        lost = compared.lost,
                        "the erasure ledger lacks entries that this database has noted there: it is another ledger, or was cut; nothing is worked on until the right one is given, or `safelight restore replay --short-ledger`"
                    );
                    continue;
                }
                tracing::error!(
                    missing = compared.missing.len(),
                    "this database was restored to a time before some erasures or withdrawals: nothing is worked on until `safelight restore replay`"
                );
            }
            Err(error) => {
                rest = REFUSED;
                tracing::warn!(%error, "the database could not be compared with the erasure ledger; in a new life of it nothing is worked on");
            }
        }
    }
}
