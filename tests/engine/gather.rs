//! Many wishes in one commit, by the gatherer or in one statement: each is answered as if it were alone.

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

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answers_for_each_item_and_one_of_them_fails_no_other() {
    let app = App::spawn().await;
    let rows: Vec<(i32, Option<uuid::Uuid>, bool, bool)> = sqlx::query_as(
        r#"select item, job_id, already, conflict from safelight.enqueue_many('expire_consents',
            array['{"because":"a"}', '{"because":"b"}', '{"because":"a"}', '{"because":"other"}', '{"because":"c"}']::jsonb[],
            p_keys => array['a', 'b', 'a', 'a', null])"#,
    )
    .fetch_all(&app.db)
    .await
    .unwrap();
    let said: Vec<_> = rows.iter().map(|row| (row.0, row.2, row.3)).collect();
    assert_eq!(
        said,
        [(1, false, false), (2, false, false), (3, true, false), (4, false, true), (5, false, false)],
        "new, new, repeated, another payload, without a key"
    );
    assert_eq!(rows[0].1, rows[2].1);
    assert_eq!(rows[3].1, None);
    assert_eq!(app.count("select count(*) from safelight.jobs").await, 3);
    let again: Vec<bool> = sqlx::query_scalar(
        r#"select already from safelight.enqueue_many('expire_consents', array['{"because":"b"}', '{"because":"d"}']::jsonb[],
            p_keys => array['b', 'd'])"#,
    )
    .fetch_all(&app.db)
    .await
    .unwrap();
    assert_eq!(again, [true, false]);
    let short = sqlx::query(
        "select safelight.enqueue_many('expire_consents', array['{}']::jsonb[], p_keys => array['x', 'y'])",
    )
    .execute(&app.db)
    .await;
    assert!(short.is_err_and(|error| error.to_string().contains("one element a payload")));
    let unknown = sqlx::query("select safelight.enqueue('expire_consent', '{}')").execute(&app.db).await;
    assert!(unknown.is_err_and(|error| error.to_string().contains("no job is named expire_consent")));
}
