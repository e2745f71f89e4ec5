//! The sealer's settings: the log's key and where its checkpoints go.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use safelight_evidence::Signer;
use safelight_jobs::{
    providers::{Secret, outside::Outside, storage::S3Config, witness::Witness},
    sealer::Sealer,
};

/// The longest one delivery may take.
const DELIVERY: Duration = Duration::from_secs(20);

/// The audit log's key and the places outside the database. A process without a key does not seal.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sealing the audit log")]
pub(crate) struct Sealing {
    /// The log's private key, as `safelight audit key` prints it. Keep it outside the database and its backups
    #[arg(long, env = "SAFELIGHT_LOG_KEY", hide_env_values = true)]
    log_key: Option<String>,
    /// A file that holds the private key instead
    #[arg(long, env = "SAFELIGHT_LOG_KEY_FILE", conflicts_with = "log_key")]
    log_key_file: Option<PathBuf>,
    /// The private key before this one, while it is replaced: both sign
    #[arg(long, env = "SAFELIGHT_LOG_KEY_FORMER", hide_env_values = true)]
    log_key_former: Option<String>,
    /// Seconds between two checkpoints
    #[arg(long, env = "SAFELIGHT_CHECKPOINT_SECONDS", default_value_t = 60)]
    checkpoint_seconds: u64,
    /// A folder for checkpoints, best on another machine's disk
    #[arg(long, env = "SAFELIGHT_CHECKPOINT_DIR")]
    checkpoint_dir: Option<PathBuf>,
    #[command(flatten)]
    bucket: CheckpointBucket,
    /// An address that takes each checkpoint as text by POST
    #[arg(long, env = "SAFELIGHT_CHECKPOINT_WEBHOOK", hide_env_values = true)]
    checkpoint_webhook: Option<String>,
    /// Sent to it as bearer
    #[arg(long, env = "SAFELIGHT_CHECKPOINT_WEBHOOK_SECRET", hide_env_values = true)]
    checkpoint_webhook_secret: Option<String>,
}

/// The bucket outside: the sealer brings checkpoints there, and `safelight audit verify` fetches them from there.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckpointBucket {
    /// A bucket for checkpoints, best of an account that the database's credentials do not reach
    #[arg(long, env = "SAFELIGHT_CHECKPOINT_BUCKET")]
    checkpoint_bucket: Option<String>,
    /// The folder in that bucket
    #[arg(long, env = "SAFELIGHT_CHECKPOINT_PREFIX", default_value = "checkpoints")]
    checkpoint_prefix: String,
    /// The bucket's S3 endpoint
    #[arg(long, env = "CHECKPOINT_S3_ENDPOINT")]
    checkpoint_s3_endpoint: Option<String>,
    /// Its region
    #[arg(long, env = "CHECKPOINT_S3_REGION", default_value = "us-east-1")]
    checkpoint_s3_region: String,
    /// Id of its access key
    #[arg(long, env = "CHECKPOINT_S3_ACCESS_KEY", hide_env_values = true)]
    checkpoint_s3_access_key: Option<String>,
    /// Its access key
    #[arg(long, env = "CHECKPOINT_S3_SECRET_KEY", hide_env_values = true)]
    checkpoint_s3_secret_key: Option<String>,
}

impl CheckpointBucket {
    /// Its client's settings; none without a bucket.
    fn config(&self) -> anyhow::Result<Option<S3Config>> {
        let Some(bucket) = &self.checkpoint_bucket else { return Ok(None) };
        let (Some(endpoint), Some(access), Some(secret)) =
            (&self.checkpoint_s3_endpoint, &self.checkpoint_s3_access_key, &self.checkpoint_s3_secret_key)
        else {
            bail!("SAFELIGHT_CHECKPOINT_BUCKET needs CHECKPOINT_S3_ENDPOINT, _ACCESS_KEY and _SECRET_KEY");
        };
        Ok(Some(S3Config {
            endpoint: endpoint.clone(),
            region: self.checkpoint_s3_region.clone(),
            bucket: bucket.clone(),
            access_key: Secret::new(access.as_str()),
            secret_key: Secret::new(secret.as_str()),
            timeout: DELIVERY,
        }))
    }

    /// The bucket of a command that is nothing without one.
    pub(crate) fn needed(&self) -> anyhow::Result<Outside> {
        let config =
            self.config()?.context("set SAFELIGHT_CHECKPOINT_BUCKET and CHECKPOINT_S3_*, as for the sealer")?;
        Ok(Outside::bucket(&config)?)
    }

    /// Where the sealer puts checkpoints in it.
    pub(crate) fn folder(&self) -> &str {
        &self.checkpoint_prefix
    }
}

impl Sealing {
    /// The sealer; none without a key.
    pub(crate) fn sealer(&self) -> anyhow::Result<Option<Sealer>> {
        let text = match (&self.log_key, &self.log_key_file) {
            (Some(text), _) if !text.trim().is_empty() => text.clone(),
            (_, Some(file)) => std::fs::read_to_string(file)
                .with_context(|| format!("the log's key in {} cannot be read", file.display()))?,
            _ => return Ok(None),
        };
        let signer = Signer::from_secret_text(&text).context("SAFELIGHT_LOG_KEY")?;
        let former = self.log_key_former.as_deref().filter(|text| !text.trim().is_empty());
        let former = former.map(Signer::from_secret_text).transpose().context("SAFELIGHT_LOG_KEY_FORMER")?;
        let mut sealer = Sealer::new(signer, former, self.destinations()?)
            .context("SAFELIGHT_LOG_KEY and SAFELIGHT_LOG_KEY_FORMER are keys of different logs")?;
        sealer.interval = Duration::from_secs(self.checkpoint_seconds);
        Ok(Some(sealer))
    }

    /// The sealer of a command that is nothing without one.
    pub(crate) fn needed(&self) -> anyhow::Result<Sealer> {
        self.sealer()?.context("set SAFELIGHT_LOG_KEY or SAFELIGHT_LOG_KEY_FILE; `safelight audit key NAME` makes one")
    }

    fn destinations(&self) -> anyhow::Result<Vec<Witness>> {
        let mut places = Vec::new();
        if let Some(folder) = &self.checkpoint_dir {
            places.push(Witness::folder(folder)?);
        }
        if let Some(config) = self.bucket.config()? {
            places.push(Witness::bucket(&config, self.bucket.folder())?);
        }
        if let Some(url) = &self.checkpoint_webhook {
            let secret = self.checkpoint_webhook_secret.as_deref().map(Secret::new);
            places.push(Witness::webhook(url, secret.as_ref())?);
        }
        Ok(places)
    }
}
