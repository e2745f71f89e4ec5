//! Money: whose word counts, what is kept of it, and that nothing is trained which was not bought.

use safelight_jobs::{
    id::{Id, Order},
    intake,
    policy::{CapturePoint, Purpose},
    providers::stripe::CheckoutRequest,
    train_model::TrainModel,
};

use super::stripe_events::paid_event;
use crate::app::{App, Person};

/// An order whose checkout is the test's own: another price, another currency, another order's page.
async fn order_with_session(app: &App, change: impl FnOnce(&mut CheckoutRequest)) -> Id<Order> {
    let (bob, order) = placed(app).await;
    let mut request = CheckoutRequest {
        order,
        price_cents: 2900,
        currency: "eur".to_owned(),
        name: "Portraits".to_owned(),
        success_url: "https://photos.example/thanks".to_owned(),
        cancel_url: "https://photos.example/".to_owned(),
        automatic_tax: false,
    };
    change(&mut request);
    let session = app.services.stripe.create_session(&request, &order.to_string()).await.unwrap();
    let mut tx = app.tx().await;
    intake::start_checkout(&mut tx, bob.tenant, order, &session.id, false).await.unwrap();
    tx.commit().await.unwrap();
    order
}

async fn placed(app: &App) -> (Person, Id<Order>) {
    let bob = app.person("haloprofile").await;
    let (batch, _) = app.uploads(&bob, 6).await;
    let policy = app.services.policies.of("haloprofile").unwrap();
    let mut tx = app.tx().await;
    let new = intake::NewOrder { subject: bob.id, batch, plan: "basic".to_owned(), prompt: None };
    let order = intake::place(&mut tx, &app.services.vault, policy, &new).await.unwrap().order;
    tx.commit().await.unwrap();
    (bob, order)
}

pub(super) async fn nothing_was_trained(app: &App) {
    assert_eq!(app.sandbox.fal.requests().len(), 0, "Fal was asked for nothing");
    assert_eq!(app.count("select count(*) from safelight.provider_calls").await, 0);
    assert_eq!(app.count("select count(*) from safelight.artifacts where class in ('bundle', 'model')").await, 0);
}

/// Why an order goes no further: refused, or with a person who looks at the money.
async fn stopped_because(app: &App, order: Id<Order>) -> String {
    let (state, problem) = app.order_state(order).await;
    assert!(state == "refused" || state == "refund_review", "the order is {state}");
    problem.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn k8_a_basic_plan_trains_nothing() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    assert_eq!(app.sandbox.fal.trainings(), 0);
    let job = app.wants(&TrainModel { order }).await;
    app.run_due_jobs().await;
    assert_eq!(app.why(job).await, "plan_without_training");
    assert_eq!(app.sandbox.fal.trainings(), 0);
}

/// Even with a consent that was given for it.
#[tokio::test(flavor = "multi_thread")]
async fn k8_a_basic_plan_trains_nothing_although_training_was_consented_to() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 3).await;
    let policy = app.services.policies.of("koselfie").unwrap();
    let mut tx = app.tx().await;
    let new = intake::NewOrder { subject: ann.id, batch, plan: "basic".to_owned(), prompt: None };
    let order = intake::place(&mut tx, &app.services.vault, policy, &new).await.unwrap().order;
    tx.commit().await.unwrap();
    app.grants(&ann, Purpose::Train, CapturePoint::Checkout, None, Some(order)).await.unwrap();
    let session = app.sandbox.stripe.create_session(&session_of(order)).unwrap();
    let mut tx = app.tx().await;
    intake::start_checkout(&mut tx, ann.tenant, order, session["id"].as_str().unwrap(), false).await.unwrap();
    tx.commit().await.unwrap();
    app.pays(order).await;
    app.run_due_jobs().await;
    let job = app.wants(&TrainModel { order }).await;
    app.run_due_jobs().await;
    assert_eq!(app.why(job).await, "plan_without_training");
    assert_eq!(app.sandbox.fal.trainings(), 0);
}

