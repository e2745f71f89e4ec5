//! A slow database: every message takes its time, in each direction.

use std::time::Duration;

use safelight_jobs::db::{self, Role};
use safelight_worker::config::WorkerConfig;

use super::{CRASHED, Hands, LEFT, each_was_done_once, line::Line, until_at_last, until_true};
use crate::{
    app::App,
    pools::{Pools, quick, until},
};

/// A fifth of a second a round trip.
const ONE_WAY: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn over_a_slow_line_nothing_is_lost_nothing_runs_twice_and_leases_are_kept() {
    let app = App::spawn().await;
    app.enqueues_looks(0, 4).await;
    let (line, url) = Line::before(&app.database_url).await;
    line.takes(ONE_WAY);
    let hands = Hands::default();
    let config = || WorkerConfig { lease: Duration::from_secs(6), ..quick() };
    let pool = db::connect(&app.database_url, Role::Worker, 4).await.unwrap();
    let long = Pools::start_with(&url, hands.of("long", pool.clone()), config()).await;
    until_true("four jobs begin", || hands.took().len() == 4).await;
    let other = Pools::start_with(&url, hands.of("other", pool), config()).await;
    until(
        &app.db,
        "select count(*) from safelight.jobs where state = 1 and lease_until > started_at + interval '9 seconds'",
        4,
    )
    .await;
    assert_eq!(hands.took().len(), 4, "nobody began one again: {:?}", hands.took());
    hands.release();
    app.enqueues_looks(4, 28).await;
    until_at_last(&app.db, LEFT, 0).await;
    each_was_done_once(&app.db, 28).await;
    assert_eq!(app.count(CRASHED).await, 0);
    long.stop().await;
    other.stop().await;
}
