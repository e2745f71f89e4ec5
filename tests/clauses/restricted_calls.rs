//! N22: what a provider accepts, and what is found there, while its person is restricted. Paid for once, and taken home after the
//! release.

use std::sync::Arc;

use safelight_jobs::{
    calls::resolve::{Resolution, Resolved},
    id::{Id, Intent, Order},
    intake::Ground,
    job::Queue,
    train_model::TrainModel,
};
use safelight_sandbox::Fault;
use sqlx::Executor;

use super::withdrawal::waiting;
use crate::app::{App, Person};

impl App {
    /// A training that Fal took; its answer and its report were lost.
    async fn lost_training(&self) -> (Person, Id<Order>, Id<Intent>) {
        self.sandbox.fal.faults().once(Fault::LostAnswer);
        self.sandbox.fal.faults().once(Fault::DropWebhook);
        let (bob, order) = self.small_halo_order().await;
        self.pays(order).await;
        self.run_due_jobs().await;
        assert_eq!(self.sandbox.fal.trainings(), 1);
        (bob, order, self.the_unknown_call().await)
    }

    /// The restriction took nothing away; the release brings the model home, and it was trained once.
    async fn is_served_after_the_release(&self, bob: &Person, order: Id<Order>) {
        self.run_due_jobs().await;
        let call: (String, bool, String) =
            sqlx::query_as("select state, cancel_wanted, purge from safelight.provider_calls where purpose = 'train'")
                .fetch_one(&self.db)
                .await
                .unwrap();
        assert_eq!(call, ("submitted".to_owned(), false, "none".to_owned()));
        assert!(!self.sandbox.fal.requests()[0].cancelled && self.sandbox.fal.purged().is_empty());
        assert!(!self.stored_keys().iter().any(|key| key.contains("/model/")), "nothing comes home before the release");
        self.stands(order, "training", None).await;

        self.releases(bob).await;
        self.run_due_jobs().await;
        self.stands(order, "delivered", None).await;
        assert_eq!(self.artifacts("model", order.uuid()).await.len(), 1);
        assert_eq!(self.sandbox.fal.trainings(), 1);
        assert_eq!(self.sandbox.fal.files().len(), 0, "and its copy is purged then");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n22_k41_a_training_that_fal_accepts_after_the_restriction_is_kept_and_taken_home_after_the_release() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    sqlx::query("update safelight.orders set state = 'training', paid_at = safelight.now() where id = $1")
        .bind(order.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    app.wants(&TrainModel { order }).await;
    let claimed = app.dequeues(Queue::Training).await;
    // The table's lock stops the worker with its gate passed; the restriction queues behind it and commits before Fal's answer.
    let mut stop = safelight_jobs::db::begin(&app.db).await.unwrap();
    stop.execute("lock table safelight.provider_calls in share row exclusive mode").await.unwrap();
    let app = Arc::new(app);
    let worker = tokio::spawn({
        let app = app.clone();
        async move { app.performs(&claimed).await.is_ok() }
    });
    waiting(&app, "insert into safelight.provider_calls").await;
    let restriction = tokio::spawn({
        let (app, bob) = (app.clone(), bob.clone());
        async move { app.restricts(&bob, Ground::Accuracy).await.unwrap() }
    });
    waiting(&app, "restrict_subject").await;
    stop.rollback().await.unwrap();
    restriction.await.unwrap();
    let _ = worker.await.unwrap();
    app.sandbox.idle().await;
    app.is_served_after_the_release(&bob, order).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n22_k41_n3_a_training_that_the_listing_finds_during_a_restriction_is_taken_home_after_the_release() {
    let app = App::spawn().await;
    let (bob, order, _) = app.lost_training().await;
    app.restricts(&bob, Ground::Objection).await.unwrap();
    app.reconciles().await;
    app.is_served_after_the_release(&bob, order).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n22_k41_n3_a_training_that_a_person_vouches_for_during_a_restriction_is_taken_home_after_the_release() {
    let app = App::spawn().await;
    let (bob, order, call) = app.lost_training().await;
    app.restricts(&bob, Ground::Accuracy).await.unwrap();
    let request = app.sandbox.fal.requests()[0].id.to_string();
    assert_eq!(app.says(call, Resolution::Accepted(request)).await.unwrap(), Resolved::GoesOn);
    app.reconciles().await;
    app.is_served_after_the_release(&bob, order).await;
}
