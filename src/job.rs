//! `safelight job`: explain, cancel, hold and release one job. Every act is stored with who and why; no payload is shown.

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    id::{self, Id},
    queue,
};
use serde_json::json;

use crate::{
    config,
    operator::{Why, ring},
    process::say,
};

/// The code of what an operator does to a job, stored with it.
const BY_OPERATOR: &str = "by_operator";

#[derive(Debug, Args)]
pub(crate) struct JobCommand {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    act: JobAct,
}

#[derive(Debug, Subcommand)]
enum JobAct {
    /// Why it does not run, or what became of it
    Explain {
        job: Id<id::Job>,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Take it out of the queue; a running attempt is cut within two seconds and writes nothing
    Cancel {
        job: Id<id::Job>,
        #[command(flatten)]
        why: Why,
    },
    /// Keep it from running until it is released; its attempts are frozen
    Hold {
        job: Id<id::Job>,
        #[command(flatten)]
        why: Why,
    },
    /// Let a held job run
    Release {
        job: Id<id::Job>,
        #[command(flatten)]
        why: Why,
    },
}

impl JobCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Owner, 2).await?;
        let (job, why, outcome) = match self.act {
            JobAct::Explain { job, json: as_json } => {
                let known = queue::explain(&pool, job).await?.with_context(|| format!("there is no {job}"))?;
                if as_json {
                    say(json!({ "job": job, "state": known.state, "code": known.code, "detail": known.detail }));
                } else {
                    say(format_args!("{}: {} ({})", known.state, known.detail, known.code));
                }
                return Ok(());
            }
            JobAct::Cancel { job, why } => (job, why, "cancelled"),
            JobAct::Hold { job, why } => (job, why, "held"),
            JobAct::Release { job, why } => (job, why, "released"),
        };
        let mut tx = db::begin(&pool).await?;
        let done = match outcome {
            "cancelled" => queue::cancel(&mut tx, job, BY_OPERATOR).await?,
            "held" => queue::hold(&mut tx, job, BY_OPERATOR).await?,
            _ => queue::release(&mut tx, job).await?,
        };
        ensure!(
            done,
            "{job} is not there, has ended, or stands like that already; `safelight job explain {job}` says which"
        );
        queue::note_act(&mut tx, "job.control", outcome, &job.to_string(), why.by()).await?;
        tx.commit().await?;
        ring(&pool).await;
        say(format_args!("{job}: {outcome}"));
        Ok(())
    }
}
