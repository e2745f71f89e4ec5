//! What every job promises, asked of each job of the one list: it may run twice, any moment may be its last, an old
//! attempt of it changes nothing, and behind a closed gate it calls nobody.

use std::{collections::BTreeSet, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use safelight_jobs::{
    expire_consents::ExpireConsents, job::Job, policy::Purpose, reconcile_calls::ReconcileCalls, registry,
    sweep_retention::SweepRetention,
};
use safelight_sandbox::Fault;

use crate::{
    app::{App, polled},
    situations::{Gate, Situation, situation},
};

/// Seconds; nothing here waits for a clock.
const LONG: Duration = Duration::from_secs(60);

/// Printed with every failure; `SAFELIGHT_SEED` repeats a run.
pub fn seed() -> u64 {
    std::env::var("SAFELIGHT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| rand::thread_rng().r#gen())
}

async fn bounded<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(LONG, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} does not end"),
    }
}

/// At once, and again when everything that followed is over.
async fn runs_twice(kind: &str) {
    let situation = Box::pin(situation(kind)).await;
    let (app, job) = (&situation.app, situation.job);
    let row = app.row(job).await.unwrap();
    app.runs_to_its_end(job).await;
    app.puts_back(&row).await;
    app.runs_to_its_end(job).await;
    settles_down(app).await;
    ends_well(kind, 0, &situation).await;

    let once = app.effects().await;
    app.puts_back(&row).await;
    app.runs_to_its_end(job).await;
    settles_down(app).await;
    pretty_eq(kind, &app.effects().await, &once);
    ends_well(kind, 0, &situation).await;
}

fn pretty_eq(kind: &str, now: &serde_json::Value, before: &serde_json::Value) {
    for (what, before) in before.as_object().unwrap() {
        assert_eq!(&now[what], before, "{kind}: `{what}` is not what it was");
    }
}

/// Attempts that end at a later point each, until one comes through.
async fn crashes_everywhere(kind: &str, seed: u64) {
    let situation = Box::pin(situation(kind)).await;
    let (app, job) = (&situation.app, situation.job);
    let mut dice = StdRng::seed_from_u64(seed);
    let (mut polls, mut crashes) = (1, 0);
    while let Some(claimed) = app.claims_this(job).await {
        let mut attempt = Box::pin(safelight_worker::perform(&app.worker, &app.services, &claimed));
        let ended = bounded(kind, polled(&mut attempt, polls)).await;
        drop(attempt);
        if ended.is_none() {
            crashes += 1;
            app.rescues().await;
        } else {
            app.sandbox.idle().await;
        }
        polls += 1 + dice.gen_range(0..=polls / 8);
        assert!(crashes < 400, "{kind}, seed {seed}: crashed {crashes} times and never came through");
    }
    assert!(crashes > 0, "{kind}: it ended at the first poll");
    settles_down(app).await;
    ends_well(kind, seed, &situation).await;
}

/// Let everything run, look for lost calls, and let run what was found.
async fn settles_down(app: &App) {
    app.run_due_jobs().await;
    for round in 0..2 {
        app.enqueues(&ReconcileCalls {
            because: format!("settle {round} {}", uuid::Uuid::new_v4().simple()),
            grace_seconds: Some(0),
        })
        .await;
        app.run_due_jobs().await;
    }
}

