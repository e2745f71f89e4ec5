//! `safelight objection`: what people object to, noted where it came by mail, and the decision about it.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use safelight_jobs::{
    db::{self, Role},
    id::{Id, Subject},
    intake::{self, IntakeError, Told, Way},
    policy::Purpose,
    queue::Bell,
    run::Tx,
};

use crate::{config, process::say, words};

#[derive(Debug, Args)]
pub(crate) struct ObjectionCommand {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    database: config::Database,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List open objections, the oldest first
    List {
        /// Decided ones too
        #[arg(long)]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Note one that came by mail or letter, of somebody whose case is verified; the person is restricted until it is decided
    Note {
        /// subject_…
        subject: Id<Subject>,
        /// To which purpose
        #[arg(value_parser = words::purposes())]
        purpose: Purpose,
        /// Who you are, as a short code
        #[arg(long, env = "SAFELIGHT_OPERATOR")]
        by: String,
    },
    /// Decide one: upheld, nothing is done for this purpose any more. Tell the person before, with the reason: the restriction ends
    /// with the last decision, and nobody is released who was not told
    Decide {
        /// subject_…
        subject: Id<Subject>,
        /// To which purpose
        #[arg(value_parser = words::purposes())]
        purpose: Purpose,
        /// Who is right
        #[arg(long = "as")]
        decision: Decision,
        /// Why, as a code
        #[arg(long)]
        why: String,
        /// How the person was told of the decision and that the restriction ends
        #[arg(long, requires = "told_at")]
        told: Option<ToldBy>,
        /// When, for example 2026-12-01T10:00:00Z: since they were restricted, and not later than now
        #[arg(long, requires = "told")]
        told_at: Option<DateTime<Utc>>,
        /// Who you are, as a short code
        #[arg(long, env = "SAFELIGHT_OPERATOR")]
        by: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ToldBy {
    /// By mail
    Mail,
    /// In the product, where they saw it
    Product,
    /// By letter
    Letter,
}

impl From<ToldBy> for Way {
    fn from(by: ToldBy) -> Self {
        match by {
            ToldBy::Mail => Self::Mail,
            ToldBy::Product => Self::Product,
            ToldBy::Letter => Self::Letter,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Decision {
    /// The person: the gates close for this purpose, and what was done for it goes
    Upheld,
    /// The controller's grounds are compelling: everything goes on
    Overridden,
}

impl ObjectionCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Api, 2).await?;
        match self.what {
            What::List { all, json } => {
                let rows = intake::objections(&pool, None, all).await?;
                if json {
                    say(serde_json::to_string_pretty(&rows)?);
                    return Ok(());
                }
                if rows.is_empty() {
                    say("No objection is open.");
                }
                for row in rows {
                    let since = row.received_at.format("%Y-%m-%d %H:%M");
                    say(format_args!(
                        "{}  {:<12} {:<9} {:<10} since {since}",
                        row.subject, row.tenant, row.purpose, row.state
                    ));
                }
            }
            What::Note { subject, purpose, by } => {
                let tenant = sqlx::query_scalar!("select tenant from safelight.subjects where id = $1", subject.uuid())
                    .fetch_optional(&pool)
                    .await?
                    .ok_or_else(|| IntakeError::NotFound { what: subject.to_string() })?;
                let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
                let noted = intake::object(&mut tx, &tenant, subject, purpose, Some(&by)).await?;
                tx.commit().await?;
                say(match (noted.upheld, noted.already) {
                    (true, _) => format!("it was upheld before: nothing is done for `{purpose}`"),
                    (_, true) => "it is noted already, and waits for a decision".to_owned(),
                    _ => format!("noted; {} jobs are held until it is decided", noted.jobs_held),
                });
            }
            What::Decide { subject, purpose, decision, why, told, told_at, by } => {
                let told = told.zip(told_at).map(|(by, at)| Told { by: by.into(), at });
                let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
                let upheld = decision == Decision::Upheld;
                let done = intake::decide_objection(&mut tx, subject, purpose, upheld, &by, &why, told).await?;
                tx.commit().await?;
                if let Some(deletion) = done.deletion {
                    let jobs = done.jobs_cancelled;
                    say(format_args!(
                        "nothing is done for `{purpose}` any more: {jobs} jobs left the queue, {deletion} takes what was done for it"
                    ));
                }
                if !done.released {
                    say(format_args!(
                        "{subject} stays as it was: another objection is open, or something else restricts"
                    ));
                }
                say(if told.is_some() {
                    "decided"
                } else {
                    "decided; tell the person, and that they may complain to an authority"
                });
            }
        }
        Ok(())
    }
}
