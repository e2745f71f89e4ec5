//! `safelight jobs`: find jobs, and act on all that match: shown before, confirmed with a reason, carried out by a worker. One job
//! is `safelight job`.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use safelight_jobs::{
    bulk::{self, BulkAct, Listed},
    db::{self, Role},
    id::{self, Bulk, Id, Order, Subject},
    job::Queue,
    look,
    operate::{Act, OperateError, Operator},
    queue::{
        Bell,
        search::{self, Search, State, Wanted},
    },
    run::Tx,
};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    config,
    operator::{WhatFor, Why, confirm, ring},
    process::{remark, say},
    words,
};

/// How often the progress of an act is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Acts on many jobs of one list.
const ACTS: usize = 50;

#[derive(Debug, Args)]
pub(crate) struct Jobs {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    what: What,
}

/// What is looked for; what is left out does not narrow.
#[derive(Debug, Args)]
struct Sought {
    /// Of one kind: a job's name, for example train_model
    #[arg(long, value_parser = words::kinds(), hide_possible_values = true)]
    kind: Option<String>,
    /// Where it stands
    #[arg(long, value_parser = words::states())]
    state: Option<State>,
    /// Of one queue
    #[arg(long, value_parser = words::queues())]
    queue: Option<Queue>,
    /// Of one tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Of one order: order_…
    #[arg(long)]
    order: Option<Id<Order>>,
    /// Of one person: subject_…
    #[arg(long)]
    subject: Option<Id<Subject>>,
    /// What it waits for, is held for, or ended with
    #[arg(long)]
    code: Option<String>,
    /// Made at this instant or later, for example 2026-01-31T10:00:00Z
    #[arg(long)]
    from: Option<DateTime<Utc>>,
    /// Made before this instant
    #[arg(long)]
    until: Option<DateTime<Utc>>,
}

impl Sought {
    fn wanted(self) -> Result<Wanted, OperateError> {
        let Self { kind, state, queue, tenant, order, subject, code, from, until } = self;
        let queue = queue.map(|queue| queue.as_str().to_owned());
        Ok(Wanted { job: None, kind, state, queue, tenant, order, subject, code, from, until }.checked()?)
    }
}

