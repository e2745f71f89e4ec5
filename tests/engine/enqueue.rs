//! Enqueue and verdicts: one wish is one job, a conflict is an answer, delays are stored, nothing unreadable is lost.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use safelight_jobs::{
    confirm_payment::ConfirmPayment,
    db,
    expire_consents::ExpireConsents,
    id::Id,
    job::{Job, Queue},
    queue::{self, EnqueueError, Outcome, Verdict, Wish},
    reconcile_calls::ReconcileCalls,
    run::Tx,
};
use safelight_sandbox::Fault;
use tokio::sync::Barrier;

use crate::{
    app::App,
    pools::{Pools, quick, until},
};

fn look(because: &str) -> ExpireConsents {
    ExpireConsents { because: because.to_owned() }
}

async fn done(app: &App) {
    let lease = app.claims().await.lease;
    assert_eq!(queue::settle(&app.worker, &[Outcome { lease, verdict: Verdict::Done }]).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_wish_is_the_same_job() {
    let app = App::spawn().await;
    let mut tx = app.tx().await;
    let first = tx.enqueue(&look("twice")).await.unwrap();
    let again = tx.enqueue(&look("twice")).await.unwrap();
    let several = queue::enqueue_all(&mut tx, &[look("twice"), look("once"), look("once")]).await.unwrap();
    let several: Vec<_> = several.into_iter().map(Result::unwrap).collect();
    tx.commit().await.unwrap();
    assert!(!first.already && again.already);
    assert_eq!(first.id, again.id);
    assert_eq!(several.iter().map(|wish| wish.already).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(several[0].id, first.id);
    assert_eq!(several[1].id, several[2].id);
    assert_eq!(app.count("select count(*) from safelight.jobs").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_payload_under_the_same_key_is_a_conflict_and_the_transaction_goes_on() {
    let app = App::spawn().await;
    let mut tx = app.tx().await;
    tx.enqueue(&ReconcileCalls { because: "a".to_owned(), grace_seconds: None }).await.unwrap();
    let other = tx.enqueue(&ReconcileCalls { because: "a".to_owned(), grace_seconds: Some(5) }).await;
    assert!(matches!(&other, Err(EnqueueError::Conflict { key }) if key == "reconcile_calls:a"), "{other:?}");
    tx.enqueue(&look("the rest of the caller's work")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(app.count("select count(*) from safelight.jobs").await, 2);

    // From any language: an answer, and no id that could be taken for a job's.
    let mut tx = db::begin(&app.db).await.unwrap();
    let (job, already, conflict): (Option<uuid::Uuid>, bool, bool) = sqlx::query_as(
        "select * from safelight.enqueue('reconcile_calls', '{\"because\": \"b\"}', 'sweeps', 'reconcile_calls:a')",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    assert_eq!((job, already, conflict), (None, false, true));
    sqlx::query("select 1").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_outlives_its_job_for_thirty_days() {
    let app = App::spawn().await;
    let first = app.enqueues_work("a look").await;
    done(&app).await;
    assert_eq!(app.enqueues_work("a look").await, first, "finished a moment ago");
    app.turn_clock(chrono::Duration::hours(i64::from(queue::KEY_LIFETIME_HOURS)) - chrono::Duration::minutes(1)).await;
    assert_eq!(app.enqueues_work("a look").await, first, "a minute before its end");
    assert_eq!(app.count("select count(*) from safelight.jobs").await, 0);
    app.turn_clock(chrono::Duration::minutes(2)).await;
    assert_ne!(app.enqueues_work("a look").await, first, "a minute after");
    assert_eq!(app.count("select count(*) from safelight.jobs").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_wish_may_be_wished_again_at_once() {
    let app = App::spawn().await;
    let first = app.enqueues_work("a look").await;
    let mut tx = app.tx().await;
    assert!(queue::cancel(&mut tx, first, "asked_for").await.unwrap());
    tx.commit().await.unwrap();
    assert_ne!(app.enqueues_work("a look").await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_keeps_its_wish_until_it_is_redriven() {
    let app = App::spawn().await;
    let job = app.enqueues_work("a look").await;
    let lease = app.claims().await.lease;
    let verdict = Verdict::GiveUp { code: "no_use".to_owned() };
    queue::settle(&app.worker, &[Outcome { lease, verdict }]).await.unwrap();
    assert_eq!(app.enqueues_work("a look").await, job, "not granted twice");
    assert_eq!(app.count("select count(*) from safelight.jobs").await, 0);
    app.turn_clock(chrono::Duration::days(400)).await;
    assert_eq!(app.enqueues_work("a look").await, job, "however long it lies there");

    let mut tx = app.tx().await;
    assert!(queue::redrive(&mut tx, job.uuid()).await.unwrap());
    assert!(!queue::redrive(&mut tx, job.uuid()).await.unwrap(), "it rises once");
    tx.commit().await.unwrap();
    assert_eq!(app.run_due_jobs().await, ["expire_consents"]);
    assert_eq!(app.count("select count(*) from safelight.sweeps").await, 1);
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_clicks_at_once_are_one_job() {
    let app = Arc::new(App::spawn().await);
    let start = Arc::new(Barrier::new(16));
    let clicks: Vec<_> = (0..16)
        .map(|_| {
            let (app, start) = (app.clone(), start.clone());
            tokio::spawn(async move {
                start.wait().await;
                let mut tx = app.tx().await;
                let enqueued = tx.enqueue(&look("a click")).await.unwrap();
                tx.commit().await.unwrap();
                enqueued
            })
        })
        .collect();
    let mut answers = Vec::new();
    for click in clicks {
        answers.push(click.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|answer| !answer.already).count(), 1);
    assert!(answers.iter().all(|answer| answer.id == answers[0].id));
    assert_eq!(app.count("select count(*) from safelight.jobs").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_was_rolled_back_leaves_its_key_to_the_next() {
    let app = App::spawn().await;
    let mut gone = app.tx().await;
    let lost = gone.enqueue(&look("a look")).await.unwrap();
    drop(gone);
    let kept = app.enqueues_work("a look").await;
    assert_ne!(lost.id, kept);
    assert_eq!(app.run_due_jobs().await, ["expire_consents"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_version_cannot_read_is_parked_and_released() {
    let app = App::spawn().await;
    for (kind, payload) in [("of_the_future", "{}"), ("expire_consents", r#"{"because": 7}"#)] {
        sqlx::query("select safelight.enqueue($1, $2::jsonb, 'sweeps', $1)")
            .bind(kind)
            .bind(payload)
            .execute(&app.db)
            .await
            .unwrap();
    }
    app.run_due_jobs().await;
    let parked = "select kind, state, why, attempt from safelight.jobs order by kind";
    let rows: Vec<(String, i16, String, i32)> = sqlx::query_as(parked).fetch_all(&app.db).await.unwrap();
    assert_eq!(
        rows,
        [
            ("expire_consents".to_owned(), 2, "undecodable".to_owned(), 0),
            ("of_the_future".to_owned(), 2, "unknown_kind".to_owned(), 0)
        ]
    );
    // The version that reads it: here the payload is mended, there a deploy brings the kind.
    let job: uuid::Uuid = sqlx::query_scalar(
        "update safelight.jobs set payload = '{\"because\": \"mended\"}' where kind = 'expire_consents' returning id",
    )
    .fetch_one(&app.db)
    .await
    .unwrap();
    let mut tx = app.tx().await;
    assert!(queue::release(&mut tx, job.into()).await.unwrap());
    assert!(!queue::release(&mut tx, Id::new()).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(app.run_due_jobs().await, ["expire_consents"]);
    assert_eq!(app.count("select count(*) from safelight.sweeps where asked_by = 'mended'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_job_starts_at_its_time_and_a_small_priority_goes_first() {
    let app = App::spawn().await;
    let now: DateTime<Utc> = sqlx::query_scalar("select safelight.now()").fetch_one(&app.db).await.unwrap();
    let mut tx = app.tx().await;
    queue::enqueue_later(&mut tx, &look("later"), now + chrono::Duration::hours(2)).await.unwrap();
    for (because, priority) in [("normal", 0), ("idle", 5), ("urgent", -5)] {
        let mut wish = Wish::of(&look(because)).unwrap();
        wish.priority = priority;
        wish.enqueue(&mut tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    app.run_due_jobs().await;
    app.turn_clock(chrono::Duration::minutes(119)).await;
    assert_eq!(app.run_due_jobs().await, Vec::<String>::new(), "a minute early");
    app.turn_clock(chrono::Duration::minutes(2)).await;
    assert_eq!(app.run_due_jobs().await.len(), 1);
    let order: Vec<String> =
        sqlx::query_scalar("select asked_by from safelight.sweeps order by started_at, finished_at")
            .fetch_all(&app.db)
            .await
            .unwrap();
    assert_eq!(order, ["urgent", "normal", "idle", "later"]);
}

/// Seconds from the attempt to the next one, attempts spent, waits.
async fn comes_back(app: &App) -> (f64, i32, i32) {
    sqlx::query_as(
        "select extract(epoch from run_at - safelight.now())::float8, attempt, waits from safelight.jobs where state in (0, 3)",
    )
    .fetch_one(&app.db)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_stored_within_its_bounds_and_a_wait_spends_nothing() {
    let app = App::spawn().await;
    let (_ann, order) = app.pro_order().await;
    app.sandbox.stripe.set_webhook_url(None);
    let faults = app.sandbox.stripe.faults();
    let job = app.enqueues(&ConfirmPayment { order, event: "evt_1".to_owned() }).await;

    faults.once(Fault::TooManyRequests { retry_after_seconds: Some(900) });
    let claimed = app.claims_this(job).await.unwrap();
    safelight_worker::perform(&app.worker, &app.services, &claimed).await.unwrap();
    let (delay, attempts, waits) = comes_back(&app).await;
    assert!((890.0..=900.0).contains(&delay), "Retry-After: {delay}");
    assert_eq!((attempts, waits), (0, 1), "a wait spends nothing");

    for attempt in 1..=ConfirmPayment::RETRY.attempts {
        faults.always(Fault::ServerError { status: 503 });
        let claimed = app.claims_this(job).await.unwrap();
        safelight_worker::perform(&app.worker, &app.services, &claimed).await.unwrap();
        faults.clear();
        // This is about one job's attempts: nobody else's failures leave the provider alone.
        sqlx::query("delete from safelight.breakers").execute(&app.db).await.unwrap();
        if attempt < ConfirmPayment::RETRY.attempts {
            let (delay, attempts, waits) = comes_back(&app).await;
            let bound = ConfirmPayment::RETRY.first * 2_u32.pow(u32::try_from(attempt).unwrap() - 1);
            let bound = bound.min(ConfirmPayment::RETRY.most).as_secs_f64();
            assert!((-1.0..=bound).contains(&delay), "attempt {attempt}: {delay} of {bound}");
            assert_eq!((attempts, waits), (attempt, 1));
        }
    }
    let dead = app.dead_letters().await;
    assert_eq!((dead.len(), &dead[0][2]), (1, &"stripe_unreachable".into()), "{dead:?}");
    assert_eq!(app.count("select count(*) from safelight.job_attempts where verdict = 'retry'").await, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_jobs_run_once_each_in_four_pools() {
    let app = App::spawn().await;
    sqlx::query(
        "select safelight.enqueue('expire_consents', jsonb_build_object('because', 'look ' || n), 'sweeps', 'look ' || n)
        from generate_series(1, 2000) n",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let mut pools = Vec::new();
    for _ in 0..4 {
        let config = safelight_worker::config::WorkerConfig {
            queues: vec![Queue::Sweeps],
            lease: Duration::from_secs(30),
            ..quick()
        };
        pools.push(Pools::start(&app, config).await);
    }
    until(&app.db, "select count(*) from safelight.jobs", 0).await;
    assert_eq!(app.count("select count(*) from safelight.sweeps").await, 2000);
    assert_eq!(app.count("select count(distinct asked_by) from safelight.sweeps").await, 2000);
    assert_eq!(
        app.count("select count(*) from safelight.jobs_archive where outcome = 'done' and attempt = 0").await,
        2000
    );
    assert_eq!(app.count("select count(*) from safelight.job_attempts").await, 0);
    for pools in pools {
        pools.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_ups_belong_to_the_trace_of_the_job_that_wished_for_them() {
    let app = App::spawn().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (_ann, order) = app.pro_order().await;
    sqlx::query("update safelight.jobs set traceparent = $1").bind(trace).execute(&app.db).await.unwrap();
    let mut tx = Tx::begin(&app.worker, &app.bell()).await.unwrap().traced(Some(trace.to_owned()));
    tx.enqueue(&ConfirmPayment { order, event: "evt_1".to_owned() }).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        app.count("select count(*) from safelight.jobs where traceparent like '00-4bf92f3577b34da6a3ce929d0e0e4736-%'")
            .await,
        app.count("select count(*) from safelight.jobs").await
    );
    let claimed = app.dequeues(Queue::Payments).await;
    assert_eq!(claimed.traceparent.as_deref(), Some(trace));
}

/// An erasure takes a key away between the two looks of one bulk enqueue: nobody gets another item's job.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_each_gets_its_own_job_although_a_key_goes_meanwhile() {
    let app = App::spawn().await;
    let mut tx = app.tx().await;
    tx.enqueue(&look("b")).await.unwrap();
    tx.commit().await.unwrap();
    sqlx::raw_sql(
        "create function public.erases() returns trigger language plpgsql as $$ begin
            delete from safelight.job_keys where key = 'expire_consents:b'; return null; end $$;
        create trigger erases after insert on safelight.jobs for each statement execute function public.erases()",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let mut tx = app.tx().await;
    let answers = queue::enqueue_all(&mut tx, &[look("a"), look("b"), look("c"), look("d")]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(&answers[1], Err(EnqueueError::Conflict { key }) if key == "expire_consents:b"), "{answers:?}");
    for (item, key) in [(0, "expire_consents:a"), (2, "expire_consents:c"), (3, "expire_consents:d")] {
        let job = answers[item].as_ref().unwrap();
        let stored: String = app.of("select key from safelight.jobs where id = $1", job.id.uuid()).await;
        assert_eq!((stored.as_str(), job.already), (key, false));
    }
}
