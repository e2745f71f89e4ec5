//! Running worker pools: long jobs, deaths, stops, cancelled jobs, and a Postgres that goes away.

use std::time::Duration;

use safelight_jobs::{
    db::{self, Role},
    job::Queue,
    queue,
    run::Tx,
};
use safelight_sandbox::postgres::{self, Postgres};
use safelight_worker::config::WorkerConfig;

use crate::{
    app::App,
    pools::{Pools, SOON, quick, until},
};

const DONE: &str = "select count(*) from safelight.jobs_archive where outcome = 'done'";
const LOOKS: &str = "select count(*) from safelight.sweeps";
const LEFT: &str = "select count(*) from safelight.jobs";

#[tokio::test(flavor = "multi_thread")]
async fn complaint_02_a_healthy_long_job_is_never_run_twice() {
    let app = App::spawn().await;
    let hold = app.holds_orders().await;
    app.enqueues_work("long").await;
    // A second more than is usual in here: on a machine that is starved, heartbeats are late.
    let config = || WorkerConfig { lease: Duration::from_secs(4), ..quick() };
    let (one, other) = (Pools::start(&app, config()).await, Pools::start(&app, config()).await);
    app.until_held_up(1).await;
    // By now the first lease would have run out twice.
    until(
        &app.db,
        "select count(*) from safelight.jobs where state = 1 and lease_until > started_at + interval '12 seconds'",
        1,
    )
    .await;
    app.until_held_up(1).await;
    assert_eq!(app.count("select count(*) from safelight.job_attempts").await, 0);
    hold.rollback().await.unwrap();
    until(&app.db, DONE, 1).await;
    assert_eq!(app.count(LOOKS).await, 1);
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_a_dead_worker_run_again() {
    let app = App::spawn().await;
    let hold = app.holds_orders().await;
    for number in 0..3 {
        app.enqueues_work(&format!("look {number}")).await;
    }
    let dies = Pools::start(&app, quick()).await;
    app.until_held_up(3).await;
    dies.die().await;
    assert_eq!(app.count("select count(*) from safelight.jobs where state = 1").await, 3);
    hold.rollback().await.unwrap();
    let lives = Pools::start(&app, quick()).await;
    until(&app.db, DONE, 3).await;
    assert_eq!(app.count(LOOKS).await, 3);
    assert_eq!(app.count("select count(*) from safelight.job_attempts where verdict = 'crashed'").await, 3);
    lives.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_past_its_bound_gives_running_jobs_back_and_spends_nothing() {
    let app = App::spawn().await;
    let hold = app.holds_orders().await;
    for number in 0..6 {
        app.enqueues_work(&format!("look {number}")).await;
    }
    let pools = Pools::start(&app, WorkerConfig { drain: Duration::from_millis(300), ..quick() }).await;
    app.until_held_up(4).await;
    pools.stop().await;
    assert_eq!(
        app.count(
            "select count(*) from safelight.jobs where state = 0 and attempt = 0 and crashes = 0 and worker is null"
        )
        .await,
        6
    );
    assert_eq!(app.count("select count(*) from safelight.job_attempts").await, 0);
    assert_eq!(app.count("select count(*) from safelight.workers").await, 0, "it has said good-bye");
    hold.rollback().await.unwrap();
    assert_eq!(app.count(LOOKS).await, 0, "a dropped attempt wrote nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_within_its_bound_lets_running_jobs_end_and_starts_no_others() {
    let app = App::spawn().await;
    let hold = app.holds_orders().await;
    for number in 0..6 {
        app.enqueues_work(&format!("look {number}")).await;
    }
    let pools = Pools::start(&app, quick()).await;
    app.until_held_up(4).await;
    let stopping = pools.ask_to_stop();
    // The stop has begun: a seventh job is not claimed although there is room.
    hold.rollback().await.unwrap();
    tokio::time::timeout(SOON, stopping).await.expect("bounded").unwrap().unwrap();
    assert_eq!(app.count(DONE).await, 4);
    assert_eq!(
        app.count("select count(*) from safelight.jobs where state = 0 and attempt = 0 and crashes = 0").await,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_under_way_at_the_stop_is_given_back() {
    let app = App::spawn().await;
    app.enqueues_work("a look").await;
    let mut slow = db::begin(&app.db).await.unwrap();
    sqlx::query("lock table safelight.jobs in access exclusive mode").execute(&mut *slow).await.unwrap();
    let pools = Pools::start(&app, WorkerConfig { queues: vec![Queue::Sweeps], ..quick() }).await;
    until(
        &app.db,
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%safelight.claim(%' and query not like '%pg_stat_activity%'",
        1,
    )
    .await;
    let stopping = pools.ask_to_stop();
    // Long enough for a stop that does not wait for its claims to be over.
    let early = tokio::time::timeout(Duration::from_secs(2), async {
        while !stopping.is_finished() {
            tokio::task::yield_now().await
        }
    })
    .await;
    assert!(early.is_err(), "the worker is gone while its claim is under way");
    slow.rollback().await.unwrap();
    tokio::time::timeout(SOON, stopping).await.expect("bounded").unwrap().unwrap();
    assert_eq!(app.count("select count(*) from safelight.jobs where state = 0 and crashes = 0").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_leaves_its_slot_and_writes_nothing() {
    let app = App::spawn().await;
    let hold = app.holds_orders().await;
    let unwanted = app.enqueues_work("unwanted").await;
    let pools = Pools::start(&app, WorkerConfig { concurrency: 1, ..quick() }).await;
    app.until_held_up(1).await;
    app.enqueues_work("next").await;
    let mut tx = app.tx().await;
    assert!(queue::cancel(&mut tx, unwanted, "asked_for").await.unwrap());
    tx.commit().await.unwrap();
    // One slot: the next one starts only when the attempt of the cancelled one was dropped.
    until(&app.db, "select count(*) from safelight.jobs where state = 1 and payload ->> 'because' = 'next'", 1).await;
    hold.rollback().await.unwrap();
    until(&app.db, DONE, 1).await;
    assert_eq!(app.count("select count(*) from safelight.sweeps where asked_by = 'unwanted'").await, 0);
    assert_eq!(
        app.count("select count(*) from safelight.jobs_archive where outcome = 'cancelled' and code = 'asked_for'")
            .await,
        1
    );
    pools.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_that_is_cancelled_stops_within_two_seconds() {
    let app = App::spawn().await;
    let hold = app.holds_orders().await;
    // The settings of a worker as it comes, but for its one slot.
    let pools = Pools::start(&app, WorkerConfig { concurrency: 1, ..WorkerConfig::default() }).await;
    let mut took = Vec::new();
    let running = "select count(*) from safelight.jobs j where state = 1
        and id = (select id from safelight.jobs order by created_at, id limit 1)";
    let mut runs = app.enqueues_work("unwanted").await;
    for number in 0..4 {
        until(&app.db, running, 1).await;
        let next = app.enqueues_work(&format!("unwanted, too: {number}")).await;
        let mut tx = app.tx().await;
        assert!(queue::cancel(&mut tx, runs, "asked_for").await.unwrap());
        tx.commit().await.unwrap();
        let asked = std::time::Instant::now();
        // One slot: the next one starts only when the attempt of the cancelled one was dropped.
        until(&app.db, running, 1).await;
        took.push(asked.elapsed());
        runs = next;
    }
    let mut tx = app.tx().await;
    queue::cancel(&mut tx, runs, "asked_for").await.unwrap();
    tx.commit().await.unwrap();
    hold.rollback().await.unwrap();
    pools.stop().await;
    assert_eq!(app.count(LOOKS).await, 0, "a cancelled attempt wrote nothing");
    // One heartbeat is a second; a machine that is busy with something else gets four chances.
    let fastest = took.iter().min().unwrap();
    assert!(*fastest < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_06_recovery_survives_a_postgres_restart() {
    let app = App::spawn().await;
    let own = Postgres::start(postgres::Options { fast: false, ..Default::default() }).await.unwrap();
    let url = own.create_database("safelight").await.unwrap();
    let db = db::connect(&url, Role::Owner, 4).await.unwrap();
    db::migrate(&db).await.unwrap();
    let enqueue = async |from: i32, to: i32| {
        for number in from..to {
            let mut tx = Tx::begin(&db, &app.bell()).await.unwrap();
            tx.enqueue(&safelight_jobs::expire_consents::ExpireConsents { because: format!("look {number}") })
                .await
                .unwrap();
            tx.commit().await.unwrap();
        }
    };
    let config = || WorkerConfig { concurrency: 2, ..quick() };
    let (one, other) = (Pools::start_at(&url, &app, config()).await, Pools::start_at(&url, &app, config()).await);
    enqueue(0, 150).await;
    until(&db, "select least(count(*), 20) from safelight.jobs_archive", 20).await;
    own.restart().await.unwrap();
    let began = std::time::Instant::now();
    while sqlx::query("select 1").execute(&db).await.is_err() {
        assert!(began.elapsed() < SOON);
    }
    enqueue(150, 200).await;
    until(&db, "select least(count(*), 120) from safelight.jobs_archive", 120).await;
    own.kill_hard().await.unwrap();
    own.restart().await.unwrap();
    until(&db, LEFT, 0).await;
    assert_eq!(sqlx::query_scalar::<_, i64>(DONE).fetch_one(&db).await.unwrap(), 200, "nothing is lost");
    let looks: i64 =
        sqlx::query_scalar("select count(distinct asked_by) from safelight.sweeps").fetch_one(&db).await.unwrap();
    let all: i64 = sqlx::query_scalar(LOOKS).fetch_one(&db).await.unwrap();
    assert_eq!((looks, all), (200, 200), "each had its effect, and had it once");
    one.stop().await;
    other.stop().await;
    db.close().await;
}
