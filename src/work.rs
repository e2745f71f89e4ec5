//! `safelight worker`: run jobs until told to stop, then drain.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use safelight_jobs::{
    db::{self, Role},
    restore,
};

use crate::{config, process};

#[derive(Debug, Args)]
pub(crate) struct Worker {
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    house: config::House,
    #[command(flatten)]
    store: config::Store,
    #[command(flatten)]
    providers: config::Providers,
    #[command(flatten)]
    working: config::Working,
    #[command(flatten)]
    sealing: config::Sealing,
    #[command(flatten)]
    ledger: config::Ledgering,
    #[command(flatten)]
    reporting: config::Reporting,
}

impl Worker {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stop = process::stop_on_signal();
        let mut services =
            self.providers.services(&self.house, &self.store, self.ledger.ledger(&self.house.vault()?)?).await?;
        let address = self.database.address();
        let pool = db::connect(&address, Role::Worker, 12).await?;
        db::refuse_older_schema(&pool).await?;
        services.policies = config::policies_in_force(&pool, &services.policies).await?;
        let services = Arc::new(services);
        // Outcomes; claims, heartbeats and the bell have connections of their own beside it.
        let queue_pool = db::connect_queue(&address, 4).await?;
        db::refuse_turned_clock(&pool, cfg!(feature = "sandbox")).await?;
        if let Some(ledger) = services.ledger.clone() {
            restore::begin_to_guard(&pool).await?;
            tokio::spawn(restore::guard(pool.clone(), ledger, stop.clone()));
        }
        let sealing = process::seal_beside(&self.sealing, address.clone(), &stop).await?;
        if let Some(address) = &self.working.metrics_listen {
            let listener = tokio::net::TcpListener::bind(address).await.with_context(|| {
                format!("cannot listen on {address} for the worker's numbers; choose another with --metrics-listen")
            })?;
            let counted = safelight_api::metrics_recorder()?;
            let (secret, stop) = (self.working.metrics_secret(), stop.clone());
            tokio::spawn(async move {
                if let Err(error) = safelight_api::serve_beside(listener, counted, secret, stop).await {
                    tracing::error!(%error, "the worker's numbers cannot be read any more");
                }
            });
        }
        let mut config = self.working.config();
        config.reports = self.reporting.reports(&services.policies, &pool)?;
        if self.working.with_cron {
            let (pool, stop) = (pool.clone(), stop.clone());
            tokio::spawn(async move {
                if let Err(error) = safelight_worker::run_schedule(pool, stop).await {
                    tracing::error!(%error, "the schedule stopped; sweeps must be asked for from outside until a restart");
                }
            });
        }
        let ended = safelight_worker::run(config, pool, queue_pool, services, stop.clone()).await;
        stop.cancel();
        sealing.await;
        ended
    }
}
