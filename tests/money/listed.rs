//! Calls whose answer was lost and whose request Fal lists: whose it is, and when nobody can say.

use chrono::Duration;
use safelight_jobs::{
    calls::{
        self,
        resolve::{self, Resolution, Resolved},
    },
    reconcile_money::ReconcileMoney,
    stop::Stop,
};
use safelight_sandbox::Fault;
use uuid::Uuid;

use super::unknown::{at_the_trainer, lost};
use crate::app::App;

/// Two trainings a minute apart: the first was taken after a long way, and nobody knows; the second never came there.
#[tokio::test(flavor = "multi_thread")]
async fn n3_a_request_that_may_be_another_persons_is_nobodys_until_a_person_says_whose() {
    let app = App::spawn().await;
    let (_bob, first) = app.small_halo_order().await;
    let (_eve, second) = app.small_halo_order().await;
    app.sandbox.fal.faults().add(at_the_trainer(Fault::LostAnswer));
    app.sandbox.fal.faults().once(Fault::DropWebhook);
    app.sandbox.turn_clock(Duration::seconds(85));
    app.pays(first).await;
    app.run_due_jobs().await;
    app.sandbox.turn_clock(Duration::seconds(-85));
    let of_bob = app.the_unknown_call().await;
    app.turn_clock(Duration::minutes(1)).await;
    app.sandbox.fal.faults().add(at_the_trainer(Fault::Unreachable));
    app.pays(second).await;
    app.run_due_jobs().await;

    for _ in 0..2 {
        app.reconciles().await;
    }
    assert_eq!(resolve::unknown(&app.db, None, 1000).await.unwrap().len(), 2);
    app.stands(second, "training", None).await;
    let request = app.sandbox.fal.requests()[0].id.to_string();
    assert_eq!(app.says(of_bob, Resolution::Accepted(request)).await.unwrap(), Resolved::GoesOn);
    app.reconciles().await;
    app.stands(first, "delivered", None).await;
    app.stands(second, "training", None).await;
}

/// A person was wrong about the first call: its request is still there, and nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn n3_the_request_of_a_call_that_was_declared_not_made_is_not_taken_for_another_persons() {
    let (app, order) = lost(true).await;
    app.says(app.the_unknown_call().await, Resolution::NotMade).await.unwrap();
    app.run_due_jobs().await;
    app.stands(order, "delivered", None).await;
    let (_eve, other) = app.small_halo_order().await;
    app.sandbox.fal.faults().add(at_the_trainer(Fault::Unreachable));
    app.pays(other).await;
    app.run_due_jobs().await;
    app.reconciles().await;
    app.stands(other, "training", None).await;
    app.the_unknown_call().await;
}

/// A request of ours that Fal must list, and does not: its listing is not whole, or it is another account's.
#[tokio::test(flavor = "multi_thread")]
async fn n3_a_listing_that_lacks_a_request_of_ours_says_nothing_about_the_others() {
    let (app, order) = lost(true).await;
    sqlx::query(
        "insert into safelight.provider_calls (id, tenant, subject_id, generation, job_id, purpose, processor, model, wish, token_sha256, state,
            policy_version, request_id, submitted_at)
        select gen_random_uuid(), tenant, subject_id, generation, job_id, purpose, processor, model, 'another', sha256('another'), 'cancelled',
            policy_version, 'nobody-lists-it', safelight.now() from safelight.provider_calls",
    )
    .execute(&app.db)
    .await
    .unwrap();
    app.reconciles().await;
    app.the_unknown_call().await;
    app.stands(order, "training", None).await;
    sqlx::query("delete from safelight.provider_calls where wish = 'another'").execute(&app.db).await.unwrap();
    app.reconciles().await;
    app.stands(order, "delivered", None).await;
}

