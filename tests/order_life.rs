//! The life of an order, from payment to delivery and to its end.

use safelight_jobs::{confirm_payment::ConfirmPayment, reconcile_calls::ReconcileCalls};
use safelight_sandbox::Fault;

use crate::app::App;

#[tokio::test(flavor = "multi_thread")]
async fn a_pro_order_goes_from_payment_to_delivery() {
    let app = App::spawn().await;
    let (_ann, order) = app.pro_order().await;
    app.pays(order).await;
    app.run_due_jobs().await;

    assert_eq!(app.order_state(order).await, ("delivered".to_owned(), None));
    assert_eq!(app.sandbox.fal.trainings(), 1);
    assert_eq!(app.sandbox.fal.generations(), 12);
    assert_eq!(
        app.count("select count(*) from safelight.artifacts where class = 'image' and delivered_at is not null").await,
        12
    );
    assert_eq!(app.count("select count(*) from safelight.similarities where verdict = 'alike'").await, 12);
    assert_eq!(app.sandbox.resend.mails().len(), 1);
    assert_eq!(app.sandbox.fal.files().len(), 0, "every copy at Fal is purged");
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_served_although_every_webhook_is_lost() {
    let app = App::spawn().await;
    app.sandbox.fal.faults().always(Fault::DropWebhook);
    app.sandbox.stripe.set_webhook_url(None);
    let (_bob, order) = app.halo_order().await;
    app.pays(order).await;
    let mut tx = app.tx().await;
    tx.enqueue(&ConfirmPayment { order, event: "evt_found_by_the_sweep".to_owned() }).await.unwrap();
    tx.commit().await.unwrap();
    for round in 0..4 {
        app.run_due_jobs().await;
        let mut tx = app.tx().await;
        tx.enqueue(&ReconcileCalls { because: format!("round {round}"), grace_seconds: Some(0) }).await.unwrap();
        tx.commit().await.unwrap();
    }
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await, ("delivered".to_owned(), None));
    assert_eq!(app.sandbox.fal.trainings(), 1);
}
