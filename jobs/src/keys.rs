//! Where objects lie: `tenant/subject/class/id`, every part of small letters and digits.

use crate::{
    id::{Artifact, Id, Subject},
    providers::storage::{Key, StorageError},
    stop::Stop,
};

/// The largest object that is read into memory: a model file.
pub const MOST_BYTES: u64 = 512 * 1024 * 1024;
/// The largest photo.
pub const MOST_PHOTO_BYTES: u64 = 12 * 1024 * 1024;

/// The key of a new object.
pub fn of(tenant: &str, subject: Id<Subject>, class: &str, object: Id<Artifact>) -> Result<Key, StorageError> {
    Key::new(tenant, &subject.uuid().simple().to_string(), class, &object.uuid().simple().to_string())
}

/// The prefix under which everything of a person lies.
pub fn prefix(tenant: &str, subject: Id<Subject>) -> String {
    format!("{tenant}/{}/", subject.uuid().simple())
}

/// A key as it is stored in a row.
pub fn stored(key: &str) -> Result<Key, Stop> {
    key.parse().map_err(|_| Stop::give_up("bad_key", "a stored key has a shape that this version does not know"))
}
