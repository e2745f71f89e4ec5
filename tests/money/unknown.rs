//! Calls whose outcome nobody knows: found, aged, and resolved by a person's word, once.

use chrono::Duration;
use safelight_jobs::{
    calls::{
        self, Plan,
        resolve::{self, NotResolved, Resolution, Resolved, Said},
    },
    collect_image::CollectImage,
    gate::Train,
    id::{Id, Intent, Order},
    job::{Effect, Job},
    orders,
    policy::{DataClass, Processor},
    run::Run,
    stop::Stop,
};
use safelight_sandbox::{Fault, Rule, fal::Hold};
use uuid::Uuid;

use crate::app::App;

const SAID: Said<'static> = Said { by: "ops_1", why: "looked_at_fal" };

impl App {
    pub async fn says(&self, call: Id<Intent>, resolution: Resolution) -> Result<Resolved, NotResolved> {
        let mut tx = self.tx().await;
        let resolved = resolve::resolve(&mut tx, call, &resolution, SAID).await?;
        tx.commit().await?;
        Ok(resolved)
    }

    pub async fn the_unknown_call(&self) -> Id<Intent> {
        let calls = resolve::unknown(&self.db, None, 1000).await.unwrap();
        assert_eq!(calls.len(), 1);
        calls[0].id
    }
}

pub(super) fn at_the_trainer(fault: Fault) -> Rule {
    Rule { fault, times: Some(1), on: Some("POST /fal-ai/flux-lora".to_owned()) }
}

/// The training's answer is lost. `taken`: Fal has it all the same, and its webhook is lost too.
pub(super) async fn lost(taken: bool) -> (App, Id<Order>) {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    if taken {
        app.sandbox.fal.faults().add(at_the_trainer(Fault::LostAnswer));
        app.sandbox.fal.faults().once(Fault::DropWebhook);
    } else {
        app.sandbox.fal.faults().add(at_the_trainer(Fault::Unreachable));
    }
    app.pays(order).await;
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.fal.trainings(), usize::from(taken));
    app.stands(order, "training", None).await;
    (app, order)
}