#[derive(Debug, Subcommand)]
enum What {
    /// List jobs, live and ended, newest first
    List {
        #[command(flatten)]
        sought: Sought,
        /// What is older than this job: where the page before ended
        #[arg(long)]
        before: Option<Id<id::Job>>,
        /// How many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        most: u16,
        #[command(flatten)]
        what_for: WhatFor,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Take all that match out of the queue; deletions and purges stay
    Cancel(Chosen),
    /// Keep all that match from running until they are released
    Hold(Chosen),
    /// Let all that match and are held run
    Release(Chosen),
    /// Let all that match and wait for their time run now, and give dead letters another life
    Retry(Chosen),
    /// Give all dead letters that match up for good; deletions and purges stay
    Discard(Chosen),
    /// How far acts on many jobs have come
    Acts {
        /// One of them
        bulk: Option<Id<Bulk>>,
        /// Those before this one: bulk_…
        #[arg(long, conflicts_with = "bulk")]
        before: Option<Id<Bulk>>,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Chosen {
    #[command(flatten)]
    sought: Sought,
    /// Say yes beforehand, without being shown how many match and the newest of them
    #[arg(long)]
    yes: bool,
    /// Do not come back before it is over
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    why: Why,
}

impl Jobs {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Owner, 3).await?;
        let (act, chosen) = match self.what {
            What::List { sought, before, most, what_for, json } => {
                let wanted = sought.wanted()?;
                keep_look(&pool, &wanted, what_for.operator()).await?;
                return list(&pool, &wanted, before, usize::from(most), json).await;
            }
            What::Acts { bulk: None, before, json } => {
                return acts(&bulk::list(&pool, None, before, ACTS).await?, json);
            }
            What::Acts { bulk: Some(bulk), json, .. } => return one(&stands(&pool, bulk).await?, json),
            What::Cancel(chosen) => (Act::Cancel, chosen),
            What::Hold(chosen) => (Act::Hold, chosen),
            What::Release(chosen) => (Act::Release, chosen),
            What::Retry(chosen) => (Act::Retry, chosen),
            What::Discard(chosen) => (Act::Discard, chosen),
        };
        let Chosen { sought, yes, wait, why } = chosen;
        let wanted = sought.wanted()?;
        if !yes {
            keep_look(&pool, &wanted, why.operator()).await?;
            let seen = bulk::preview(&pool, act, wanted.clone(), why.operator()).await?;
            let least = if seen.counted.whole { "" } else { "at least " };
            let aside = search::why_aside(&pool, &seen.first).await?;
            seen.first.iter().for_each(|job| remark(line(job, &aside)));
            confirm(false, &format!("{} {least}{} jobs ({wanted})?", act.as_str(), seen.counted.jobs))?;
        }
        let mut tx = Tx::begin(&pool, &Bell::default()).await?;
        let asked = bulk::ask(&mut tx, &pool, act, wanted, why.operator()).await?;
        tx.commit().await?;
        ring(&pool).await;
        let mut act = stands(&pool, asked).await?;
        while wait && act.state() == "under_way" {
            tokio::time::sleep(LOOK).await;
            act = stands(&pool, asked).await?;
        }
        one(&act, why.json)
    }
}

async fn keep_look(pool: &PgPool, wanted: &Wanted, operator: Operator<'_>) -> anyhow::Result<()> {
    if look::is_one(wanted) {
        let mut tx = db::begin(pool).await?;
        look::at_search(&mut tx, wanted, operator).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn stands(pool: &PgPool, bulk: Id<Bulk>) -> anyhow::Result<BulkAct> {
    let act = bulk::read(pool, bulk, None).await?;
    Ok(act.ok_or_else(|| OperateError::NotFound(bulk.to_string()))?)
}

async fn list(
    pool: &PgPool,
    wanted: &Wanted,
    before: Option<Id<id::Job>>,
    most: usize,
    as_json: bool,
) -> anyhow::Result<()> {
    let found = search::search(pool, Search { before: before.map(Id::uuid), ..wanted.search() }, most).await?;
    let aside = search::why_aside(pool, &found.jobs).await?;
    let next: Option<Id<id::Job>> = found.next.map(Id::from);
    if as_json {
        say(json!({ "jobs": found.jobs.iter().map(|job| document(job, &aside)).collect::<Vec<_>>(), "next": next }));
        return Ok(());
    }
    found.jobs.iter().for_each(|job| say(line(job, &aside)));
    match next {
        Some(next) => remark(format_args!("older ones: --before {next}")),
        None if found.jobs.is_empty() => remark("no job matches"),
        None => {}
    }
    Ok(())
}

/// How that stands for which a job is set aside: `paused`, `in_trouble`, `rate` or `full`.
fn why_aside<'a>(job: &search::Job, aside: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let code = job.code.as_ref().filter(|_| job.state == State::SetAside.as_str())?;
    aside.get(code).map(String::as_str)
}

fn line(job: &search::Job, aside: &BTreeMap<String, String>) -> String {
    let code = job.code.as_deref().unwrap_or("-");
    let code = why_aside(job, aside).map_or_else(|| code.to_owned(), |word| format!("{code} {word}"));
    let order = job.order_id.map_or_else(String::new, |order| Id::<Order>::from(order).to_string());
    format!(
        "{}  {:<17} {:<10} {:<28} {:<12} {}  {order}",
        Id::<id::Job>::from(job.id),
        job.kind,
        job.state,
        code,
        job.tenant.as_deref().unwrap_or("(house)"),
        job.created_at.format("%F %T"),
    )
}

fn document(job: &search::Job, aside: &BTreeMap<String, String>) -> Value {
    let (code, detail) = job.said();
    json!({ "job": Id::<id::Job>::from(job.id), "kind": job.kind, "queue": job.queue, "state": job.state, "code": code, "detail": detail,
        "set_aside": why_aside(job, aside),
        "tenant": job.tenant, "order": job.order_id.map(Id::<Order>::from), "subject": job.subject_id.map(Id::<Subject>::from),
        "attempts": job.attempt, "waits": job.waits, "created_at": job.created_at, "finished_at": job.ended_at })
}

fn one(act: &BulkAct, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        say(progress(act))
    } else {
        say(progress_line(act))
    }
    Ok(())
}

fn acts(listed: &Listed, as_json: bool) -> anyhow::Result<()> {
    let Listed { acts, next } = listed;
    if as_json {
        say(json!({ "bulk_acts": acts.iter().map(progress).collect::<Vec<_>>(), "next": next }));
        return Ok(());
    }
    acts.iter().for_each(|act| say(progress_line(act)));
    match next {
        Some(next) => remark(format_args!("older ones: --before {next}")),
        None if acts.is_empty() => remark("nobody has acted on many jobs yet"),
        None => {}
    }
    Ok(())
}

fn progress(act: &BulkAct) -> Value {
    json!({ "bulk": act.id, "job": act.job, "act": act.act.as_str(), "jobs": act.wanted.to_string(), "state": act.state(),
        "matched": act.matched.jobs, "whole": act.matched.whole, "done": act.done, "passed_over": act.passed_over,
        "actor": act.actor, "why": act.why, "asked_at": act.asked_at, "finished_at": act.finished_at })
}

fn progress_line(act: &BulkAct) -> String {
    // Counted when it was asked for: by its turn more may match.
    let seen = act.done + act.passed_over;
    let least = match act.matched.whole {
        false => "at least ",
        true if seen > act.matched.jobs => "about ",
        true => "",
    };
    let passed = if act.passed_over > 0 { format!(", {} stood elsewhere", act.passed_over) } else { String::new() };
    format!(
        "{}  {:<8} {:<9} {} of {least}{}{passed}  {} by {}: {} ({})",
        act.id,
        act.act.as_str(),
        act.state(),
        act.done,
        act.matched.jobs.max(seen),
        act.asked_at.format("%F %T"),
        act.actor,
        act.why,
        act.wanted
    )
}
