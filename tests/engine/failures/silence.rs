//! Half-open connections: what is sent is taken, and nothing ever comes back. No error tells a worker; only that it does not
//! wait for ever.

use std::time::Duration;

use safelight_jobs::{
    db::{self, Role},
    expire_consents::ExpireConsents,
    job::Job,
    queue,
};
use safelight_worker::config::WorkerConfig;

use super::{CRASHED, DONE, Hands, LEFT, RUNNING, each_was_done_once, line::Line, until_at_last, until_true};
use crate::{
    app::App,
    pools::{Pools, quick, until},
};

const LISTENERS: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen %'";

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_whose_connections_all_fell_silent_works_on_with_new_ones() {
    let app = App::spawn().await;
    let (line, url) = Line::before(&app.database_url).await;
    let pools = Pools::start_at(&url, &app, quick()).await;
    until(&app.db, LISTENERS, 1).await;
    app.enqueues_looks(0, 5).await;
    until(&app.db, DONE, 5).await;
    line.open_ones_fall_silent();
    app.enqueues_looks(5, 10).await;
    // Some connections fall silent one after the other, and each is waited for.
    until_at_last(&app.db, DONE, 10).await;
    each_was_done_once(&app.db, 10).await;
    // The bell is heard again, too: the silent listener is still there for the server, and another one beside it.
    until_at_last(
        &app.db,
        "select least(count(*), 2) from pg_stat_activity where datname = current_database() and query ilike 'listen %'",
        2,
    )
    .await;
    pools.stop().await;
}

/// The worst moment: everything that was asked is done, and no answer to it arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_whose_answers_are_all_lost_loses_nothing_and_does_nothing_twice() {
    let app = App::spawn().await;
    let (line, url) = Line::before(&app.database_url).await;
    let one = Pools::start_at(&url, &app, quick()).await;
    let other = Pools::start_at(&url, &app, quick()).await;
    app.enqueues_looks(0, 60).await;
    until_at_last(&app.db, "select least(count(*), 10) from safelight.sweeps", 10).await;
    line.answers_of_open_ones_are_lost();
    until_at_last(&app.db, LEFT, 0).await;
    each_was_done_once(&app.db, 60).await;
    one.stop().await;
    other.stop().await;
}

/// Long work, and every connection falls silent: the leases live on new ones, and nobody else begins it.
#[tokio::test(flavor = "multi_thread")]
async fn leases_outlive_the_silence_of_their_connections() {
    let app = App::spawn().await;
    app.enqueues_looks(0, 4).await;
    let (line, url) = Line::before(&app.database_url).await;
    let hands = Hands::default();
    // Long enough that a busy machine is no silence.
    let config = || WorkerConfig { lease: Duration::from_secs(20), ..quick() };
    let pool = db::connect(&app.database_url, Role::Worker, 4).await.unwrap();
    let long = Pools::start_with(&url, hands.of("long", pool.clone()), config()).await;
    until_true("four jobs begin", || hands.took().len() == 4).await;
    let other = Pools::start_with(&app.database_url, hands.of("other", pool), config()).await;
    line.open_ones_fall_silent();
    until_at_last(
        &app.db,
        "select count(*) from safelight.jobs where state = 1 and lease_until > started_at + interval '40 seconds'",
        4,
    )
    .await;
    assert_eq!(hands.took().len(), 4, "nobody began one again: {:?}", hands.took());
    hands.release();
    until(&app.db, LEFT, 0).await;
    each_was_done_once(&app.db, 4).await;
    assert_eq!(app.count(CRASHED).await, 0);
    long.stop().await;
    other.stop().await;
}

/// One host of several is cut off for longer than a lease. The others take its work over; it finds its network again and
/// writes nothing of what it did meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_cut_off_loses_its_jobs_to_the_others_and_writes_nothing_late() {
    let app = App::spawn().await;
    app.enqueues_looks(0, 4).await;
    let (line, url) = Line::before(&app.database_url).await;
    let (cut_off, others) = (Hands::default(), Hands::default());
    let far_pool = db::connect(&url, Role::Worker, 4).await.unwrap();
    let pool = db::connect(&app.database_url, Role::Worker, 4).await.unwrap();
    let far = Pools::start_with(&url, cut_off.of("far", far_pool), quick()).await;
    until_true("four jobs begin far away", || cut_off.took().len() == 4).await;
    let near = Pools::start_with(&app.database_url, others.of("near", pool), quick()).await;
    line.falls_silent();
    until_true("they begin again near by", || others.took().len() == 4).await;
    // The far ones end now, and cannot say so; then their words arrive, late.
    cut_off.release();
    assert_eq!(app.count(RUNNING).await, 4);
    line.passes();
    app.enqueues_looks(4, 8).await;
    until_true("the far worker works again", || cut_off.took().len() > 4 || others.took().len() == 8).await;
    assert_eq!(
        app.count("select count(*) from safelight.sweeps where asked_by in ('look 0', 'look 1', 'look 2', 'look 3')")
            .await,
        0
    );
    others.release();
    until(&app.db, LEFT, 0).await;
    each_was_done_once(&app.db, 8).await;
    assert_eq!(app.count(CRASHED).await, 4, "they were taken from it, once each");
    far.stop().await;
    near.stop().await;
}

