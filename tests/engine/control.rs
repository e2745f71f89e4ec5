//! Control of the fleet: pauses, limits, rates, breakers, lanes, fair shares, ageing, and the answer to why a job waits.
//! Claim by claim on real Postgres.

use std::time::Duration;

use safelight_jobs::{
    db,
    id::Id,
    job::Queue,
    queue::{self, By, Change, Claimed, Filter, FleetError, Outcome, Scope, Verdict},
};

use crate::app::App;

pub const BY: By<'static> = By { actor: "a test", why: "to see what happens" };

/// Jobs of nobody in particular, straight into the table of wishes.
async fn stored(app: &App, kind: &str, queue: Queue, tenant: Option<&str>, number: i32, lane: Option<&str>) {
    sqlx::query("select safelight.enqueue($1, jsonb_build_object('n', n), $2, p_tenant => $3, p_lane => $5) from generate_series(1, $4) n")
        .bind(kind)
        .bind(queue.as_str())
        .bind(tenant)
        .bind(number)
        .bind(lane)
        .execute(&app.db)
        .await
        .unwrap();
}

pub async fn claims(app: &App, queue: Queue, batch: i32) -> Vec<Claimed> {
    queue::claim(&app.worker, queue, "a worker", batch, 60.0).await.unwrap()
}

pub async fn ends(app: &App, jobs: &[Claimed]) {
    let done: Vec<Outcome> = jobs.iter().map(|job| Outcome { lease: job.lease, verdict: Verdict::Done }).collect();
    assert_eq!(queue::settle(&app.worker, &done).await.unwrap(), jobs.len() as u64);
}

async fn sets(app: &App, scope: Scope, name: &str, change: Change) {
    let mut tx = db::begin(&app.db).await.unwrap();
    queue::change(&mut tx, scope, name, change, BY).await.unwrap();
    tx.commit().await.unwrap();
}

async fn pauses(app: &App, scope: Scope, name: &str, paused: bool) {
    sets(app, scope, name, Change { paused: Some(paused), ..Change::default() }).await;
}

async fn why(app: &App, job: uuid::Uuid) -> String {
    queue::explain(&app.worker, Id::from(job), None).await.unwrap().expect("a job").code
}

async fn a_job(app: &App, state: i16) -> uuid::Uuid {
    sqlx::query_scalar("select id from safelight.jobs where state = $1 limit 1")
        .bind(state)
        .fetch_one(&app.db)
        .await
        .unwrap()
}

