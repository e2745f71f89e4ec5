//! One job looked at on its own, as docs/adding-a-job.md shows it for a new one.

use safelight_jobs::{send_notice::SendNotice, train_model::TrainModel};
use safelight_sandbox::Fault;

use crate::app::App;

#[tokio::test(flavor = "multi_thread")]
async fn a_training_is_asked_for_once_wherever_its_attempt_crashes() {
    let mut crashed = 0;
    for step in [2, 5, 9, 14, 20] {
        let app = App::spawn().await;
        let (_ann, order) = app.pro_order().await;
        app.pays(order).await;
        app.run_up_to::<TrainModel>().await;
        let training = TrainModel { order };
        assert!(app.enqueued(&training).await.is_some_and(|job| job.attempt == 0), "the payment wishes for a training");

        crashed += usize::from(app.crashes_after_step::<TrainModel>(step).await);
        app.run_due_jobs().await;
        assert_eq!(app.sandbox.fal.trainings(), 1, "after a crash at step {step}");
        assert_eq!(app.enqueued(&training).await, None, "it has ended");
        assert_eq!(app.order_state(order).await, ("delivered".to_owned(), None));
    }
    assert!(crashed > 0, "no attempt was cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_was_refused_waits_for_its_time() {
    let app = App::spawn().await;
    let (_ann, order) = app.pro_order().await;
    app.pays(order).await;
    app.run_up_to::<SendNotice>().await;
    app.sandbox.resend.faults().once(Fault::ServerError { status: 503 });
    let job = app.performs_one::<SendNotice>().await;
    let (state, attempt) = app.stands_at(job).await;
    assert_eq!((state, attempt), (3, 1), "scheduled, one attempt spent");
    assert_eq!(app.sandbox.resend.mails().len(), 0);

    app.turn_clock(chrono::Duration::hours(1)).await;
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.resend.mails().len(), 1);
}

/// The plan's mails of this day are used up: no attempt mends that.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_beyond_the_quota_waits_spends_no_attempt_and_goes_out_once() {
    let app = App::spawn().await;
    let (_ann, order) = app.pro_order().await;
    app.pays(order).await;
    app.run_up_to::<SendNotice>().await;
    app.sandbox.resend.faults().once(Fault::QuotaExceeded);
    let job = app.performs_one::<SendNotice>().await;
    assert_eq!(app.stands_at(job).await, (3, 0), "scheduled, no attempt spent");
    app.lives_on(2, chrono::Duration::hours(1)).await;
    assert_eq!(app.sandbox.resend.mails().len(), 1);
}
