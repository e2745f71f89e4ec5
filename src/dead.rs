//! `safelight dead`: look at dead letters, and give them another life.

use anyhow::ensure;
use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    id::{self, Id},
    queue::{self, Filter},
};
use serde_json::json;

use crate::{
    config,
    operator::{Why, ring},
    process::say,
};

/// How many dead letters one redrive takes.
const AT_ONCE: i64 = 1000;

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
    #[arg(long)]
    kind: Option<String>,
    /// With one code
    #[arg(long)]
    code: Option<String>,
    /// Of one tenant
    #[arg(long)]
    tenant: Option<String>,
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let job = self.job.map(|job| job.to_string());
        let parts = [("job", &job), ("kind", &self.kind), ("code", &self.code), ("tenant", &self.tenant)];
        let said: Vec<_> =
            parts.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}"))).collect();
        f.write_str(if said.is_empty() { "all" } else { "" })?;
        f.write_str(&said.join(" "))
    }
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
    Redrive {
        #[command(flatten)]
        which: Which,
        /// All that there are; else something must narrow it
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        why: Why,
    },
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
            DeadAct::Redrive { which, all, why } => {
                let narrowed =
                    which.job.is_some() || which.kind.is_some() || which.code.is_some() || which.tenant.is_some();
                ensure!(narrowed || all, "say which: --job, --kind, --code, --tenant, or --all");
                let mut tx = db::begin(&pool).await?;
                let risen = queue::redrive_all(&mut tx, which.filter(), AT_ONCE).await?;
                queue::note_act(&mut tx, "dead_letters.redriven", "ready", &which.to_string(), why.by()).await?;
                tx.commit().await?;
                ring(&pool).await;
                say(format_args!("{risen} redriven"));
                Ok(())
            }
        }
    }
}
