//! The erasure ledger: which persons were erased, which consents withdrawn, which objections upheld, which single photos deleted, whose data
//! restricted and released again, kept outside the database.
//!
//! A backup that is restored brings the erased back and forgets withdrawals; the ledger does not. Its entries are names of
//! small objects, so that a listing is all that a comparison needs. They hold random ids, a purpose or ground and instants, nothing
//! else. Writing one twice is writing it once. Never deletes anything.

use std::{fmt, path::Path as Folder, str::FromStr, sync::Arc};

use chrono::DateTime;
use futures::TryStreamExt;
use object_store::{Error, ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path};
use uuid::Uuid;

use super::{
    ConfigError,
    storage::{S3Config, bucket},
};
use crate::{
    id::{Artifact, Id, Subject},
    intake::Ground,
    policy::Purpose,
};

/// Why the ledger was not written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// No answer, or a fault.
    #[error("a place of the erasure ledger could not be reached or answered with a fault")]
    Unreachable,
    /// It answers that we may not.
    #[error("a place of the erasure ledger refused; check its keys and rights")]
    Refused,
    /// Something lies there that this version cannot read.
    #[error("the erasure ledger has an entry that this version cannot read; use the version that wrote it")]
    Unreadable,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// The person is to be erased.
    Erasure,
    /// The consent to this purpose was withdrawn.
    Withdrawal(Purpose),
    /// The person's objection to this purpose was upheld.
    Objection(Purpose),
    /// This photo or image was to go before its time.
    Photo(Id<Artifact>),
    /// The person's data were restricted, on this ground.
    Restriction(Ground),
    /// The restriction was over.
    Release,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LedgerEntry {
    /// When it was asked for: seconds since 1970, by the database's clock.
    pub at: i64,
    /// Of which tenant.
    pub tenant: String,
    /// Of whom.
    pub subject: Id<Subject>,
    /// What.
    pub act: Act,
}

impl fmt::Display for LedgerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, tenant, subject, act } = self;
        let subject = subject.uuid().simple();
        match act {
            Act::Erasure => write!(f, "{at:012}_{tenant}_{subject}_erasure"),
            Act::Withdrawal(purpose) => write!(f, "{at:012}_{tenant}_{subject}_withdrawal_{purpose}"),
            Act::Objection(purpose) => write!(f, "{at:012}_{tenant}_{subject}_objection_{purpose}"),
            Act::Photo(photo) => write!(f, "{at:012}_{tenant}_{subject}_photo_{}", photo.uuid().simple()),
            Act::Restriction(ground) => {
                write!(f, "{at:012}_{tenant}_{subject}_restriction_{}", ground.as_str())?;
                ground.keep_until().map_or(Ok(()), |until| write!(f, "_{:012}", until.timestamp()))
            }
            Act::Release => write!(f, "{at:012}_{tenant}_{subject}_release"),
        }
    }
}

impl FromStr for LedgerEntry {
    type Err = LedgerError;
    fn from_str(name: &str) -> Result<Self, LedgerError> {
        let parts: Vec<&str> = name.split('_').collect();
        let (at, tenant, subject, act) = match parts[..] {
            [at, tenant, subject, "erasure"] => (at, tenant, subject, Act::Erasure),
            [at, tenant, subject, "withdrawal", purpose] => {
                (at, tenant, subject, Act::Withdrawal(purpose.parse().map_err(|_| LedgerError::Unreadable)?))
            }
            [at, tenant, subject, "objection", purpose] => {
                (at, tenant, subject, Act::Objection(purpose.parse().map_err(|_| LedgerError::Unreadable)?))
            }
            [at, tenant, subject, "photo", photo] => {
                let photo = Uuid::try_parse(photo).map_err(|_| LedgerError::Unreadable)?;
                (at, tenant, subject, Act::Photo(photo.into()))
            }
            [at, tenant, subject, "restriction", ground] => (at, tenant, subject, restriction(ground, None)?),
            [at, tenant, subject, "restriction", ground, until] => {
                (at, tenant, subject, restriction(ground, Some(until))?)
            }
            [at, tenant, subject, "release"] => (at, tenant, subject, Act::Release),
            _ => return Err(LedgerError::Unreadable),
        };
        Ok(Self {
            at: at.parse().map_err(|_| LedgerError::Unreadable)?,
            tenant: tenant.to_owned(),
            subject: Uuid::try_parse(subject).map_err(|_| LedgerError::Unreadable)?.into(),
            act,
        })
    }
}