/// One training, one picture a position, one mail; delivered, unless nobody can know whether a request left.
async fn ends_well(kind: &str, seed: u64, situation: &Situation) {
    let (app, order) = (&situation.app, situation.order);
    let asked = format!("{kind}, seed {seed}");
    assert!(app.sandbox.fal.trainings() <= situation.trainings, "{asked}: trained twice");
    assert!(app.sandbox.fal.generations() <= situation.images, "{asked}: generated twice");
    assert!(app.sandbox.resend.mails().len() <= situation.mails.max(1), "{asked}: mailed twice");
    assert!(app.sandbox.stripe.refunds().len() <= 1, "{asked}: refunded twice");
    assert!(app.dead_letters().await.is_empty(), "{asked}: {:?}", app.dead_letters().await);
    let never_left =
        app.count("select count(*) from safelight.provider_calls where state = 'unknown' and request_id is null").await;
    let (state, problem) =
        sqlx::query_as::<_, (String, Option<String>)>("select state, problem from safelight.orders where id = $1")
            .bind(order.uuid())
            .fetch_optional(&app.db)
            .await
            .unwrap()
            .unwrap_or_else(|| ("gone".to_owned(), None));
    match kind {
        "expire_consents" | "close_checkout" => assert_eq!(state, "expired", "{asked}"),
        "delete_data" => {
            assert_eq!(state, "gone", "{asked}");
            assert_eq!(
                app.count("select count(*) from safelight.deletions where state = 'complete' and trigger = 'erasure'")
                    .await,
                1
            );
            assert_eq!(
                app.count("select count(*) from safelight.audit_entries where action = 'deletion.object'").await,
                app.count("select sum(planned) from safelight.deletion_steps where processor = 'supabase' and class <> 'account'")
                    .await,
                "{asked}: one line of evidence for every object, and none twice"
            );
            assert_eq!(app.stored_keys(), Vec::<String>::new(), "{asked}");
            assert_eq!(app.sandbox.fal.files().len(), 0, "{asked}");
            assert_eq!(app.sandbox.supabase.users().len(), 0, "{asked}");
        }
        _ if never_left > 0 => {
            assert!(
                registry::ALL
                    .iter()
                    .any(|known| known.name == kind && known.effect == safelight_jobs::job::Effect::Reconcile),
                "{asked}: only work that asks a provider once may be in doubt"
            );
            assert!(matches!(state.as_str(), "training" | "generating"), "{asked}: {state} {problem:?}");
        }
        _ => {
            assert_eq!((state.as_str(), problem), ("delivered", None), "{asked}");
            let accepted = (app.sandbox.fal.trainings(), app.sandbox.fal.generations());
            assert_eq!(accepted, (situation.trainings, situation.images), "{asked}");
            assert_eq!(app.sandbox.fal.files().len(), 0, "{asked}: every copy at Fal is purged");
            assert_eq!(app.sandbox.resend.mails().len(), situation.mails, "{asked}");
        }
    }
}

/// An attempt that sleeps, loses its job to another one, and goes on when that has ended.
async fn sleeps_and_goes_on(kind: &str, polls: usize) {
    let Situation { app, job, images, trainings, .. } = Box::pin(situation(kind)).await;
    app.sandbox.fal.faults().always(Fault::DropWebhook);
    let Some(old) = app.claims_this(job).await else { panic!("it is due") };
    let mut zombie = Box::pin(safelight_worker::perform(&app.worker, &app.services, &old));
    if bounded(kind, polled(&mut zombie, polls)).await.is_some() {
        return;
    }
    // While it has a transaction open that proved the lease, nobody takes the job from it: it sleeps a little later.
    while !app.loses_its_lease().await {
        if bounded(kind, polled(&mut zombie, 1)).await.is_some() {
            return;
        }
    }
    if let Some(new) = app.claims_this(job).await {
        bounded(kind, safelight_worker::perform(&app.worker, &app.services, &new)).await.unwrap();
    }
    // What providers say of the new attempt has come in, too: it is not the zombie's.
    app.sandbox.idle().await;
    let before = app.all_that_is_written().await;
    bounded(kind, zombie).await.unwrap();
    let after = app.all_that_is_written().await;
    for (what, before) in before.as_object().unwrap() {
        assert_eq!(&after[what], before, "{kind}, asleep after {polls} polls: the old attempt wrote `{what}`");
    }
    assert!(app.sandbox.fal.trainings() <= trainings && app.sandbox.fal.generations() <= images, "{kind}: asked twice");
}

