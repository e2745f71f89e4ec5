//! The erasure ledger: which persons were erased, which consents withdrawn, which objections upheld, which single photos deleted, whose data
//! restricted and released again, kept outside the database.
//!
//! A backup that is restored brings the erased back and forgets withdrawals; the ledger does not. Its entries are names of
//! small objects, so that a listing is all that a comparison needs. They hold random ids, a purpose or ground and instants, nothing
//! else, and the code of whoever wrote them ([`sign`]): what nobody signed who holds the master key is not read as an entry. Writing
//! one twice is writing it once. Never deletes anything.

pub mod sign;

use std::{collections::BTreeMap, fmt, path::Path as Folder, str::FromStr, sync::Arc};

use chrono::DateTime;
use futures::TryStreamExt;
use object_store::{Error, ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path};
use uuid::Uuid;

use self::sign::{LedgerKeys, Unsigned};
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// An entry that nobody signed who holds the master key. Half a ledger is none, so none of it is read.
    #[error("the erasure ledger has {count} entries that do not count; the first is of second {at}, {subject}, {}: {why}", act.word())]
    Foreign {
        /// The oldest of them, as it reads: when.
        at: i64,
        /// Of whom.
        subject: Id<Subject>,
        /// What. Of which tenant is not said: that part of a name may be anything.
        act: Act,
        /// Why.
        why: Unsigned,
        /// How many.
        count: usize,
    },
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

impl Act {
    /// The word in its name.
    const fn word(&self) -> &'static str {
        match self {
            Self::Erasure => "erasure",
            Self::Withdrawal(_) => "withdrawal",
            Self::Objection(_) => "objection",
            Self::Photo(_) => "photo",
            Self::Restriction(_) => "restriction",
            Self::Release => "release",
        }
    }
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
pub struct Ledger {
    places: Vec<Place>,
    keys: LedgerKeys,
    unsigned_too: bool,
}

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
    pub fn folder(folder: &Folder, keys: LedgerKeys) -> Result<Self, ConfigError> {
        let bad = |why| ConfigError::BadSetting { what: "folder of the erasure ledger", why };
        std::fs::create_dir_all(folder).map_err(|_| bad("it cannot be made"))?;
        // On the disk before the step that notes it is called done, and not only on its way there.
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|_| bad("it cannot be opened"))?.with_fsync(true);
        Ok(Self::at(Place { name: "file", store: Arc::new(store), folder: Path::default() }, keys))
    }

    /// A bucket, best of an account that cannot be reached with the database's credentials.
    pub fn bucket(config: &S3Config, folder: &str, keys: LedgerKeys) -> Result<Self, ConfigError> {
        let bad =
            |_| ConfigError::BadSetting { what: "folder in the bucket of the erasure ledger", why: "it is no path" };
        let folder = Path::parse(folder).map_err(bad)?;
        Ok(Self::at(Place { name: "bucket", store: Arc::new(bucket(config)?), folder }, keys))
    }

    fn at(place: Place, keys: LedgerKeys) -> Self {
        Self { places: vec![place], keys, unsigned_too: false }
    }

    /// Read what nobody signed, too: entries from before there were codes. A person says so, who has looked at them.
    #[must_use]
    pub fn with_unsigned(mut self) -> Self {
        self.unsigned_too = true;
        self
    }

    /// This place and those of another one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.places.extend(other.places);
        self
    }

    /// Names of its places: `file`, `bucket`.
    pub fn places(&self) -> Vec<&'static str> {
        self.places.iter().map(|place| place.name).collect()
    }

    /// Write an entry to every place. Fails if one of them did not take it.
    pub async fn write(&self, entry: &LedgerEntry) -> Result<(), LedgerError> {
        let name = self.keys.sign(&entry.to_string());
        for place in &self.places {
            let path = place.folder.clone().join(name.as_str());
            place.store.put(&path, name.clone().into_bytes().into()).await.map_err(|error| reason(&error))?;
        }
        Ok(())
    }

    /// Every entry of every place, the oldest first. Fails if one of them cannot be read, or does not count: half a ledger is none.
    /// One that somebody else has written as well, and that is signed, counts.
    pub async fn entries(&self) -> Result<Vec<LedgerEntry>, LedgerError> {
        let mut all: BTreeMap<LedgerEntry, Result<(), Unsigned>> = BTreeMap::new();
        for name in self.names().await? {
            let (entry, signed) = self.keys.read(&name);
            let signed = match signed {
                Err(Unsigned::NoCode) if self.unsigned_too => Ok(()),
                signed => signed,
            };
            let known = all.entry(entry.parse()?).or_insert(signed);
            *known = known.or(signed);
        }
        let mut foreign = all.iter().filter_map(|(entry, signed)| signed.err().map(|why| (entry, why)));
        if let Some((entry, why)) = foreign.next() {
            let LedgerEntry { at, subject, act, .. } = *entry;
            return Err(LedgerError::Foreign { at, subject, act, why, count: foreign.count() + 1 });
        }
        Ok(all.into_keys().collect())
    }

    /// Sign anew what counts and is not signed by the key that signs now, in every place. Answers how many entries. What was signed
    /// before stays beside it.
    pub async fn sign_anew(&self) -> Result<usize, LedgerError> {
        let entries = self.entries().await?;
        let mut current: BTreeMap<String, usize> = BTreeMap::new();
        for name in self.names().await?.iter().filter(|name| self.keys.is_current(name)) {
            *current.entry(self.keys.read(name).0.to_owned()).or_default() += 1;
        }
        let mut done = 0;
        for entry in entries {
            if current.get(&entry.to_string()).copied().unwrap_or_default() < self.places.len() {
                self.write(&entry).await?;
                done += 1;
            }
        }
        Ok(done)
    }

    async fn names(&self) -> Result<Vec<String>, LedgerError> {
        let mut names = Vec::new();
        for place in &self.places {
            let prefix = (place.folder != Path::default()).then_some(&place.folder);
            let listed: Vec<_> = place.store.list(prefix).try_collect().await.map_err(|error| reason(&error))?;
            names.extend(listed.iter().map(|object| object.location.filename().unwrap_or_default().to_owned()));
        }
        Ok(names)
    }
}

fn reason(error: &Error) -> LedgerError {
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => LedgerError::Refused,
        _ => LedgerError::Unreachable,
    }
}

#[cfg(test)]
mod tests;
