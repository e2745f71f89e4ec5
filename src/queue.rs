//! `safelight queue`: what stands in the queues. Pausing and limiting one is `safelight control`.

use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    queue::{self, COUNTED},
};
use serde_json::json;

use crate::{config, process::say};

#[derive(Debug, Args)]
pub(crate) struct Queue {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// How many jobs are ready, due later, set aside, running and held in each queue, and how long the first has been due
    List {
        /// Of one tenant
        #[arg(long)]
        tenant: Option<String>,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
}

impl Queue {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Api, 2).await?;
        let What::List { tenant, json: as_json } = self.what;
        let queues = queue::numbers(&pool, tenant.as_deref()).await?;
        if as_json {
            let queues: Vec<_> = queues
                .iter()
                .map(|q| {
                    json!({ "queue": q.name, "ready": q.ready, "later": q.waiting, "set_aside": q.aside, "running": q.running,
                        "held": q.held, "paused": q.paused, "oldest_ready_seconds": q.oldest_seconds })
                })
                .collect();
            say(json!({ "queues": queues, "counted_up_to": COUNTED }));
            return Ok(());
        }
        say(format_args!(
            "{:<11} {:>8} {:>8} {:>9} {:>8} {:>8}  {:<12}",
            "queue", "ready", "later", "set aside", "running", "held", "oldest ready"
        ));
        for q in queues {
            let oldest = q.oldest_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s"));
            let paused = if q.paused { "  paused" } else { "" };
            say(format_args!(
                "{:<11} {:>8} {:>8} {:>9} {:>8} {:>8}  {oldest:<12}{paused}",
                q.name, q.ready, q.waiting, q.aside, q.running, q.held
            ));
        }
        Ok(())
    }
}
