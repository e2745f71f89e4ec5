//! Objects as files: `<data dir>/<bucket>/<key>`, an index in memory, no sidecar files.
//!
//! A deleted object leaves nothing, not even its folders: their names hold subject ids. Names that Supabase takes but
//! a folder tree cannot hold (`a//b`, `..`, an object `a` beside `a/b`) are refused as InvalidKey.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context as _;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::fs;

use crate::lock::lock;
use crate::token;

/// One object at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredObject {
    /// Name in the bucket.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// As S3 quotes it. Not an MD5: part of the content's SHA-256.
    pub etag: String,
    /// As given by the put; guessed from the ending after a restart.
    pub content_type: String,
    /// When it was put, wall clock.
    pub last_modified: DateTime<Utc>,
}

/// Why a name or a bucket is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectError {
    #[error("the bucket does not exist")]
    NoSuchBucket,
    #[error("the object name has characters or a shape that Storage refuses")]
    InvalidKey,
    #[error("the sandbox cannot use its folder")]
    Disk(#[from] std::io::Error),
}

type Index = BTreeMap<String, BTreeMap<String, StoredObject>>;

/// All buckets.
pub(crate) struct Objects {
    root: PathBuf,
    index: Mutex<Index>,
    /// Writers of files go one at a time: a put that makes a folder never meets a delete that removes it.
    writing: tokio::sync::Mutex<()>,
}

impl Objects {
    /// Opens the folder, makes missing buckets, and indexes what lies there.
    pub(crate) async fn open(root: &Path, buckets: &[String]) -> anyhow::Result<Objects> {
        let mut index = Index::new();
        for bucket in buckets {
            let folder = root.join(bucket);
            let made = fs::create_dir_all(&folder).await;
            made.with_context(|| format!("making the bucket folder {}", folder.display()))?;
            index.insert(bucket.clone(), scan(&folder).await?);
        }
        Ok(Objects { root: root.to_owned(), index: Mutex::new(index), writing: tokio::sync::Mutex::default() })
    }

    pub(crate) fn list(&self, bucket: &str, prefix: &str) -> Vec<StoredObject> {
        let index = lock(&self.index);
        let objects = index.get(bucket).into_iter().flat_map(BTreeMap::values);
        objects.filter(|object| object.key.starts_with(prefix)).cloned().collect()
    }

    pub(crate) fn head(&self, bucket: &str, key: &str) -> Result<Option<StoredObject>, ObjectError> {
        let index = lock(&self.index);
        Ok(index.get(bucket).ok_or(ObjectError::NoSuchBucket)?.get(key).cloned())
    }

    pub(crate) async fn get(&self, bucket: &str, key: &str) -> Result<Option<(StoredObject, Bytes)>, ObjectError> {
        let Some(object) = self.head(bucket, key)? else { return Ok(None) };
        match fs::read(self.path(bucket, key)?).await {
            Ok(bytes) => Ok(Some((object, Bytes::from(bytes)))),
            // Deleted between the look and the read.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn put(
        &self,
        bucket: &str,
        key: &str,
        content_type: &str,
        bytes: Bytes,
    ) -> Result<StoredObject, ObjectError> {
        let path = self.path(bucket, key)?;
        self.head(bucket, key)?;
        let object = StoredObject {
            key: key.to_owned(),
            size: bytes.len() as u64,
            etag: format!("\"{}\"", &hex::encode(Sha256::digest(&bytes))[..32]),
            content_type: content_type.to_owned(),
            last_modified: Utc::now(),
        };
        let _writing = self.writing.lock().await;
        let folder = path.parent().unwrap_or(&self.root);
        let conflict = |error: std::io::Error| match error.kind() {
            ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists => ObjectError::InvalidKey,
            _ => ObjectError::Disk(error),
        };
        fs::create_dir_all(folder).await.map_err(conflict)?;
        let draft = folder.join(format!(".put-{}", token::letters(12)));
        fs::write(&draft, &bytes).await?;
        if let Err(error) = fs::rename(&draft, &path).await {
            fs::remove_file(&draft).await?;
            return Err(conflict(error));
        }
        lock(&self.index).entry(bucket.to_owned()).or_default().insert(key.to_owned(), object.clone());
        Ok(object)
    }

    /// True when there was such an object.
    pub(crate) async fn delete(&self, bucket: &str, key: &str) -> Result<bool, ObjectError> {
        let path = self.path(bucket, key)?;
        let _writing = self.writing.lock().await;
        let known = lock(&self.index).get_mut(bucket).ok_or(ObjectError::NoSuchBucket)?.remove(key).is_some();
        if !known {
            return Ok(false);
        }
        match fs::remove_file(&path).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let bucket_folder = self.root.join(bucket);
        for folder in path.ancestors().skip(1).take_while(|folder| *folder != bucket_folder) {
            if fs::remove_dir(folder).await.is_err() {
                break; // Not empty: other objects live there.
            }
        }
        Ok(true)
    }

    fn path(&self, bucket: &str, key: &str) -> Result<PathBuf, ObjectError> {
        let plain = |part: &str| !part.is_empty() && part.len() < 256 && !part.starts_with(".put-");
        let whole = key.split('/').all(|part| plain(part) && part != "." && part != "..");
        if !is_allowed(key) || !whole || key.len() > 1024 {
            return Err(ObjectError::InvalidKey);
        }
        if !lock(&self.index).contains_key(bucket) {
            return Err(ObjectError::NoSuchBucket);
        }
        Ok(self.root.join(bucket).join(key))
    }
}

/// Characters that Storage allows in a name: supabase/storage src/storage/limits.ts, November 2026.
fn is_allowed(key: &str) -> bool {
    key.chars().all(|c| c.is_ascii_alphanumeric() || "_/!.*'()&$@=;:+,? -".contains(c))
}

async fn scan(bucket: &Path) -> anyhow::Result<BTreeMap<String, StoredObject>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![bucket.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut entries = fs::read_dir(&folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            let (path, meta) = (entry.path(), entry.metadata().await?);
            if meta.is_dir() {
                folders.push(path);
                continue;
            }
            let Some(key) = path.strip_prefix(bucket)?.to_str().map(str::to_owned) else { continue };
            if entry.file_name().to_string_lossy().starts_with(".put-") {
                fs::remove_file(&path).await?; // A put that never ended.
                continue;
            }
            let etag = format!("\"{}\"", &hex::encode(Sha256::digest(fs::read(&path).await?))[..32]);
            let (content_type, size) = (guess(&key).to_owned(), meta.len());
            let last_modified = meta.modified().map_or_else(|_| Utc::now(), DateTime::from);
            found.insert(key.clone(), StoredObject { key, size, etag, content_type, last_modified });
        }
    }
    Ok(found)
}

fn guess(key: &str) -> &'static str {
    match key.rsplit('.').next() {
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("png") => "image/png",
        Some("webp") => "image/webp",
        Some("zip") => "application/zip",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}
