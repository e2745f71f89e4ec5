//! `safelight control`: pause, limit and resume queues, kinds, tenants and providers for the whole fleet at once.

use clap::{Args, Subcommand, ValueEnum};
use safelight_jobs::{
    db::{self, Role},
    operate,
    queue::{self, Change, Scope},
    schedule,
};
use serde_json::json;
use sqlx::PgPool;

use crate::{
    config,
    operator::{Why, ring},
    process::say,
    words,
};

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    Queue,
    Kind,
    Tenant,
    Provider,
}

impl From<What> for Scope {
    fn from(what: What) -> Self {
        match what {
            What::Queue => Self::Queue,
            What::Kind => Self::Kind,
            What::Tenant => Self::Tenant,
            What::Provider => Self::Provider,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Control {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// What is paused or limited, schedules included, and which providers are in trouble
    List {
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Nothing of it starts any more, in the whole fleet; what runs may end
    Pause {
        what: What,
        /// Its name
        #[arg(value_parser = words::controlled(), hide_possible_values = true)]
        name: String,
        #[command(flatten)]
        why: Why,
    },
    /// It starts again
    Resume {
        what: What,
        /// Its name
        #[arg(value_parser = words::controlled(), hide_possible_values = true)]
        name: String,
        #[command(flatten)]
        why: Why,
    },
    /// At most so many run at once in the whole fleet; without a number the limit is lifted
    Limit {
        what: What,
        /// Its name
        #[arg(value_parser = words::controlled(), hide_possible_values = true)]
        name: String,
        most: Option<i32>,
        #[command(flatten)]
        why: Why,
    },
    /// A provider is asked so often at the most, by all processes together; without numbers the rate is lifted
    Rate {
        /// Which
        #[arg(value_parser = words::providers(), hide_possible_values = true)]
        provider: String,
        /// Starts a second
        per_second: Option<f64>,
        /// Starts in one go; one second's worth if not given
        burst: Option<i32>,
        #[command(flatten)]
        why: Why,
    },
    /// A provider is well: its jobs start again without waiting for a probe
    CloseBreaker {
        /// Which
        #[arg(value_parser = words::providers(), hide_possible_values = true)]
        provider: String,
        #[command(flatten)]
        why: Why,
    },
}

impl Control {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Owner, 2).await?;
        match self.act {
            Act::List { json } => list(&pool, json).await,
            Act::Pause { what, name, why } => {
                set(&pool, what.into(), &name, Change { paused: Some(true), ..Change::default() }, &why).await
            }
            Act::Resume { what, name, why } => {
                set(&pool, what.into(), &name, Change { paused: Some(false), ..Change::default() }, &why).await
            }
            Act::Limit { what, name, most, why } => {
                set(&pool, what.into(), &name, Change { most: Some(most), ..Change::default() }, &why).await
            }
            Act::Rate { provider, per_second, burst, why } => {
                let rate =
                    per_second.map(|per_second| (per_second, burst.unwrap_or((per_second.ceil() as i32).max(1))));
                set(&pool, Scope::Provider, &provider, Change { rate: Some(rate), ..Change::default() }, &why).await
            }
            Act::CloseBreaker { provider, why } => {
                let mut tx = db::begin(&pool).await?;
                operate::close_breaker(&mut tx, &provider, why.operator()).await?;
                tx.commit().await?;
                ring(&pool).await;
                if why.json {
                    say(json!({ "provider": provider, "breaker": "closed" }));
                } else {
                    say(format_args!("{provider}: closed"));
                }
                Ok(())
            }
        }
    }
}

async fn set(pool: &PgPool, scope: Scope, name: &str, change: Change, why: &Why) -> anyhow::Result<()> {
    let mut tx = db::begin(pool).await?;
    operate::on_control(&mut tx, scope, name, change, why.operator()).await?;
    tx.commit().await?;
    ring(pool).await;
    if why.json {
        say(json!({ "scope": scope.as_str(), "name": name, "stored": true }));
    } else {
        say(format_args!("{} {name}: stored, counts for the whole fleet now", scope.as_str()));
    }
    Ok(())
}

async fn list(pool: &PgPool, as_json: bool) -> anyhow::Result<()> {
    let (controls, breakers) = (queue::controls(pool).await?, queue::breakers(pool).await?);
    let mut schedules = schedule::list(pool).await?;
    schedules.retain(|row| row.paused);
    if as_json {
        let controls: Vec<_> = controls
            .iter()
            .map(|c| {
                json!({ "scope": c.scope, "name": c.name, "paused": c.paused, "most": c.most, "per_second": c.per_second,
                    "burst": c.burst, "why": c.why, "actor": c.actor, "changed_at": c.changed_at })
            })
            .collect();
        let breakers: Vec<_> = breakers
            .iter()
            .map(|b| {
                json!({ "provider": b.provider, "state": b.state, "failures": b.failures, "opened_at": b.opened_at, "probe_at": b.probe_at })
            })
            .collect();
        let schedules: Vec<_> =
            schedules.iter().map(|s| json!({ "name": s.name, "why": s.why, "actor": s.actor })).collect();
        say(json!({ "controls": controls, "breakers": breakers, "paused_schedules": schedules }));
        return Ok(());
    }
    for c in &controls {
        let mut says = Vec::new();
        if c.paused {
            says.push("paused".to_owned());
        }
        says.extend(c.most.map(|most| format!("{most} at once")));
        says.extend(c.per_second.map(|rate| format!("{rate} a second, {} in one go", c.burst.unwrap_or(1))));
        let why = c.why.as_deref().unwrap_or("");
        say(format_args!(
            "{:<9} {:<18} {:<30} {} ({}: {why})",
            c.scope,
            c.name,
            says.join(", "),
            c.changed_at.format("%F %T"),
            c.actor
        ));
    }
    for s in &schedules {
        let why = s.why.as_deref().unwrap_or("");
        say(format_args!("{:<9} {:<18} {:<30} ({}: {why})", "schedule", s.name, "paused", s.actor));
    }
    for b in breakers.iter().filter(|b| b.state != "closed") {
        let probe = b.probe_at.map_or_else(String::new, |at| at.format(", one job looks at %F %T").to_string());
        say(format_args!("breaker   {:<18} {} after {} failures{probe}", b.provider, b.state, b.failures));
    }
    if controls.is_empty() && schedules.is_empty() && breakers.iter().all(|b| b.state == "closed") {
        say("nothing is paused or limited, and no provider is in trouble");
    }
    Ok(())
}