#[tokio::test(flavor = "multi_thread")]
async fn n3_a_call_that_was_not_made_is_made_once_after_a_persons_word() {
    let (app, order) = lost(false).await;
    app.lives_on(3, Duration::minutes(10)).await;
    app.reconciles().await;
    let call = app.the_unknown_call().await;
    app.stands(order, "training", None).await;
    assert_eq!(app.sandbox.fal.trainings(), 0, "nobody asks again by himself");
    let bad = Said { by: "ops_1", why: "Fal's support said so" };
    let mut tx = app.tx().await;
    assert!(matches!(
        resolve::resolve(&mut tx, call, &Resolution::NotMade, bad).await,
        Err(NotResolved::NotACode { what: "why" })
    ));
    drop(tx);

    // Said by ten at once: one new attempt.
    let said = futures::future::join_all((0..10).map(|_| app.says(call, Resolution::NotMade))).await;
    assert_eq!(said.iter().filter(|said| matches!(said, Ok(Resolved::AnotherAttempt))).count(), 1);
    assert_eq!(said.iter().filter(|said| matches!(said, Err(NotResolved::Known { .. }))).count(), 9);
    app.run_due_jobs().await;
    app.stands(order, "delivered", None).await;
    assert_eq!(app.sandbox.fal.trainings(), 1);
    assert!(matches!(app.says(call, Resolution::NotMade).await, Err(NotResolved::Known { .. })));
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.fal.trainings(), 1);
    let noted = app.count("select count(*) from safelight.audit_entries where action = 'call.resolved' and outcome = 'not_made' and codes ->> 'by' = 'ops_1' and codes ->> 'why' = 'looked_at_fal'").await;
    assert_eq!(noted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn n3_a_call_that_was_accepted_goes_on_as_if_its_answer_had_come() {
    let (app, order) = lost(true).await;
    let call = app.the_unknown_call().await;
    let request = app.sandbox.fal.requests()[0].id.to_string();
    assert!(matches!(app.says(call, Resolution::Accepted("../x".to_owned())).await, Err(NotResolved::BadRequest)));
    assert_eq!(app.says(call, Resolution::Accepted(request.clone())).await.unwrap(), Resolved::GoesOn);
    app.reconciles().await;
    app.stands(order, "delivered", None).await;
    assert_eq!(app.sandbox.fal.trainings(), 1);
    assert_eq!(app.sandbox.fal.files().len(), 0, "and its copy is purged");

    // The same request is not another call's as well.
    let (_bob, other) = app.small_halo_order().await;
    app.sandbox.fal.faults().add(at_the_trainer(Fault::Unreachable));
    app.pays(other).await;
    app.run_due_jobs().await;
    let second = app.the_unknown_call().await;
    assert!(matches!(app.says(second, Resolution::Accepted(request)).await, Err(NotResolved::RequestTaken { .. })));
    assert_eq!(app.the_unknown_call().await, second, "nothing was changed");
}

/// The person was wrong: it had been made. What comes of it is purged, and one model is taken home.
#[tokio::test(flavor = "multi_thread")]
async fn n3_a_call_that_was_declared_not_made_and_was_made_is_purged_where_it_lies() {
    let (app, order) = lost(true).await;
    let call = app.the_unknown_call().await;
    let first = app.sandbox.fal.requests()[0].id;
    app.says(call, Resolution::NotMade).await.unwrap();
    app.run_due_jobs().await;
    app.stands(order, "delivered", None).await;
    app.sandbox.fal.deliver_again(first).unwrap();
    app.run_due_jobs().await;
    assert!(app.sandbox.fal.purged().contains(&first));
    assert_eq!(app.sandbox.fal.files().len(), 0);
    assert_eq!(app.count("select count(*) from safelight.artifacts where class = 'model'").await, 1);
    app.stands(order, "delivered", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n3_k43_a_call_that_is_resolved_after_a_withdrawal_is_purged_and_not_made_again() {
    for taken in [true, false] {
        let app = App::spawn().await;
        let (ann, order) = app.model_order().await;
        let fault = if taken { Fault::LostAnswer } else { Fault::Unreachable };
        app.sandbox.fal.faults().add(at_the_trainer(fault));
        app.sandbox.fal.faults().once(Fault::DropWebhook);
        app.pays(order).await;
        app.run_due_jobs().await;
        let call = app.the_unknown_call().await;
        app.withdraws(&ann, safelight_jobs::policy::Purpose::Train).await;
        app.run_due_jobs().await;
        if taken {
            let request = app.sandbox.fal.requests()[0].id;
            assert_eq!(app.says(call, Resolution::Accepted(request.to_string())).await.unwrap(), Resolved::Purged);
            app.lives_on(3, Duration::minutes(10)).await;
            assert!(app.sandbox.fal.purged().contains(&request));
        } else {
            assert_eq!(app.says(call, Resolution::NotMade).await.unwrap(), Resolved::NobodyWaits);
            app.lives_on(3, Duration::minutes(10)).await;
        }
        assert_eq!(app.sandbox.fal.trainings(), usize::from(taken));
        assert_eq!(app.count("select count(*) from safelight.artifacts where class = 'model'").await, 0);
        assert_eq!(
            app.count("select count(*) from safelight.deletions where state <> 'complete'").await,
            0,
            "the deletion waited for it"
        );
    }
}

/// Longer ago than any span.
#[tokio::test(flavor = "multi_thread")]
async fn n3_a_call_that_never_ended_is_said_until_a_person_resolves_it_however_old_it_is() {
    let (app, _order) = lost(false).await;
    let call = app.the_unknown_call().await;
    for days in [2, 60] {
        app.turn_clock(Duration::days(days)).await;
        assert_eq!(app.compares_money().await, ["call_never_ended"]);
    }
    app.says(call, Resolution::NotMade).await.unwrap();
    assert_eq!(app.compares_money().await, Vec::<String>::new());
}

/// A worker that died between writing the call down and asking: nobody comes back to it, and the sweep says so.
#[tokio::test(flavor = "multi_thread")]
async fn n3_a_call_whose_worker_died_before_its_answer_becomes_unknown_by_the_sweep() {
    let (app, _order) = lost(false).await;
    sqlx::query("update safelight.provider_calls set state = 'intended'").execute(&app.db).await.unwrap();
    app.reconciles().await;
    assert!(resolve::unknown(&app.db, None, 1000).await.unwrap().is_empty(), "it may be under way still");
    app.turn_clock(Duration::minutes(3)).await;
    app.reconciles().await;
    app.the_unknown_call().await;
}

/// 450 calls that nobody knows of, all older than one whose webhook was lost.
#[tokio::test(flavor = "multi_thread")]
async fn many_unknown_calls_hide_no_newer_one() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    app.sandbox.fal.faults().always(Fault::DropWebhook);
    app.pays(order).await;
    app.run_due_jobs().await;
    app.turn_clock(Duration::minutes(5)).await;
    sqlx::query(
        "insert into safelight.provider_calls (id, tenant, subject_id, generation, job_id, purpose, processor, model, wish, token_sha256, state, policy_version, created_at)
        select gen_random_uuid(), 'haloprofile', $1, 1, gen_random_uuid(), 'train', 'fal', 'fal-ai/flux-lora-portrait-trainer', 'wish ' || n,
            sha256(convert_to(n::text, 'UTF8')), 'unknown', '1', safelight.now() - interval '3 days' from generate_series(1, 450) n",
    )
    .bind(bob.id.uuid())
    .execute(&app.db)
    .await
    .unwrap();
    app.reconciles().await;
    assert_eq!(
        app.count("select count(*) from safelight.artifacts where class = 'model' and state = 'stored'").await,
        1
    );
    let residue = app
        .count("select residue::bigint from safelight.sweeps where kind = 'reconcile' order by started_at desc limit 1")
        .await;
    assert_eq!(residue, 450, "and all of them are counted");

    let numbers = app.http.get(format!("{}/metrics", app.url)).send().await.unwrap().text().await.unwrap();
    assert!(numbers.contains("safelight_calls_unknown 450"), "{numbers}");
    let oldest: i64 = numbers
        .lines()
        .find_map(|line| line.strip_prefix("safelight_calls_unknown_oldest_seconds "))
        .unwrap()
        .parse()
        .unwrap();
    assert!((259_000..260_000).contains(&oldest), "three days: {oldest}");
}

/// Fal forgets a request that it took: after an hour nobody waits for it any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fal_has_never_heard_of_ends_its_order_in_refund_review() {
    let (app, order) = lost(true).await;
    let call = app.the_unknown_call().await;
    app.says(call, Resolution::Accepted(Uuid::new_v4().to_string())).await.unwrap();
    app.reconciles().await;
    app.stands(order, "training", None).await;
    app.turn_clock(Duration::hours(2)).await;
    app.reconciles().await;
    app.stands(order, "refund_review", Some("result_expired")).await;
    app.sandbox.fal.hold(Hold::Nowhere);
    assert_eq!(app.sandbox.fal.trainings(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_does_not_declare_that_it_asks_a_provider_may_not_ask_one() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    app.pays(order).await;
    app.sandbox.idle().await;
    let claimed = app.runs_up_to("train_model").await;
    // The same attempt, first under the name of a job that may run again and again.
    assert_eq!(CollectImage::EFFECT, Effect::Repeatable);
    for (kind, code) in [(CollectImage::NAME, Some("effect_not_declared")), ("train_model", None)] {
        let run = Run::new(kind, &claimed, app.worker.clone(), app.bell(), app.services.clone());
        let row = orders::read(&run, order).await.unwrap();
        let plan = Plan {
            wish: format!("train:{order}"),
            order: &row,
            about: None,
            position: None,
            processor: Processor::Fal,
            model: "fal-ai/any",
            classes: &[DataClass::Upload],
            objects: &[],
        };
        let refused = match calls::intend::<Train>(&run, &plan).await {
            Err(Stop::GiveUp { code, .. }) => Some(code),
            Err(stop) => panic!("{stop:?}"),
            Ok(_) => None,
        };
        assert_eq!(refused, code, "{kind}");
        assert_eq!(app.count("select count(*) from safelight.provider_calls").await, i64::from(code.is_none()));
    }
}