/// Nobody else may have a job whose row a transaction holds, not even when its lease is over: so the transaction ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_vanishes_inside_a_transaction_lets_go_of_its_job() {
    let app = App::spawn().await;
    app.enqueues_work("a look").await;
    let (line, url) = Line::before(&app.database_url).await;
    let far = db::connect(&url, Role::Worker, 2).await.unwrap();
    let claimed = queue::claim(&far, ExpireConsents::QUEUE, "far", 1, 1.0).await.unwrap().pop().unwrap();
    let mut tx = db::begin(&far).await.unwrap();
    assert!(claimed.lease.holds(&mut tx).await.unwrap());
    line.falls_silent();
    let near = Pools::start(&app, quick()).await;
    until_at_last(&app.db, LEFT, 0).await;
    each_was_done_once(&app.db, 1).await;
    assert_eq!(app.count(CRASHED).await, 1);
    line.passes();
    assert!(claimed.lease.holds(&mut tx).await.is_err(), "it finds out");
    near.stop().await;
}

/// The database was away from everybody for longer than their leases, and comes back to one host before the other. Nobody
/// crashed, so nothing runs again: who had trouble itself leaves the others time to keep theirs.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_outlasts_every_lease_takes_no_job_from_a_living_worker() {
    let app = App::spawn().await;
    app.enqueues_looks(0, 8).await;
    let (near, near_url) = Line::before(&app.database_url).await;
    let (far, far_url) = Line::before(&app.database_url).await;
    let hands = Hands::default();
    let config = || WorkerConfig { lease: Duration::from_secs(9), ..quick() };
    let pool = db::connect(&app.database_url, Role::Worker, 4).await.unwrap();
    let one = Pools::start_with(&near_url, hands.of("near", pool.clone()), config()).await;
    let other = Pools::start_with(&far_url, hands.of("far", pool), config()).await;
    until_true("all jobs begin", || hands.took().len() == 8).await;
    near.goes_down();
    far.goes_down();
    let over =
        "select count(*) from safelight.jobs where state = 1 and lease_until < clock_timestamp() - interval '1 second'";
    until(&app.db, over, 8).await;
    near.passes();
    // The near one has reported more than once, and could have rescued.
    let reported = "select count(*) from safelight.workers where seen_at > (select min(lease_until) from safelight.jobs where state = 1) + interval '5 seconds'";
    until(&app.db, reported, 1).await;
    far.passes();
    until(&app.db, "select count(*) from safelight.jobs where state = 1 and lease_until > clock_timestamp()", 8).await;
    hands.release();
    until(&app.db, LEFT, 0).await;
    each_was_done_once(&app.db, 8).await;
    assert_eq!(app.count(CRASHED).await, 0, "{:?}", hands.took());
    one.stop().await;
    other.stop().await;
}

/// A pool is as large afterwards as it was before, whatever became of its connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_gets_every_place_back_from_connections_that_fell_silent() {
    let app = App::spawn().await;
    let (line, url) = Line::before(&app.database_url).await;
    let pool = db::connect(&url, Role::Worker, 3).await.unwrap();
    app.enqueues_work("a look").await;
    line.answers_of_open_ones_are_lost();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let pool = pool.clone();
        asking.spawn(async move {
            let limit = Duration::from_millis(500);
            db::answered(limit, queue::claim(&pool, ExpireConsents::QUEUE, "w", 0, 3.0)).await.map(|_| ())
        });
    }
    while let Some(asked) = asking.join_next().await {
        let _ = asked.unwrap();
    }
    // All three at once: none is held by a connection that waits for its last answer.
    let began = std::time::Instant::now();
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(pool.acquire().await.unwrap());
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
