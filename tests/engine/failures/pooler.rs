//! Behind a real PgBouncer in transaction mode, with two connections to the server for everybody: no statement may depend
//! on a session, because the next one meets another server.

use safelight_evidence::Signer;
use safelight_jobs::{
    db::{self, Address, Pooler, Role},
    sealer::{self, Sealer, Sign},
    sweep_retention::SweepRetention,
};
use safelight_sandbox::postgres::PgBouncer;
use safelight_worker::config::WorkerConfig;

use super::{CRASHED, Hands, LEFT, RUNNING, each_was_done_once, until_at_last, until_true};
use crate::{
    app::{App, postgres},
    pools::{Pools, quick, until},
    processes::{Fleet, ends, environment, is_sorry},
};

const SERVERS: u16 = 2;

/// A pooler before the app's database. `None` where `./dev test` said that there is none; elsewhere it must be there.
async fn pooler(app: &App) -> Option<(PgBouncer, String)> {
    if std::env::var_os("SAFELIGHT_WITHOUT_PGBOUNCER").is_some() {
        return None;
    }
    let pooler = PgBouncer::start(postgres().await, SERVERS).await.expect("PgBouncer");
    let url = pooler.url(app.database_url.rsplit('/').next().unwrap());
    Some((pooler, url))
}

fn pooled(url: &str) -> Address {
    Address::new(url, Pooler::Transaction)
}

