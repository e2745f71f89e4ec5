//! Connections that end at every moment: by the server's hand, and by the network's.

use std::time::Duration;

use super::{CRASHED, LEFT, each_was_done_once, line::Line, steady, until_at_last};
use crate::{
    app::App,
    pools::{Pools, until},
};

const LOOKS: i64 = 150;

/// Whenever some more looks are done, whatever is under way just then.
async fn every_now_and_then(app: &App, act: impl AsyncFn()) {
    let mut seen = 0;
    let mut acts = 0;
    while app.count_if_there("select count(*) from safelight.jobs_archive").await.unwrap_or(0) < LOOKS {
        if let Some(done) = app.count_if_there("select count(*) from safelight.jobs_archive").await
            && done >= seen + 12
        {
            seen = done;
            acts += 1;
            act().await;
        }
        assert!(acts < 100, "it goes in a circle");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(acts >= 5, "only {acts} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_outlives_the_end_of_all_its_connections_again_and_again() {
    let app = App::spawn().await;
    app.enqueues_looks(0, LOOKS as usize).await;
    let one = Pools::start(&app, steady()).await;
    let other = Pools::start(&app, steady()).await;
    every_now_and_then(&app, async || {
        let _ = sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
        )
        .execute(&app.db)
        .await;
    })
    .await;
    until_at_last(&app.db, LEFT, 0).await;
    each_was_done_once(&app.db, LOOKS).await;
    assert_eq!(app.count(CRASHED).await, 0, "no cut is taken for a crash");
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_outlives_a_network_that_is_cut_again_and_again() {
    let app = App::spawn().await;
    app.enqueues_looks(0, LOOKS as usize).await;
    let (line, url) = Line::before(&app.database_url).await;
    let one = Pools::start_at(&url, &app, steady()).await;
    let other = Pools::start_at(&url, &app, steady()).await;
    every_now_and_then(&app, async || line.cut()).await;
    until(&app.db, LEFT, 0).await;
    each_was_done_once(&app.db, LOOKS).await;
    assert_eq!(app.count(CRASHED).await, 0, "no cut is taken for a crash");
    one.stop().await;
    other.stop().await;
}

impl App {
    /// One number, if somebody answers.
    async fn count_if_there(&self, sql: &'static str) -> Option<i64> {
        sqlx::query_scalar(sql).fetch_one(&self.db).await.ok()
    }
}
