//! Paid orders whose work died: refund review, and back again by a redrive.

use chrono::Duration;
use safelight_jobs::{
    id::{Id, Order},
    policy::Purpose,
};
use safelight_sandbox::{Fault, Rule, fal::Hold};

use crate::app::App;

/// Paid, and nothing done yet: four images, from the photos where they are compared, else from a model.
async fn paid(app: &App, compares: bool) -> Id<Order> {
    let (_, order) = if compares { app.basic_order(true).await } else { app.small_halo_order().await };
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    order
}

/// Each job of an order, killed: the order does not stay where it is, and the redrive brings it to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_paid_order_whose_work_died_goes_to_refund_review_and_a_redrive_takes_it_back() {
    let kinds = [
        "train_model",
        "collect_model",
        "generate_batch",
        "collect_image",
        "check_image",
        "measure_selfies",
        "compare_faces",
    ];
    for kind in kinds {
        let app = App::spawn().await;
        let trains = matches!(kind, "train_model" | "collect_model");
        let order = paid(&app, !trains).await;
        let job = app.runs_up_to(kind).await;
        let job = app.dies(&job, "store_unreachable").await;
        app.run_due_jobs().await;
        app.lives_on(2, Duration::minutes(1)).await;
        app.reconciles().await;
        app.stands(order, "refund_review", Some("work_died")).await;
        assert_eq!(app.sale_status(&app.session(order).await).await, "paid");

        app.redrives(job).await;
        let (state, problem) = app.order_state(order).await;
        assert!(
            matches!(state.as_str(), "training" | "generating") && problem.is_none(),
            "{kind}: {state} {problem:?}"
        );
        for _ in 0..3 {
            app.run_due_jobs().await;
            // Comparisons gave up with the measuring that they waited for.
            let dead: Vec<uuid::Uuid> =
                sqlx::query_scalar("select id from safelight.dead_letters").fetch_all(&app.db).await.unwrap();
            for job in dead {
                app.redrives(job).await;
            }
            app.lives_on(1, Duration::minutes(1)).await;
            app.reconciles().await;
        }
        app.stands(order, "delivered", None).await;
        assert_eq!(app.sandbox.fal.trainings(), usize::from(trains), "{kind}");
        assert_eq!(app.sandbox.fal.generations(), 4, "{kind}");
        assert_eq!(app.sandbox.fal.files().len(), 0, "{kind}: every copy is purged");
    }
}

/// While anything of the order is under way it is left alone: here a job alone, since all calls have ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_not_stopped_while_something_of_it_is_under_way() {
    let app = App::spawn().await;
    let order = paid(&app, true).await;
    let dead = app.runs_up_to("compare_faces").await;
    app.dies(&dead, "store_unreachable").await;
    let alive = app.runs_up_to("compare_faces").await;
    app.run_due_jobs().await;
    let others = "select (select count(*) from safelight.jobs where state = 0)
        + (select count(*) from safelight.provider_calls where state in ('intended', 'unknown', 'submitted'))";
    assert_eq!(app.count(others).await, 0, "nothing else is under way");
    app.reconciles_only().await;
    app.stands(order, "generating", None).await;
    safelight_worker::perform(&app.worker, &app.services, &alive).await.unwrap();
    app.run_due_jobs().await;
    app.reconciles().await;
    app.stands(order, "refund_review", Some("work_died")).await;
    let delivered =
        app.count("select count(*) from safelight.artifacts where class = 'image' and delivered_at is not null").await;
    assert_eq!(delivered, 3, "what could be delivered was");
}

