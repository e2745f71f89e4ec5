//! Where failures of jobs are reported.

use std::time::Duration;

use clap::Args;
use safelight_jobs::{
    providers::{
        Secret,
        sentry::{Sentry, SentryConfig},
    },
    services::Policies,
};
use safelight_worker::Reports;
use sqlx::PgPool;

/// The longest that one report may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Error monitoring. Only work of tenants whose policy names Sentry is reported, by kind, id and code.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Error reports")]
pub(crate) struct Reporting {
    /// Sentry's DSN, https://KEY@HOST/PROJECT; without it nothing is reported
    #[arg(long, env = "SENTRY_DSN", hide_env_values = true)]
    sentry_dsn: Option<String>,
    /// The environment that reports name
    #[arg(long, env = "SENTRY_ENVIRONMENT", default_value = "production")]
    sentry_environment: String,
}

impl Reporting {
    /// Where this process reports to; nowhere without a DSN.
    pub(crate) fn reports(&self, policies: &Policies, pool: &PgPool) -> anyhow::Result<Option<Reports>> {
        let Some(dsn) = self.sentry_dsn.as_deref().filter(|dsn| !dsn.trim().is_empty()) else { return Ok(None) };
        let sentry = Sentry::new(&SentryConfig {
            dsn: Secret::new(dsn),
            environment: self.sentry_environment.clone(),
            timeout: PATIENCE,
        })?;
        Ok(Some(Reports::start(sentry, policies.clone(), pool.clone())))
    }
}
