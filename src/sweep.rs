//! `safelight sweep`: ask for a sweep now. Workers carry it out.

use clap::{Args, ValueEnum};
use safelight_jobs::{
    db::{self, Role},
    expire_consents::ExpireConsents,
    id::Id,
    queue::Bell,
    reconcile_calls::ReconcileCalls,
    run::Tx,
    sweep_retention::SweepRetention,
};

use crate::{config, process::say};

#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// Which one
    kind: Kind,
    #[command(flatten)]
    database: config::Database,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// What is due by its clock
    Retention,
    /// Provider calls without news
    Reconcile,
    /// Consents of checkouts that nobody paid
    Consents,
}

impl Sweep {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Worker, 2).await?;
        let because = format!("cli:{}", Id::<safelight_jobs::id::Sweep>::new());
        let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
        let enqueued = match self.kind {
            Kind::Retention => tx.enqueue(&SweepRetention { because }).await?,
            Kind::Reconcile => tx.enqueue(&ReconcileCalls { because, grace_seconds: None }).await?,
            Kind::Consents => tx.enqueue(&ExpireConsents { because }).await?,
        };
        tx.commit().await?;
        say(enqueued.id);
        Ok(())
    }
}
