//! Ids that cannot be mixed up: `Id<Order>` prints as `order_…`, and an order id is never taken for a subject id.
//!
//! Stored as plain `uuid` (version 7: sorted by time). The printed form is what payloads, URLs and logs show.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

/// What an id is the id of. The prefix is stored in payloads: a contract.
pub trait Kind: 'static {
    /// The word before the underscore, for example `order`.
    const PREFIX: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal,)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {}
        impl Kind for $name { const PREFIX: &'static str = $prefix; }
    )*};
}

kinds! {
    /// A person, by random id; what remains after erasure.
    Subject = "subject",
    /// One purchase of one plan.
    Order = "order",
    /// One act of uploading photos, covered by its own consent.
    Batch = "batch",
    /// One stored thing about a subject: an upload, a model, an image, an export.
    Artifact = "artifact",
    /// One provider call, written down before it is made.
    Intent = "intent",
    /// One consent event.
    Grant = "grant",
    /// One unit of work in the queue.
    Job = "job",
    /// One deletion with its steps and evidence.
    Deletion = "deletion",
    /// One message to a person, by mail or in the product.
    Notice = "notice",
    /// One credential of the HTTP intake.
    Token = "token",
    /// One run of a sweep.
    Sweep = "sweep",
    /// What somebody asks for, with its deadline.
    Case = "case",
    /// One act on all jobs that match a search.
    Bulk = "bulk",
    /// One wish to give money back.
    Refund = "refund",
}

/// A uuid that knows what it names.
pub struct Id<K>(Uuid, PhantomData<fn() -> K>);

impl<K: Kind> Id<K> {
    /// A new id, sorted by time of creation.
    pub fn new() -> Self {
        Self(Uuid::now_v7(), PhantomData)
    }

    /// The stored form.
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl<K: Kind> Default for Id<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> From<Uuid> for Id<K> {
    fn from(uuid: Uuid) -> Self {
        Self(uuid, PhantomData)
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> std::hash::Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", K::PREFIX, self.0.simple())
    }
}
impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no id of this kind.
#[derive(Debug, thiserror::Error)]
#[error("expected an id that starts with `{expected}_` and goes on with 32 hexadecimal digits")]
pub struct BadId {
    expected: &'static str,
}

impl<K: Kind> FromStr for Id<K> {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        text.strip_prefix(K::PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .filter(|hex| hex.len() == 32)
            .and_then(|hex| Uuid::try_parse(hex).ok())
            .map(Self::from)
            .ok_or(BadId { expected: K::PREFIX })
    }
}

impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_id_is_never_taken_for_a_subject_id() {
        let order = Id::<Order>::new().to_string();
        assert!(order.starts_with("order_"));
        assert!(order.parse::<Id<Order>>().is_ok());
        assert!(order.parse::<Id<Subject>>().is_err());
    }
}