/// More servers than it was allowed to take were never there.
async fn took_few_servers(app: &App) {
    let servers = app
        .count("select count(*) from pg_stat_activity where datname = current_database() and application_name like '% pooled'")
        .await;
    assert!((1..=i64::from(SERVERS)).contains(&servers), "{servers} connections came through the pooler");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_two_workers_drain_and_each_job_has_its_effect_once() {
    let app = App::spawn().await;
    let Some((_pooler, url)) = pooler(&app).await else { return };
    app.enqueues_looks(0, 60).await;
    let one = Pools::start_at(pooled(&url), &app, quick()).await;
    let other = Pools::start_at(pooled(&url), &app, quick()).await;
    until(&app.db, LEFT, 0).await;
    app.enqueues_looks(60, 80).await;
    until(&app.db, LEFT, 0).await;
    took_few_servers(&app).await;
    each_was_done_once(&app.db, 80).await;
    assert_eq!(app.count("select count(*) from safelight.job_attempts").await, 0);
    one.stop().await;
    other.stop().await;
    assert_eq!(app.count("select count(*) from safelight.workers").await, 0, "both have said good-bye");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_leases_of_long_jobs_are_kept_and_both_workers_work() {
    let app = App::spawn().await;
    let Some((_pooler, url)) = pooler(&app).await else { return };
    app.enqueues_looks(0, 8).await;
    let hands = Hands::default();
    let pool = db::connect(pooled(&url), Role::Worker, 4).await.unwrap();
    let config = || WorkerConfig { concurrency: 4, ..quick() };
    let one = Pools::start_with(pooled(&url), hands.of("one", pool.clone()), config()).await;
    let other = Pools::start_with(pooled(&url), hands.of("other", pool), config()).await;
    until(
        &app.db,
        "select count(*) from safelight.jobs where state = 1 and lease_until > started_at + interval '5 seconds'",
        8,
    )
    .await;
    assert_eq!(hands.took().iter().filter(|took| took.starts_with("one")).count(), 4, "{:?}", hands.took());
    hands.release();
    until(&app.db, LEFT, 0).await;
    each_was_done_once(&app.db, 8).await;
    assert_eq!(app.count(CRASHED).await, 0);
    assert_eq!(hands.took().len(), 8);
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_the_jobs_of_a_dead_worker_run_again() {
    let app = App::spawn().await;
    let Some((_pooler, url)) = pooler(&app).await else { return };
    app.enqueues_looks(0, 3).await;
    let hands = Hands::default();
    let pool = db::connect(pooled(&url), Role::Worker, 4).await.unwrap();
    let dies = Pools::start_with(pooled(&url), hands.of("dead", pool.clone()), quick()).await;
    until_true("three jobs begin", || hands.took().len() == 3).await;
    dies.die().await;
    assert_eq!(app.count(RUNNING).await, 3);
    hands.release();
    let lives = Pools::start_with(pooled(&url), hands.of("alive", pool), quick()).await;
    until(&app.db, LEFT, 0).await;
    each_was_done_once(&app.db, 3).await;
    assert_eq!(app.count(CRASHED).await, 3);
    lives.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_no_statement_meets_another_ones_answer() {
    let app = App::spawn().await;
    let Some((_pooler, url)) = pooler(&app).await else { return };
    let mut asking = tokio::task::JoinSet::new();
    for client in 0..8_i64 {
        let pool = db::connect(pooled(&url), Role::Worker, 2).await.unwrap();
        asking.spawn(async move {
            for number in 0..40_i64 {
                // As many shapes as questions, so that a name or a plan of another client would show.
                let sql = format!("select $1::bigint * {} + {client}", number + 1);
                let answer: i64 =
                    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(number).fetch_one(&pool).await.unwrap();
                assert_eq!(answer, number * (number + 1) + client);
                let role: String = sqlx::query_scalar("select current_user::text").fetch_one(&pool).await.unwrap();
                assert_eq!(role, "safelight_worker");
            }
        });
    }
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    took_few_servers(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_the_queues_statements_have_their_settings_and_others_do_not() {
    let app = App::spawn().await;
    let Some((_pooler, url)) = pooler(&app).await else { return };
    let queue = db::connect_queue(pooled(&url), 2).await.unwrap();
    let jobs = db::connect(pooled(&url), Role::Worker, 2).await.unwrap();
    let setting = "select current_setting('enable_seqscan') || ' ' || current_setting('plan_cache_mode')";
    for _ in 0..10 {
        let mut tx = db::begin(&queue).await.unwrap();
        let told: String = sqlx::query_scalar(setting).fetch_one(&mut *tx).await.unwrap();
        assert_eq!(told, "off force_generic_plan");
        tx.commit().await.unwrap();
        let told: String = sqlx::query_scalar(setting).fetch_one(&jobs).await.unwrap();
        assert_eq!(told, "on auto");
    }
}

/// What is given the pool itself is committed by nobody: it is refused, not lost.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_a_write_whose_commit_nobody_waits_for_is_refused() {
    let app = App::spawn().await;
    let Some((_pooler, url)) = pooler(&app).await else { return };
    let pool = db::connect(pooled(&url), Role::Worker, 2).await.unwrap();
    let row = "insert into safelight.workers (name, host, pid, queues, version) values ('w', 'host', 1, '{}', '1')";
    let refused = sqlx::query(row).execute(&pool).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("25006"), "{refused}");
    let mut write = db::write(&pool).await.unwrap();
    sqlx::query(row).execute(&mut *write).await.unwrap();
    write.commit().await.unwrap();
    assert_eq!(app.count("select count(*) from safelight.workers").await, 1);
}

/// Intake, workers and commands as real processes: from payment to delivery, and a month later to the deletion.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_an_order_is_served_and_its_data_deleted() {
    let app = App::spawn().await;
    let Some((_pooler, url)) = pooler(&app).await else { return };
    let (_ann, order) = app.pro_order().await;
    let instead = [("DATABASE_URL", url), ("DATABASE_POOLER", "transaction".to_owned())];
    let fleet = Fleet::start_with(&app, &instead).await;
    app.pays(order).await;
    until_at_last(&app.db, "select count(*) from safelight.orders where state = 'delivered'", 1).await;
    until_at_last(&app.db, "select count(*) from safelight.provider_calls where purge <> 'purged'", 0).await;
    until_at_last(&app.db, "select count(*) from safelight.notices where sent_at is null", 0).await;
    assert_eq!((app.sandbox.fal.trainings(), app.sandbox.fal.generations()), (1, 12));
    assert_eq!(app.sandbox.resend.mails().len(), 1);
    took_few_servers(&app).await;

    app.turn_clock(chrono::Duration::hours(24 * 31)).await;
    let swept = ends(&["sweep", "retention"], &fleet.environment).await;
    assert!(swept.status.success(), "{swept:?}");
    until_at_last(&app.db, "select count(*) from safelight.artifacts", 0).await;
    until_at_last(&app.db, "select count(*) from safelight.deletions where state <> 'complete'", 0).await;
    assert_eq!(app.stored_keys(), Vec::<String>::new());
    assert!(app.dead_letters().await.is_empty(), "{:?}", app.dead_letters().await);
    assert_eq!(app.count("select count(*) from safelight.job_attempts where code = 'database'").await, 0);

    let made = ends(&["token", "create", "a backend", "--scopes", "read"], &fleet.environment).await;
    assert!(made.status.success(), "{made:?}");
    assert_eq!(app.count("select count(*) from safelight.tokens where name = 'a backend'").await, 1);
    is_sorry(&ends(&["migrate"], &fleet.environment).await, "not the pooler");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_of_pooler_that_is_not_known_is_told_in_a_sentence() {
    let app = App::spawn().await;
    let mut unknown = environment(&app, &app.url);
    unknown.push(("DATABASE_POOLER", "statement".to_owned()));
    let told = ends(&["worker"], &unknown).await;
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(!told.status.success() && text.contains("`statement` is no kind of pooler"), "{text}");
}

/// The checker over the raw tables is a process like any other.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_the_raw_tables_of_the_log_are_checked_too() {
    let app = App::spawn().await;
    let Some((_pooler, url)) = pooler(&app).await else { return };
    let log = Signer::new("photos.example/audit", &[9; 32]).unwrap();
    let sealer = Sealer::new(Signer::new("photos.example/audit", &[9; 32]).unwrap(), None, Vec::new()).unwrap();
    app.person("koselfie").await;
    sealer::pass(&db::connect_sealer(pooled(&url), 2).await.unwrap(), &sealer, Sign::Now).await.unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_safelight"))
        .args(["--log", "error", "audit", "verify", "--database", "--key", &log.verifier().to_string()])
        .env("DATABASE_URL", &url)
        .env("DATABASE_POOLER", "transaction")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(3), "nothing from outside, and nothing against it: {said}");
}
