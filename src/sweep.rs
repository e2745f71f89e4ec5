//! `safelight sweep`: ask for a sweep now; who asked and why is kept. Workers carry it out; of the comparison of money the outcome is printed. With
//! `--dry-run` nothing is asked for, and what the retention sweep would find is printed.

use std::time::Duration;

use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use safelight_jobs::{
    audit::Entry,
    db::{self, Role},
    due,
    id::{self, Id},
    queue::{self, Bell},
    run::Tx,
    sweeps,
};
use serde_json::json;

use crate::{config, operator::Who, process::say};

#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// Which one
    #[arg(value_parser = names())]
    kind: sweeps::Sweep,
    /// How far back money is compared, in hours; three days if none
    #[arg(long)]
    hours: Option<u32>,
    /// How long to wait for the comparison of money, in seconds; 0: do not wait and print nothing of it
    #[arg(long, default_value_t = 60)]
    wait_seconds: u64,
    /// Enqueue nothing: print what is due by its clock now and in the next seven days
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    who: Who,
    /// One JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: config::Database,
}

/// The names of the sweeps, each with what it looks for.
fn names() -> impl TypedValueParser<Value = sweeps::Sweep> {
    let known = sweeps::Sweep::ALL.map(|sweep| PossibleValue::new(sweep.as_str()).help(sweep.looks_for()));
    PossibleValuesParser::new(known).try_map(|name| sweeps::Sweep::named(&name).ok_or("there is no such sweep"))
}

impl Sweep {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Owner, 2).await?;
        if self.dry_run {
            anyhow::ensure!(self.kind == sweeps::Sweep::Retention, "--dry-run is there for `retention` only");
            return print_due(&due::due(&pool, None, i32::MAX).await?, self.json);
        }
        let because = format!("cli:{}", Id::<id::Sweep>::new());
        let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
        let enqueued = self.kind.ask(&mut tx, because.clone(), self.hours).await?;
        let (sweep, job) = (self.kind.as_str(), enqueued.id.to_string());
        let entry = Entry::new("operator", "sweep.asked", "enqueued").code("sweep", sweep).code("job", &job);
        queue::note_act(&mut tx, "sweep.asked", sweep, &job, self.who.by("by hand")?, entry).await?;
        tx.commit().await?;
        let waits = self.kind == sweeps::Sweep::Money && self.wait_seconds > 0;
        if !waits {
            if self.json {
                say(json!({ "job": enqueued.id }));
            } else {
                say(enqueued.id);
            }
            return Ok(());
        }
        if !self.json {
            say(enqueued.id);
        }
        print_differences(&pool, enqueued.id, &because, Duration::from_secs(self.wait_seconds), self.json).await?;
        Ok(())
    }
}

fn print_due(due: &[due::Due], json: bool) -> anyhow::Result<()> {
    if json {
        say(serde_json::to_string_pretty(due)?);
        return Ok(());
    }
    if due.is_empty() {
        say("Nothing is due now or in the next seven days.");
        return Ok(());
    }
    let days: String = (1..=due::DAYS).map(|day| format!("{:>8}", format!("day {day}"))).collect();
    say(format_args!("{:<14} {:<8} {:>8}{days}", "tenant", "class", "due now"));
    for line in due {
        let days: String = line.days.iter().map(|count| format!("{count:>8}")).collect();
        say(format_args!("{:<14} {:<8} {:>8}{days}", line.tenant, line.class, line.now));
    }
    Ok(())
}

async fn print_differences(
    pool: &sqlx::PgPool,
    job: Id<id::Job>,
    because: &str,
    most: Duration,
    as_json: bool,
) -> anyhow::Result<()> {
    let begun = tokio::time::Instant::now();
    let residue = loop {
        let run =
            sqlx::query_scalar!("select residue from safelight.sweeps where kind = 'money' and asked_by = $1", because)
                .fetch_optional(pool)
                .await?;
        if let Some(residue) = run {
            break residue;
        }
        anyhow::ensure!(
            begun.elapsed() < most,
            "no worker has compared it within {} seconds; is one running?",
            most.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    let rows = sqlx::query!(
        r#"select code, object, provider, tenant, amount_cents, first_seen_at from safelight.differences
        where resolved_at is null order by first_seen_at, code, object"#
    )
    .fetch_all(pool)
    .await?;
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({ "code": row.code, "object": row.object, "provider": row.provider, "tenant": row.tenant,
                    "amount_cents": row.amount_cents, "first_seen_at": row.first_seen_at })
            })
            .collect();
        say(json!({ "job": job, "differences": rows, "whole": residue.is_some() }));
        return Ok(());
    }
    for row in &rows {
        let cents =
            row.amount_cents.map_or_else(String::new, |cents| format!("{}.{:02}", cents / 100, cents.abs() % 100));
        let tenant = row.tenant.as_deref().unwrap_or("-");
        let since = row.first_seen_at.format("%Y-%m-%d %H:%M");
        say(format_args!(
            "{:<24} {:<7} {tenant:<12} {cents:>9}  since {since}  {}",
            row.code, row.provider, row.object
        ));
    }
    match residue {
        Some(_) if rows.is_empty() => say("Nothing differs."),
        Some(_) => say(format_args!("{} differences are open: docs/operations.md says what each means.", rows.len())),
        None => say("A provider could not be asked: what is above is not all. The worker's log says why."),
    }
    Ok(())
}