impl App {
    /// The sweep of the minute alone.
    async fn reconciles_only(&self) {
        let job = safelight_jobs::reconcile_calls::ReconcileCalls {
            because: uuid::Uuid::new_v4().simple().to_string(),
            grace_seconds: Some(0),
        };
        self.wants(&job).await;
        let claimed = self.dequeues(safelight_jobs::job::Queue::Sweeps).await;
        safelight_worker::perform(&self.worker, &self.services, &claimed).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_were_taken_away_leave_no_paid_order_behind() {
    let app = App::spawn().await;
    let order = paid(&app, true).await;
    let job = app.runs_up_to("generate_batch").await;
    let mut tx = app.tx().await;
    assert!(safelight_jobs::queue::cancel(&mut tx, job.lease.job, "by_hand").await.unwrap());
    tx.commit().await.unwrap();
    app.run_due_jobs().await;
    app.reconciles().await;
    app.stands(order, "refund_review", Some("work_lost")).await;
}

/// Fal keeps a result for a while only: lost by us, and nothing that a later try could mend.
#[tokio::test(flavor = "multi_thread")]
async fn results_that_expired_at_fal_end_an_order_in_refund_review() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    app.sandbox.fal.faults().always(Fault::DropWebhook);
    app.pays(order).await;
    app.run_due_jobs().await;
    app.turn_clock(Duration::hours(3)).await;
    app.reconciles().await;
    app.stands(order, "training", None).await;
    app.lives_on(2, Duration::minutes(31)).await;
    app.stands(order, "refund_review", Some("result_expired")).await;
    assert_eq!(app.sandbox.fal.trainings(), 1, "it is not trained again");
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);

    // One image of four: the others are delivered, and a person looks at the money.
    app.sandbox.fal.faults().clear();
    let (_ann, second) = app.basic_order(false).await;
    app.sandbox.fal.faults().add(Rule { fault: Fault::DropWebhook, times: Some(1), on: None });
    app.pays(second).await;
    app.run_due_jobs().await;
    app.turn_clock(Duration::hours(3)).await;
    app.reconciles().await;
    app.lives_on(2, Duration::minutes(31)).await;
    app.stands(second, "refund_review", Some("result_expired")).await;
    let delivered: i64 = app
        .of("select count(*) from safelight.artifacts where order_id = $1 and class = 'image' and delivered_at is not null", second.uuid())
        .await;
    assert_eq!(delivered, 3);
}

/// The model fails on one image of four, or the label of one: three are delivered, and a person looks at the money for the fourth.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_was_bought_and_not_made_or_not_labelled_ends_its_order_in_refund_review() {
    for at in ["flux-lora/image-to-image", "imageutils/nsfw"] {
        let app = App::spawn().await;
        let (_ann, order) = app.basic_order(false).await;
        app.sandbox.fal.faults().add(Rule { fault: Fault::ModelBreaks, times: Some(1), on: Some(at.to_owned()) });
        app.pays(order).await;
        app.run_due_jobs().await;
        app.stands(order, "refund_review", Some("images_failed")).await;
        let delivered: i64 = app
            .of("select count(*) from safelight.artifacts where order_id = $1 and class = 'image' and delivered_at is not null", order.uuid())
            .await;
        assert_eq!(delivered, 3, "{at}");
        assert_eq!(app.sandbox.fal.files().len(), 0, "{at}");
    }
}

/// Seconds after the report the result is not where it is read: Fal says itself that the request has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_not_there_yet_is_asked_for_again_within_the_hour() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    app.sandbox.fal.faults().times(2, Fault::ResultExpired);
    app.pays(order).await;
    app.run_due_jobs().await;
    app.stands(order, "training", None).await;
    app.lives_on(3, Duration::minutes(1)).await;
    app.stands(order, "delivered", None).await;
    assert_eq!(app.sandbox.fal.trainings(), 1);

    // The hour counts from Fal's first word that it has nothing, not from the call: a training may take longer than that.
    let (_joe, long) = app.small_halo_order().await;
    app.sandbox.fal.faults().add(Rule { fault: Fault::DropWebhook, times: Some(1), on: None });
    app.pays(long).await;
    app.run_due_jobs().await;
    // Fal itself keeps what it has.
    app.turn_clock(Duration::minutes(90)).await;
    app.sandbox.turn_clock(-Duration::minutes(90));
    app.sandbox.fal.faults().times(1, Fault::ResultExpired);
    app.reconciles().await;
    app.stands(long, "training", None).await;
    app.lives_on(2, Duration::minutes(1)).await;
    app.stands(long, "delivered", None).await;

    // Not after it: then the order ends.
    let (_eve, other) = app.small_halo_order().await;
    app.sandbox.fal.faults().always(Fault::ResultExpired);
    app.pays(other).await;
    app.run_due_jobs().await;
    app.lives_on(2, Duration::minutes(31)).await;
    app.stands(other, "refund_review", Some("result_expired")).await;
}

