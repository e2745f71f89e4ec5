//! What a process reads from its environment, once, at its start. Only this file and those below it do.
//!
//! Each field's doc names its meaning and unit; `--help` prints them. Secrets have no default, are never printed, and are
//! wrapped as soon as they leave this file.

mod ledgering;
mod operators;
mod reporting;
mod sealing;
mod stripe_mode;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::Args;
pub(crate) use ledgering::Ledgering;
pub(crate) use operators::Operators;
pub(crate) use reporting::Reporting;
use safelight_api::Limits;
use safelight_faces::{FaceEngine, ModelFiles};
use safelight_jobs::{
    db::{Address, Pooler},
    job::Queue,
    policy::Policy,
    policy_rows,
    providers::{
        Secret,
        auth::{Auth, AuthConfig, UserTokens, UserTokensConfig},
        fal::{Fal, FalConfig, FileAccess},
        ledger::Ledger,
        mail::{MailConfig, Mailer},
        storage::{S3Config, Storage},
        stripe::{Stripe, StripeConfig},
    },
    services::{Faces, Policies, Services},
    vault::Vault,
};
use safelight_worker::config::WorkerConfig;
pub(crate) use sealing::{CheckpointBucket, Sealing};

use crate::words;

/// The longest one call to a provider may take.
const CALL: Duration = Duration::from_secs(30);
/// The longest a model or image may take to come.
const DOWNLOAD: Duration = Duration::from_secs(600);
/// How long files that a request makes may lie at Fal if everything else fails.
const FAL_FILE_LIFE: Duration = Duration::from_secs(6 * 3600);

/// The database.
#[derive(Debug, Clone, Args)]
pub(crate) struct Database {
    /// Postgres, as a role that may switch to Safelight's roles: postgres://user:password@host:port/database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// What DATABASE_URL leads to: none, or a pooler in session mode; transaction: a pooler in transaction mode, such as
    /// PgBouncer. Then nothing depends on a session, and workers find work by polling alone
    #[arg(long, env = "DATABASE_POOLER", default_value = "none", value_parser = pooler)]
    database_pooler: Pooler,
}

impl Database {
    /// Where it is.
    pub(crate) fn address(&self) -> Address {
        Address::new(self.database_url.as_str(), self.database_pooler)
    }
}

/// The word of DATABASE_POOLER.
pub(crate) fn pooler(name: &str) -> Result<Pooler, String> {
    match name {
        "" | "none" => Ok(Pooler::None),
        "transaction" => Ok(Pooler::Transaction),
        _ => Err(format!("`{name}` is no kind of pooler; there are none and transaction")),
    }
}

/// Policies and keys, needed by every process that touches people's data.
#[derive(Debug, Clone, Args)]
pub(crate) struct House {
    /// 64 hexadecimal digits: the key that wraps the keys of persons. Keep it outside the database and its backups
    #[arg(long, env = "SAFELIGHT_MASTER_KEY", hide_env_values = true)]
    master_key: String,
    /// The master key before this one, while it is replaced (`safelight key rotate`)
    #[arg(long, env = "SAFELIGHT_MASTER_KEY_FORMER", hide_env_values = true)]
    master_key_former: Option<String>,
    /// A folder of policies, one `<tenant>.toml` each; without it the ones in the binary
    #[arg(long, env = "SAFELIGHT_POLICIES")]
    policies: Option<PathBuf>,
    /// Where providers reach the API, for example https://jobs.example.com
    #[arg(long, env = "SAFELIGHT_PUBLIC_URL", default_value = "http://127.0.0.1:8080")]
    public_url: String,
    /// Take live money: sessions of Stripe's test mode then pay nothing, and the other way round
    #[arg(long, env = "STRIPE_LIVEMODE", default_value_t = false, action = clap::ArgAction::Set)]
    livemode: bool,
}

