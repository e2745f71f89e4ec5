//! What time does to the queue by itself: deadlines, schedules and the end of what is kept.

use std::time::Duration;

use safelight_jobs::{
    db,
    expire_consents::ExpireConsents,
    job::Queue,
    prune_history::PruneHistory,
    queue::{self, Outcome, Verdict, Wish},
    schedule::{self, CatchUp, Scheduled},
};

use crate::{
    app::App,
    control::{BY, claims, ends},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_job_that_is_tried_for_too_long() {
    let app = App::spawn().await;
    sqlx::query("update safelight.job_kinds set deadline_seconds = 3600 where kind = 'expire_consents'")
        .execute(&app.db)
        .await
        .unwrap();
    app.enqueues_work("a look").await;
    let claimed = claims(&app, Queue::Sweeps, 1).await.pop().unwrap();
    let late = Verdict::Retry { delay: Duration::from_secs(4000), code: "still_no".to_owned() };
    queue::settle(&app.worker, &[Outcome { lease: claimed.lease, verdict: late }]).await.unwrap();
    assert_eq!(app.dead_letters().await[0][2], "deadline_over", "its next attempt would be too late");

    app.enqueues_work("another look").await;
    app.turn_clock(chrono::Duration::hours(2)).await;
    app.run_due_jobs().await;
    assert_eq!(app.count("select count(*) from safelight.sweeps").await, 0, "found late, it is not run any more");
    assert_eq!(app.count("select count(*) from safelight.dead_letters where code = 'deadline_over'").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_goes_by_whole_partitions_when_its_days_are_over() {
    let app = App::spawn().await;
    let job = app.enqueues_work("a look").await;
    ends(&app, &claims(&app, Queue::Sweeps, 1).await).await;
    assert_eq!(app.count("select count(*) from safelight.jobs_archive_rest").await, 0, "there is a partition for it");
    let at = async |days: i64| {
        app.turn_clock(chrono::Duration::days(days)).await;
        queue::turn_archive(&app.worker).await.unwrap();
        app.count("select count(*) from safelight.jobs_archive").await
    };
    assert_eq!(at(20).await, 1, "kept for three weeks");
    assert_eq!(at(9).await, 0, "and gone within one more");
    assert_eq!(app.count("select count(*) from safelight.job_keys").await, 1, "its key answers for thirty days");
    app.turn_clock(chrono::Duration::days(2)).await;
    while queue::prune_history(&app.worker).await.unwrap() > 0 {}
    assert_eq!(app.count("select count(*) from safelight.job_keys").await, 0);
    assert_ne!(app.enqueues_work("a look").await, job);
}

/// The answers to requests hold ids of people, and are told to stay for a day.
#[tokio::test(flavor = "multi_thread")]
async fn answers_to_requests_go_after_a_day_although_no_other_request_comes() {
    let app = App::spawn().await;
    let remembers = "insert into safelight.idempotent_answers (token_id, key, request_sha256, status, body)
        select gen_random_uuid(), 'k' || n, sha256('r'), 200, '{}' from generate_series(1, 3) n";
    sqlx::query(remembers).execute(&app.db).await.unwrap();
    app.turn_clock(chrono::Duration::hours(23)).await;
    app.wants(&PruneHistory { because: "early".to_owned() }).await;
    app.run_due_jobs().await;
    assert_eq!(app.count("select count(*) from safelight.idempotent_answers").await, 3);
    app.turn_clock(chrono::Duration::hours(2)).await;
    app.wants(&PruneHistory { because: "late".to_owned() }).await;
    app.run_due_jobs().await;
    assert_eq!(app.count("select count(*) from safelight.idempotent_answers").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_is_one_job_over_any_number_of_processes_and_a_missed_one_is_made_up_for() {
    let app = App::spawn().await;
    let scheduled = |catch_up| Scheduled {
        name: "expire_consents",
        cron: "0 * * * * *",
        catch_up,
        wish: |because| Wish::of(&ExpireConsents { because }),
    };
    let ticks = async |catch_up| {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (pool, bell) = (app.worker.clone(), app.bell());
            tasks.spawn(async move { schedule::tick_one(&pool, &bell, &scheduled(catch_up)).await.unwrap() });
        }
        tasks.join_all().await.into_iter().sum::<usize>()
    };
    ticks(CatchUp::Once).await;
    let before = app.count("select count(*) from safelight.jobs").await;
    app.turn_clock(chrono::Duration::minutes(1)).await;
    assert_eq!(ticks(CatchUp::Once).await, 1, "eight processes, one tick, one job");
    app.turn_clock(chrono::Duration::minutes(30)).await;
    assert_eq!(ticks(CatchUp::Once).await, 1, "half an hour of outage is one look");
    app.turn_clock(chrono::Duration::minutes(30)).await;
    assert_eq!(ticks(CatchUp::Each).await, 30, "or one for each that was missed");
    assert_eq!(app.count("select count(*) from safelight.jobs").await, before + 32);

    let mut tx = db::begin(&app.db).await.unwrap();
    assert!(schedule::pause(&mut tx, "expire_consents", true, BY).await.unwrap());
    assert!(!schedule::pause(&mut tx, "expire_consent", true, BY).await.unwrap(), "there is none of that name");
    tx.commit().await.unwrap();
    app.turn_clock(chrono::Duration::minutes(5)).await;
    assert_eq!(ticks(CatchUp::Each).await, 0, "paused");
    let mut tx = db::begin(&app.db).await.unwrap();
    schedule::pause(&mut tx, "expire_consents", false, BY).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ticks(CatchUp::Each).await, 0, "what a pause left out is not made up for");
    app.turn_clock(chrono::Duration::minutes(1)).await;
    assert_eq!(ticks(CatchUp::Each).await, 1);
    assert_eq!(app.count("select count(*) from safelight.operator_acts where actor = 'a test'").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_whose_time_a_new_version_changed_is_shown_at_its_new_time() {
    let app = App::spawn().await;
    let looks = async |cron, catch_up| {
        let wish = |because| Wish::of(&ExpireConsents { because });
        let scheduled = Scheduled { name: "expire_consents", cron, catch_up, wish };
        schedule::tick_one(&app.worker, &app.bell(), &scheduled).await.unwrap();
        let row = schedule::list(&app.db).await.unwrap().into_iter().find(|row| row.name == "expire_consents").unwrap();
        (row.cron.clone(), row.catch_up.clone(), row.next().map(|at| at.format("%H:%M:%S").to_string()))
    };
    let shown = |cron: &str, catch_up: &str, at: &str| (cron.to_owned(), catch_up.to_owned(), Some(at.to_owned()));
    assert_eq!(looks("0 17 3 * * *", CatchUp::Once).await, shown("0 17 3 * * *", "once", "03:17:00"));
    let mut tx = db::begin(&app.db).await.unwrap();
    schedule::pause(&mut tx, "expire_consents", true, BY).await.unwrap();
    schedule::pause(&mut tx, "expire_consents", false, BY).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(looks("0 40 5 * * *", CatchUp::Each).await, shown("0 40 5 * * *", "each", "05:40:00"));
    let by = app.count("select count(*) from safelight.schedules where actor = 'a test'").await;
    assert_eq!(by, 1, "who paused and resumed it last is still known");
}
