//! `safelight bench audit`: how fast entries are sealed, and what that costs the queue.
//!
//! `seal` puts n entries there and measures how fast they get into the log, alone. `beside` drains n no-op jobs twice in one
//! run, once alone and once while a backlog is sealed at a steady rate, in turns; the drain is `safelight bench queue drain`
//! in a process of its own, as in production. Everything in the job tables of the database goes; entries stay.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use safelight_evidence::Signer;
use safelight_jobs::{
    db::{self, Role},
    sealer::{self, Sealer, Sign},
};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::{Place, enqueueing, machine::Server};
use crate::process::say;

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// What to measure
    what: Measure,
    /// Entries to seal
    #[arg(long, default_value_t = 100_000)]
    entries: u64,
    /// Jobs of one drain
    #[arg(long, default_value_t = 100_000)]
    jobs: u64,
    /// Entries sealed a second beside a drain
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Drains of each kind
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Measure {
    /// Entries sealed a second
    Seal,
    /// The queue's speed with and without the sealer
    Beside,
}

impl Audit {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let server = Server::at(self.place.database_url.clone()).await?;
        let url = server.url();
        let owner = db::connect(url, Role::Owner, 4).await?;
        db::migrate(&owner).await?;
        let sealing = db::connect_sealer(url, 2).await?;
        let sealer = Sealer::new(Signer::new("bench.example/audit", &[7; 32])?, None, Vec::new())?;
        match self.what {
            Measure::Seal => {
                sealer::pass(&sealing, &sealer, Sign::Now).await?;
                write_entries(&owner, self.entries).await?;
                let began = Instant::now();
                let sealed = sealer::pass(&sealing, &sealer, Sign::Now).await?.sealed;
                let took = began.elapsed().as_secs_f64();
                say(json!({ "test": "seal", "n": sealed, "secs": took, "per_s": sealed as f64 / took }));
                Ok(())
            }
            Measure::Beside => self.beside(url, &owner, &sealing, &sealer).await,
        }
    }

    async fn beside(&self, url: &str, owner: &PgPool, sealing: &PgPool, sealer: &Sealer) -> anyhow::Result<()> {
        let (mut alone, mut with, mut sealed_per_s) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.rounds.max(1) {
            super::clean(owner).await?;
            enqueueing::fill(owner, self.jobs).await?;
            alone.push(drained(url).await?);

            super::clean(owner).await?;
            enqueueing::fill(owner, self.jobs).await?;
            // A backlog that lasts longer than the drain: what is measured is the sealer and not the writing of entries.
            write_entries(owner, self.entries.max(self.rate * 60)).await?;
            let stop = CancellationToken::new();
            let pacing = tokio::spawn(steadily(sealing.clone(), sealer.clone(), self.rate, stop.clone()));
            with.push(drained(url).await?);
            stop.cancel();
            sealed_per_s.push(pacing.await??);
            sealer::pass(sealing, sealer, Sign::Now).await?;
        }
        let (alone, with, sealed) = (middle(&mut alone), middle(&mut with), middle(&mut sealed_per_s));
        say(
            json!({ "test": "beside", "jobs": self.jobs, "alone_per_s": alone, "beside_per_s": with, "sealed_per_s": sealed,
            "loss_percent": (1.0 - with / alone) * 100.0 }),
        );
        Ok(())
    }
}

/// At most `rate` entries a second, five times a second.
async fn steadily(pool: PgPool, sealer: Sealer, rate: u64, stop: CancellationToken) -> anyhow::Result<f64> {
    let most = u32::try_from(rate / 5)?.max(1);
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let (began, mut sealed) = (Instant::now(), 0);
    while !stop.is_cancelled() {
        tick.tick().await;
        sealed += sealer::seal(&pool, &sealer, most, Sign::AtInterval).await?.entries;
    }
    Ok(sealed as f64 / began.elapsed().as_secs_f64())
}

/// As jobs write them, many in one statement.
async fn write_entries(owner: &PgPool, n: u64) -> anyhow::Result<()> {
    let mut left = n;
    while left > 0 {
        let now = left.min(10_000);
        sqlx::query(
            "insert into safelight.audit_entries (tenant, actor, action, job_kind, job_id, order_id, alias, purpose, grants, outcome, counts,
                policy_version, commitment)
            select 'koselfie', 'worker', 'bench.entry', 'train_model', gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'train',
                array[gen_random_uuid()], 'ok', jsonb_build_object('photos', n), '2026-05-25', sha256(n::text::bytea)
            from generate_series(1, $1) n",
        )
        .bind(i64::try_from(now)?)
        .execute(owner)
        .await?;
        left -= now;
    }
    Ok(())
}

/// A drain in a process of its own, as in production.
async fn drained(url: &str) -> anyhow::Result<f64> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--log", "error", "bench", "queue", "drain"])
        .env("DATABASE_URL", url)
        .output()
        .await
        .context("the queue's benchmark cannot be started")?;
    if !output.status.success() {
        bail!("`safelight bench queue drain` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let line: Value =
        said.lines().rev().find_map(|line| serde_json::from_str(line).ok()).context("the drain said nothing")?;
    line["per_s"].as_f64().context("the drain named no speed")
}

fn middle(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}
