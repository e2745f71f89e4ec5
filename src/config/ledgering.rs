//! Where the erasure ledger is kept.

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use clap::Args;
use safelight_jobs::{
    providers::{Secret, ledger::Ledger, storage::S3Config},
    vault::Vault,
};

/// The longest that one entry may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The places outside the database where erasures and withdrawals are noted. Without one a restored backup brings the erased
/// back.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The erasure ledger")]
pub(crate) struct Ledgering {
    /// A folder, best on another machine's disk
    #[arg(long, env = "SAFELIGHT_LEDGER_DIR")]
    ledger_dir: Option<PathBuf>,
    /// A bucket, best of an account that the database's credentials do not reach
    #[arg(long, env = "SAFELIGHT_LEDGER_BUCKET")]
    ledger_bucket: Option<String>,
    /// The folder in that bucket
    #[arg(long, env = "SAFELIGHT_LEDGER_PREFIX", default_value = "ledger")]
    ledger_prefix: String,
    /// The bucket's S3 endpoint
    #[arg(long, env = "LEDGER_S3_ENDPOINT")]
    ledger_s3_endpoint: Option<String>,
    /// Its region
    #[arg(long, env = "LEDGER_S3_REGION", default_value = "us-east-1")]
    ledger_s3_region: String,
    /// Id of its access key
    #[arg(long, env = "LEDGER_S3_ACCESS_KEY", hide_env_values = true)]
    ledger_s3_access_key: Option<String>,
    /// Its access key
    #[arg(long, env = "LEDGER_S3_SECRET_KEY", hide_env_values = true)]
    ledger_s3_secret_key: Option<String>,
}

impl Ledgering {
    /// The ledger; none without a place. Its entries are signed by a key of the master key.
    pub(crate) fn ledger(&self, vault: &Vault) -> anyhow::Result<Option<Ledger>> {
        let mut places = Vec::new();
        if let Some(folder) = &self.ledger_dir {
            places.push(Ledger::folder(folder, vault.ledger_keys())?);
        }
        if let Some(bucket) = &self.ledger_bucket {
            let (Some(endpoint), Some(access), Some(secret)) =
                (&self.ledger_s3_endpoint, &self.ledger_s3_access_key, &self.ledger_s3_secret_key)
            else {
                bail!("SAFELIGHT_LEDGER_BUCKET needs LEDGER_S3_ENDPOINT, _ACCESS_KEY and _SECRET_KEY");
            };
            let config = S3Config {
                endpoint: endpoint.clone(),
                region: self.ledger_s3_region.clone(),
                bucket: bucket.clone(),
                access_key: Secret::new(access.as_str()),
                secret_key: Secret::new(secret.as_str()),
                timeout: PATIENCE,
            };
            places.push(Ledger::bucket(&config, &self.ledger_prefix, vault.ledger_keys())?);
        }
        Ok(places.into_iter().reduce(Ledger::and))
    }
}
