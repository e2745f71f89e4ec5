//! The rehearsal of a release: a database that is behind it, and one that is ahead of it because a release was taken back.

use safelight_jobs::{
    db::{self, Role},
    policy::Policy,
    policy_rows,
    sweep_retention::SweepRetention,
};
use sqlx::{
    PgPool,
    migrate::{Migration, Migrator},
};

use crate::{
    app::{self, App},
    pools::until,
    processes::{Fleet, command, ends, environment, is_sorry},
};

const SWEPT: &str = "select count(*) from safelight.jobs_archive where kind = 'sweep_retention' and outcome = 'done'";

/// A database with these migrations only, and its owner.
async fn laid(migrations: Vec<Migration>) -> (String, PgPool) {
    let name = format!("behind_{}", uuid::Uuid::new_v4().simple());
    let url = app::postgres().await.create_database(&name).await.unwrap();
    let owner = db::connect(&url, Role::Owner, 2).await.unwrap();
    Migrator::with_migrations(migrations).run(&owner).await.unwrap();
    for policy in Policy::bundled().unwrap() {
        policy_rows::install(&owner, &policy).await.unwrap();
    }
    (url, owner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_refuses_the_schema_before_it_and_goes_on_with_its_jobs_once_that_is_migrated() {
    let all: Vec<_> = db::MIGRATIONS.iter().cloned().collect();
    let (last, before) = all.split_last().unwrap();
    let (url, owner) = laid(before.to_vec()).await;
    // Enqueued under the version before, as a backend does it by SQL.
    let waits = "select safelight.enqueue('sweep_retention', '{\"because\": \"before the release\"}', 'sweeps')";
    sqlx::query(waits).execute(&owner).await.unwrap();

    let app = App::spawn_at(url, |_| {}).await;
    let environment = environment(&app, "http://127.0.0.1:0");
    let lacks = format!("the database lacks the migration {:04} {}", last.version, last.description);
    for process in ["api", "worker", "cron"] {
        is_sorry(&ends(&[process], &environment).await, &lacks);
    }
    assert_eq!(app.count("select count(*) from safelight.jobs where state in (0, 3) and attempt = 0").await, 1);

    let migrated = ends(&["migrate"], &environment).await;
    assert!(migrated.status.success(), "{migrated:?}");
    let mut worker = command(&["worker"], &environment).spawn().unwrap();
    until(&app.db, SWEPT, 1).await;
    worker.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_workers_could_not_look_into_yet_is_refused_and_takes_migrations_that_come_late() {
    // 0066 to 0069 came after higher numbers, up to 0084; what is newer builds on them.
    let then = db::MIGRATIONS.iter().filter(|known| known.version <= 84 && !(66..=69).contains(&known.version));
    let (url, _) = laid(then.cloned().collect()).await;
    let app = App::spawn_at(url, |_| {}).await;
    let environment = environment(&app, "http://127.0.0.1:0");
    is_sorry(&ends(&["api"], &environment).await, "the database lacks the migration 0066 operators by oidc");
    is_sorry(&ends(&["worker"], &environment).await, "the database lacks the migration 0069 schema is seen");
    let migrated = ends(&["migrate"], &environment).await;
    assert!(migrated.status.success(), "{migrated:?}");
    assert_eq!(db::lacks(&app.worker).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_was_taken_back_works_on_the_newer_schema() {
    let app = App::spawn().await;
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        values (9999, 'of a later version', true, '', 0)";
    sqlx::query(newer).execute(&app.db).await.unwrap();
    // As a host with a release phase does: it runs `migrate` of the older version first.
    let migrated = ends(&["migrate"], &environment(&app, &app.url)).await;
    assert!(migrated.status.success(), "{migrated:?}");
    let _fleet = Fleet::start(&app).await;
    app.enqueues(&SweepRetention { because: "after the step back".to_owned() }).await;
    until(&app.db, SWEPT, 1).await;
    assert_eq!(app.count("select count(*) from _sqlx_migrations where version = 9999").await, 1);
}