fn of<'a>(jobs: &'a [Claimed], tenant: &str) -> Vec<&'a Claimed> {
    jobs.iter().filter(|job| job.tenant.as_deref() == Some(tenant)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_queue_kind_tenant_or_provider_starts_nothing_and_goes_on_when_it_is_resumed() {
    let app = App::spawn().await;
    stored(&app, "train_model", Queue::Training, Some("koselfie"), 3, None).await;
    stored(&app, "train_model", Queue::Training, Some("haloprofile"), 2, None).await;
    for (scope, name, code) in [
        (Scope::Queue, "training", "queue_paused"),
        (Scope::Kind, "train_model", "kind_paused"),
        (Scope::Provider, "fal", "provider_paused"),
    ] {
        pauses(&app, scope, name, true).await;
        assert!(claims(&app, Queue::Training, 10).await.is_empty(), "{name} is paused");
        let job = sqlx::query_scalar("select id from safelight.jobs limit 1").fetch_one(&app.db).await.unwrap();
        assert_eq!(why(&app, job).await, code);
        pauses(&app, scope, name, false).await;
        let started = claims(&app, Queue::Training, 10).await;
        assert_eq!(started.len(), 5, "{name} is resumed: all of it goes on");
        assert!(started.iter().all(|job| job.attempt == 0), "waiting has spent nothing");
        let leases: Vec<_> = started.iter().map(|job| job.lease).collect();
        assert_eq!(queue::give_back(&app.worker, &leases).await.unwrap(), 5);
    }
    pauses(&app, Scope::Tenant, "koselfie", true).await;
    let started = claims(&app, Queue::Training, 10).await;
    assert_eq!((started.len(), of(&started, "haloprofile").len()), (2, 2), "the other tenant goes on");
    assert_eq!(why(&app, a_job(&app, 0).await).await, "tenant_paused");
    pauses(&app, Scope::Tenant, "koselfie", false).await;
    assert_eq!(claims(&app, Queue::Training, 10).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_for_what_does_not_exist_is_refused_and_says_what_there_is() {
    let app = App::spawn().await;
    let mut tx = db::begin(&app.db).await.unwrap();
    let pause = Change { paused: Some(true), ..Change::default() };
    let refused = queue::change(&mut tx, Scope::Queue, "trainings", pause, BY).await;
    assert!(matches!(&refused, Err(FleetError::Unknown { known, .. }) if known.contains("training")), "{refused:?}");
    let rate = Change { rate: Some(Some((5.0, 5))), ..Change::default() };
    assert!(matches!(queue::change(&mut tx, Scope::Queue, "training", rate, BY).await, Err(FleetError::Impossible(_))));
    let none = Change { most: Some(Some(0)), ..Change::default() };
    assert!(matches!(queue::change(&mut tx, Scope::Queue, "training", none, BY).await, Err(FleetError::Impossible(_))));
    tx.commit().await.unwrap();
    assert_eq!(app.count("select count(*) from safelight.controls").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_for_the_whole_fleet_whoever_claims() {
    let app = App::spawn().await;
    stored(&app, "train_model", Queue::Training, Some("koselfie"), 20, None).await;
    for (scope, name, code) in [
        (Scope::Queue, "training", "queue_full"),
        (Scope::Kind, "train_model", "kind_full"),
        (Scope::Tenant, "koselfie", "tenant_full"),
        (Scope::Provider, "fal", "provider_full"),
    ] {
        sets(&app, scope, name, Change { most: Some(Some(3)), ..Change::default() }).await;
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let pool = app.worker.clone();
                tokio::spawn(async move { queue::claim(&pool, Queue::Training, "one of many", 2, 60.0).await.unwrap() })
            })
            .collect();
        let mut running = Vec::new();
        for task in tasks {
            running.extend(task.await.unwrap());
        }
        assert_eq!(running.len(), 3, "{name}: three at once, not one more");
        let waits: uuid::Uuid =
            sqlx::query_scalar("select id from safelight.jobs where state in (0, 4) order by state desc limit 1")
                .fetch_one(&app.db)
                .await
                .unwrap();
        assert_eq!(why(&app, waits).await, code);
        ends(&app, &running[..1]).await;
        assert_eq!(claims(&app, Queue::Training, 10).await.len(), 1, "{name}: one left, one comes");
        sqlx::query("update safelight.jobs set state = 0, lease_token = null, lease_until = null, why = null where state in (1, 4)")
            .execute(&app.db)
            .await
            .unwrap();
        sets(&app, scope, name, Change { most: Some(None), ..Change::default() }).await;
    }
    assert_eq!(claims(&app, Queue::Training, 30).await.len(), 16, "without limits all that is left starts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_rate_is_one_bucket_for_all_processes() {
    let app = App::spawn().await;
    stored(&app, "train_model", Queue::Training, None, 50, None).await;
    stored(&app, "collect_image", Queue::Generation, None, 50, None).await;
    sets(&app, Scope::Provider, "fal", Change { rate: Some(Some((2.0, 6))), ..Change::default() }).await;
    // A clock that stands: the bucket is what it is.
    let begun: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select safelight.now()").fetch_one(&app.db).await.unwrap();
    let first = claims(&app, Queue::Training, 4).await.len() + claims(&app, Queue::Generation, 50).await.len();
    let after: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select safelight.now()").fetch_one(&app.db).await.unwrap();
    let most = 6 + ((after - begun).as_seconds_f64() * 2.0).ceil() as usize;
    assert!((6..=most).contains(&first), "a burst of six over both queues, and what time added: {first} of {most}");
    assert_eq!(why(&app, a_job(&app, 4).await).await, "provider_rate");
    app.turn_clock(chrono::Duration::seconds(2)).await;
    let more = claims(&app, Queue::Training, 50).await.len();
    assert!((4..=7).contains(&more), "two seconds are four tokens, never more than the burst: {more}");
    app.turn_clock(chrono::Duration::hours(1)).await;
    let running = claims(&app, Queue::Generation, 50).await;
    assert_eq!(running.len(), 6, "an hour fills the bucket once");

    // A number beside the rate: while so many run, that is why the others wait, however full the bucket is.
    sets(&app, Scope::Provider, "fal", Change { most: Some(Some(3)), ..Change::default() }).await;
    app.turn_clock(chrono::Duration::hours(1)).await;
    assert!(claims(&app, Queue::Generation, 50).await.is_empty());
    let waits = a_job(&app, 4).await;
    assert_eq!(why(&app, waits).await, "provider_full");
    sets(&app, Scope::Provider, "fal", Change { most: Some(Some(1000)), ..Change::default() }).await;
    assert_eq!(why(&app, waits).await, "provider_rate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_in_trouble_is_left_alone_spends_no_attempts_and_one_job_looks_again() {
    let app = App::spawn().await;
    stored(&app, "train_model", Queue::Training, None, 30, None).await;
    let trouble = |job: &Claimed| Outcome {
        lease: job.lease,
        verdict: Verdict::Trouble {
            provider: "fal",
            delay: Duration::from_secs(1),
            code: "fal_unreachable".to_owned(),
        },
    };
    let failing = claims(&app, Queue::Training, 8).await;
    for job in &failing[..5] {
        queue::settle(&app.worker, &[trouble(job)]).await.unwrap();
    }
    assert!(claims(&app, Queue::Training, 30).await.is_empty(), "five failures in a row: nobody asks any more");
    assert_eq!(why(&app, a_job(&app, 4).await).await, "provider_in_trouble");
    // What was under way fails too, and is not its fault.
    for job in &failing[5..] {
        queue::settle(&app.worker, &[trouble(job)]).await.unwrap();
    }
    assert_eq!(
        app.count("select count(*) from safelight.jobs where attempt = 1").await,
        4,
        "the fifth opened it: it waits"
    );
    assert_eq!(app.count("select count(*) from safelight.jobs where attempt = 0 and waits = 1").await, 4);

    app.turn_clock(chrono::Duration::seconds(31)).await;
    let probe = claims(&app, Queue::Training, 30).await;
    assert_eq!(probe.len(), 1, "one looks");
    assert!(claims(&app, Queue::Training, 30).await.is_empty(), "and only one");
    queue::settle(&app.worker, &[trouble(&probe[0])]).await.unwrap();
    app.turn_clock(chrono::Duration::seconds(31)).await;
    assert!(claims(&app, Queue::Training, 30).await.is_empty(), "the second pause is longer");
    app.turn_clock(chrono::Duration::seconds(31)).await;
    let probe = claims(&app, Queue::Training, 30).await;
    assert_eq!(probe.len(), 1);
    ends(&app, &probe).await;
    queue::provider_is_well(&app.worker, &["fal"]).await.unwrap();
    assert_eq!(claims(&app, Queue::Training, 40).await.len(), 29, "it is well: everything goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_one_lane_run_one_after_the_other_and_others_beside_them() {
    let app = App::spawn().await;
    sqlx::query("update safelight.job_kinds set lane_most = 1 where kind = 'train_model'")
        .execute(&app.db)
        .await
        .unwrap();
    stored(&app, "train_model", Queue::Training, None, 4, Some("ann")).await;
    stored(&app, "train_model", Queue::Training, None, 2, Some("ben")).await;
    let mut lanes = Vec::new();
    for _ in 0..4 {
        let running = claims(&app, Queue::Training, 10).await;
        assert!(claims(&app, Queue::Training, 10).await.is_empty(), "each lane has one that runs");
        if lanes.is_empty() {
            assert_eq!(why(&app, a_job(&app, 4).await).await, "lane_full");
        }
        lanes.push(running.len());
        ends(&app, &running).await;
    }
    assert_eq!(lanes, [2, 2, 1, 1]);
    assert_eq!(app.count("select count(*) from safelight.jobs").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_is_free_again_however_its_job_leaves_it() {
    let app = App::spawn().await;
    sqlx::query("update safelight.job_kinds set lane_most = 1 where kind = 'train_model'")
        .execute(&app.db)
        .await
        .unwrap();
    stored(&app, "train_model", Queue::Training, None, 6, Some("ann")).await;
    let next = async || claims(&app, Queue::Training, 10).await.pop().expect("the lane is free");
    let first = next().await;
    let mut tx = db::begin(&app.db).await.unwrap();
    assert!(queue::cancel(&mut tx, first.lease.job, "asked_for").await.unwrap());
    tx.commit().await.unwrap();
    let held = next().await;
    let mut tx = db::begin(&app.db).await.unwrap();
    assert!(queue::hold(&mut tx, held.lease.job, "asked_for").await.unwrap());
    tx.commit().await.unwrap();
    let waits = next().await;
    let verdict = Verdict::Wait { delay: Duration::from_secs(900), why: "early: a test".to_owned() };
    queue::settle(&app.worker, &[Outcome { lease: waits.lease, verdict }]).await.unwrap();
    let dies = next().await;
    queue::settle(
        &app.worker,
        &[Outcome { lease: dies.lease, verdict: Verdict::GiveUp { code: "no_use".to_owned() } }],
    )
    .await
    .unwrap();
    let crashes = next().await;
    app.leases_run_out().await;
    assert_eq!(queue::rescue(&app.worker, 3).await.unwrap(), 1);
    let again = next().await;
    assert_ne!(crashes.lease.token, again.lease.token);
    // Set aside in the very moment in which the lane was left: nobody told it.
    sqlx::query("delete from safelight.jobs where state = 1").execute(&app.db).await.unwrap();
    sqlx::query("update safelight.jobs set state = 4, why = 'lane:ann' where state = 0")
        .execute(&app.db)
        .await
        .unwrap();
    assert_eq!(queue::open_lanes(&app.worker).await.unwrap(), 1, "a rescuer looks after it");
    next().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_10_one_tenant_cannot_starve_another() {
    let app = App::spawn().await;
    sqlx::query(
        "select count(*) from safelight.enqueue_many('train_model', array(select '{}'::jsonb from generate_series(1, 100000)), 'training',
            p_tenants => array(select 'koselfie' from generate_series(1, 100000)))",
    )
    .execute(&app.db)
    .await
    .unwrap();
    // The whole fleet is busy with the one that came first.
    let busy = claims(&app, Queue::Training, 8).await;
    assert_eq!(of(&busy, "koselfie").len(), 8);
    stored(&app, "train_model", Queue::Training, Some("haloprofile"), 3, None).await;
    // The next place is the other's, and so is every second one, as long as it has work.
    let mut next = Vec::new();
    for job in &busy[..6] {
        ends(&app, std::slice::from_ref(job)).await;
        next.extend(claims(&app, Queue::Training, 1).await);
    }
    assert_eq!(
        next[0].tenant.as_deref(),
        Some("haloprofile"),
        "it waits for one place, not for a hundred thousand jobs"
    );
    assert_eq!(of(&next, "haloprofile").len(), 3, "{:?}", next.iter().map(|job| &job.tenant).collect::<Vec<_>>());
    // With many places at once both have half of them.
    stored(&app, "train_model", Queue::Training, Some("haloprofile"), 50, None).await;
    let many = claims(&app, Queue::Training, 40).await;
    assert!((20..=24).contains(&of(&many, "haloprofile").len()), "{} of 40", of(&many, "haloprofile").len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_less_urgent_job_is_overtaken_for_some_minutes_and_not_for_ever() {
    let app = App::spawn().await;
    let wish = async |priority: i16, name: &str| {
        sqlx::query(
            "select safelight.enqueue('expire_consents', jsonb_build_object('because', $2::text), p_priority => $1)",
        )
        .bind(priority)
        .bind(name)
        .execute(&app.db)
        .await
        .unwrap();
    };
    let next = async || {
        let job = claims(&app, Queue::Sweeps, 1).await.pop().expect("a job");
        ends(&app, std::slice::from_ref(&job)).await;
        job.payload["because"].as_str().unwrap_or_default().to_owned()
    };
    wish(5, "not urgent").await;
    wish(0, "usual").await;
    wish(-5, "urgent").await;
    assert_eq!([next().await, next().await], ["urgent", "usual"]);
    // More urgent work comes all the time.
    let mut seen = Vec::new();
    for minute in 1..=8 {
        app.turn_clock(chrono::Duration::minutes(1)).await;
        wish(0, "usual").await;
        seen.push(next().await);
        if seen.last().is_some_and(|name| name == "not urgent") {
            assert_eq!(minute, 5, "five steps of priority are worth five minutes: {seen:?}");
            return;
        }
    }
    panic!("it never ran: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_is_it_waiting_is_answered_for_every_state() {
    let app = App::spawn().await;
    let job = app.enqueues_work("a look").await;
    assert_eq!(why(&app, job.uuid()).await, "no_worker");
    queue::register_worker(&app.worker, "w", "h", &Queue::ALL).await.unwrap();
    assert_eq!(why(&app, job.uuid()).await, "in_line");
    let mut tx = db::begin(&app.db).await.unwrap();
    assert!(queue::hold(&mut tx, job, "on_request").await.unwrap());
    assert!(!queue::hold(&mut tx, job, "on_request").await.unwrap(), "it is held already");
    tx.commit().await.unwrap();
    assert!(claims(&app, Queue::Sweeps, 1).await.is_empty());
    assert_eq!(why(&app, job.uuid()).await, "on_request");
    let mut tx = db::begin(&app.db).await.unwrap();
    assert!(queue::release(&mut tx, job).await.unwrap());
    tx.commit().await.unwrap();
    let claimed = claims(&app, Queue::Sweeps, 1).await.pop().unwrap();
    assert_eq!(why(&app, job.uuid()).await, "running");
    let verdict = Verdict::Wait { delay: Duration::from_secs(60), why: "early: a test".to_owned() };
    queue::settle(&app.worker, &[Outcome { lease: claimed.lease, verdict }]).await.unwrap();
    assert_eq!(why(&app, job.uuid()).await, "early: a test");
    app.turn_clock(chrono::Duration::minutes(2)).await;
    let claimed = claims(&app, Queue::Sweeps, 1).await.pop().unwrap();
    let verdict = Verdict::GiveUp { code: "no_use".to_owned() };
    queue::settle(&app.worker, &[Outcome { lease: claimed.lease, verdict }]).await.unwrap();
    assert_eq!(why(&app, job.uuid()).await, "no_use");
    let mut tx = db::begin(&app.db).await.unwrap();
    let all = Filter { kind: Some("expire_consents"), code: Some("no_use"), ..Filter::default() };
    assert_eq!(queue::redrive_all(&mut tx, all, 10).await.unwrap(), 1);
    tx.commit().await.unwrap();
    ends(&app, &claims(&app, Queue::Sweeps, 1).await).await;
    assert_eq!(queue::explain(&app.worker, job, None).await.unwrap().unwrap().state, "done");
    assert_eq!(queue::explain(&app.worker, Id::new(), None).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_paused_something_is_said_although_somebody_else_changed_its_limit_meanwhile() {
    let app = App::spawn().await;
    app.enqueues_looks(0, 1).await;
    let bob = queue::By { actor: "cli:bob", why: "their new limit" };
    pauses(&app, Scope::Queue, "sweeps", true).await;
    let mut tx = db::begin(&app.db).await.unwrap();
    queue::change(&mut tx, Scope::Queue, "sweeps", Change { most: Some(Some(7)), ..Change::default() }, bob)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let said = queue::explain(&app.worker, Id::from(a_job(&app, 0).await), None).await.unwrap().expect("a job");
    assert_eq!(said.detail, format!("sweeps is paused by {}: {}", BY.actor, BY.why));
    let controls = queue::controls(&app.db).await.unwrap();
    assert_eq!((controls[0].actor.as_str(), controls[0].most), (BY.actor, Some(7)));
    pauses(&app, Scope::Queue, "sweeps", false).await;
    sets(&app, Scope::Queue, "sweeps", Change { most: Some(Some(8)), ..Change::default() }).await;
    assert_eq!(app.count("select count(*) from safelight.controls where paused_by is not null").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_may_be_claimed_that_is_why_a_job_waits() {
    let app = App::spawn().await;
    app.enqueues_looks(0, 1).await;
    let job = a_job(&app, 0).await;
    assert_ne!(why(&app, job).await, "nothing_is_claimed");
    sqlx::query("update safelight.restore_gate set guarded = true, cleared_life = 'the one before'")
        .execute(&app.db)
        .await
        .unwrap();
    assert_eq!(why(&app, job).await, "nothing_is_claimed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_time_is_over_waits_for_what_another_that_is_due_waits_for() {
    let app = App::spawn().await;
    app.enqueues_looks(0, 1).await;
    let job = a_job(&app, 0).await;
    let waits =
        "update safelight.jobs set state = 3, why = 'fal_busy: too many requests', run_at = safelight.now() + $1";
    for (minutes, code) in [(5, "fal_busy: too many requests"), (-5, "no_worker")] {
        sqlx::query(waits)
            .bind(sqlx::postgres::types::PgInterval::try_from(chrono::Duration::minutes(minutes)).unwrap())
            .execute(&app.db)
            .await
            .unwrap();
        assert_eq!(why(&app, job).await, code);
    }
}
