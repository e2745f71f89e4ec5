//! How long a model and what it is made from stay, and that nothing is made after the photos' end.

use chrono::{Duration, Utc};
use safelight_jobs::{
    gate::{Ask, Generate},
    generate_batch::GenerateBatch,
    id::{Id, Order},
    policy::{DataClass, Processor},
    train_model::TrainModel,
};
use safelight_sandbox::fal::Hold;

use super::clocks::{delivered_at, uploaded_at};
use crate::app::{App, Person, term};

#[tokio::test(flavor = "multi_thread")]
async fn k26_the_copy_in_the_training_zip_goes_when_the_training_is_over() {
    let app = App::spawn().await;
    let (_ann, order) = app.model_order().await;
    app.sandbox.fal.hold(Hold::InProgress);
    app.begins(order).await;
    let bundle = app.artifacts("bundle", order.uuid()).await[0];
    let ends: chrono::DateTime<Utc> =
        app.of("select delete_after from safelight.artifacts where id = $1", bundle.uuid()).await;
    let first: chrono::DateTime<Utc> = app
        .of("select min(delete_after) from safelight.artifacts where batch_id = $1", app.batch_of(order).await.uuid())
        .await;
    assert_eq!(ends, first, "it ends with the first photo in it, whatever Fal does");
    app.sandbox.fal.hold(Hold::Nowhere);
    app.run_due_jobs().await;
    app.sweeps().await;
    assert!(!app.has_row(bundle).await);
    assert!(!app.stored_keys().iter().any(|key| key.contains("/bundle/")));
}

/// N12: the LoRA's clock starts with its own delivery, once.
#[tokio::test(flavor = "multi_thread")]
async fn k27_n12_a_model_lives_720_hours_from_its_own_delivery_and_outlives_its_selfies() {
    let app = App::spawn().await;
    let (ann, order) = app.model_order().await;
    let selfie = app.artifacts("upload", ann.id.uuid()).await[0];
    // Twenty days later it is paid: consent and checkout are of that day too.
    app.turn_clock(Duration::days(20)).await;
    let second = app.orders(&ann, app.batch_of(order).await, "pro", true).await;
    app.fulfils(second).await;
    let model = app.artifacts("model", second.uuid()).await[0];
    let delivered = delivered_at(&app, model).await;

    app.turn_clock_to(uploaded_at(&app, selfie).await + term() + Duration::hours(1)).await;
    app.sweeps().await;
    assert!(!app.has_row(selfie).await, "the selfies are gone on day 30");
    let asks = || {
        Ask::of(ann.id, Processor::Fal, &[DataClass::Model, DataClass::Prompt])
            .order(second)
            .objects(std::slice::from_ref(&model))
    };
    assert!(app.gate::<Generate>(asks()).await.is_ok(), "and the model is usable");

    // Fal says once more that the training is done.
    let request = app.sandbox.fal.requests()[0].id;
    app.sandbox.fal.deliver_again(request).unwrap();
    app.run_due_jobs().await;
    assert_eq!(delivered_at(&app, model).await, delivered, "a redelivery does not move the clock");

    app.turn_clock_to(delivered + term() - Duration::minutes(1)).await;
    app.sweeps().await;
    assert!(app.gate::<Generate>(asks()).await.is_ok(), "719:59");
    app.turn_clock_to(delivered + term()).await;
    assert_eq!(app.gate::<Generate>(asks()).await.unwrap_err(), "object_gone");
    app.sweeps().await;
    assert!(!app.stored_keys().iter().any(|key| key.contains("/model/")), "day 50 and a bit: gone");
    assert!(!app.has_row(model).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn k27_the_clock_of_a_model_is_written_once_and_never_moved_later() {
    let app = App::spawn().await;
    let (_ann, order) = app.model_order().await;
    app.fulfils(order).await;
    let model = app.artifacts("model", order.uuid()).await[0];
    for sql in [
        "update safelight.artifacts set delivered_at = delivered_at + interval '1 hour' where id = $1",
        "update safelight.artifacts set delete_after = delete_after + interval '1 second' where id = $1",
        "update safelight.artifacts set delete_after = null where id = $1",
    ] {
        assert!(sqlx::query(sql).bind(model.uuid()).execute(&app.db).await.is_err(), "{sql}");
    }
}

/// D1: of two clauses that disagree, the later and specific one counts: from delivery, not from upload.
#[tokio::test(flavor = "multi_thread")]
async fn k10_k28_d1_a_model_is_on_the_photos_schedule_counted_from_its_delivery() {
    let app = App::spawn().await;
    let rule: (Option<i32>, Option<String>) = sqlx::query_as(
        "select hours, counted_from from safelight.policy_retention where tenant = 'koselfie' and class = 'model'",
    )
    .fetch_one(&app.db)
    .await
    .unwrap();
    assert_eq!(rule, (Some(720), Some("delivered_at".to_owned())));
    let (_ann, order) = app.model_order().await;
    app.turn_clock(Duration::hours(7)).await;
    app.fulfils(order).await;
    let model = app.artifacts("model", order.uuid()).await[0];
    let term_in_hours: f64 = app
        .of("select extract(epoch from delete_after - delivered_at)::float8 / 3600 from safelight.artifacts where id = $1", model.uuid())
        .await;
    assert!((term_in_hours - 720.0).abs() < 1e-9, "{term_in_hours}");
}

/// N13: a generation that comes after its photos' end ends too, and says why; nothing lives longer for it.
#[tokio::test(flavor = "multi_thread")]
async fn n13_k23_a_generation_after_the_photos_end_extends_nothing_and_the_order_says_why() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    let selfies = app.artifacts("upload", ann.id.uuid()).await;
    app.sandbox.stripe.set_webhook_url(None);
    app.pays(order).await;
    app.turn_clock_to(uploaded_at(&app, selfies[2]).await + term() + Duration::hours(1)).await;
    app.wants(&safelight_jobs::confirm_payment::ConfirmPayment { order, event: "evt_late".to_owned() }).await;
    let batch = app.wants(&GenerateBatch { order }).await;
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.fal.generations(), 0);
    assert_eq!(app.why(batch).await, "object_gone");
    assert_eq!(app.order_state(order).await, ("refund_review".to_owned(), Some("object_gone".to_owned())));
    assert!(!app.readable(selfies[0]).await, "no photo lives longer for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn n13_k23_a_training_after_the_photos_end_sends_nothing_and_the_order_says_why() {
    let app = App::spawn().await;
    let (ann, order) = app.model_order().await;
    let selfies = app.artifacts("upload", ann.id.uuid()).await;
    let end = uploaded_at(&app, selfies[9]).await + term();
    // Later no order is taken on them.
    app.turn_clock_to(end - Duration::minutes(30)).await;
    let late = app.orders_anew(&ann, order).await;
    app.turn_clock_to(end + Duration::hours(1)).await;
    app.sandbox.stripe.set_webhook_url(None);
    app.pays(late).await;
    app.wants(&safelight_jobs::confirm_payment::ConfirmPayment { order: late, event: "evt_late".to_owned() }).await;
    let training = app.wants(&TrainModel { order: late }).await;
    app.run_due_jobs().await;
    assert_eq!(app.why(training).await, "too_few_photos");
    assert_eq!(app.sandbox.fal.trainings(), 0);
    assert_eq!(app.order_state(late).await, ("refund_review".to_owned(), Some("too_few_photos".to_owned())));
}

impl App {
    /// A second order of the same photos.
    async fn orders_anew(&self, person: &Person, order: Id<Order>) -> Id<Order> {
        self.orders(person, self.batch_of(order).await, "pro", true).await
    }
}