impl House {
    /// The vault of persons' keys.
    pub(crate) fn vault(&self) -> anyhow::Result<Vault> {
        let vault = Vault::new(&self.master_key)?;
        match self.master_key_former.as_deref().filter(|key| !key.trim().is_empty()) {
            Some(former) => Ok(vault.with_former(former)?),
            None => Ok(vault),
        }
    }
    /// The policies of all tenants, checked.
    pub(crate) fn policies(&self) -> anyhow::Result<Policies> {
        policies(self.policies.as_deref())
    }
    /// Where the API is reached.
    pub(crate) fn public_url(&self) -> &str {
        &self.public_url
    }
    /// Is the API reached over https?
    pub(crate) fn is_https(&self) -> bool {
        self.public_url.starts_with("https://")
    }
    /// Stripe's mode.
    pub(crate) fn livemode(&self) -> bool {
        self.livemode
    }
}

/// The policies of a folder, or the ones in the binary, checked.
pub(crate) fn policies(folder: Option<&Path>) -> anyhow::Result<Policies> {
    Ok(Policies::new(match folder {
        Some(folder) => Policy::load_dir(folder)?,
        None => Policy::bundled()?,
    }))
}

/// Of each tenant the version in force, provided that the ones this process was given are installed as they are.
pub(crate) async fn policies_in_force(pool: &sqlx::PgPool, given: &Policies) -> anyhow::Result<Policies> {
    let given: Vec<Policy> = given.iter().cloned().collect();
    Ok(Policies::new(policy_rows::in_force(pool, &given).await?))
}

/// The store.
#[derive(Debug, Clone, Args)]
pub(crate) struct Store {
    /// For example https://REF.storage.supabase.co/storage/v1/s3
    #[arg(long, env = "S3_ENDPOINT")]
    s3_endpoint: String,
    /// The project's region
    #[arg(long, env = "S3_REGION", default_value = "local")]
    s3_region: String,
    /// A private bucket
    #[arg(long, env = "S3_BUCKET", default_value = "safelight")]
    s3_bucket: String,
    /// Id of the access key
    #[arg(long, env = "S3_ACCESS_KEY", hide_env_values = true)]
    s3_access_key: String,
    /// The access key
    #[arg(long, env = "S3_SECRET_KEY", hide_env_values = true)]
    s3_secret_key: String,
}

impl Store {
    /// Its client.
    pub(crate) fn client(&self) -> anyhow::Result<Storage> {
        Ok(Storage::s3(&S3Config {
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            bucket: self.s3_bucket.clone(),
            access_key: Secret::new(self.s3_access_key.as_str()),
            secret_key: Secret::new(self.s3_secret_key.as_str()),
            timeout: DOWNLOAD,
        })?)
    }
}

/// The providers that workers call.
#[derive(Debug, Clone, Args)]
pub(crate) struct Providers {
    /// Stripe's API
    #[arg(long, env = "STRIPE_URL", default_value = "https://api.stripe.com")]
    stripe_url: String,
    /// sk_… or rk_…, of the mode that STRIPE_LIVEMODE says
    #[arg(long, env = "STRIPE_SECRET_KEY", hide_env_values = true)]
    stripe_secret_key: String,
    /// Fal's queue
    #[arg(long, env = "FAL_QUEUE_URL", default_value = "https://queue.fal.run")]
    fal_queue_url: String,
    /// Fal's platform API
    #[arg(long, env = "FAL_PLATFORM_URL", default_value = "https://api.fal.ai/v1")]
    fal_platform_url: String,
    /// Hosts that results are fetched from, with a port where it is not 443
    #[arg(long, env = "FAL_FILES_HOSTS", value_delimiter = ',', default_value = "v3.fal.media,v3b.fal.media")]
    fal_files_hosts: Vec<String>,
    /// The key for requests
    #[arg(long, env = "FAL_KEY", hide_env_values = true)]
    fal_key: String,
    /// A key of ADMIN scope: without it nothing can be purged at Fal
    #[arg(long, env = "FAL_ADMIN_KEY", hide_env_values = true)]
    fal_admin_key: Option<String>,
    /// Supabase: https://REF.supabase.co
    #[arg(long, env = "SUPABASE_URL")]
    supabase_url: String,
    /// sb_secret_… or the service_role key
    #[arg(long, env = "SUPABASE_SERVICE_KEY", hide_env_values = true)]
    supabase_service_key: String,
    /// Resend's API
    #[arg(long, env = "RESEND_URL", default_value = "https://api.resend.com")]
    resend_url: String,
    /// re_…
    #[arg(long, env = "RESEND_API_KEY", hide_env_values = true)]
    resend_api_key: String,
    /// Sender of mail: Name <address>
    #[arg(long, env = "MAIL_FROM", default_value = "Photo service <hello@example.org>")]
    mail_from: String,
    /// Folder of the face models
    #[arg(long, env = "SAFELIGHT_MODELS", default_value = "models")]
    models: PathBuf,
}

