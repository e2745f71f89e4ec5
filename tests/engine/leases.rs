//! Leases: the right to write, and what happens when it is lost. On real Postgres, statement by statement.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use safelight_jobs::{
    db::{self, Role},
    job::Queue,
    queue::{self, Bell, Claimed, Lease, Outcome, Verdict},
    run::{Run, Tx},
    stop::Stop,
};

use crate::{
    app::{App, polled},
    pools::SOON,
};

fn attempt(app: &App, claimed: &Claimed) -> Run {
    Run::new("expire_consents", claimed, app.worker.clone(), Bell::default(), app.services.clone())
}

/// An attempt whose lease ran out while it slept, and whose job is run by somebody else by now.
async fn zombie(app: &App) -> (Claimed, Claimed) {
    app.enqueues_work("a look").await;
    let old = app.claims().await;
    app.leases_run_out().await;
    assert_eq!(queue::rescue(&app.worker, 3).await.unwrap(), 1);
    let new = app.claims().await;
    assert_eq!(old.lease.job, new.lease.job);
    assert_ne!(old.lease.token, new.lease.token);
    (old, new)
}

fn is_lost<T>(answer: Result<T, Stop>) -> bool {
    matches!(answer, Err(Stop::Retry { code: "lease_lost", .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_03_an_old_attempt_can_write_nothing() {
    let app = App::spawn().await;
    let (old, _) = zombie(&app).await;
    let run = attempt(&app, &old);
    let before = app.all_that_is_written().await;

    assert!(is_lost(run.begin().await), "a zombie is given a transaction");
    let answer: Result<u32, Stop> = run.step("a step", async { Ok(7) }).await;
    assert!(is_lost(answer), "a zombie records a step");
    // A transaction that began without asking for the lease: its end asks.
    let mut tx = Tx::begin(&app.worker, &Bell::default()).await.unwrap();
    run.note("sweep.retention", "looked").write(&mut tx).await.unwrap();
    assert!(is_lost(run.finish(tx).await), "a zombie finishes");

    let verdicts = [
        Verdict::Done,
        Verdict::Retry { delay: Duration::ZERO, code: "late".to_owned() },
        Verdict::Wait { delay: Duration::ZERO, why: "late".to_owned() },
        Verdict::GiveUp { code: "late".to_owned() },
        Verdict::Park { code: "late".to_owned() },
    ];
    for verdict in verdicts {
        let outcome = Outcome { lease: old.lease, verdict };
        assert_eq!(queue::settle(&app.worker, std::slice::from_ref(&outcome)).await.unwrap(), 0, "{outcome:?}");
    }
    assert_eq!(queue::give_back(&app.worker, &[old.lease]).await.unwrap(), 0);
    assert_eq!(queue::keep(&app.worker, &[old.lease], 60.0).await.unwrap().lost, [old.lease]);
    assert_eq!(app.all_that_is_written().await, before, "not even an audit entry");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_batch_takes_the_outcomes_whose_leases_hold_and_no_others() {
    let app = App::spawn().await;
    let (old, new) = zombie(&app).await;
    app.enqueues_work("another look").await;
    let other = app.claims().await;
    let verdict = |lease: Lease| Outcome { lease, verdict: Verdict::Done };
    let written = queue::settle(&app.worker, &[verdict(old.lease), verdict(other.lease)]).await.unwrap();
    assert_eq!(written, 1);
    assert_eq!(app.count("select count(*) from safelight.jobs_archive").await, 1);
    assert_eq!(queue::settle(&app.worker, &[verdict(new.lease)]).await.unwrap(), 1);
    assert_eq!(app.count("select count(*) from safelight.jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_leaves_alone_what_is_being_written() {
    let app = App::spawn().await;
    app.enqueues_work("a look").await;
    let claimed = app.claims().await;
    let run = attempt(&app, &claimed);
    app.leases_run_out().await;
    let mut tx = run.begin().await.unwrap();
    run.note("sweep.retention", "looked").write(&mut tx).await.unwrap();
    assert_eq!(queue::rescue(&app.worker, 3).await.unwrap(), 0, "the effects and the rescue exclude each other");
    let _done = run.finish(tx).await.unwrap();
    assert_eq!(queue::rescue(&app.worker, 3).await.unwrap(), 0);
    assert_eq!(app.count("select count(*) from safelight.jobs_archive where outcome = 'done'").await, 1);
    assert_eq!(app.count("select count(*) from safelight.audit_entries where action = 'sweep.retention'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_takes_a_locked_row_for_held_and_never_waits_for_it() {
    let app = App::spawn().await;
    app.enqueues_work("a look").await;
    let claimed = app.claims().await;
    let tx = attempt(&app, &claimed).begin().await.unwrap();
    let beat = tokio::time::timeout(Duration::from_secs(5), queue::keep(&app.worker, &[claimed.lease], 60.0)).await;
    assert!(beat.expect("the heartbeat waits for an attempt").unwrap().lost.is_empty());
    drop(tx);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_step_is_not_done_again_by_the_next_attempt() {
    let app = App::spawn().await;
    app.enqueues_work("a look").await;
    let done = AtomicU32::new(0);
    for _ in 0..2 {
        let claimed = app.claims().await;
        let run = attempt(&app, &claimed);
        let answer: u32 = run.step("count", async { Ok(done.fetch_add(1, Ordering::Relaxed) + 40) }).await.unwrap();
        assert_eq!(answer, 40);
        app.leases_run_out().await;
        queue::rescue(&app.worker, 9).await.unwrap();
    }
    assert_eq!(done.into_inner(), 1);
    let claimed = app.claims().await;
    queue::settle(&app.worker, &[Outcome { lease: claimed.lease, verdict: Verdict::Done }]).await.unwrap();
    assert_eq!(app.count("select count(*) from safelight.job_steps").await, 0, "answers go with their job");
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_05_a_poison_job_ends_in_the_dead_letters() {
    let app = App::spawn().await;
    let job = app.enqueues_work("poison").await;
    for crash in 1..=3 {
        assert_eq!(app.claims().await.attempt, 0, "a crash spends no attempt");
        app.leases_run_out().await;
        assert_eq!(queue::rescue(&app.worker, 3).await.unwrap(), 1, "crash {crash}");
    }
    assert!(queue::claim(&app.worker, Queue::Sweeps, "a worker", 1, 60.0).await.unwrap().is_empty());
    let (id, code, crashes): (uuid::Uuid, String, i16) =
        sqlx::query_as("select id, code, crashes from safelight.dead_letters").fetch_one(&app.db).await.unwrap();
    assert_eq!((id, code.as_str(), crashes), (job.uuid(), "crashed", 3));
    assert_eq!(app.count("select count(*) from safelight.job_attempts where verdict = 'crashed'").await, 3);
    assert_eq!(app.count("select count(*) from safelight.audit_entries where action = 'job.dead_letter'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_ends_forgives_the_crashes_before_it() {
    let app = App::spawn().await;
    app.enqueues_work("unlucky").await;
    for _ in 0..3 {
        for _ in 0..2 {
            app.claims().await;
            app.leases_run_out().await;
            queue::rescue(&app.worker, 3).await.unwrap();
        }
        let lease = app.claims().await.lease;
        let verdict = Verdict::Wait { delay: Duration::ZERO, why: "early".to_owned() };
        assert_eq!(queue::settle(&app.worker, &[Outcome { lease, verdict }]).await.unwrap(), 1);
    }
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0, "six crashes, never three in a row");
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_01_a_restart_under_the_same_name_strands_nothing() {
    let app = App::spawn().await;
    for number in 0..10 {
        app.enqueues_work(&format!("look {number}")).await;
    }
    let name = "the-same-name";
    queue::register_worker(&app.worker, name, "host", &Queue::ALL).await.unwrap();
    let before = queue::claim(&app.worker, Queue::Sweeps, name, 5, 60.0).await.unwrap();
    // It dies, and another process comes up under its name, works and beats for what it has.
    queue::register_worker(&app.worker, name, "host", &Queue::ALL).await.unwrap();
    let after = queue::claim(&app.worker, Queue::Sweeps, name, 5, 60.0).await.unwrap();
    app.leases_run_out().await;
    let own: Vec<Lease> = after.iter().map(|job| job.lease).collect();
    assert!(queue::keep(&app.worker, &own, 60.0).await.unwrap().lost.is_empty());
    assert_eq!(queue::rescue(&app.worker, 3).await.unwrap(), 5, "what the dead one held, and nothing else");
    let again = queue::claim(&app.worker, Queue::Sweeps, name, 10, 60.0).await.unwrap();
    let mut ids: Vec<_> = before.iter().map(|job| job.lease.job).collect();
    let mut found: Vec<_> = again.iter().map(|job| job.lease.job).collect();
    ids.sort();
    found.sort();
    assert_eq!(found, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_passes_by_what_somebody_holds_and_never_waits_for_it() {
    let app = App::spawn().await;
    let held = app.enqueues_work("held").await;
    let others = [app.enqueues_work("one").await, app.enqueues_work("other").await];
    let mut holder = db::begin(&app.db).await.unwrap();
    sqlx::query("select from safelight.jobs where id = $1 for update")
        .bind(held.uuid())
        .execute(&mut *holder)
        .await
        .unwrap();
    let claim = queue::claim(&app.worker, Queue::Sweeps, "a worker", 10, 60.0);
    let claimed = tokio::time::timeout(Duration::from_secs(20), claim).await.expect("a claim waits for a row").unwrap();
    assert!(claimed.iter().all(|job| others.contains(&job.lease.job)) && claimed.len() == 2, "{claimed:?}");
    holder.rollback().await.unwrap();
    assert_eq!(app.claims().await.lease.job, held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_given_back_is_ready_at_once_and_has_spent_nothing() {
    let app = App::spawn().await;
    app.enqueues_work("a look").await;
    let before = app.all_that_is_written().await;
    let claimed = app.claims().await;
    assert_eq!(queue::give_back(&app.worker, &[claimed.lease]).await.unwrap(), 1);
    assert_eq!(app.all_that_is_written().await, before, "as if nobody had claimed it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_was_lost_is_given_back_and_what_the_workers_other_claim_took_stays_with_it() {
    let app = App::spawn().await;
    app.enqueues_work("a look").await;
    app.enqueues_work("another look").await;
    let lost = app.claims().await;
    let heard_of = app.claims().await;
    assert_eq!(queue::disown(&app.worker, &[lost.lease.token]).await.unwrap(), 1);
    assert_eq!(queue::disown(&app.worker, &[lost.lease.token]).await.unwrap(), 0, "as often as one likes");
    let states: Vec<(uuid::Uuid, i16, i32, i16)> =
        sqlx::query_as("select id, state, attempt, crashes from safelight.jobs order by state")
            .fetch_all(&app.db)
            .await
            .unwrap();
    assert_eq!(states, [(lost.lease.job.uuid(), 0, 0, 0), (heard_of.lease.job.uuid(), 1, 0, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_cut_while_it_begins_leaves_no_transaction_open() {
    let app = App::spawn().await;
    let one = db::connect(&app.database_url, Role::Worker, 1).await.unwrap();
    for (number, polls) in (1..8).cycle().take(21).enumerate() {
        let bell = Bell::default();
        let mut begin = Box::pin(Tx::begin(&one, &bell));
        let _ = polled(&mut begin, polls).await;
        drop(begin);
        // What is written next, on the same connection, is there for everybody.
        sqlx::query(
            "insert into safelight.workers (name, host, pid, queues, version) values ($1, 'host', 1, '{}', '1')",
        )
        .bind(format!("worker {number}"))
        .execute(&one)
        .await
        .unwrap();
        assert_eq!(app.count("select count(*) from safelight.workers").await, number as i64 + 1, "cut at poll {polls}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_costs_a_healthy_attempt_no_lease() {
    let app = App::spawn().await;
    app.enqueues_work("a look").await;
    let claimed = app.claims().await;
    let run = attempt(&app, &claimed);
    // Nobody can extend the lease while the attempt itself has the row: it runs out meanwhile.
    app.leases_run_out().await;
    let mut tx = run.begin().await.unwrap();
    run.note("sweep.retention", "looked").write(&mut tx).await.unwrap();
    sqlx::query("select pg_sleep(1.1)").execute(&mut *tx).await.unwrap();
    assert!(queue::keep(&app.worker, &[claimed.lease], 60.0).await.unwrap().lost.is_empty());
    tx.commit().await.unwrap();
    assert_eq!(queue::rescue(&app.worker, 3).await.unwrap(), 0, "an attempt that is well is taken for dead");
    let tx = run.begin().await.unwrap();
    let _done = run.finish(tx).await.unwrap();
    assert_eq!(app.count("select count(*) from safelight.job_attempts").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_falls_asleep_in_its_transaction_does_not_keep_its_job() {
    let app = App::spawn().await;
    app.enqueues_work("a look").await;
    let claimed = app.claims().await;
    let run = attempt(&app, &claimed);
    app.leases_run_out().await;
    let mut tx = run.begin().await.unwrap();
    let limit = "select setting::bigint from pg_settings where name = 'idle_in_transaction_session_timeout'";
    let (milliseconds,): (i64,) = sqlx::query_as(limit).fetch_one(&mut *tx).await.unwrap();
    let lease = safelight_worker::config::WorkerConfig::default().lease;
    assert!((1..lease.as_millis().try_into().unwrap()).contains(&milliseconds), "{milliseconds} ms, then a rescue");
    // The same, in less time.
    sqlx::query("set local idle_in_transaction_session_timeout = 50").execute(&mut *tx).await.unwrap();
    let began = std::time::Instant::now();
    while queue::rescue(&app.worker, 3).await.unwrap() == 0 {
        assert!(began.elapsed() < SOON, "the sleeper has its row for ever");
        tokio::task::yield_now().await;
    }
    let new = app.claims().await;
    assert_eq!(new.lease.job, claimed.lease.job);
    assert!(run.finish(tx).await.is_err(), "it wakes, and its transaction is gone");
    assert_eq!(app.count("select count(*) from safelight.jobs where state = 1").await, 1);
}
