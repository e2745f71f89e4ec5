//! `safelight api`: the HTTP intake and the operators' console.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use safelight_api::{ApiConfig, ApiState};
use safelight_jobs::{
    db::{self, Role},
    providers::fal_webhook::{FalWebhook, FalWebhookConfig},
    queue::Bell,
};

use crate::{config, process};

#[derive(Debug, Args)]
pub(crate) struct Api {
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    house: config::House,
    #[command(flatten)]
    store: config::Store,
    #[command(flatten)]
    listening: config::Listening,
    #[command(flatten)]
    operators: config::Operators,
}

impl Api {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stop = process::stop_on_signal();
        let address = self.listening.address();
        let listener = tokio::net::TcpListener::bind(&address).await.with_context(|| {
            format!("cannot listen on {address}; is another process there? Choose another with --listen")
        })?;
        let pool = db::connect(self.database.address(), Role::Api, 12).await?;
        db::refuse_older_schema(&pool).await?;
        db::refuse_turned_clock(&pool, cfg!(feature = "sandbox")).await?;
        let policies = config::policies_in_force(&pool, &self.house.policies()?).await?;
        let fal = FalWebhook::new(&FalWebhookConfig {
            keys_url: self.listening.fal_rest_url.clone(),
            account: self.listening.fal_user_id.clone(),
            timeout: Duration::from_secs(5),
        })?;
        let recorder = safelight_api::metrics_recorder()?;
        let config = ApiConfig {
            stripe_webhook_secrets: self.listening.stripe_webhook_secrets(),
            sweep_secret: self.listening.cron_secret(),
            metrics_secret: self.listening.metrics_secret(),
            token_per_minute: self.listening.token_per_minute,
            livemode: self.house.livemode(),
            secure_cookies: self.house.is_https(),
        };
        let bell = Bell::start(pool.clone());
        let state = ApiState::new(pool, bell, self.house.vault()?, policies, self.store.client()?, Some(fal), config)
            .with_metrics(recorder)
            .with_sign_in(self.listening.sign_in()?)
            .with_operators(self.operators.sign_in(self.house.public_url())?)
            .with_stop(stop.clone());
        tracing::info!(%address, "listening");
        safelight_api::serve_within(listener, safelight_api::router(state), stop, self.listening.limits()).await?;
        Ok(())
    }
}
