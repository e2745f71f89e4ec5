//! The sealer: takes committed audit entries into one order without gaps, hashes them into a Merkle tree, swears to the tree
//! by signed checkpoints, delivers those outside the database, and issues the certificates of finished deletions.
//!
//! Any number of processes may run it. [`seal`] is one transaction that begins with the lock of the log's head: who does not
//! get it at once has nothing to do, and who dies or hangs in it has written nothing (the lock and the writes end together,
//! which is all the fence there needs to be; `size` is compared once more when it is written). [`deliver`] talks to the world
//! without a transaction, under a lease whose token is asked for again when it writes; a delivery may come twice and says the
//! same. [`issue`] writes a certificate only where none is.
//!
//! Never: takes a lock that an effect's transaction takes, changes an entry, or keeps the signing key in the database.
//! Why no entry is passed by: decision 0012.

mod certificates;
mod deliver;
mod export;
mod look;
mod row;
mod seal;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use certificates::{certificate, issue};
pub use deliver::{Destination, deliver};
pub use export::{Exported, export};
pub use look::{Lag, check_database, lag};
use safelight_evidence::{NoteError, Signer, Verifier};
pub use seal::{Sealed, Sign, seal};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Entries of one transaction.
pub const AT_ONCE: u32 = 5_000;

/// Whose log it is, and how often what happens.
#[derive(Clone)]
pub struct Sealer {
    keys: Arc<Keys>,
    /// Behind which deletion the next pass looks for certificates to issue; none: from the first.
    looked: Arc<Mutex<Option<Uuid>>>,
    /// Where checkpoints go.
    pub destinations: Arc<Vec<Destination>>,
    /// How long to wait when there is nothing to seal.
    pub pause: Duration,
    /// The time between two checkpoints.
    pub interval: Duration,
    /// How long one process has the delivery to a destination for itself.
    pub lease: Duration,
}

struct Keys {
    signer: Signer,
    /// The key before this one, while it is replaced: then both sign.
    former: Option<Signer>,
}

/// The sealer did not come through. Nothing of the step that failed was kept.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The database did not answer.
    #[error("the log could not be read or written: {0}")]
    Database(#[from] sqlx::Error),
    /// An entry has no canonical form, which the table's own checks rule out.
    #[error("audit entry {row} cannot be sealed: {source}")]
    Entry {
        /// Number of the row.
        row: i64,
        /// Why.
        source: safelight_evidence::EntryError,
    },
    /// Size and peaks of the log's head do not belong together, or a kept hash is missing.
    #[error("the log's head or its kept hashes were changed; run `safelight audit verify --database`")]
    Head,
    /// The two keys have different names, or a key cannot sign.
    #[error("the checkpoint cannot be signed: {0}")]
    Sign(#[from] NoteError),
    /// The rows of a deletion say something else than the log.
    #[error("its rows and the log do not say the same, so nothing is sworn to: {found}")]
    Untrue {
        /// What the checker found.
        found: String,
    },
    /// A certificate or an export cannot be written.
    #[error("{what}: {why}")]
    Write {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
}

impl Sealer {
    /// One that signs with this key; with `former`, too, while it is being replaced.
    ///
    /// # Errors
    /// The keys are of different logs.
    pub fn new(signer: Signer, former: Option<Signer>, destinations: Vec<Destination>) -> Result<Self, SealError> {
        if former.as_ref().is_some_and(|former| former.name() != signer.name()) {
            return Err(NoteError::Name.into());
        }
        Ok(Self {
            keys: Arc::new(Keys { signer, former }),
            looked: Arc::default(),
            destinations: Arc::new(destinations),
            pause: Duration::from_secs(1),
            interval: Duration::from_secs(60),
            lease: Duration::from_secs(60),
        })
    }

    fn looked(&self) -> Option<Uuid> {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looks_on(&self, behind: Option<Uuid>) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = behind;
    }

    /// The public keys.
    pub fn verifiers(&self) -> Vec<Verifier> {
        let former = self.keys.former.iter().map(Signer::verifier);
        std::iter::once(self.keys.signer.verifier()).chain(former).collect()
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("log", &self.keys.signer.name()).finish_non_exhaustive()
    }
}

/// What one whole pass did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Entries that were sealed.
    pub sealed: u64,
    /// Checkpoints that arrived somewhere.
    pub delivered: u64,
    /// Certificates that were issued.
    pub issued: u64,
}

/// Seal everything that is committed, sign, deliver, issue.
///
/// # Errors
/// [`SealError`]; what came through before it stays.
pub async fn pass(pool: &PgPool, sealer: &Sealer, sign: Sign) -> Result<Passed, SealError> {
    let mut passed = Passed::default();
    loop {
        let sealed = seal(pool, sealer, AT_ONCE, sign).await?;
        passed.sealed += sealed.entries;
        if !sealed.more {
            break;
        }
    }
    passed.delivered = deliver(pool, sealer).await?;
    passed.issued = issue(pool, sealer).await?;
    Ok(passed)
}

/// Pass after pass, until `stop`.
pub async fn run(pool: PgPool, sealer: Sealer, stop: CancellationToken) {
    let keys: Vec<String> = sealer.verifiers().iter().map(ToString::to_string).collect();
    tracing::info!(log.keys = ?keys, destinations = sealer.destinations.len(), "sealing");
    if sealer.destinations.is_empty() {
        tracing::warn!(
            "checkpoints go nowhere outside the database: the log stays unverified. Set SAFELIGHT_CHECKPOINT_DIR, _BUCKET or _WEBHOOK"
        );
    }
    while !stop.is_cancelled() {
        if let Err(error) = pass(&pool, &sealer, Sign::AtInterval).await {
            tracing::warn!(%error, "a pass of the sealer did not come through; the next one goes on where it ended");
        }
        tokio::select! {
            () = tokio::time::sleep(sealer.pause) => {}
            () = stop.cancelled() => {}
        }
    }
}