/// Asleep at each point, one after the other, while its job is cancelled. Nobody does the work in its place, so whatever the
/// sleeper writes when it goes on is seen.
async fn is_cancelled_in_its_sleep<J: Job>(another: impl Fn(String) -> J) {
    let kind = J::NAME;
    let Situation { app, mut job, .. } = Box::pin(situation(kind)).await;
    // How far an attempt comes with one poll differs from run to run: several rounds over its first moments.
    let mut cancelled = 0;
    'rounds: for round in 0..80 {
        if round > 0 {
            job = app.enqueues(&another(format!("again {round}"))).await;
        }
        let polls = 1 + round % 12;
        let claimed = app.claims_this(job).await.expect("it is due");
        let mut sleeper = Box::pin(safelight_worker::perform(&app.worker, &app.services, &claimed));
        if bounded(kind, polled(&mut sleeper, polls)).await.is_some() {
            continue;
        }
        while !app.cancels_unless_locked(job).await {
            if bounded(kind, polled(&mut sleeper, 1)).await.is_some() {
                continue 'rounds;
            }
        }
        app.sandbox.idle().await;
        let before = app.all_that_is_written().await;
        bounded(kind, sleeper.as_mut()).await.unwrap();
        pretty_eq(&format!("{kind}, cancelled after {polls} polls"), &app.all_that_is_written().await, &before);
        app.run_due_jobs().await;
        cancelled += 1;
        if cancelled == 12 {
            return;
        }
    }
    assert!(cancelled > 1, "{kind} was cancelled {cancelled} times before it ended: nothing was seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeper_whose_job_was_cancelled_expires_nothing() {
    is_cancelled_in_its_sleep(|because| ExpireConsents { because }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeper_whose_job_was_cancelled_starts_no_deletion() {
    is_cancelled_in_its_sleep(|because| SweepRetention { because }).await;
}

async fn meets_a_closed_gate(kind: &str, withdrawn: Option<Purpose>) {
    let Situation { app, person, gate, job, .. } = Box::pin(situation(kind)).await;
    if gate == Gate::HasNone {
        return;
    }
    let row = app.row(job).await.unwrap();
    match withdrawn {
        Some(purpose) => {
            app.withdraws(&person, purpose).await;
        }
        None => {
            app.erases(&person).await;
        }
    }
    app.puts_back(&row).await;
    app.sandbox.idle().await;
    let (calls, made) = (app.calls(), app.effects().await);
    let claimed = app.claims_this(job).await.unwrap();
    safelight_worker::perform(&app.worker, &app.services, &claimed).await.unwrap();
    assert_eq!(app.calls(), calls, "{kind}: somebody was called although the gate is closed ({withdrawn:?})");
    let now = app.effects().await;
    for what in ["embeddings", "similarities", "checks", "notices", "stored", "outside"] {
        assert_eq!(now[what], made[what], "{kind}: `{what}`, although the gate is closed ({withdrawn:?})");
    }
    // Who withdrew the comparison only still gets what was paid for.
    if withdrawn.is_none() {
        let rows = |effects: &serde_json::Value| effects["artifacts"].as_array().map(Vec::len);
        assert_eq!(rows(&now), rows(&made), "{kind}: a row of an object, although the gate is closed");
    }
}

/// One job after the other.
macro_rules! every_job {
    ($($(#[$meta:meta])* $name:ident: |$kind:ident| $body:expr;)*) => {$(
        $(#[$meta])*
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            for known in registry::ALL {
                let $kind = known.name;
                $body;
            }
        }
    )*};
}

every_job! {
    every_job_may_run_twice: |kind| runs_twice(kind).await;
    every_moment_of_every_job_may_be_its_last: |kind| crashes_everywhere(kind, seed()).await;
    an_early_sleeper_of_every_job_writes_nothing: |kind| sleeps_and_goes_on(kind, rand::thread_rng().gen_range(1..10)).await;
    a_late_sleeper_of_every_job_writes_nothing: |kind| sleeps_and_goes_on(kind, rand::thread_rng().gen_range(10..40)).await;
    a_closed_gate_calls_nobody: |kind| meets_a_closed_gate(kind, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_consent_calls_nobody() {
    for (kind, purpose) in
        [("train_model", Purpose::Train), ("measure_selfies", Purpose::Compare), ("compare_faces", Purpose::Compare)]
    {
        meets_a_closed_gate(kind, Some(purpose)).await;
    }
}

#[test]
fn no_two_jobs_share_a_name() {
    let names: BTreeSet<_> = registry::ALL.iter().map(|known| known.name).collect();
    assert_eq!(names.len(), registry::ALL.len());
}
