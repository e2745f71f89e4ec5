//! `safelight dead`: look at dead letters, give them another life, or give them up.

use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    id::{self, Id},
    operate::{self, Fate},
    queue::{self, Filter},
};
use serde_json::json;

use crate::{
    config,
    operator::{Why, confirm, ring},
    process::say,
    words,
};

#[derive(Debug, Args)]
pub(crate) struct Dead {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    act: DeadAct,
}

#[derive(Debug, Args)]
struct Which {
    /// One job
    #[arg(long)]
    job: Option<Id<id::Job>>,
    /// Of one kind
    #[arg(long, value_parser = words::kinds(), hide_possible_values = true)]
    kind: Option<String>,
    /// With one code
    #[arg(long)]
    code: Option<String>,
    /// Of one tenant
    #[arg(long)]
    tenant: Option<String>,
}

impl Which {
    fn filter(&self) -> Filter<'_> {
        Filter {
            job: self.job.map(Id::uuid),
            kind: self.kind.as_deref(),
            code: self.code.as_deref(),
            tenant: self.tenant.as_deref(),
        }
    }
}

#[derive(Debug, Subcommand)]
enum DeadAct {
    /// The dead letters that match, counted by kind and code
    List {
        #[command(flatten)]
        which: Which,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Give those that match another life, with all their attempts back: up to a thousand, the oldest first
    Redrive(Chosen),
    /// Give those that match up for good: up to a thousand, the oldest first. Deletions and purges stay
    Discard(Chosen),
}

#[derive(Debug, Args)]
struct Chosen {
    #[command(flatten)]
    which: Which,
    /// All that there are; else something must narrow it
    #[arg(long)]
    all: bool,
    /// Say yes beforehand to what is asked: `discard` always asks, `redrive` with --all
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    why: Why,
}

impl Dead {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Owner, 2).await?;
        match self.act {
            DeadAct::List { which, json: as_json } => {
                let groups = queue::dead_letters(&pool, which.filter()).await?;
                if as_json {
                    let groups: Vec<_> = groups
                        .iter()
                        .map(|g| json!({ "kind": g.kind, "code": g.code, "count": g.count, "oldest": g.oldest, "newest": g.newest }))
                        .collect();
                    say(json!({ "dead_letters": groups }));
                    return Ok(());
                }
                for g in &groups {
                    say(format_args!(
                        "{:>8}  {:<18} {:<28} since {}",
                        g.count,
                        g.kind,
                        g.code,
                        g.oldest.format("%F %T")
                    ));
                }
                if groups.is_empty() {
                    say("no dead letter matches");
                }
                Ok(())
            }
            DeadAct::Redrive(chosen) => act(&pool, Fate::Redrive, &chosen).await,
            DeadAct::Discard(chosen) => act(&pool, Fate::Discard, &chosen).await,
        }
    }
}

async fn act(pool: &sqlx::PgPool, fate: Fate, chosen: &Chosen) -> anyhow::Result<()> {
    let filter = chosen.which.filter();
    let (verb, done) = match fate {
        Fate::Redrive => ("Redrive", "redriven"),
        Fate::Discard => ("Discard", "discarded"),
    };
    if chosen.all || fate == Fate::Discard {
        let there: i64 = queue::dead_letters(pool, filter).await?.iter().map(|group| group.count).sum();
        let most = there.min(operate::AT_ONCE);
        confirm(chosen.yes, &format!("{verb} {most} of {there} dead letters ({filter})?"))?;
    }
    let mut tx = db::begin(pool).await?;
    let number = operate::on_dead_letters(&mut tx, fate, filter, chosen.all, chosen.why.operator()).await?;
    tx.commit().await?;
    ring(pool).await;
    if chosen.why.json {
        say(json!({ done: number }));
    } else {
        say(format_args!("{number} {done}"));
    }
    Ok(())
}
