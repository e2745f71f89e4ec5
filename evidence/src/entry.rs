//! One audit entry, and the one way to write it as bytes.
//!
//! Canonical form: one JSON object, keys in alphabetical order, no whitespace, every key there (`null` where there is
//! nothing), strings of printable ASCII without quote and backslash, numbers as plain integers below 2^53. That is a subset of
//! RFC 8785 (JSON Canonicalization Scheme), so any implementation of it gives the same bytes.
//!
//! Never holds personal data: each text is a code or a random id, and free text does not pass [`Entry::canonical`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::merkle::{Hash, leaf_hash};

/// Numbers above this are not the same in every reader of JSON.
const MOST: u64 = (1 << 53) - 1;

/// One thing that happened. Fields stand in the order in which they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What was done: `train_model.submitted`.
    pub action: String,
    /// Whose role acted: `worker`, `intake`, `operator`, `cron`, `provider`.
    pub actor: String,
    /// The subject's pseudonym, whose key dies with the subject.
    pub alias: Option<String>,
    /// When, by the database clock, UTC, microseconds: `2026-05-25T08:00:00.000000Z`.
    pub at: String,
    /// Of which class of data: `upload`, `model`.
    pub class: Option<String>,
    /// What else was said, each a code: `why`, `by`.
    pub codes: BTreeMap<String, String>,
    /// Salted hash of what was acted on, in hex ([`commitment`]); the salt is erased with the subject.
    pub commitment: Option<String>,
    /// How many of what.
    pub counts: BTreeMap<String, u64>,
    /// Which deletion it is a part of.
    pub deletion_id: Option<String>,
    /// Ids of the consents that it rested on.
    pub grants: Vec<String>,
    /// Which job.
    pub job_id: Option<String>,
    /// Which kind of job.
    pub job_kind: Option<String>,
    /// Which order.
    pub order_id: Option<String>,
    /// How it ended: `ok`, `refused`.
    pub outcome: String,
    /// Version of the tenant's policy that allowed it.
    pub policy_version: Option<String>,
    /// At which processor: `fal`, `supabase`, `self`.
    pub processor: Option<String>,
    /// What the processing was for.
    pub purpose: Option<String>,
    /// Place in the log, from 0, without gaps: given when the entry is sealed.
    pub seq: u64,
    /// Which tenant.
    pub tenant: Option<String>,
}

/// Why an entry has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// A field holds more than a code or an id: 1 to 100 of `A-Z a-z 0-9 _ . : -`.
    #[error("audit field `{0}` is not a code: free text has no place in the log")]
    NotACode(&'static str),
    /// Not a time as `2026-05-25T08:00:00.000000Z`.
    #[error("audit field `at` is not RFC 3339 in UTC with six digits of microseconds")]
    Time,
    /// A number of 2^53 or more.
    #[error("audit field `{0}` is too large for a number in JSON")]
    TooLarge(&'static str),
    /// The bytes say the same in another form, or are not an entry at all.
    #[error("these bytes are not an audit entry in canonical form")]
    Form,
}

impl Entry {
    /// The bytes that are hashed.
    ///
    /// # Errors
    /// [`EntryError::NotACode`], [`EntryError::Time`], [`EntryError::TooLarge`].
    pub fn canonical(&self) -> Result<Vec<u8>, EntryError> {
        self.check()?;
        serde_json::to_vec(self).map_err(|_| EntryError::Form)
    }

    /// Read canonical bytes; any other form of the same entry is refused.
    ///
    /// # Errors
    /// As [`Entry::canonical`], and [`EntryError::Form`].
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, EntryError> {
        let entry: Self = serde_json::from_slice(bytes).map_err(|_| EntryError::Form)?;
        if entry.canonical()? == bytes { Ok(entry) } else { Err(EntryError::Form) }
    }

    /// The entry's leaf in the tree.
    ///
    /// # Errors
    /// As [`Entry::canonical`].
    pub fn leaf(&self) -> Result<Hash, EntryError> {
        self.canonical().map(|bytes| leaf_hash(&bytes))
    }

    fn check(&self) -> Result<(), EntryError> {
        let needed = [("action", &self.action), ("actor", &self.actor), ("outcome", &self.outcome)];
        let optional = [
            ("alias", &self.alias),
            ("class", &self.class),
            ("commitment", &self.commitment),
            ("deletion_id", &self.deletion_id),
            ("job_id", &self.job_id),
            ("job_kind", &self.job_kind),
            ("order_id", &self.order_id),
            ("policy_version", &self.policy_version),
            ("processor", &self.processor),
            ("purpose", &self.purpose),
            ("tenant", &self.tenant),
        ];
        let optional = optional.into_iter().filter_map(|(name, text)| text.as_ref().map(|text| (name, text)));
        let codes = self.codes.iter().flat_map(|(name, code)| [("codes", name), ("codes", code)]);
        let lists = self.grants.iter().map(|id| ("grants", id)).chain(self.counts.keys().map(|name| ("counts", name)));
        if let Some((name, _)) =
            needed.into_iter().chain(optional).chain(lists).chain(codes).find(|(_, text)| !is_code(text))
        {
            return Err(EntryError::NotACode(name));
        }
        if !is_time(&self.at) {
            return Err(EntryError::Time);
        }
        if self.seq > MOST {
            return Err(EntryError::TooLarge("seq"));
        }
        if self.counts.values().any(|count| *count > MOST) {
            return Err(EntryError::TooLarge("counts"));
        }
        Ok(())
    }
}

/// What an entry says of a target whose name must not stand in it: SHA-256 over a salt of 32 bytes and the name. Whoever has
/// both can show that this target was meant; without the salt nobody can, not even by guessing.
#[must_use]
pub fn commitment(salt: &[u8; 32], target: &[u8]) -> Hash {
    Sha256::new().chain_update(salt).chain_update(target).finalize().into()
}

fn is_code(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b))
}

fn is_time(text: &str) -> bool {
    let shape = b"0000-00-00T00:00:00.000000Z";
    let fits = |(byte, want): (u8, &u8)| if *want == b'0' { byte.is_ascii_digit() } else { byte == *want };
    text.len() == shape.len() && text.bytes().zip(shape).all(fits)
}
