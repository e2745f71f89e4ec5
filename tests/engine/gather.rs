//! The gatherer: single wishes that are committed together answer as if each were alone.

use safelight_jobs::{
    job::Queue,
    queue::{Bell, EnqueueError, Gatherer},
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::app::App;

#[tokio::test(flavor = "multi_thread")]
async fn every_gathered_wish_is_one_durable_job_when_it_is_answered() {
    let app = App::spawn().await;
    let gatherer = Gatherer::start(app.db.clone(), Bell::default());
    let mut wishes = JoinSet::new();
    for producer in 0..16 {
        let (gatherer, db) = (gatherer.clone(), app.db.clone());
        wishes.spawn(async move {
            for i in 0..20 {
                let job =
                    gatherer.enqueue(Queue::Sweeps, "gathered", json!({ "i": producer * 100 + i })).await.unwrap();
                let stored =
                    sqlx::query_scalar::<_, serde_json::Value>("select payload from safelight.jobs where id = $1")
                        .bind(job.uuid())
                        .fetch_optional(&db)
                        .await
                        .unwrap();
                assert_eq!(stored, Some(json!({ "i": producer * 100 + i })), "answered before it was stored");
            }
        });
    }
    wishes.join_all().await;
    assert_eq!(app.count("select count(*) from safelight.jobs").await, 320);
    assert_eq!(app.count("select count(distinct payload) from safelight.jobs").await, 320);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_cannot_be_stored_fails_alone() {
    let app = App::spawn().await;
    let gatherer = Gatherer::start(app.db.clone(), Bell::default());
    let mut wishes = JoinSet::new();
    for i in 0..40 {
        let gatherer = gatherer.clone();
        // Postgres stores no NUL in JSON.
        let payload = if i == 7 { json!({ "i": "\u{0}" }) } else { json!({ "i": i }) };
        wishes.spawn(async move { (i, gatherer.enqueue(Queue::Sweeps, "gathered", payload).await) });
    }
    for (i, answer) in wishes.join_all().await {
        match i {
            7 => assert!(matches!(answer, Err(EnqueueError::Database(sqlx::Error::Database(_)))), "{answer:?}"),
            _ => drop(answer.unwrap()),
        }
    }
    assert_eq!(app.count("select count(*) from safelight.jobs").await, 39);
}
