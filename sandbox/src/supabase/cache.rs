//! The cache in front of Storage's REST calls: by a rule it still shows for a while what was deleted. S3 is not cached.
//! Source: supabase.com/docs storage/cdn/smart-cdn, read November 2026: up to 60 seconds.

use bytes::Bytes;
use chrono::{DateTime, Duration, Utc};

use super::State;
use super::objects::{ObjectError, StoredObject};
use crate::lock::lock;

/// What is still shown.
pub(crate) struct Shown {
    bucket: String,
    object: StoredObject,
    bytes: Bytes,
    until: DateTime<Utc>,
}

impl State {
    /// Deletes as a caller asked. True when there was such an object.
    pub(crate) async fn delete_object(&self, bucket: &str, key: &str) -> Result<bool, ObjectError> {
        if let Some(seconds) = self.faults.take_cache(&format!("DELETE {key}"))
            && let Some((object, bytes)) = self.objects.get(bucket, key).await?
        {
            let until = self.clock.now() + Duration::seconds(seconds.into());
            lock(&self.shown).push(Shown { bucket: bucket.to_owned(), object, bytes, until });
        }
        self.objects.delete(bucket, key).await
    }

    /// What the cache has of an object that is gone.
    pub(crate) fn still_shown(&self, bucket: &str, key: &str) -> Option<(StoredObject, Bytes)> {
        let mut shown = lock(&self.shown);
        let now = self.clock.now();
        shown.retain(|shown| now < shown.until);
        let found = shown.iter().find(|shown| shown.bucket == bucket && shown.object.key == key)?;
        Some((found.object.clone(), found.bytes.clone()))
    }
}
