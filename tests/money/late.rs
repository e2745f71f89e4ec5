//! Money that is late: slow banks, closed pages, and people who are erased before it comes.

use chrono::Duration;
use safelight_jobs::{
    expire_consents::ExpireConsents,
    id::{Id, Order},
    intake::{self, Paid, RefundWish},
};
use safelight_sandbox::{Fault, fal::Hold};

use crate::app::{App, Person, term};

impl App {
    async fn expires_consents(&self) {
        self.wants(&ExpireConsents { because: uuid::Uuid::new_v4().simple().to_string() }).await;
        self.run_due_jobs().await;
    }
}

async fn nothing_was_processed(app: &App) {
    assert_eq!(app.sandbox.fal.requests().len(), 0, "Fal was asked for nothing");
    assert_eq!(app.count("select count(*) from safelight.provider_calls").await, 0);
}

/// Days after the checkout, with or without the news that the bank was asked.
#[tokio::test(flavor = "multi_thread")]
async fn n21_an_order_whose_bank_is_slow_does_not_run_out_and_is_served_when_the_money_comes() {
    for heard in [true, false] {
        let app = App::spawn().await;
        let (_ann, order) = app.model_order().await;
        let session = app.session(order).await;
        if !heard {
            app.sandbox.stripe.faults().once(Fault::DropWebhook);
        }
        app.sandbox.stripe.pay_unpaid(&session).unwrap();
        app.run_due_jobs().await;
        for _ in 0..5 {
            app.turn_clock(Duration::hours(26)).await;
            app.expires_consents().await;
            app.stands(order, "placed", None).await;
        }
        app.sandbox.stripe.settle(&session, true).unwrap();
        app.run_due_jobs().await;
        app.stands(order, "delivered", None).await;
        assert_eq!(app.sandbox.fal.trainings(), 1, "the consent of the checkout covers it: heard {heard}");
        assert_eq!(
            app.sale(&session).await.unwrap().kept_cents,
            app.of::<i64>("select amount_cents from safelight.orders where id = $1", order.uuid()).await
        );
    }
}