impl Providers {
    /// Clients, models, keys and policies: everything a job may use.
    pub(crate) async fn services(
        &self,
        house: &House,
        store: &Store,
        ledger: Option<Ledger>,
    ) -> anyhow::Result<Services> {
        let files = ModelFiles::bundled(&self.models);
        let engine = tokio::task::spawn_blocking(move || FaceEngine::load(&files))
            .await?
            .context("the face model cannot be used")?;
        stripe_mode::fits(&self.stripe_secret_key, house.livemode)?;
        Ok(Services {
            stripe: Stripe::new(&StripeConfig {
                base_url: self.stripe_url.clone(),
                secret_key: Secret::new(self.stripe_secret_key.as_str()),
                timeout: CALL,
            })?,
            fal: Fal::new(&FalConfig {
                queue_url: self.fal_queue_url.clone(),
                platform_url: self.fal_platform_url.clone(),
                files_hosts: self.fal_files_hosts.clone(),
                key: Secret::new(self.fal_key.as_str()),
                admin_key: self.fal_admin_key.as_deref().map(Secret::new),
                file_life: FAL_FILE_LIFE,
                file_access: FileAccess::Anyone,
                timeout: CALL,
                download_timeout: DOWNLOAD,
            })?,
            storage: store.client()?,
            mail: Mailer::new(&MailConfig {
                base_url: self.resend_url.clone(),
                api_key: Secret::new(self.resend_api_key.as_str()),
                timeout: CALL,
            })?,
            auth: Auth::new(&AuthConfig {
                project_url: self.supabase_url.clone(),
                service_key: Secret::new(self.supabase_service_key.as_str()),
                timeout: CALL,
            })?,
            faces: Faces::new(engine),
            vault: house.vault()?,
            ledger,
            policies: house.policies()?,
            public_url: house.public_url.trim_end_matches('/').to_owned(),
            mail_from: self.mail_from.clone(),
            livemode: house.livemode,
        })
    }
}

/// How a worker process works.
#[derive(Debug, Clone, Args)]
pub(crate) struct Working {
    /// Queues to serve, comma-separated; all of them if none is named
    #[arg(long, env = "SAFELIGHT_QUEUES", value_delimiter = ',', value_parser = words::queues())]
    queues: Vec<Queue>,
    /// Jobs of one queue that run at once
    #[arg(long, env = "SAFELIGHT_CONCURRENCY", default_value_t = 8)]
    concurrency: usize,
    /// Seconds that a lease lasts without a heartbeat: a dead worker's jobs run again after this
    #[arg(long, env = "SAFELIGHT_LEASE_SECONDS", default_value_t = 12)]
    lease_seconds: u64,
    /// Seconds that a graceful stop waits for running jobs
    #[arg(long, env = "SAFELIGHT_DRAIN_SECONDS", default_value_t = 20)]
    drain_seconds: u64,
    /// Address at which this worker answers /metrics (its own counters) and /health; nowhere without it
    #[arg(long, env = "SAFELIGHT_METRICS_LISTEN")]
    pub(crate) metrics_listen: Option<String>,
    /// Bearer of /metrics there; open without it
    #[arg(long, env = "METRICS_SECRET", hide_env_values = true)]
    metrics_secret: Option<String>,
    /// Tick the schedule in this process, too
    #[arg(long, env = "SAFELIGHT_WITH_CRON", default_value_t = false, action = clap::ArgAction::SetTrue)]
    pub(crate) with_cron: bool,
}

impl Working {
    /// The secret of the worker's own numbers.
    pub(crate) fn metrics_secret(&self) -> Option<Secret> {
        self.metrics_secret.as_deref().filter(|secret| !secret.is_empty()).map(Secret::new)
    }
    /// The worker's settings.
    pub(crate) fn config(&self) -> WorkerConfig {
        WorkerConfig {
            queues: self.queues.clone(),
            concurrency: self.concurrency.max(1),
            lease: Duration::from_secs(self.lease_seconds.max(3)),
            drain: Duration::from_secs(self.drain_seconds),
            ..WorkerConfig::default()
        }
    }
}

