//! A line keeps its connection for the next statement, and nobody waits because of it.

use std::time::Duration;

use safelight_jobs::db::{self, Line, Role};

use crate::app::App;

/// Which backend of Postgres carried a statement out.
async fn asked(line: &mut Line) -> i32 {
    let mut write = line.write().await.unwrap();
    let backend = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *write).await.unwrap();
    line.commit(write).await.unwrap();
    backend
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_keeps_its_connection_and_the_pools_last_one_goes_back() {
    let app = App::spawn().await;
    // One that has opened nothing yet: what comes back to a pool is there only a moment later.
    let pool = db::beside(&db::connect(&app.database_url, Role::Worker, 1).await.unwrap(), 2);
    let (mut one, mut other) = (Line::of(pool.clone()), Line::of(pool.clone()));
    let first = asked(&mut one).await;
    let second = asked(&mut other).await;
    assert_ne!(first, second, "the first line did not keep its connection");
    assert_eq!(asked(&mut one).await, first);
    let third = tokio::time::timeout(Duration::from_secs(5), pool.acquire()).await;
    assert!(third.is_ok_and(|third| third.is_ok()), "both lines keep a connection, and nobody else has one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_was_cut_takes_its_connection_with_it() {
    let app = App::spawn().await;
    let pool = db::connect(&app.database_url, Role::Worker, 1).await.unwrap();
    let mut line = Line::of(pool);
    let first = asked(&mut line).await;
    let mut write = line.write().await.unwrap();
    let asleep = sqlx::query("select pg_sleep(600)").execute(&mut *write);
    assert!(tokio::time::timeout(Duration::from_millis(50), asleep).await.is_err());
    drop(write);
    assert_ne!(asked(&mut line).await, first, "the next statement waits behind the one that sleeps");
}