/// The success is told to nobody: the comparison of the books finds it.
#[tokio::test(flavor = "multi_thread")]
async fn n21_a_slow_banks_success_that_nobody_told_is_found() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    let session = app.session(order).await;
    app.sandbox.stripe.pay_unpaid(&session).unwrap();
    app.run_due_jobs().await;
    app.turn_clock(Duration::days(9)).await;
    app.sandbox.stripe.faults().once(Fault::DropWebhook);
    app.sandbox.stripe.settle(&session, true).unwrap();
    assert_eq!(app.compares_money().await, Vec::<String>::new(), "found, confirmed, and no difference is left");
    app.stands(order, "delivered", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n21_a_slow_bank_that_says_no_lets_the_order_run_out() {
    let app = App::spawn().await;
    let (_ann, order) = app.model_order().await;
    let session = app.session(order).await;
    app.sandbox.stripe.pay_unpaid(&session).unwrap();
    app.run_due_jobs().await;
    app.turn_clock(Duration::hours(50)).await;
    app.expires_consents().await;
    app.stands(order, "placed", None).await;
    app.sandbox.stripe.settle(&session, false).unwrap();
    app.run_due_jobs().await;
    app.expires_consents().await;
    app.stands(order, "expired", None).await;
    assert_eq!(app.count("select count(*) from safelight.consents where event = 'expired'").await, 1);
    nothing_was_processed(&app).await;
}

/// The photos' term is over when the money comes: nothing extends it, and a person looks at the money.
#[tokio::test(flavor = "multi_thread")]
async fn n21_k23_money_that_comes_after_the_photos_are_gone_goes_to_refund_review() {
    let app = App::spawn().await;
    let (_ann, order) = app.model_order().await;
    let session = app.session(order).await;
    app.sandbox.stripe.pay_unpaid(&session).unwrap();
    app.run_due_jobs().await;
    app.turn_clock(term() + Duration::hours(1)).await;
    app.sweeps().await;
    app.sandbox.stripe.settle(&session, true).unwrap();
    app.run_due_jobs().await;
    app.stands(order, "refund_review", Some("too_few_photos")).await;
    assert_eq!(
        app.sale(&session).await.unwrap().kept_cents,
        app.of::<i64>("select amount_cents from safelight.orders where id = $1", order.uuid()).await
    );
    nothing_was_processed(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n21_nothing_runs_out_while_stripe_cannot_be_asked() {
    let app = App::spawn().await;
    let (_ann, order) = app.model_order().await;
    app.turn_clock(Duration::hours(26)).await;
    app.sandbox.stripe.take_down().await;
    app.expires_consents().await;
    app.stands(order, "placed", None).await;
    app.sandbox.stripe.bring_up().await.unwrap();
    app.expires_consents().await;
    app.stands(order, "expired", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k16_a_payment_page_that_stripe_closes_ends_its_consents_at_once() {
    let app = App::spawn().await;
    let (_ann, order) = app.model_order().await;
    app.sandbox.stripe.expire(&app.session(order).await).unwrap();
    app.run_due_jobs().await;
    app.stands(order, "expired", None).await;
    assert_eq!(app.count("select count(*) from safelight.consents where event = 'expired'").await, 1);
}

/// Out of order: the word that a page is closed comes after it was paid, or is no more than an old word.
#[tokio::test(flavor = "multi_thread")]
async fn n21_the_word_that_a_page_is_closed_is_not_believed_when_the_session_is_paid() {
    for confirmed in [true, false] {
        let app = App::spawn().await;
        let (_ann, order) = app.basic_order(false).await;
        let session = app.session(order).await;
        if !confirmed {
            app.sandbox.stripe.faults().once(Fault::DropWebhook);
        }
        app.pays(order).await;
        app.sandbox.idle().await;
        let object = serde_json::json!({ "id": session, "object": "checkout.session", "payment_status": "unpaid" });
        let event = app.sandbox.stripe.event("checkout.session.expired", object).to_string();
        let (status, _) = app.stripe_says(&event, &app.sandbox.stripe.sign_now(event.as_bytes())).await;
        assert_eq!(status, 200);
        app.run_due_jobs().await;
        app.stands(order, "delivered", None).await;
    }
}

async fn at_the_bank(app: &App) -> (Person, Id<Order>, String) {
    let (ann, order) = app.model_order().await;
    let session = app.session(order).await;
    app.sandbox.stripe.pay_unpaid(&session).unwrap();
    app.run_due_jobs().await;
    (ann, order, session)
}

/// Money that comes while a person is being erased, or days after: seen, booked, looked at, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn n21_money_for_a_person_who_is_erased_is_booked_and_looked_at_and_nothing_is_processed() {
    for days in [0, 9] {
        let app = App::spawn().await;
        let (ann, _order, session) = at_the_bank(&app).await;
        let deletion = app.erases(&ann).await;
        if days > 0 {
            app.waits_out_late_writers().await;
            assert_eq!(app.deletion_state(deletion).await, "complete");
            app.turn_clock(Duration::days(days)).await;
        }
        app.sandbox.stripe.settle(&session, true).unwrap();
        app.sandbox.stripe.idle().await;
        app.waits_out_late_writers().await;
        assert_eq!(app.deletion_state(deletion).await, "complete");
        let sale = app.sale(&session).await.unwrap();
        assert_eq!(
            (sale.status.as_str(), sale.review.as_deref()),
            ("paid", Some("paid_after_erasure")),
            "after {days} days"
        );
        assert_eq!(app.count("select count(*) from safelight_fiscal.sales where order_id is not null").await, 0);
        assert_eq!(
            app.count("select count(*) from safelight_fiscal.erased_checkouts").await,
            0,
            "what was waited for has come"
        );
        nothing_was_processed(&app).await;
        assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
        assert_eq!(intake::in_review(&app.db, None, 1000).await.unwrap()[0].about, session);

        // The money goes back by the session, since there is no order any more.
        let paid = Paid::Session(session.clone());
        let wish = RefundWish { tenant: None, paid: &paid, amount_cents: None, why: "erased", by: "ops_1" };
        let mut tx = app.tx().await;
        intake::ask_refund(&mut tx, &wish).await.unwrap();
        tx.commit().await.unwrap();
        app.run_due_jobs().await;
        let sale = app.sale(&session).await.unwrap();
        assert_eq!((sale.status.as_str(), sale.review, sale.kept_cents), ("refunded", None, 0));
        assert!(intake::in_review(&app.db, None, 1000).await.unwrap().is_empty());
    }
}

/// The payment was told, and its job waits in the queue when the fence comes and takes it away.
#[tokio::test(flavor = "multi_thread")]
async fn n21_money_whose_news_the_fence_took_out_of_the_queue_is_booked_all_the_same() {
    let app = App::spawn().await;
    let (ann, order) = app.model_order().await;
    let session = app.session(order).await;
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    assert_eq!(app.count("select count(*) from safelight.jobs where kind = 'confirm_payment'").await, 1);
    app.erases(&ann).await;
    assert_eq!(app.count("select count(*) from safelight.jobs where kind = 'confirm_payment'").await, 0);
    app.run_due_jobs().await;
    let sale = app.sale(&session).await.unwrap();
    assert_eq!((sale.status.as_str(), sale.review.as_deref()), ("paid", Some("paid_after_erasure")));
    nothing_was_processed(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n21_a_payment_page_of_a_person_who_is_erased_is_closed() {
    let app = App::spawn().await;
    let (ann, order) = app.model_order().await;
    let session = app.session(order).await;
    app.erases(&ann).await;
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.stripe.session(&session).unwrap()["status"], "expired");
    assert!(app.sandbox.stripe.pay(&session).is_err());
    assert_eq!(app.count("select count(*) from safelight_fiscal.erased_checkouts").await, 0);
    assert_eq!(app.count("select count(*) from safelight_fiscal.sales").await, 0);
}

/// Paid, in training, erased: the work is never delivered, and the money is not forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn n21_money_of_an_order_that_was_erased_before_its_delivery_is_looked_at() {
    let app = App::spawn().await;
    app.sandbox.fal.hold(Hold::InProgress);
    let (ann, order) = app.model_order().await;
    let session = app.session(order).await;
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    app.stands(order, "training", None).await;
    let deletion = app.erases(&ann).await;
    app.sandbox.fal.hold(Hold::Nowhere);
    app.run_due_jobs().await;
    app.lives_on(4, Duration::minutes(20)).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.sale(&session).await.unwrap().review.as_deref(), Some("erased_before_delivery"));
    // A delivered one is nothing to look at.
    let (bob, served) = app.basic_order(false).await;
    app.fulfils(served).await;
    let session = app.session(served).await;
    app.erases(&bob).await;
    app.run_due_jobs().await;
    assert_eq!(app.sale(&session).await.unwrap().review, None);
    // A refund of it is booked, although nobody knows whose it was.
    let paid = app.sandbox.stripe.session(&session).unwrap();
    app.sandbox.stripe.refund(paid["payment_intent"].as_str().unwrap()).unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.sale_status(&session).await, "refunded");
}