fn restriction(ground: &str, until: Option<&str>) -> Result<Act, LedgerError> {
    let until = until.map(|text| text.parse().ok().and_then(|at| DateTime::from_timestamp(at, 0)));
    match until {
        Some(None) => None,
        Some(until) => Ground::stored(ground, until),
        None => Ground::stored(ground, None),
    }
    .map(Act::Restriction)
    .ok_or(LedgerError::Unreadable)
}

/// All places of the ledger. Clones share connections.
#[derive(Clone)]
pub struct Ledger(Vec<Place>);

#[derive(Clone)]
struct Place {
    name: &'static str,
    store: Arc<dyn ObjectStore>,
    folder: Path,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ledger").field(&self.places()).finish()
    }
}

impl Ledger {
    /// A folder, best on another machine's disk; it is made if it does not exist.
    pub fn folder(folder: &Folder) -> Result<Self, ConfigError> {
        let bad = |why| ConfigError::BadSetting { what: "folder of the erasure ledger", why };
        std::fs::create_dir_all(folder).map_err(|_| bad("it cannot be made"))?;
        // On the disk before the step that notes it is called done, and not only on its way there.
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|_| bad("it cannot be opened"))?.with_fsync(true);
        Ok(Self(vec![Place { name: "file", store: Arc::new(store), folder: Path::default() }]))
    }

    /// A bucket, best of an account that cannot be reached with the database's credentials.
    pub fn bucket(config: &S3Config, folder: &str) -> Result<Self, ConfigError> {
        let bad =
            |_| ConfigError::BadSetting { what: "folder in the bucket of the erasure ledger", why: "it is no path" };
        let folder = Path::parse(folder).map_err(bad)?;
        Ok(Self(vec![Place { name: "bucket", store: Arc::new(bucket(config)?), folder }]))
    }

    /// This place and those of another one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Names of its places: `file`, `bucket`.
    pub fn places(&self) -> Vec<&'static str> {
        self.0.iter().map(|place| place.name).collect()
    }

    /// Write an entry to every place. Fails if one of them did not take it.
    pub async fn write(&self, entry: &LedgerEntry) -> Result<(), LedgerError> {
        let name = entry.to_string();
        for place in &self.0 {
            let path = place.folder.clone().join(name.as_str());
            place.store.put(&path, name.clone().into_bytes().into()).await.map_err(|error| reason(&error))?;
        }
        Ok(())
    }

    /// Every entry of every place, the oldest first. Fails if one of them cannot be read: half a ledger is none.
    pub async fn entries(&self) -> Result<Vec<LedgerEntry>, LedgerError> {
        let mut all = Vec::new();
        for place in &self.0 {
            let prefix = (place.folder != Path::default()).then_some(&place.folder);
            let listed: Vec<_> = place.store.list(prefix).try_collect().await.map_err(|error| reason(&error))?;
            for object in listed {
                all.push(object.location.filename().unwrap_or_default().parse()?);
            }
        }
        all.sort();
        all.dedup();
        Ok(all)
    }
}

fn reason(error: &Error) -> LedgerError {
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => LedgerError::Refused,
        _ => LedgerError::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_entry_is_read_as_it_was_written_and_twice_is_once() {
        let folder = std::env::temp_dir().join(format!("safelight-ledger-{}", Uuid::new_v4().simple()));
        let ledger = Ledger::folder(&folder).unwrap();
        let entry = |at, act| LedgerEntry { at, tenant: "koselfie".to_owned(), subject: Uuid::new_v4().into(), act };
        let entries = [
            entry(1_760_000_000, Act::Erasure),
            entry(1_790_000_000, Act::Withdrawal(Purpose::Train)),
            entry(1_795_000_000, Act::Objection(Purpose::Nsfw)),
            entry(1_800_000_000, Act::Photo(Id::new())),
            entry(1_800_000_001, Act::Restriction(Ground::Accuracy)),
            entry(1_800_000_002, Act::Restriction(Ground::Claims(DateTime::from_timestamp(1_900_000_000, 0).unwrap()))),
            entry(1_800_000_003, Act::Release),
        ];
        for entry in entries.iter().rev().chain(&entries) {
            ledger.write(entry).await.unwrap();
        }
        assert_eq!(ledger.entries().await.unwrap(), entries);
        std::fs::write(folder.join("ann.txt"), "x").unwrap();
        assert_eq!(ledger.entries().await, Err(LedgerError::Unreadable));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
