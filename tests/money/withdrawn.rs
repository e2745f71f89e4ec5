//! A withdrawal at any moment of the attempt that asks Fal.

use chrono::Duration;
use safelight_jobs::policy::Purpose;

use crate::app::{App, polled};

/// N2: either nothing left the house, or the request is known, cancelled and purged: exactly one of the two, wherever the
/// withdrawal falls. The attempt is not told; it goes on and meets the gate.
#[tokio::test(flavor = "multi_thread")]
async fn n2_k43_a_withdrawal_at_any_moment_of_the_submit_lets_nothing_leave_or_takes_back_what_left() {
    let app = App::spawn().await;
    let (mut before, mut after) = (0, 0);
    for polls in (1..60).step_by(3) {
        let ann = app.person("koselfie").await;
        let (batch, _) = app.uploads(&ann, 10).await;
        let order = app.orders(&ann, batch, "pro", true).await;
        app.pays(order).await;
        app.sandbox.stripe.idle().await;
        let known = app.sandbox.fal.requests().len();
        let job = app.runs_up_to("train_model").await;
        let mut attempt = Box::pin(safelight_worker::perform(&app.worker, &app.services, &job));
        let ended = polled(&mut attempt, polls).await.is_some();
        // A transaction of the attempt may hold the person for a moment: both go on together.
        let withdrawal = app.withdraws(&ann, Purpose::Train);
        if ended {
            withdrawal.await;
        } else {
            let (_, ended) = tokio::join!(withdrawal, attempt);
            ended.unwrap();
        }
        app.run_due_jobs().await;
        app.lives_on(3, Duration::minutes(10)).await;
        app.stands(order, "refund_review", Some("consent_withdrawn")).await;
        let left = app.sandbox.fal.requests().split_off(known);
        match left.as_slice() {
            [] => before += 1,
            [one] => {
                after += 1;
                assert!(
                    app.sandbox.fal.purged().contains(&one.id),
                    "after {polls} polls: it left and was not taken back"
                );
            }
            more => panic!("after {polls} polls: {} requests left", more.len()),
        }
        assert_eq!(app.artifacts("model", order.uuid()).await.len(), 0, "after {polls} polls");
        assert_eq!(app.sandbox.fal.files().len(), 0, "after {polls} polls");
    }
    assert!(before > 0 && after > 0, "both orders happened: {before} before, {after} after");
}
