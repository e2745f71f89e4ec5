//! `safelight bench`: how fast the queue is, as ratios beside peers in one run.
//!
//! No-op jobs through the real path: stored leases, fencing tokens, the archive, the apalis worker. The verbs and the lines
//! that they print are those of `bench/run.sh`, so that one script measures us and the peers. Without `DATABASE_URL` a private
//! Postgres is started and gone afterwards. Never: runs where a person's job could be. Only
//! `due` and `intake` touch tables of the domain.

mod audit;
#[cfg(feature = "sandbox")]
mod due;
mod enqueueing;
#[cfg(feature = "sandbox")]
mod intake;
mod machine;
mod scale;
mod settings;
mod working;

use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use safelight_jobs::{
    db::{self, Role},
    job::Queue,
};
use serde_json::json;
use sqlx::PgPool;

use self::{machine::Server, settings::Settings, working::Pace};
use crate::process::say;

/// A queue that nothing of the domain uses while a benchmark runs.
const QUEUE: Queue = Queue::Sweeps;
const KIND: &str = "bench_nothing";
/// The longest that one measurement may take.
const PATIENCE: Duration = Duration::from_secs(170);
/// What a measurement leaves behind, and the next one must not find.
const JOB_TABLES: &str = "safelight.jobs, safelight.job_keys, safelight.job_steps, safelight.job_attempts, safelight.jobs_archive, safelight.dead_letters";

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

/// Where to measure.
#[derive(Debug, Args)]
struct Place {
    /// A database of its own: everything in its job tables goes. Without it a private Postgres, gone afterwards
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The sealer of the audit log: its speed, and what it costs the queue
    Audit(audit::Audit),
    /// One measurement of the queue
    Queue {
        /// What to do
        verb: Verb,
        /// name=value, as `bench/run.sh` gives them: n, b, p, gap_ms, rate, secs, conc, apart
        settings: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Drain speed, claim time and table sizes beside a long history and many scheduled jobs, one line each
    Scale {
        /// Archived jobs to measure beside, comma-separated, growing
        #[arg(long, value_delimiter = ',', default_value = "0,1000000,10000000")]
        archived: Vec<i64>,
        /// Scheduled jobs to measure beside, with an empty archive; 0: not
        #[arg(long, default_value_t = 1_000_000)]
        scheduled: i64,
        /// Jobs of one drain
        #[arg(long, default_value_t = 100_000)]
        drain: u64,
        /// Drains of one measurement; the median counts
        #[arg(long, default_value_t = 3)]
        times: usize,
        #[command(flatten)]
        place: Place,
    },
    /// How fast what is past its term goes, and how long others wait meanwhile
    #[cfg(feature = "sandbox")]
    Due(due::Due),
    /// How fast the intake answers Stripe's news or takes a backend's jobs, at a steady rate
    #[cfg(feature = "sandbox")]
    Intake(intake::Intake),
    /// Run a command with DATABASE_URL set to a private Postgres with the settings of the benchmark
    Run {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Verb {
    /// Bring the schema up to date
    Setup,
    /// Empty the job tables
    Clean,
    /// Enqueue n jobs, b in one statement, one producer
    Bulk,
    /// Enqueue n jobs one by one by the gatherer, p producers
    Single,
    /// Run what is there, or n jobs, until nothing is left
    Drain,
    /// Enqueue n jobs gap_ms apart and measure enqueue to start
    Idle,
    /// Enqueue rate jobs a second for secs seconds and measure enqueue to start
    Load,
}

impl Bench {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::Audit(audit) => audit.run().await,
            What::Queue { verb, settings, place } => {
                let settings = Settings::read(&settings)?;
                let server = Server::at(place.database_url).await?;
                let pool = db::connect(server.url(), Role::Owner, 20).await?;
                if server.is_private() {
                    db::migrate(&pool).await?;
                }
                measure(verb, &settings, server.url(), &pool).await?;
                pool.close().await;
                Ok(())
            }
            What::Scale { archived, scheduled, drain, times, place } => {
                let server = Server::at(place.database_url).await?;
                let pool = db::connect(server.url(), Role::Owner, 20).await?;
                db::migrate(&pool).await?;
                scale::measure(server.url(), &pool, &scale::Sizes { archived, scheduled, drain, times }).await?;
                pool.close().await;
                Ok(())
            }
            #[cfg(feature = "sandbox")]
            What::Due(due) => due.run().await,
            #[cfg(feature = "sandbox")]
            What::Intake(intake) => intake.run().await,
            What::Run { command } => machine::run_with_private_server(&command).await,
        }
    }
}

async fn measure(verb: Verb, settings: &Settings, url: &str, pool: &PgPool) -> anyhow::Result<()> {
    match verb {
        Verb::Setup => {
            db::migrate(pool).await?;
            say(json!({ "test": "setup" }));
        }
        Verb::Clean => clean(pool).await?,
        Verb::Bulk => enqueueing::bulk(pool, settings.get("n", 100_000), settings.get("b", 1000)).await?,
        Verb::Single => {
            enqueueing::single(pool, settings.get("n", 10_000), settings.get("p", 16)).await?;
        }
        Verb::Drain => {
            let n = settings.get("n", 0);
            if n > 0 {
                enqueueing::fill(pool, n).await?;
            }
            let drained = working::drain(url, pool, settings.get("conc", 2000)).await?;
            say(drained.line());
        }
        Verb::Idle => {
            let gap = Duration::from_millis(settings.get("gap_ms", 50));
            working::latency(
                Pace::Alone,
                url,
                pool,
                settings.get("n", 200),
                gap,
                settings.get("conc", 100),
                settings.get("apart", 0) == 1,
            )
            .await?;
        }
        Verb::Load => {
            let (rate, secs) = (settings.get("rate", 200), settings.get("secs", 10));
            if rate == 0 {
                bail!("`rate=0` never ends; give jobs a second");
            }
            let gap = Duration::from_secs(1) / u32::try_from(rate)?;
            working::latency(
                Pace::Load,
                url,
                pool,
                rate * secs,
                gap,
                settings.get("conc", 100),
                settings.get("apart", 0) == 1,
            )
            .await?;
        }
    }
    Ok(())
}

async fn clean(pool: &PgPool) -> anyhow::Result<()> {
    sqlx::query(sqlx::AssertSqlSafe(format!("truncate {JOB_TABLES}"))).execute(pool).await?;
    Ok(())
}
