//! The one deletion engine: erasure, retention, withdrawal, an upheld objection, one photo and a failed order differ in their plan
//! only.
//!
//! The plan names its exact targets and is persisted before the first delete. Storage goes before rows: a row without an
//! object is harmless, an object without a row is lost. Success of a delete call is a claim; a step is `verified` only
//! after looking. Nothing is skipped, and nothing found is a result with a count. Where somebody may still write late, a second look
//! comes when nobody can any more, and nothing is complete before: of an erasure always, of a part where a photo's upload link lives
//! or a worker may be in the middle of a request to the store.

mod carry_out;
mod confirmation;
mod orders;
mod part;
mod plan;
mod rows;
mod second_look;

pub(crate) use carry_out::{carry_out, sooner};
pub(crate) use plan::plan;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    data_map::TakenBy,
    id::{Deletion, Id, Order, Subject},
};

/// What a step deletes, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Targets {
    /// What calls left at Fal.
    Calls {
        ids: Vec<Uuid>,
        /// What still runs is waited for instead of cancelled: somebody has paid for it, and its input is all that goes.
        #[serde(default)]
        let_run: bool,
    },
    /// Objects in the store and their rows, with everything that was made from them and shares their fate.
    Objects { objects: Vec<Object> },
    /// Whatever else lies under the person's prefix.
    Prefix,
    /// Nothing: another deletion has it.
    Nothing,
    /// Vectors.
    Embeddings,
    /// Scores and labels.
    Verdicts,
    /// Labels of images, of a person who was right to object to them.
    Labels,
    /// Notices.
    Notices,
    /// Orders and the acts of uploading; the fiscal minimum stays, unlinked.
    Orders { ids: Vec<Uuid> },
    /// The vectors that were measured for one order.
    OrderVectors { order: Uuid },
    /// The row and the words of an order that failed; the sale stays, and says by which law.
    FailedOrder { order: Uuid },
    /// The account's row.
    Account,
    /// The sign-in user.
    AuthUser { user: Option<Uuid> },
    /// Finished and dead jobs, attempts, keys.
    Jobs,
    /// Proof of consent.
    Consents,
    /// Telling the person, once, and the address that is kept for it.
    Confirmation {
        /// Sealed under the person's key, in hex; none: wiped.
        to: Option<String>,
        /// When it was tried first.
        #[serde(default)]
        began: Option<DateTime<Utc>>,
    },
    /// The key that opens what was sealed, and the pseudonym.
    Key,
    /// Noting outside the database that it was asked for.
    Ledger {
        /// Of a single photo or image: which.
        #[serde(default)]
        photo: Option<Uuid>,
    },
    /// All of it once more, when nothing can be written late any more; of a part, the objects that it took.
    SecondLook { until: DateTime<Utc> },
}

impl Targets {
    /// Has it to wait until a step before it is done? The second look comes last. The key goes when nothing is left that is its own.
    /// The person is told when everything else is done, with a key that is still there.
    /// The account's row goes after the sign-in user: as long as it is there, nobody else can be registered as that user, whom this
    /// step would then delete (N18). Every other step goes on, whatever became of the ones before it.
    pub(crate) fn waits_for(&self, open: &Self) -> bool {
        match self {
            Self::SecondLook { .. } | Self::Key | Self::Confirmation { .. } => true,
            Self::Account => matches!(open, Self::AuthUser { .. }),
            _ => false,
        }
    }

    /// The word by which the data map names the step; none for one that takes nothing which the map has.
    pub(crate) fn taken_by(&self) -> Option<TakenBy> {
        match self {
            Self::Calls { .. } => Some(TakenBy::Calls),
            Self::Objects { .. } => Some(TakenBy::Objects),
            Self::Embeddings => Some(TakenBy::Embeddings),
            Self::Verdicts => Some(TakenBy::Verdicts),
            Self::Notices => Some(TakenBy::Notices),
            Self::Orders { .. } => Some(TakenBy::Orders),
            Self::Account => Some(TakenBy::Account),
            Self::AuthUser { .. } => Some(TakenBy::AuthUser),
            Self::Jobs => Some(TakenBy::Jobs),
            Self::Key => Some(TakenBy::Key),
            // Of a part: an erasure's plan has none of these.
            Self::OrderVectors { .. } | Self::FailedOrder { .. } | Self::Labels => None,
            Self::Prefix
            | Self::Nothing
            | Self::Consents
            | Self::Confirmation { .. }
            | Self::Ledger { .. }
            | Self::SecondLook { .. } => None,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) id: Uuid,
    pub(crate) key: String,
    /// What the audit log says of the key, in hex; none: the person's key was gone when the plan was made.
    #[serde(default)]
    pub(crate) commitment: Option<String>,
}

/// A deletion as its job reads it.
#[derive(Debug, Clone)]
pub(crate) struct DeletionRow {
    pub(crate) id: Id<Deletion>,
    pub(crate) tenant: String,
    pub(crate) subject: Id<Subject>,
    pub(crate) trigger: String,
    pub(crate) purpose: Option<String>,
    /// Of a failed order: which.
    pub(crate) order: Option<Id<Order>>,
    pub(crate) state: String,
}

pub(crate) async fn load(connection: &mut PgConnection, id: Id<Deletion>) -> Result<Option<DeletionRow>, sqlx::Error> {
    let row = sqlx::query!(
        "select tenant, subject_id, trigger, purpose, order_id, state from safelight.deletions where id = $1",
        id.uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| DeletionRow {
        id,
        tenant: row.tenant,
        subject: row.subject_id.into(),
        trigger: row.trigger,
        purpose: row.purpose,
        order: row.order_id.map(Id::from),
        state: row.state,
    }))
}

/// One step of a plan.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) seq: i32,
    pub(crate) class: String,
    pub(crate) processor: String,
    pub(crate) targets: Targets,
    pub(crate) state: String,
}

/// Has its plan been written? Also of one that is stuck because it never was.
pub(crate) async fn is_planned(connection: &mut PgConnection, id: Id<Deletion>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from safelight.deletion_steps where deletion_id = $1) as "it!""#,
        id.uuid()
    )
    .fetch_one(connection)
    .await
}

pub(crate) async fn steps(connection: &mut PgConnection, id: Id<Deletion>) -> Result<Vec<Step>, sqlx::Error> {
    let rows = sqlx::query!(
        "select seq, class, processor, targets, state from safelight.deletion_steps where deletion_id = $1 order by seq",
        id.uuid()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let targets = serde_json::from_value(row.targets).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            Ok(Step { seq: row.seq, class: row.class, processor: row.processor, targets, state: row.state })
        })
        .collect()
}
