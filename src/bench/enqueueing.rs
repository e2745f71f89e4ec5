//! The producers' side: many in one statement, and one by one.

use std::time::{Duration, Instant};

use safelight_jobs::{
    db,
    queue::{self, Bell, Gatherer},
};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{KIND, QUEUE, machine};
use crate::process::say;

/// How many jobs one statement of [`fill`] stores.
const FILL: u64 = 5000;

fn rate(test: &str, n: u64, took: Duration, more: &[(&str, Value)]) {
    let mut line = json!({ "test": test, "n": n, "secs": took.as_secs_f64(), "per_s": n as f64 / took.as_secs_f64() });
    for (name, value) in more {
        line[*name] = value.clone();
    }
    say(line);
}

pub(super) async fn bulk(pool: &PgPool, n: u64, b: u64) -> anyhow::Result<()> {
    let wal = machine::write_ahead(pool).await?;
    let began = Instant::now();
    let mut left = n;
    while left > 0 {
        let now = left.min(b.max(1));
        store(pool, now).await?;
        left -= now;
    }
    let took = began.elapsed();
    let wal = (machine::write_ahead(pool).await? - wal) / n.max(1) as f64;
    rate("bulk", n, took, &[("batch", json!(b)), ("wal_bytes", json!(wal.round()))]);
    Ok(())
}

/// Not timed: as many jobs as a measurement wants to find.
pub(super) async fn fill(pool: &PgPool, n: u64) -> anyhow::Result<()> {
    let mut left = n;
    while left > 0 {
        let now = left.min(FILL);
        store(pool, now).await?;
        left -= now;
    }
    sqlx::query("checkpoint").execute(pool).await?;
    Ok(())
}

async fn store(pool: &PgPool, count: u64) -> anyhow::Result<()> {
    let payloads: Vec<Value> = (0..count).map(|_| json!({ "t": 0 })).collect();
    let mut tx = db::begin(pool).await?;
    queue::enqueue_bulk(&mut tx, QUEUE, KIND, &payloads).await?;
    tx.commit().await?;
    Ok(())
}

/// One job a call, and each call answers when its job is durable: by the process's own gatherer, which commits together what is
/// wished for at the same moment, and rings the bell after it. By the SQL function: `bench/limit/enqueue.sh`.
pub(super) async fn single(pool: &PgPool, n: u64, producers: u64) -> anyhow::Result<()> {
    let gatherer = Gatherer::start(pool.clone(), Bell::start(pool.clone()));
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for producer in 0..producers.max(1) {
        let gatherer = gatherer.clone();
        let share = n / producers.max(1) + u64::from(producer < n % producers.max(1));
        tasks.spawn(async move {
            for _ in 0..share {
                gatherer.enqueue(QUEUE, KIND, json!({ "t": 0 })).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    rate("single", n, began.elapsed(), &[("producers", json!(producers))]);
    Ok(())
}

/// One job whose payload tells when it was wished for.
pub(super) async fn one(pool: &PgPool, t: u64) -> anyhow::Result<()> {
    sqlx::query("select safelight.enqueue($1, $2, $3)")
        .bind(KIND)
        .bind(json!({ "t": t }))
        .bind(QUEUE.as_str())
        .execute(pool)
        .await?;
    Ok(())
}
