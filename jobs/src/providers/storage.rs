//! The object store: photos, trained models, images, exports. S3 in production (Supabase Storage speaks it), a folder
//! for small set-ups.
//!
//! An object is only reachable through a [`Key`], which has one shape and no way out of its subject's folder (policy
//! K5). A delete's success is the store's claim; [`Storage::absent`] is the look that proves it. Errors name no key.
//! Supabase ignores `If-None-Match`, so a put always overwrites: keys are made of fresh ids.
//! Source: supabase.com/docs/guides/storage/s3 and github.com/supabase/storage at 4fa61fba; object_store 0.14.2; read
//! November 2026.

use std::{path::Path as Folder, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    PutOptions, RetryConfig, WriteMultipart,
    aws::{AmazonS3, AmazonS3Builder},
    local::LocalFileSystem,
    signer::Signer,
};
use reqwest::Method;

use super::{ConfigError, Secret, http::Base};

mod key;

pub use key::{Key, Prefix};

/// The longest life of a signed link; S3 allows a week.
pub const LONGEST_LINK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Parts of a large upload, in bytes; Supabase takes 5 MiB at least.
const PART: usize = 8 * 1024 * 1024;
/// Parts under way at once.
const PARTS_AT_ONCE: usize = 4;

/// Where the store is and who we are.
#[derive(Clone)]
pub struct S3Config {
    /// For example `https://REF.storage.supabase.co/storage/v1/s3`.
    pub endpoint: String,
    /// The project's region; a local stack says `local`.
    pub region: String,
    /// A private bucket.
    pub bucket: String,
    /// The access key's id.
    pub access_key: Secret,
    /// The access key.
    pub secret_key: Secret,
    /// The longest that one request may take, the body included.
    pub timeout: Duration,
}

/// Why the store did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The text is no key of ours.
    #[error("expected a key like tenant/subject/class/id, of small letters, digits and dashes")]
    BadKey,
    /// No such object.
    #[error("the store has no such object")]
    NotFound,
    /// Larger than the caller allows. Nothing of it was handed on.
    #[error("the object is larger than {most} bytes")]
    TooLarge {
        /// The limit.
        most: u64,
    },
    /// The keys are wrong or lack a right.
    #[error("the store does not accept our keys; check the S3 access key and its rights")]
    NotAllowed,
    /// This kind of store cannot sign links.
    #[error("a folder cannot sign links; use an S3 store")]
    NotSupported,
    /// No answer, or a fault at the store, also after a few tries. Every call of ours may be repeated.
    #[error("the store could not be reached or answered with a fault; ask again later")]
    Unreachable,
    /// The bytes to be stored broke off at their source. What was stored of them was dropped.
    #[error("the bytes to be stored broke off at their source; fetch them again")]
    SourceBroke,
    /// A link's life must be between a second and a week.
    #[error("a signed link must live between a second and a week")]
    BadLife,
}

/// An object as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key; also one of a shape that we would not make ([`Key::is_regular`]), so that a sweep can delete it.
    pub key: Key,
    /// In bytes.
    pub size: u64,
    /// By the store's clock.
    pub modified: DateTime<Utc>,
}

/// A client of a bucket. Sends nothing yet.
pub(crate) fn bucket(config: &S3Config) -> Result<AmazonS3, ConfigError> {
    let base = Base::parse("storage", &config.endpoint)?;
    for secret in [&config.access_key, &config.secret_key] {
        if secret.is_empty() {
            return Err(ConfigError::BadSecret { what: "storage" });
        }
    }
    let mut options = ClientOptions::new()
        .with_allow_http(base.is_loopback())
        .with_connect_timeout(config.timeout.min(Duration::from_secs(5)))
        .with_timeout(config.timeout);
    if base.is_loopback() {
        options = options.with_no_system_certificates(true);
    }
    let retry = RetryConfig {
        backoff: BackoffConfig { max_backoff: Duration::from_secs(2), ..BackoffConfig::default() },
        max_retries: 2,
        retry_timeout: config.timeout,
    };
    AmazonS3Builder::new()
        .with_endpoint(base.at(""))
        .with_region(&config.region)
        .with_bucket_name(&config.bucket)
        .with_access_key_id(config.access_key.expose())
        .with_secret_access_key(config.secret_key.expose())
        .with_virtual_hosted_style_request(false)
        .with_client_options(options)
        .with_retry(retry)
        .build()
        .map_err(|_| ConfigError::BadSetting { what: "storage", why: "region, bucket or keys are missing" })
}

