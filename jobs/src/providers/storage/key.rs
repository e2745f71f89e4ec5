//! Where an object may lie: `tenant/subject/class/id`, and nowhere else.
//!
//! Letters a to z, digits and dashes, between exactly three slashes: no dot, so no way up; no percent sign and nothing
//! beyond ASCII, which Supabase Storage refuses (policy K5).

use std::{fmt, str::FromStr};

use object_store::path::Path;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

use super::StorageError;
use crate::id::{Id, Subject};

/// The key of one object.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Path);

/// A folder: everything of a tenant, of a subject, or of one class of a subject.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Prefix(Path);

impl Key {
    /// The key for one object of a subject; `subject` is its uuid as 32 small hexadecimal digits.
    pub fn new(tenant: &str, subject: &str, class: &str, id: &str) -> Result<Self, StorageError> {
        format!("{tenant}/{subject}/{class}/{id}").parse()
    }

    /// True if the object lies in this subject's folder: ask before acting on a key from outside.
    pub fn belongs_to(&self, tenant: &str, subject: Id<Subject>) -> bool {
        let mut parts = self.0.as_ref().split('/');
        parts.next() == Some(tenant) && parts.next() == Some(subject.uuid().simple().to_string().as_str())
    }

    /// The third part, for example `upload`; it can stand in a log line, the key need not.
    pub fn class(&self) -> &str {
        self.0.as_ref().split('/').nth(2).unwrap_or_default()
    }

    /// The text as it is stored.
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    /// False for something that the store listed and that we would not have written.
    pub fn is_regular(&self) -> bool {
        is_regular(self.as_str())
    }

    /// A key that the store has listed before, from its text.
    pub fn listed(text: &str) -> Option<Self> {
        Path::parse(text).ok().map(Self)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Whatever the store listed: it must be possible to delete it.
    pub(super) fn found(path: Path) -> Self {
        Self(path)
    }
}

impl Prefix {
    /// Everything of one tenant.
    pub fn tenant(tenant: &str) -> Result<Self, StorageError> {
        Self::of(&[tenant])
    }

    /// Everything of one subject.
    pub fn subject(tenant: &str, subject: Id<Subject>) -> Result<Self, StorageError> {
        Self::of(&[tenant, &subject.uuid().simple().to_string()])
    }

    /// One class of one subject.
    pub fn class(tenant: &str, subject: Id<Subject>, class: &str) -> Result<Self, StorageError> {
        Self::of(&[tenant, &subject.uuid().simple().to_string(), class])
    }

    fn of(parts: &[&str]) -> Result<Self, StorageError> {
        if !parts.iter().all(|part| is_part(part)) {
            return Err(StorageError::BadKey);
        }
        Path::parse(parts.join("/")).map(Self).map_err(|_| StorageError::BadKey)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

fn is_part(part: &str) -> bool {
    (1..=64).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_regular(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let [tenant, subject, class, id] = parts[..] else { return false };
    let is_subject = Uuid::try_parse(subject).is_ok_and(|uuid| uuid.simple().to_string() == subject);
    is_part(tenant) && is_subject && is_part(class) && is_part(id)
}

impl FromStr for Key {
    type Err = StorageError;
    fn from_str(text: &str) -> Result<Self, StorageError> {
        if !is_regular(text) {
            return Err(StorageError::BadKey);
        }
        Path::parse(text).map(Self).map_err(|_| StorageError::BadKey)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref())
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k5_a_key_has_one_shape_and_no_way_out_of_its_folder() {
        let subject = Id::<Subject>::new();
        let uuid = subject.uuid().simple().to_string();
        let key = Key::new("koselfie", &uuid, "upload", "0190-a").unwrap();
        assert_eq!(key.to_string(), format!("koselfie/{uuid}/upload/0190-a"));
        assert!(key.belongs_to("koselfie", subject));
        assert!(!key.belongs_to("haloprofile", subject));
        assert!(!key.belongs_to("koselfie", Id::new()));
        for bad in [
            format!("koselfie/{uuid}/upload"),
            format!("koselfie/{uuid}/upload/a/b"),
            format!("/koselfie/{uuid}/upload/a"),
            format!("koselfie/{uuid}/upload/a/"),
            format!("koselfie/{uuid}/upload/.."),
            format!("koselfie/{uuid}/../{uuid}"),
            format!("koselfie/{uuid}/upload/a.jpg"),
            format!("koselfie/{uuid}/upload/a%2fb"),
            format!("koselfie/{uuid}/upload/ä"),
            format!("koselfie/{uuid}/upload/A"),
            format!("koselfie/{uuid}/upload/a b"),
            format!("koselfie/{uuid}/upload/a\0"),
            format!("koselfie/{uuid}/upload\\a/b"),
            format!("koselfie/{}/upload/a", subject.uuid().hyphenated()),
            format!("koselfie/{}/upload/a", uuid.to_uppercase()),
            "koselfie/ann/upload/a".to_owned(),
            format!("koselfie/{uuid}/upload/{}", "a".repeat(65)),
            String::new(),
        ] {
            assert_eq!(bad.parse::<Key>(), Err(StorageError::BadKey), "{bad}");
        }
        for (tenant, class, id) in
            [("..", "upload", "a"), ("koselfie", "upload/x", "a"), ("koselfie", "upload", "../a")]
        {
            assert_eq!(Key::new(tenant, &uuid, class, id), Err(StorageError::BadKey));
        }
        for tenant in ["", "..", "a/b", "koselfie/"] {
            assert!(Prefix::tenant(tenant).is_err(), "{tenant}");
        }
        assert!(Prefix::class("koselfie", subject, "../x").is_err());
    }
}
