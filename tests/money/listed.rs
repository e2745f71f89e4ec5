//! Calls whose answer was lost and whose request Fal lists: whose it is, and when nobody can say.

use chrono::Duration;
use safelight_jobs::{
    calls::resolve::{self, Resolution, Resolved},
    reconcile_money::ReconcileMoney,
};
use safelight_sandbox::Fault;

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
    assert_eq!(resolve::unknown(&app.db).await.unwrap().len(), 2);
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
