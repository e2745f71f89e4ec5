//! The bucket of checkpoints as an auditor uses it: what lies in a folder of it is brought to this machine as files, and an
//! export of the log is brought there.
//!
//! Never: looks into what it brings, overwrites or deletes anything there. What the files say is checked afterwards, offline, by
//! the `evidence` crate alone.

use std::{fmt, path::Path as Folder, sync::Arc};

use futures::TryStreamExt;
use object_store::{Error, ObjectStore, ObjectStoreExt, buffered::BufWriter, path::Path};
use tokio::io::AsyncWriteExt;

use super::{
    ConfigError,
    storage::{S3Config, bucket},
};

/// Why something did not come or go.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// The name of a folder that is none.
    #[error("`{0}` is no folder of a bucket: words and slashes, without dots between them")]
    BadFolder(String),
    /// There is nothing.
    #[error("there is nothing in `{0}` of the bucket: look at its name")]
    Nothing(String),
    /// Something is there already.
    #[error("there is something at `{0}` in the bucket: an export goes into a folder of its own")]
    Taken(String),
    /// We may not.
    #[error("the bucket does not let us in: check CHECKPOINT_S3_ACCESS_KEY and _SECRET_KEY")]
    Refused,
    /// No answer, or a fault.
    #[error("the bucket could not be reached or answered with a fault: try again, or check CHECKPOINT_S3_ENDPOINT")]
    Unreachable,
    /// A file of this machine.
    #[error("{what} on this machine: {source}")]
    File {
        /// Which.
        what: String,
        /// Why.
        source: std::io::Error,
    },
}

/// A bucket outside. Clones share connections.
#[derive(Clone)]
pub struct Outside(Arc<dyn ObjectStore>);

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}

impl Outside {
    /// The bucket, with the settings by which the sealer delivers to it. Sends nothing yet.
    ///
    /// # Errors
    /// A setting that is none.
    pub fn bucket(config: &S3Config) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(bucket(config)?)))
    }

    /// Bring everything below a folder of the bucket into a folder of this machine, with the folders below it. Answers how many
    /// files came; a folder without any is an error, because it would prove nothing.
    ///
    /// # Errors
    /// [`OutsideError`]; what came before stays on this machine.
    pub async fn fetch(&self, from: &str, to: &Folder) -> Result<usize, OutsideError> {
        let folder = parsed(from)?;
        let listed: Vec<_> = self.0.list(Some(&folder)).try_collect().await.map_err(|error| reason(from, &error))?;
        for object in &listed {
            let below: Vec<_> = object.location.prefix_match(&folder).into_iter().flatten().collect();
            // A path of an object store has no `..`; a server may say what it likes.
            if below.is_empty() || below.iter().any(|part| matches!(part.as_ref(), "." | ".." | "")) {
                return Err(OutsideError::BadFolder(object.location.to_string()));
            }
            let mut file = to.to_owned();
            for part in &below {
                let name: &str = part.as_ref();
                file.push(name);
            }
            self.fetch_one(&object.location, &file).await?;
        }
        if listed.is_empty() { Err(OutsideError::Nothing(from.to_owned())) } else { Ok(listed.len()) }
    }

    async fn fetch_one(&self, path: &Path, to: &Folder) -> Result<(), OutsideError> {
        let failed = |source| OutsideError::File { what: to.display().to_string(), source };
        if let Some(folder) = to.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(failed)?;
        }
        let mut file = tokio::fs::File::create_new(to).await.map_err(failed)?;
        let mut chunks = self.0.get(path).await.map_err(|error| reason(path.as_ref(), &error))?.into_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(|error| reason(path.as_ref(), &error))? {
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)
    }

    /// Bring every file of a folder of this machine, and of the folders below it, into a folder of the bucket. Answers how many.
    ///
    /// # Errors
    /// Something is there already; nothing was overwritten.
    pub async fn put(&self, from: &Folder, to: &str) -> Result<usize, OutsideError> {
        let root = parsed(to)?;
        // Not every store can refuse to overwrite one object, so it is asked before the first.
        if self.0.list(Some(&root)).try_next().await.map_err(|error| reason(to, &error))?.is_some() {
            return Err(OutsideError::Taken(to.to_owned()));
        }
        let mut count = 0;
        let mut folders = vec![(from.to_owned(), root)];
        while let Some((folder, path)) = folders.pop() {
            let failed = |source| OutsideError::File { what: folder.display().to_string(), source };
            let mut entries = tokio::fs::read_dir(&folder).await.map_err(failed)?;
            while let Some(entry) = entries.next_entry().await.map_err(failed)? {
                let at = path.clone().join(entry.file_name().to_string_lossy().as_ref());
                if entry.file_type().await.map_err(failed)?.is_dir() {
                    folders.push((entry.path(), at));
                    continue;
                }
                let mut file = tokio::fs::File::open(entry.path()).await.map_err(failed)?;
                let mut object = BufWriter::new(self.0.clone(), at);
                // A fault of the bucket comes as one of the writer, an entry's own length never does.
                tokio::io::copy(&mut file, &mut object).await.map_err(|_| OutsideError::Unreachable)?;
                object.shutdown().await.map_err(|_| OutsideError::Unreachable)?;
                count += 1;
            }
        }
        Ok(count)
    }
}

fn parsed(folder: &str) -> Result<Path, OutsideError> {
    match Path::parse(folder) {
        Ok(path) if path != Path::default() => Ok(path),
        _ => Err(OutsideError::BadFolder(folder.to_owned())),
    }
}

fn reason(what: &str, error: &Error) -> OutsideError {
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => OutsideError::Refused,
        Error::NotFound { .. } => OutsideError::Nothing(what.to_owned()),
        _ => OutsideError::Unreachable,
    }
}
