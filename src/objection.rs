//! `safelight objection`: what people object to, and the decision about it.

use clap::{Args, Subcommand, ValueEnum};
use safelight_jobs::{
    db::{self, Role},
    id::{Id, Subject},
    intake,
    policy::Purpose,
    queue::Bell,
    run::Tx,
};

use crate::{config, process::say};

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
    /// Decide one. Tell the person, with the reason
    Decide {
        /// subject_…
        subject: Id<Subject>,
        /// To which purpose, for example observe
        purpose: Purpose,
        /// Who is right
        #[arg(long = "as")]
        decision: Decision,
        /// Why, as a code
        #[arg(long)]
        why: String,
        /// Who you are, as a short code
        #[arg(long, env = "SAFELIGHT_OPERATOR")]
        by: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Decision {
    /// The person: the restriction stays, until they are erased or released
    Upheld,
    /// The controller's grounds are compelling: the restriction is over
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
            What::Decide { subject, purpose, decision, why, by } => {
                let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
                intake::decide_objection(&mut tx, subject, purpose, decision == Decision::Upheld, &by, &why).await?;
                tx.commit().await?;
                say("decided; tell the person, and that they may complain to an authority");
            }
        }
        Ok(())
    }
}
