//! A full disk, as the kernel tells it: the files of the tables that work ends in lead to `/dev/full`.

use std::path::PathBuf;

use super::{CRASHED, LEFT, each_was_done_once, steady, until_at_last};
use crate::{
    app::{App, postgres},
    pools::{Pools, until},
};

/// Effects, and the ends of jobs.
const FULL: [&str; 2] = ["safelight.sweeps", "safelight.jobs_archive"];

/// Gives the empty tables new files, each of which takes nothing.
async fn fills_up(app: &App, tables: &[&str]) {
    let mut tx = safelight_jobs::db::begin(&app.db).await.unwrap();
    for table in tables {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("truncate {table}"))).execute(&mut *tx).await.unwrap();
        let paths: Vec<String> = sqlx::query_scalar(
            "select pg_relation_filepath(relid) from (
                select relid from pg_partition_tree($1::text::regclass) union select $1::text::regclass) all_of_it
            where pg_relation_filepath(relid) is not null",
        )
        .bind(table)
        .fetch_all(&mut *tx)
        .await
        .unwrap();
        assert!(!paths.is_empty());
        for path in paths {
            let file: PathBuf = postgres().await.folder().join("data").join(path);
            std::fs::remove_file(&file).unwrap();
            std::os::unix::fs::symlink("/dev/full", &file).unwrap();
        }
    }
    tx.commit().await.unwrap();
}

async fn has_room_again(app: &App, tables: &[&str]) {
    for table in tables {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("truncate {table}"))).execute(&app.db).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_work_up_and_loses_none_of_it() {
    if !std::path::Path::new("/dev/full").exists() {
        eprintln!("left out: this system has no /dev/full");
        return;
    }
    let app = App::spawn().await;
    fills_up(&app, &FULL).await;
    let full =
        sqlx::query("insert into safelight.sweeps (id, kind, asked_by) values (gen_random_uuid(), 'consents', 'x')")
            .execute(&app.db)
            .await
            .unwrap_err();
    assert_eq!(full.as_database_error().unwrap().code().as_deref(), Some("53100"), "{full}");
    let one = Pools::start(&app, steady()).await;
    let other = Pools::start(&app, steady()).await;
    app.enqueues_looks(0, 20).await;
    // All have met the full disk, and wait for room.
    until(
        &app.db,
        "select count(distinct job_id) from safelight.job_attempts where verdict = 'wait' and code = 'database_away'",
        20,
    )
    .await;
    assert_eq!(app.count("select count(*) from safelight.jobs where attempt > 0 or crashes > 0").await, 0);
    has_room_again(&app, &FULL).await;
    until_at_last(&app.db, LEFT, 0).await;
    each_was_done_once(&app.db, 20).await;
    assert_eq!(app.count(CRASHED).await, 0);
    one.stop().await;
    other.stop().await;
}
