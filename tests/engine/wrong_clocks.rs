//! Workers whose own clock is hours off: what is due is said by the database.

use chrono::{DateTime, Duration, Utc};
use safelight_jobs::{sweep_deletions::SweepDeletions, sweep_retention::SweepRetention};
use tokio::process::{Child, Command};

use crate::{
    app::App,
    chaos_house::libfaketime,
    pools::until,
    processes::{command, environment},
};

/// A process that believes in another time, and in another zone.
fn astray(app: &App, library: &std::path::Path, shift: &str, arguments: &[&str]) -> Command {
    let mut command = command(arguments, &environment(app, &app.url));
    command.env("LD_PRELOAD", library).env("FAKETIME", shift).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command.env("TZ", "Europe/Berlin").env("PGTZ", "Europe/Berlin");
    command
}

/// Another worker in place of the one before.
async fn instead(before: Option<Child>, mut worker: Command) -> Child {
    if let Some(mut before) = before {
        before.kill().await.expect("a worker that dies");
    }
    worker.spawn().expect("a worker")
}

async fn of<T>(app: &App, sql: &'static str, id: uuid::Uuid) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::query_scalar(sql).bind(id).fetch_one(&app.db).await.unwrap()
}

/// N14, N15: two hours fast it takes nothing that is due in an hour, two hours slow it takes what was due a minute ago. (In such a time a
/// store refuses it, so the bytes are taken by one whose clock is right.)
#[tokio::test(flavor = "multi_thread")]
async fn n14_n15_k23_a_worker_whose_own_clock_is_two_hours_off_takes_nothing_earlier_and_nothing_later() {
    let Some(library) = libfaketime() else {
        println!("left out: libfaketime is not installed (Debian: apt-get install faketime)");
        return;
    };
    let app = App::spawn().await;
    let (ann, bob) = (app.person("koselfie").await, app.person("haloprofile").await);
    let (_, of_ann) = app.uploads(&ann, 1).await;
    let (_, of_bob) = app.uploads(&bob, 1).await;
    let clock = "select array[uploaded_at, delete_after] from safelight.artifacts where id = $1";
    let [uploaded, due] = of::<Vec<DateTime<Utc>>>(&app, clock, of_ann[0].uuid()).await[..] else { panic!("two") };
    assert_eq!(due, uploaded + Duration::hours(720));

    // A month is one of the database's, too, whatever time the process believes in.
    let asked = ["case", "open", "koselfie", "access", "--received", "2025-01-31T10:00:00Z", "--by", "ops_1"];
    let opened = astray(&app, &library, "+2h", &asked).output().await.unwrap();
    assert!(opened.status.success(), "{opened:?}");
    let answer: DateTime<Utc> =
        sqlx::query_scalar("select answer_due from safelight.cases").fetch_one(&app.db).await.unwrap();
    assert_eq!(answer.to_rfc3339(), "2025-02-28T10:00:00+00:00");

    let now: DateTime<Utc> = sqlx::query_scalar("select safelight.now()").fetch_one(&app.db).await.unwrap();
    app.turn_clock(due - now - Duration::hours(1)).await;
    let worker = instead(None, astray(&app, &library, "+2h", &["worker"])).await;
    let mut tx = app.tx().await;
    tx.enqueue(&SweepDeletions { because: "in an hour".to_owned() }).await.unwrap();
    sqlx::query(
        "update safelight.jobs set state = 3, run_at = safelight.now() + interval '1 hour' where kind = 'sweep_deletions'",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    app.enqueues(&SweepRetention { because: "an hour before".to_owned() }).await;
    let swept = "select count(*) from safelight.sweeps where kind = 'retention'";
    until(&app.db, swept, 1).await;
    let readable = "select safelight.readable(a) from safelight.artifacts a where id = $1";
    assert!(of::<bool>(&app, readable, of_ann[0].uuid()).await, "two hours fast, and nothing is taken an hour early");
    assert_eq!(app.count("select count(*) from safelight.deletions").await, 0);
    let waits = "select count(*) from safelight.jobs where kind = 'sweep_deletions' and state = 3 and attempt = 0";
    assert_eq!(app.count(waits).await, 1, "nor is a job begun an hour early");

    app.turn_clock(Duration::minutes(61)).await;
    let worker = instead(Some(worker), astray(&app, &library, "-2h", &["worker"])).await;
    app.enqueues(&SweepRetention { because: "a minute after".to_owned() }).await;
    until(&app.db, swept, 2).await;
    until(&app.db, "select count(*) from safelight.deletions where trigger = 'retention'", 1).await;
    assert!(!of::<bool>(&app, readable, of_ann[0].uuid()).await, "two hours slow, and nothing is served a minute late");
    let taken = "select count(*) from safelight.jobs_archive where kind = 'sweep_deletions' and outcome = 'done'";
    until(&app.db, taken, 1).await;

    let _right = instead(Some(worker), command(&["worker"], &environment(&app, &app.url))).await;
    app.turn_clock(Duration::minutes(20)).await;
    until(&app.db, "select count(*) from safelight.deletions where state = 'complete'", 1).await;
    until(&app.db, "select count(*) from safelight.artifacts where tenant = 'koselfie'", 0).await;
    assert!(
        of::<bool>(&app, readable, of_bob[0].uuid()).await,
        "31 days old beside it, and of a tenant without a term"
    );
}