fn session_of(order: Id<Order>) -> safelight_sandbox::stripe::NewSession {
    safelight_sandbox::stripe::NewSession {
        amount: 1900,
        currency: "eur".to_owned(),
        client_reference_id: Some(order.to_string()),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k8_an_unpaid_order_trains_nothing_and_says_why() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    let session = app.session(order).await;
    app.sandbox.stripe.pay_unpaid(&session).unwrap();
    let job = app.wants(&TrainModel { order }).await;
    app.run_due_jobs().await;
    assert_eq!(app.why(job).await, "order_unpaid");
    assert_eq!(app.order_state(order).await, ("placed".to_owned(), None));
    nothing_was_trained(&app).await;
    // The bank says no in the end.
    app.sandbox.stripe.settle(&session, false).unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await, ("placed".to_owned(), None));
    nothing_was_trained(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k8_a_payment_of_the_wrong_amount_trains_nothing_and_the_order_says_why() {
    let app = App::spawn().await;
    let order = order_with_session(&app, |request| request.price_cents = 29).await;
    app.pays(order).await;
    app.run_due_jobs().await;
    assert_eq!(stopped_because(&app, order).await, "wrong_amount");
    nothing_was_trained(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k8_a_payment_in_the_wrong_currency_trains_nothing_and_the_order_says_why() {
    let app = App::spawn().await;
    let order = order_with_session(&app, |request| request.currency = "huf".to_owned()).await;
    app.pays(order).await;
    app.run_due_jobs().await;
    assert_eq!(stopped_because(&app, order).await, "wrong_currency");
    nothing_was_trained(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k8_a_payment_for_another_order_trains_nothing_and_the_order_says_why() {
    let app = App::spawn().await;
    let order = order_with_session(&app, |request| request.order = Id::new()).await;
    app.pays(order).await;
    app.run_due_jobs().await;
    assert_eq!(stopped_because(&app, order).await, "session_foreign");
    nothing_was_trained(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k8_n21_an_order_that_was_refunded_meanwhile_trains_nothing_and_says_why() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    let event = paid_event(&app, order).await;
    let session = app.sandbox.stripe.session(&app.session(order).await).unwrap();
    app.sandbox.stripe.refund(session["payment_intent"].as_str().unwrap()).unwrap();
    let (status, _) = app.stripe_says(&event, &app.sandbox.stripe.sign_now(event.as_bytes())).await;
    assert_eq!(status, 200);
    app.run_due_jobs().await;
    assert_eq!(stopped_because(&app, order).await, "refunded");
    nothing_was_trained(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k16_n21_a_consent_to_train_that_comes_after_the_checkout_does_not_count() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 10).await;
    let order = app.orders(&ann, batch, "pro", false).await;
    app.grants(&ann, Purpose::Train, CapturePoint::Checkout, None, Some(order)).await.unwrap();
    app.pays(order).await;
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await, ("refund_review".to_owned(), Some("consent_after_checkout".to_owned())));
    nothing_was_trained(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k16_a_consent_to_train_for_an_older_order_does_not_count_for_this_one() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 10).await;
    let first = app.orders(&ann, batch, "pro", true).await;
    let second = app.orders(&ann, batch, "pro", false).await;
    app.pays(second).await;
    app.run_due_jobs().await;
    assert_eq!(app.order_state(second).await, ("refund_review".to_owned(), Some("consent_missing".to_owned())));
    assert_eq!(app.order_state(first).await.0, "placed");
    nothing_was_trained(&app).await;
}

/// What nobody paid within Stripe's day ends, and its consent with it.
#[tokio::test(flavor = "multi_thread")]
async fn k16_a_consent_to_train_ends_with_a_checkout_that_nobody_paid() {
    let app = App::spawn().await;
    let (ann, order) = app.model_order().await;
    app.turn_clock(chrono::Duration::hours(26)).await;
    app.wants(&safelight_jobs::expire_consents::ExpireConsents { because: "test".to_owned() }).await;
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await.0, "expired");
    let last: String = app
        .of(
            "select event from safelight.consents where subject_id = $1 and purpose = 'train' order by at desc limit 1",
            ann.id.uuid(),
        )
        .await;
    assert_eq!(last, "expired");
}
