//! `safelight queue`: what stands in the queues, and who works on them. Pausing and limiting one is `safelight control`.

use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    queue::{self, COUNTED},
};
use serde_json::json;
use sqlx::PgPool;

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
    /// The worker processes: where they run, what they serve and hold, and which have been silent for a minute
    Workers {
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
}

impl Queue {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Api, 2).await?;
        match self.what {
            What::List { tenant, json } => list(&pool, tenant.as_deref(), json).await,
            What::Workers { json } => workers(&pool, json).await,
        }
    }
}

async fn list(pool: &PgPool, tenant: Option<&str>, as_json: bool) -> anyhow::Result<()> {
    let queues = queue::numbers(pool, tenant).await?;
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

async fn workers(pool: &PgPool, as_json: bool) -> anyhow::Result<()> {
    let rows = queue::workers(pool, None, i64::MAX).await?;
    if as_json {
        say(json!({ "workers": rows }));
        return Ok(());
    }
    if rows.is_empty() {
        say("no worker has been seen; start one with `safelight worker`");
    }
    for row in rows {
        let state = if row.silent { "silent" } else { "alive" };
        say(format_args!(
            "{:<24} {state:<6} {:>4} running, seen {} s ago  {} ({})  {}",
            row.name,
            row.running,
            row.seen_seconds_ago,
            row.host,
            row.pid,
            row.queues.join(",")
        ));
    }
    Ok(())
}
