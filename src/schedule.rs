//! `safelight schedule`: what runs at set times, and pausing it.

use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    operate, schedule,
};
use serde_json::json;

use crate::{config, operator::Why, process::say, words};

#[derive(Debug, Args)]
pub(crate) struct ScheduleCommand {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// All schedules, with their last look and their next tick, or who paused them and why
    List {
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Its ticks make no jobs any more; they are not made up for later
    Pause {
        /// Its name
        #[arg(value_parser = words::schedules(), hide_possible_values = true)]
        name: String,
        #[command(flatten)]
        why: Why,
    },
    /// Its ticks make jobs again, from now on
    Resume {
        /// Its name
        #[arg(value_parser = words::schedules(), hide_possible_values = true)]
        name: String,
        #[command(flatten)]
        why: Why,
    },
}

impl ScheduleCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Owner, 2).await?;
        let (name, why, paused) = match self.act {
            Act::List { json: as_json } => {
                let rows = schedule::list(&pool).await?;
                if as_json {
                    let rows: Vec<_> = rows
                        .iter()
                        .map(|r| {
                            json!({ "name": r.name, "cron": r.cron, "catch_up": r.catch_up, "paused": r.paused, "last_tick": r.last_tick,
                                "next_tick": r.next(), "why": r.why, "actor": r.actor })
                        })
                        .collect();
                    say(json!({ "schedules": rows }));
                    return Ok(());
                }
                for r in rows {
                    let state = match r.next() {
                        Some(next) => next.format("next %F %T").to_string(),
                        None => format!("paused ({}: {})", r.actor, r.why.as_deref().unwrap_or("")),
                    };
                    say(format_args!(
                        "{:<22} {:<16} {:<5} looked at until {}, {state}",
                        r.name,
                        r.cron,
                        r.catch_up,
                        r.last_tick.format("%F %T")
                    ));
                }
                return Ok(());
            }
            Act::Pause { name, why } => (name, why, true),
            Act::Resume { name, why } => (name, why, false),
        };
        let mut tx = db::begin(&pool).await?;
        operate::on_schedule(&mut tx, &name, paused, why.operator()).await?;
        tx.commit().await?;
        let state = if paused { "paused" } else { "resumed" };
        if why.json {
            say(json!({ "schedule": name, "state": state }));
        } else {
            say(format_args!("{name}: {state}"));
        }
        Ok(())
    }
}
