//! Where checkpoints of the audit log are kept outside the database: a folder, a bucket, or somebody's webhook.
//!
//! Every put may be repeated: the same size is the same text. A place that has another checkpoint of that size already says
//! so and is not overwritten: then the log was restored or recomputed. Nothing personal is in a checkpoint; addresses and
//! secrets are in no error.

use std::{fmt, path::Path as Folder, sync::Arc, time::Duration};

use object_store::{Error, ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path};
use reqwest::{
    Client,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use safelight_evidence::Checkpoint;

use super::{
    ConfigError, Secret,
    http::{self, Base},
    storage::{S3Config, bucket},
};

/// The longest that one delivery may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a checkpoint did not arrive. The stored code of each is a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// No answer, or a fault.
    #[error("the place could not be reached or answered with a fault")]
    Unreachable,
    /// It answers that we may not.
    #[error("the place refused the checkpoint")]
    Refused,
    /// There is another checkpoint of this size.
    #[error("the place has another checkpoint of this size: the log was restored or recomputed")]
    OtherCheckpoint,
}

impl WitnessError {
    /// The stored code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::OtherCheckpoint => "other_checkpoint",
        }
    }
}

/// One place outside.
#[derive(Clone)]
pub struct Witness {
    name: &'static str,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Store { store: Arc<dyn ObjectStore>, folder: Path },
    Webhook { client: Client, url: String, authorization: Option<HeaderValue> },
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Witness {
    /// A folder, best on another machine's disk; it is made if it does not exist.
    pub fn folder(folder: &Folder) -> Result<Self, ConfigError> {
        let bad = |why| ConfigError::BadSetting { what: "folder of checkpoints", why };
        std::fs::create_dir_all(folder).map_err(|_| bad("it cannot be made"))?;
        // On the disk before it counts as delivered.
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|_| bad("it cannot be opened"))?.with_fsync(true);
        Ok(Self { name: "file", place: Place::Store { store: Arc::new(store), folder: Path::default() } })
    }

    /// A bucket, best of an account that cannot be reached with the database's credentials.
    pub fn bucket(config: &S3Config, folder: &str) -> Result<Self, ConfigError> {
        let bad = |_| ConfigError::BadSetting { what: "folder in the bucket of checkpoints", why: "it is no path" };
        let folder = Path::parse(folder).map_err(bad)?;
        Ok(Self { name: "bucket", place: Place::Store { store: Arc::new(bucket(config)?), folder } })
    }

    /// An address that takes each checkpoint as text by POST, with `secret` as its bearer. It may get one twice.
    pub fn webhook(url: &str, secret: Option<&Secret>) -> Result<Self, ConfigError> {
        let what = "webhook of checkpoints";
        let base = Base::parse(what, url)?;
        let limits = http::Limits { connect: Duration::from_secs(5), total: PATIENCE };
        let client = http::client(what, &[&base], limits)?;
        let authorization = secret
            .map(|secret| http::secret_header(what, &format!("Bearer {}", secret.expose()), secret.expose()))
            .transpose()?;
        Ok(Self { name: "webhook", place: Place::Webhook { client, url: base.at(""), authorization } })
    }

    /// `file`, `bucket` or `webhook`; a label of metrics.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Bring a checkpoint there.
    pub async fn put(&self, size: u64, note: &str) -> Result<(), WitnessError> {
        match &self.place {
            Place::Store { store, folder } => {
                put_object(store.as_ref(), &folder.clone().join(file_name(size)), note).await
            }
            Place::Webhook { client, url, authorization } => {
                let mut request =
                    client.post(url).header(CONTENT_TYPE, "text/plain; charset=utf-8").body(note.to_owned());
                if let Some(authorization) = authorization {
                    request = request.header(AUTHORIZATION, authorization.clone());
                }
                let status = request.send().await.map_err(|_| WitnessError::Unreachable)?.status();
                match status.as_u16() {
                    200..=299 => Ok(()),
                    409 => Err(WitnessError::OtherCheckpoint),
                    400..=499 if status.as_u16() != 429 => Err(WitnessError::Refused),
                    _ => Err(WitnessError::Unreachable),
                }
            }
        }
    }
}

/// As an outsider finds it: names sort as sizes do.
pub fn file_name(size: u64) -> String {
    format!("checkpoint-{size:020}.txt")
}

async fn put_object(store: &dyn ObjectStore, path: &Path, note: &str) -> Result<(), WitnessError> {
    match store.get(path).await {
        Ok(found) => {
            let there = found.bytes().await.map_err(|_| WitnessError::Unreachable)?;
            let there = std::str::from_utf8(&there).ok().and_then(Checkpoint::peek);
            // Signatures may differ: a key was replaced. What was sworn to may not.
            if there == Checkpoint::peek(note) { Ok(()) } else { Err(WitnessError::OtherCheckpoint) }
        }
        Err(Error::NotFound { .. }) => {
            store.put(path, note.as_bytes().to_vec().into()).await.map(drop).map_err(|error| reason(&error))
        }
        Err(error) => Err(reason(&error)),
    }
}

fn reason(error: &Error) -> WitnessError {
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => WitnessError::Refused,
        _ => WitnessError::Unreachable,
    }
}
