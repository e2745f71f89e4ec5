//! `safelight sandbox`: stand-ins of all providers on this machine, until told to stop.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use safelight_sandbox::{FaultPlan, Options, Sandbox};

use crate::process::{say, stop_on_signal};

#[derive(Debug, Args)]
pub(crate) struct SandboxCommand {
    /// Print addresses, keys and ports as one JSON document
    #[arg(long)]
    json: bool,
    /// Folder for the stored objects; a temporary one, removed at the end, if none is named
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where the intake listens: Stripe's events go there
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    intake: String,
    /// A JSON file of what goes wrong at whom: docs/stand-ins.md
    #[arg(long)]
    faults: Option<PathBuf>,
    /// Milliseconds that work at Fal takes
    #[arg(long, default_value_t = 2000)]
    fal_delay_ms: u64,
}

impl SandboxCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stop = stop_on_signal();
        let faults = self.faults.as_deref().map(fault_plan).transpose()?;
        let temporary =
            self.data.is_none().then(|| std::env::temp_dir().join(format!("safelight-sandbox-{}", std::process::id())));
        let folder = self.data.clone().or_else(|| temporary.clone()).unwrap_or_default();
        let mut options = Options::new(&folder);
        options.fal_delay = Duration::from_millis(self.fal_delay_ms);
        options.stripe_webhook_url = Some(format!("{}/webhooks/stripe", self.intake.trim_end_matches('/')));
        let sandbox = Sandbox::start(options).await?;
        if let Some(plan) = faults {
            plan.apply(&sandbox);
        }
        let there = sandbox.description();
        if self.json {
            say(serde_json::to_string_pretty(&there)?);
        } else {
            for (name, value) in environment(&there) {
                say(format_args!("{name}={value}"));
            }
        }
        stop.cancelled().await;
        sandbox.stop().await;
        if let Some(folder) = temporary {
            let _ = std::fs::remove_dir_all(folder);
        }
        Ok(())
    }
}

fn fault_plan(file: &Path) -> anyhow::Result<FaultPlan> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no plan of faults", file.display()))
}

/// What Safelight's processes read from their environment to use these stand-ins.
pub(crate) fn environment(there: &safelight_sandbox::Description) -> Vec<(&'static str, String)> {
    let host = |url: &str| url.split("://").nth(1).unwrap_or(url).trim_end_matches('/').to_owned();
    vec![
        ("STRIPE_URL", there.stripe.url.clone()),
        ("STRIPE_SECRET_KEY", there.stripe.secret_key.clone()),
        ("STRIPE_WEBHOOK_SECRET", there.stripe.webhook_secret.clone()),
        ("FAL_QUEUE_URL", there.fal.queue_url.clone()),
        ("FAL_PLATFORM_URL", there.fal.platform_url.clone()),
        ("FAL_REST_URL", there.fal.rest_url.clone()),
        ("FAL_FILES_HOSTS", host(&there.fal.files_url)),
        ("FAL_KEY", there.fal.key.clone()),
        ("FAL_ADMIN_KEY", there.fal.admin_key.clone()),
        ("FAL_USER_ID", there.fal.user_id.clone()),
        ("SUPABASE_URL", there.supabase.url.clone()),
        ("SUPABASE_SERVICE_KEY", there.supabase.secret_key.clone()),
        ("S3_ENDPOINT", there.supabase.s3_endpoint.clone()),
        ("S3_REGION", there.supabase.s3_region.clone()),
        ("S3_BUCKET", there.supabase.buckets.first().cloned().unwrap_or_default()),
        ("S3_ACCESS_KEY", there.supabase.s3_access_key_id.clone()),
        ("S3_SECRET_KEY", there.supabase.s3_secret_access_key.clone()),
        ("RESEND_URL", there.resend.url.clone()),
        ("RESEND_API_KEY", there.resend.api_key.clone()),
        ("SENTRY_DSN", there.sentry.dsn.clone()),
    ]
}