/// A person read the wrong line of the dashboard; then Fal's report comes, to the address that only this call has.
#[tokio::test(flavor = "multi_thread")]
async fn n3_the_report_of_a_call_corrects_a_request_id_that_was_guessed() {
    let (app, order) = lost(true).await;
    let call = app.the_unknown_call().await;
    let request = app.sandbox.fal.requests()[0].id;
    app.says(call, Resolution::Accepted(Uuid::new_v4().to_string())).await.unwrap();
    sqlx::query("update safelight.provider_calls set status_url = 'of the guess'").execute(&app.db).await.unwrap();
    app.sandbox.fal.deliver_again(request).unwrap();
    app.run_due_jobs().await;
    app.stands(order, "delivered", None).await;
    let known: (String, Option<String>) =
        sqlx::query_as("select request_id, status_url from safelight.provider_calls where purpose = 'train'")
            .fetch_one(&app.db)
            .await
            .unwrap();
    assert_eq!(known, (request.to_string(), None));
    assert!(app.sandbox.fal.purged().contains(&request));
    assert_eq!(app.notes("replaced").await, 1);
}

/// The guess was another person's request: it goes back to the one whose report names it, and the other call is unknown again.
#[tokio::test(flavor = "multi_thread")]
async fn n3_a_request_that_was_guessed_for_another_person_goes_back_to_the_call_whose_report_names_it() {
    let (app, first) = lost(true).await;
    let request = app.sandbox.fal.requests()[0].id;
    let of_bob = app.the_unknown_call().await;
    let (_eve, second) = app.small_halo_order().await;
    app.sandbox.fal.faults().add(at_the_trainer(Fault::Unreachable));
    app.pays(second).await;
    app.run_due_jobs().await;
    let calls = resolve::unknown(&app.db, None, 1000).await.unwrap();
    let of_eve = calls.iter().find(|call| call.id != of_bob).unwrap().id;
    app.says(of_eve, Resolution::Accepted(request.to_string())).await.unwrap();

    app.sandbox.fal.deliver_again(request).unwrap();
    app.run_due_jobs().await;
    app.stands(first, "delivered", None).await;
    app.stands(second, "training", None).await;
    assert_eq!(app.the_unknown_call().await, of_eve);
    assert_eq!(app.notes("taken_back").await, 1);
}

/// The report comes while the result of the guessed request is on its way home: what was read there is not this call's.
#[tokio::test(flavor = "multi_thread")]
async fn n3_a_result_that_was_read_under_a_guess_is_not_kept_when_the_report_names_another_request() {
    let (app, order) = lost(true).await;
    let call = app.the_unknown_call().await;
    app.says(call, Resolution::Accepted(Uuid::new_v4().to_string())).await.unwrap();
    let mut tx = app.tx().await;
    let read = calls::load(&mut tx, call).await.unwrap();
    app.sandbox.fal.deliver_again(app.sandbox.fal.requests()[0].id).unwrap();
    app.sandbox.idle().await;
    let ended = calls::end(&mut tx, &read, "succeeded", None).await;
    assert!(matches!(ended, Err(Stop::Retry { code: "request_id_corrected", .. })), "{ended:?}");
    drop(tx);
    app.run_due_jobs().await;
    app.stands(order, "delivered", None).await;
}

impl App {
    async fn notes(&self, outcome: &str) -> i64 {
        sqlx::query_scalar(
            "select count(*) from safelight.audit_entries where action = 'call.request_differs' and outcome = $1",
        )
        .bind(outcome)
        .fetch_one(&self.db)
        .await
        .unwrap()
    }
}

/// Its request came before an edge of the comparison's spans, and its id was written down after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_lost_answer_was_found_later_is_no_difference_wherever_a_span_begins() {
    let (app, order) = lost(true).await;
    app.turn_clock(Duration::minutes(20)).await;
    app.reconciles().await;
    app.stands(order, "delivered", None).await;
    // Another training, so that the shorter span has something to ask Fal for.
    let (_eve, other) = app.small_halo_order().await;
    app.fulfils(other).await;
    app.turn_clock(Duration::hours(24) - Duration::minutes(10)).await;
    assert_eq!(app.compares_money().await, Vec::<String>::new(), "an edge between two days");
    app.wants(&ReconcileMoney { because: "one_day".to_owned(), hours: Some(24) }).await;
    app.run_due_jobs().await;
    assert_eq!(app.differences().await, Vec::<String>::new(), "the beginning of the whole span");
}