/// The photo's term ends between the second image and the third: the order gives up, and what it asked for is not left to run.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_gives_up_in_the_middle_cancels_what_it_asked_for_at_fal() {
    let app = App::spawn().await;
    app.sandbox.fal.hold(Hold::InQueue);
    let (_ann, order) = app.basic_order(false).await;
    for statement in [
        "create function safelight.term_ends() returns trigger language plpgsql security definer as $$ begin
            update safelight.artifacts set delete_after = safelight.now() where class = 'upload';
            return null; end $$",
        "create trigger term_ends after insert on safelight.provider_calls for each row when (new.position = 2) execute function safelight.term_ends()",
    ] {
        sqlx::query(statement).execute(&app.db).await.unwrap();
    }
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    app.stands(order, "refund_review", Some("object_gone")).await;
    let requests = app.sandbox.fal.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.cancelled), "their end was asked for");
    app.sandbox.fal.idle().await;
    app.lives_on(2, Duration::minutes(2)).await;
    assert!(requests.iter().all(|request| app.sandbox.fal.purged().contains(&request.id)));
    assert_eq!(app.count("select count(*) from safelight.provider_calls where purge <> 'purged'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn k27_what_nobody_repaired_within_three_days_goes_and_a_redrive_comes_too_late() {
    let app = App::spawn().await;
    let order = paid(&app, true).await;
    let dead = app.runs_up_to("compare_faces").await;
    let dead = app.dies(&dead, "model_unreadable").await;
    app.run_due_jobs().await;
    app.reconciles().await;
    app.stands(order, "refund_review", Some("work_died")).await;
    let undelivered = "select count(*) from safelight.artifacts where class = 'image' and delivered_at is null";
    app.turn_clock(Duration::hours(71)).await;
    app.reconciles().await;
    app.sweeps().await;
    assert_eq!(app.count(undelivered).await, 1, "kept for the repair");
    app.turn_clock(Duration::hours(2)).await;
    app.reconciles().await;
    app.sweeps().await;
    assert_eq!(app.count(undelivered).await, 0, "and no longer");
    app.redrives(dead).await;
    app.run_due_jobs().await;
    app.stands(order, "refund_review", Some("work_died")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_money_went_back_is_not_taken_back_by_a_redrive() {
    let app = App::spawn().await;
    let order = paid(&app, true).await;
    let dead = app.runs_up_to("compare_faces").await;
    let dead = app.dies(&dead, "model_unreadable").await;
    app.run_due_jobs().await;
    app.reconciles().await;
    app.asks_refund(order, None).await.unwrap();
    app.redrives(dead).await;
    app.run_due_jobs().await;
    app.stands(order, "refund_review", Some("refunded")).await;
    assert_eq!(app.sale_status(&app.session(order).await).await, "refunded");
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0, "its work is over");
}

/// All images but one were collected when the work died; what that one was made with is not consented to any more.
#[tokio::test(flavor = "multi_thread")]
async fn k43_an_order_whose_consent_was_withdrawn_is_not_taken_back_by_a_redrive() {
    let app = App::spawn().await;
    let (ann, order) = app.model_order().await;
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    let dead = app.runs_up_to("collect_image").await;
    let dead = app.dies(&dead, "store_unreachable").await;
    app.run_due_jobs().await;
    app.reconciles().await;
    app.stands(order, "refund_review", Some("work_died")).await;
    app.withdraws(&ann, Purpose::Train).await;
    app.stands(order, "refund_review", Some("consent_withdrawn")).await;
    app.redrives(dead).await;
    app.run_due_jobs().await;
    app.stands(order, "refund_review", Some("consent_withdrawn")).await;
    assert_eq!(app.artifacts("image", order.uuid()).await.len(), 11, "what was delivered before");
    app.lives_on(2, Duration::hours(1)).await;
    app.reconciles().await;
    app.stands(order, "refund_review", Some("consent_withdrawn")).await;
    assert_eq!(app.count("select count(*) from safelight.provider_calls where purge <> 'purged'").await, 0);
}
