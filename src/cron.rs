//! `safelight cron`: tick the schedule in a process of its own. Two of them do no harm: a tick is one job.

use clap::Args;
use safelight_jobs::db::{self, Role};

use crate::{config, process};

#[derive(Debug, Args)]
pub(crate) struct Cron {
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    sealing: config::Sealing,
}

impl Cron {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stop = process::stop_on_signal();
        let pool = db::connect(self.database.address(), Role::Worker, 3).await?;
        db::refuse_older_schema(&pool).await?;
        let sealing = process::seal_beside(&self.sealing, self.database.address(), &stop).await?;
        let ended = safelight_worker::run_schedule(pool, stop.clone()).await;
        stop.cancel();
        sealing.await;
        ended
    }
}