/// The store. Clones share connections.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    signer: Option<Arc<AmazonS3>>,
}

impl Storage {
    /// A folder on this machine; it is made if it does not exist.
    pub fn file(folder: &Folder) -> Result<Self, ConfigError> {
        let bad = |why| ConfigError::BadSetting { what: "storage folder", why };
        std::fs::create_dir_all(folder).map_err(|_| bad("it cannot be made"))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|_| bad("it cannot be opened"))?;
        // Empty folders would keep a subject's id after its objects are gone.
        Ok(Self { store: Arc::new(store.with_automatic_cleanup(true)), signer: None })
    }

    /// A bucket. Sends nothing yet.
    pub fn s3(config: &S3Config) -> Result<Self, ConfigError> {
        let store = Arc::new(bucket(config)?);
        Ok(Self { store: store.clone(), signer: Some(store) })
    }

    /// Stores bytes, over what may be there. A folder keeps no content type.
    pub async fn put(&self, key: &Key, bytes: Bytes, content_type: &str) -> Result<(), StorageError> {
        let options = PutOptions { attributes: self.attributes(content_type), ..PutOptions::default() };
        self.store.put_opts(key.path(), bytes.into(), options).await.map(drop).map_err(reason)
    }

    /// Stores a stream of any length without holding it in memory, and returns its length. If the stream breaks,
    /// nothing is stored.
    pub async fn put_stream<E>(
        &self,
        key: &Key,
        mut bytes: BoxStream<'_, Result<Bytes, E>>,
        content_type: &str,
    ) -> Result<u64, StorageError> {
        let options =
            PutMultipartOptions { attributes: self.attributes(content_type), ..PutMultipartOptions::default() };
        let parts = self.store.put_multipart_opts(key.path(), options).await.map_err(reason)?;
        let mut upload = WriteMultipart::new_with_chunk_size(parts, PART);
        let mut length = 0;
        while let Some(chunk) = bytes.next().await {
            let ready = upload.wait_for_capacity(PARTS_AT_ONCE).await.map_err(reason);
            let (Ok(chunk), Ok(())) = (chunk, ready) else {
                // If that fails too, the store drops the parts by itself in time; the object was never there.
                let _ = upload.abort().await;
                return Err(if ready.is_err() { StorageError::Unreachable } else { StorageError::SourceBroke });
            };
            length += chunk.len() as u64;
            upload.put(chunk);
        }
        upload.finish().await.map_err(reason)?;
        Ok(length)
    }

    /// Reads an object of at most `most` bytes.
    pub async fn get(&self, key: &Key, most: u64) -> Result<Bytes, StorageError> {
        let found = self.store.get(key.path()).await.map_err(reason)?;
        if found.meta.size > most {
            return Err(StorageError::TooLarge { most });
        }
        // The size is the answer's own length, so no more than that can come.
        found.bytes().await.map_err(reason)
    }

    /// Looks whether an object is there.
    pub async fn exists(&self, key: &Key) -> Result<bool, StorageError> {
        match self.store.head(key.path()).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(reason(error)),
        }
    }

    /// The proof of a deletion: looks, and says whether nothing is there. A store that cannot be asked proves nothing.
    pub async fn absent(&self, key: &Key) -> Result<bool, StorageError> {
        Ok(!self.exists(key).await?)
    }

    /// Asks for a deletion. `Ok` is a claim, also when nothing was there: prove it with [`Self::absent`].
    pub async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        gone(self.store.delete(key.path()).await.map_err(reason))
    }

    /// Asks for many deletions, in bulk where the store can, and says for each key what the store claims.
    pub async fn delete_many(&self, keys: &[Key]) -> Vec<(Key, Result<(), StorageError>)> {
        let paths: Vec<_> = keys.iter().map(|key| Ok(key.path().clone())).collect();
        let answers: Vec<_> = self.store.delete_stream(futures::stream::iter(paths).boxed()).collect().await;
        let mut done: std::collections::HashSet<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        let mut results = Vec::with_capacity(keys.len());
        for key in keys {
            // The stream's order and its errors need not name a key: whoever was not confirmed is asked for alone.
            let claim = if done.remove(key.path()) { Ok(()) } else { self.delete(key).await };
            results.push((key.clone(), claim));
        }
        results
    }

    /// Everything below a prefix, whatever its shape. For sweeps and for deletion by prefix.
    pub async fn list(&self, prefix: &Prefix) -> Result<Vec<Listed>, StorageError> {
        let found = self.store.list(Some(prefix.path())).map_ok(|meta| Listed {
            key: Key::found(meta.location),
            size: meta.size,
            modified: meta.last_modified,
        });
        found.try_collect().await.map_err(reason)
    }

    /// The first `most` objects below a prefix that come after a key, in the order of bytes: page by page through everything.
    pub async fn list_after(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        most: usize,
    ) -> Result<Vec<Listed>, StorageError> {
        let found = match after {
            Some(key) => self.store.list_with_offset(Some(prefix.path()), key.path()),
            None => self.store.list(Some(prefix.path())),
        };
        let found = found.map_ok(|meta| Listed {
            key: Key::found(meta.location),
            size: meta.size,
            modified: meta.last_modified,
        });
        // A bucket lists in order, so the first page is enough; a folder does not.
        if self.signer.is_some() {
            return found.take(most).try_collect().await.map_err(reason);
        }
        let mut all: Vec<Listed> = found.try_collect().await.map_err(reason)?;
        all.sort_by(|one, other| one.key.cmp(&other.key));
        all.truncate(most);
        Ok(all)
    }

    /// A link that reads one object for a while, for a provider or the owner. Whoever has it can read: never log it.
    pub async fn signed_get(&self, key: &Key, life: Duration) -> Result<Secret, StorageError> {
        self.sign(Method::GET, key, life).await
    }

    /// A link that writes one object for a while.
    pub async fn signed_put(&self, key: &Key, life: Duration) -> Result<Secret, StorageError> {
        self.sign(Method::PUT, key, life).await
    }

    /// A folder refuses attributes.
    fn attributes(&self, content_type: &str) -> Attributes {
        let mut attributes = Attributes::new();
        if self.signer.is_some() {
            attributes.insert(Attribute::ContentType, content_type.to_owned().into());
        }
        attributes
    }

    async fn sign(&self, method: Method, key: &Key, life: Duration) -> Result<Secret, StorageError> {
        let signer = self.signer.as_ref().ok_or(StorageError::NotSupported)?;
        if life < Duration::from_secs(1) || life > LONGEST_LINK {
            return Err(StorageError::BadLife);
        }
        let link = signer.signed_url(method, key.path(), life).await.map_err(reason)?;
        Ok(Secret::new(link.as_str()))
    }
}

/// Deleting what is not there is a success.
fn gone(result: Result<(), StorageError>) -> Result<(), StorageError> {
    match result {
        Err(StorageError::NotFound) => Ok(()),
        other => other,
    }
}

/// The store's own text names the key and the address; only the kind is kept.
fn reason(error: Error) -> StorageError {
    match error {
        Error::NotFound { .. } => StorageError::NotFound,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => StorageError::NotAllowed,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => StorageError::NotSupported,
        _ => StorageError::Unreachable,
    }
}

#[cfg(test)]
mod tests;
