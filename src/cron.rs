//! `safelight cron`: tick the schedule in a process of its own. Two of them do no harm: a tick is one job.

use clap::Args;
use safelight_jobs::db::{self, Role};

use crate::{config, process};

#[derive(Debug, Args)]
pub(crate) struct Cron {
    #[command(flatten)]
    database: config::Database,
}

impl Cron {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stop = process::stop_on_signal();
        let pool = db::connect(self.database.address(), Role::Worker, 3).await?;
        safelight_worker::run_schedule(pool, stop).await
    }
}
