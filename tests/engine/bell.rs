//! The bell: it saves waiting, and nothing depends on it.

use std::time::Duration;

use safelight_jobs::{expire_consents::ExpireConsents, queue::Bell, run::Tx};
use safelight_worker::config::WorkerConfig;

use crate::{
    app::App,
    pools::{Pools, quick, until},
};

/// Far beyond what a test waits for.
const NEVER: Duration = Duration::from_secs(600);
const DONE: &str = "select count(*) from safelight.jobs_archive where outcome = 'done'";
const LISTENERS: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen %'";

async fn rings(app: &App, bell: &Bell, because: &str) {
    let mut tx = Tx::begin(&app.db, bell).await.unwrap();
    tx.enqueue(&ExpireConsents { because: because.to_owned() }).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rung_job_starts_long_before_the_next_poll() {
    let app = App::spawn().await;
    let pools = Pools::start(&app, WorkerConfig { poll: NEVER, ..quick() }).await;
    until(&app.db, LISTENERS, 1).await;
    let bell = Bell::start(app.worker.clone());
    // One after the other, so that each finds the claimers asleep.
    for number in 1..=5 {
        rings(&app, &bell, &format!("ring {number}")).await;
        until(&app.db, DONE, number).await;
    }
    pools.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_nobody_rang_for_is_found_by_polling() {
    let app = App::spawn().await;
    let pools = Pools::start(&app, quick()).await;
    until(&app.db, LISTENERS, 1).await;
    for number in 1..=3 {
        rings(&app, &Bell::default(), &format!("silence {number}")).await;
        until(&app.db, DONE, number).await;
    }
    pools.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_that_nobody_heard_is_made_up_for_when_the_connection_is_back() {
    let app = App::spawn().await;
    let pools = Pools::start(&app, WorkerConfig { poll: NEVER, ..quick() }).await;
    until(&app.db, LISTENERS, 1).await;
    let bell = Bell::start(app.worker.clone());
    for number in 1..=2 {
        let cut = app
            .count("select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and query ilike 'listen %'")
            .await;
        assert_eq!(cut, 1);
        rings(&app, &bell, &format!("unheard {number}")).await;
        until(&app.db, DONE, number).await;
        until(&app.db, LISTENERS, 1).await;
    }
    pools.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_of_a_worker_may_be_cut() {
    let app = App::spawn().await;
    let pools = Pools::start(&app, quick()).await;
    until(&app.db, LISTENERS, 1).await;
    for number in 1..=30 {
        rings(&app, &Bell::default(), &format!("look {number}")).await;
        if number % 10 == 0 {
            sqlx::query(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()
                    and pid <> pg_backend_pid() and application_name = 'safelight safelight_worker'",
            )
            .execute(&app.db)
            .await
            .unwrap();
        }
    }
    until(&app.db, DONE, 30).await;
    assert_eq!(app.count("select count(distinct asked_by) from safelight.sweeps").await, 30);
    assert_eq!(app.count("select count(*) from safelight.sweeps").await, 30);
    pools.stop().await;
}
