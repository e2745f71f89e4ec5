//! `safelight job`: explain, cancel, hold, release, retry and discard one job, and read its payload. Every act is stored with who
//! and why, and so is who read a payload or asked why a job waits: it may be a person's.

use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    held,
    id::{self, Id},
    look,
    operate::{self, Act, OperateError},
    payload,
};
use serde_json::json;

use crate::{
    config,
    operator::{Why, confirm, ring},
    process::say,
};

#[derive(Debug, Args)]
pub(crate) struct JobCommand {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    act: JobAct,
}

#[derive(Debug, Args)]
struct Wanted {
    job: Id<id::Job>,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Subcommand)]
enum JobAct {
    /// Why it does not run, or what became of it
    Explain(Wanted),
    /// Take it out of the queue; a running attempt is cut within two seconds and writes nothing
    Cancel {
        #[command(flatten)]
        wanted: Wanted,
        /// Say yes beforehand: it leaves the queue, and does not run again
        #[arg(long)]
        yes: bool,
    },
    /// Keep it from running until it is released; its attempts are frozen
    Hold(Wanted),
    /// Let a held job run
    Release(Wanted),
    /// Do not wait for its time any longer; a dead letter gets another life
    Retry(Wanted),
    /// Give a dead letter up for good
    Discard {
        #[command(flatten)]
        wanted: Wanted,
        /// Say yes beforehand: nobody can redrive it any more
        #[arg(long)]
        yes: bool,
    },
    /// Print what it was given: ids and codes, as JSON
    Payload(Wanted),
}

impl JobCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Owner, 2).await?;
        let (act, Wanted { job, why }) = match self.act {
            JobAct::Explain(Wanted { job, why }) => {
                let mut tx = db::begin(&pool).await?;
                look::at_job(&mut tx, job, why.operator()).await?;
                tx.commit().await?;
                let known = held::explain(&pool, job).await?.ok_or_else(|| OperateError::NotFound(job.to_string()))?;
                if why.json {
                    say(json!({ "job": job, "state": known.state, "code": known.code, "detail": known.detail }));
                } else {
                    say(format_args!("{}: {} ({})", known.state, known.detail, known.code));
                }
                return Ok(());
            }
            JobAct::Cancel { wanted, yes } => {
                confirm(yes, &format!("Take {} out of the queue for good?", wanted.job))?;
                (Act::Cancel, wanted)
            }
            JobAct::Hold(wanted) => (Act::Hold, wanted),
            JobAct::Release(wanted) => (Act::Release, wanted),
            JobAct::Retry(wanted) => (Act::Retry, wanted),
            JobAct::Discard { wanted, yes } => {
                confirm(yes, &format!("Give {} up for good?", wanted.job))?;
                (Act::Discard, wanted)
            }
            JobAct::Payload(Wanted { job, why }) => {
                let mut tx = db::begin(&pool).await?;
                let payload = payload::read(&mut tx, job, why.operator()).await?;
                tx.commit().await?;
                say(json!({ "job": job, "payload": payload }));
                return Ok(());
            }
        };
        let mut tx = db::begin(&pool).await?;
        operate::on_job(&mut tx, act, job, why.operator()).await?;
        tx.commit().await?;
        ring(&pool).await;
        if why.json {
            say(json!({ "job": job, "outcome": act.outcome() }));
        } else {
            say(format_args!("{job}: {}", act.outcome()));
        }
        Ok(())
    }
}