/// How the HTTP intake listens and whom it believes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Listening {
    /// Address to listen on
    #[arg(long, env = "SAFELIGHT_LISTEN", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Port to listen on at every address, as hosts with a Procfile set it; wins over --listen
    #[arg(long, env = "PORT")]
    port: Option<u16>,
    /// whsec_…; two, comma-separated, while a secret rolls
    #[arg(long, env = "STRIPE_WEBHOOK_SECRET", hide_env_values = true, value_delimiter = ',')]
    stripe_webhook_secret: Vec<String>,
    /// Where Fal's public keys are
    #[arg(long, env = "FAL_REST_URL", default_value = "https://rest.fal.ai")]
    pub(crate) fal_rest_url: String,
    /// Our user id at Fal: webhooks of other accounts are refused
    #[arg(long, env = "FAL_USER_ID")]
    pub(crate) fal_user_id: Option<String>,
    /// Bearer of the sweep endpoints; without it they refuse
    #[arg(long, env = "CRON_SECRET", hide_env_values = true)]
    cron_secret: Option<String>,
    /// Bearer of /metrics; open without it
    #[arg(long, env = "METRICS_SECRET", hide_env_values = true)]
    metrics_secret: Option<String>,
    /// Requests of one token a minute in each process, where the token has no number of its own; 6000 if not given. Two processes
    /// let twice as many in
    #[arg(long, env = "SAFELIGHT_TOKEN_PER_MINUTE")]
    pub(crate) token_per_minute: Option<u32>,
    /// Connections that are open at once; 800 if not given. More need more open files (`ulimit -n`, LimitNOFILE)
    #[arg(long, env = "SAFELIGHT_MOST_CONNECTIONS")]
    most_connections: Option<usize>,
    /// Supabase, https://REF.supabase.co: its signed-in users may use their own rights at /v1/me; without it nobody may
    #[arg(long, env = "SUPABASE_URL")]
    supabase_url: Option<String>,
    /// The older shared secret of user tokens; not for projects with signing keys
    #[arg(long, env = "SUPABASE_JWT_SECRET", hide_env_values = true)]
    supabase_jwt_secret: Option<String>,
}

impl Listening {
    /// Where to listen.
    pub(crate) fn address(&self) -> String {
        self.port.map_or_else(|| self.listen.clone(), |port| format!("0.0.0.0:{port}"))
    }
    /// What its connections may cost.
    pub(crate) fn limits(&self) -> Limits {
        let usual = Limits::default();
        Limits { connections: self.most_connections.unwrap_or(usual.connections), ..usual }
    }
    /// Stripe's webhook secrets.
    pub(crate) fn stripe_webhook_secrets(&self) -> Vec<Secret> {
        self.stripe_webhook_secret
            .iter()
            .filter(|secret| !secret.is_empty())
            .map(|secret| Secret::new(secret.as_str()))
            .collect()
    }
    /// What sign-ins of persons are checked with.
    pub(crate) fn sign_in(&self) -> anyhow::Result<Option<UserTokens>> {
        let Some(project_url) = self.supabase_url.clone().filter(|url| !url.is_empty()) else { return Ok(None) };
        let secret = self.supabase_jwt_secret.as_deref().filter(|secret| !secret.is_empty());
        Ok(Some(UserTokens::new(&UserTokensConfig {
            project_url,
            legacy_jwt_secret: secret.map(Secret::new),
            issuer: None,
            timeout: Duration::from_secs(5),
        })?))
    }
    /// The metrics' secret.
    pub(crate) fn metrics_secret(&self) -> Option<Secret> {
        self.metrics_secret.as_deref().filter(|secret| !secret.is_empty()).map(Secret::new)
    }
    /// The sweep endpoints' secret.
    pub(crate) fn cron_secret(&self) -> Option<Secret> {
        self.cron_secret.as_deref().filter(|secret| !secret.is_empty()).map(Secret::new)
    }
}
