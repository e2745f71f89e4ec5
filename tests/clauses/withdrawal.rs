//! Consent withdrawn: one call, no more effort than giving it, while everybody else is down, and at every moment of a
//! training.

use safelight_jobs::{job::Queue, policy::Purpose, reconcile_calls::ReconcileCalls, train_model::TrainModel};
use safelight_sandbox::{Fault, fal::Hold};
use serde_json::{Value, json};
use sqlx::Executor;

use crate::app::App;

/// Fields that a request must carry, by the intake's own description.
async fn required_fields(app: &App, path: &str) -> Vec<String> {
    let described: Value =
        app.http.get(format!("{}/openapi.json", app.url)).send().await.unwrap().json().await.unwrap();
    let reference = &described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    let name = reference
        .as_str()
        .unwrap_or_else(|| panic!("{path} is described: {described}"))
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    let required = &described["components"]["schemas"][&name]["required"];
    required.as_array().unwrap().iter().map(|field| field.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn k43_withdrawing_takes_one_call_and_no_more_fields_than_granting() {
    let app = App::spawn().await;
    let grant = required_fields(&app, "/v1/subjects/{subject}/consents").await;
    let withdraw = required_fields(&app, "/v1/subjects/{subject}/consents/withdraw").await;
    assert!(
        withdraw.len() <= grant.len() && withdraw.iter().all(|field| grant.contains(field)),
        "{withdraw:?} {grant:?}"
    );
    let (ann, _order) = app.pro_order().await;
    let token = app.token("koselfie").await;
    for purpose in ["compare", "train"] {
        let (status, answer) = app
            .post(&token, &format!("/v1/subjects/{}/consents/withdraw", ann.id), json!({ "purpose": purpose }))
            .await;
        assert_eq!(status, 202, "{answer}");
    }
    let last = app.count("select count(*) from (select distinct on (purpose) event from safelight.consents order by purpose, at desc) l where event = 'withdrawn'").await;
    assert_eq!(last, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn k43_k52_withdrawing_works_while_every_provider_is_down_and_waits_for_no_refund() {
    let app = App::spawn().await;
    app.sandbox.fal.hold(Hold::InProgress);
    let (ann, order) = app.model_order().await;
    app.begins(order).await;
    assert_eq!(app.order_state(order).await.0, "training");
    let token = app.token("koselfie").await;
    app.providers_go_down().await;
    let (status, answer) =
        app.post(&token, &format!("/v1/subjects/{}/consents/withdraw", ann.id), json!({ "purpose": "train" })).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(
        app.order_state(order).await,
        ("refund_review".to_owned(), Some("consent_withdrawn".to_owned())),
        "somebody looks at the money"
    );
    assert_eq!(
        app.count("select count(*) from safelight.provider_calls where cancel_wanted and purge = 'wanted'").await,
        1
    );
}

/// N1: withdrawn while Fal trains, the cancel is ignored, the training succeeds, the webhook comes.
#[tokio::test(flavor = "multi_thread")]
async fn n1_k43_a_model_whose_consent_was_withdrawn_during_its_training_is_never_taken_home() {
    let app = App::spawn().await;
    app.sandbox.fal.hold(Hold::InProgress);
    app.sandbox.fal.faults().always(Fault::CancelIgnored);
    let (ann, order) = app.model_order().await;
    app.begins(order).await;
    let request = app.sandbox.fal.requests()[0].id;
    let bundle = app.stored_keys().into_iter().find(|key| key.contains("/bundle/")).unwrap();
    let zip = app.sandbox.supabase.read("safelight", &bundle).await.unwrap();
    let withdrawn = app.withdraws(&ann, Purpose::Train).await;
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    assert!(app.sandbox.fal.requests()[0].cancelled, "its end was asked for");
    assert_ne!(app.deletion_state(withdrawn.deletion).await, "complete", "not while it runs");
    assert!(!app.stored_keys().contains(&bundle), "the copy for the training is gone at once");

    // Fal had fetched the photos long before; its stand-in fetches them at the end, so it is lent a copy for that moment.
    app.sandbox.supabase.put("safelight", &bundle, "application/zip", zip).await.unwrap();
    app.sandbox.fal.hold(Hold::Nowhere);
    app.sandbox.fal.idle().await;
    app.services.storage.delete(&bundle.parse().unwrap()).await.unwrap();
    app.run_due_jobs().await;
    assert!(
        app.sandbox.fal.requests()[0].outcome.as_ref().is_some_and(|outcome| outcome.status == 200),
        "it succeeded all the same"
    );
    assert_eq!(app.sandbox.fal.deliveries().last().unwrap().status, Some(200), "and its webhook was taken");
    app.turn_clock(chrono::Duration::hours(1)).await;
    app.run_due_jobs().await;

    assert_eq!(app.artifacts("model", order.uuid()).await.len(), 0, "no row, so no clock of 30 days");
    assert!(!app.stored_keys().iter().any(|key| key.contains("/model/") || key.contains("/bundle/")), "no object");
    assert!(app.sandbox.fal.purged().contains(&request), "the purge named the request");
    assert_eq!(app.sandbox.fal.files().len(), 0, "and the weights are gone there");
    assert_eq!(app.order_state(order).await, ("refund_review".to_owned(), Some("consent_withdrawn".to_owned())));
    assert_eq!(app.deletion_state(withdrawn.deletion).await, "complete");
    let asked = app
        .count(
            "select count(*) from safelight.audit_entries where action = 'call.cancel_asked' and outcome = 'requested'",
        )
        .await;
    assert!(asked >= 1, "the evidence shows what the cancel answered");
    assert_eq!(app.sandbox.fal.generations(), 0, "no image is made from it");
    // The photos stay: they were not given for training only.
    assert_eq!(app.artifacts("upload", ann.id.uuid()).await.len(), 10);
}

/// N2, one order: the withdrawal commits first. No request leaves.
#[tokio::test(flavor = "multi_thread")]
async fn n2_k13_a_withdrawal_between_dequeue_and_submit_lets_nothing_leave() {
    let app = App::spawn().await;
    let (ann, order) = app.model_order().await;
    sqlx::query("update safelight.orders set state = 'training', paid_at = safelight.now() where id = $1")
        .bind(order.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    app.wants(&TrainModel { order }).await;
    let claimed = app.dequeues(Queue::Training).await;
    app.withdraws(&ann, Purpose::Train).await;
    assert!(app.performs(&claimed).await.is_err());
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.fal.requests().len(), 0);
    assert_eq!(app.count("select count(*) from safelight.provider_calls").await, 0);
}

/// N2, the other order: the intent is committed, the withdrawal comes before Fal's answer is recorded. The request id is
/// kept, to cancel and to purge.
#[tokio::test(flavor = "multi_thread")]
async fn n2_k43_a_withdrawal_between_intent_and_answer_keeps_the_request_id_and_cancels_and_purges() {
    let app = App::spawn().await;
    app.sandbox.fal.hold(Hold::InQueue);
    let (ann, order) = app.model_order().await;
    sqlx::query("update safelight.orders set state = 'training', paid_at = safelight.now() where id = $1")
        .bind(order.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    app.wants(&TrainModel { order }).await;
    let claimed = app.dequeues(Queue::Training).await;
    // The table's lock stops the worker with its gate passed and its intent not yet written; the withdrawal queues behind.
    let mut stop = safelight_jobs::db::begin(&app.db).await.unwrap();
    stop.execute("lock table safelight.provider_calls in share row exclusive mode").await.unwrap();
    let app = std::sync::Arc::new(app);
    let worker = tokio::spawn({
        let app = app.clone();
        async move { app.performs(&claimed).await.is_ok() }
    });
    waiting(&app, "insert into safelight.provider_calls").await;
    let withdrawal = tokio::spawn({
        let (app, ann) = (app.clone(), ann.clone());
        async move { app.withdraws(&ann, Purpose::Train).await }
    });
    waiting(&app, "withdraw_consent").await;
    stop.rollback().await.unwrap();
    withdrawal.await.unwrap();
    let _ = worker.await.unwrap();

    let requests = app.sandbox.fal.requests();
    assert_eq!(requests.len(), 1, "the request had left");
    let (known, cancel, purge): (Option<String>, bool, String) =
        sqlx::query_as("select request_id, cancel_wanted, purge from safelight.provider_calls")
            .fetch_one(&app.db)
            .await
            .unwrap();
    assert_eq!(known, Some(requests[0].id.to_string()), "the request id is not lost");
    assert!(cancel && purge != "none");
    app.run_due_jobs().await;
    app.turn_clock(chrono::Duration::hours(1)).await;
    app.run_due_jobs().await;
    assert!(app.sandbox.fal.requests()[0].cancelled);
    assert!(app.sandbox.fal.purged().contains(&requests[0].id));
    assert_eq!(app.artifacts("model", order.uuid()).await.len(), 0);
}

/// Until a statement that holds these words waits for a lock.
pub(super) async fn waiting(app: &App, words: &str) {
    for _ in 0..2000 {
        let there: bool = sqlx::query_scalar(
            "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query ilike '%' || $1 || '%')",
        )
        .bind(words)
        .fetch_one(&app.db)
        .await
        .unwrap();
        if there {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("nothing with `{words}` waits for a lock");
}

/// N5: Fal accepted, and the answer was lost on its way; the webhook brings the request id.
#[tokio::test(flavor = "multi_thread")]
async fn n5_a_webhook_that_comes_before_the_submits_answer_is_matched_by_its_token_and_applied_once() {
    let app = App::spawn().await;
    app.sandbox.fal.faults().once(Fault::LostAnswer);
    let (_bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    assert_eq!(app.sandbox.fal.trainings(), 1, "nothing was asked twice");
    let (state, request): (String, Option<String>) =
        sqlx::query_as("select state, request_id from safelight.provider_calls where purpose = 'train'")
            .fetch_one(&app.db)
            .await
            .unwrap();
    assert_eq!((state, request), ("succeeded".to_owned(), Some(app.sandbox.fal.requests()[0].id.to_string())));
    assert_eq!(app.count("select count(*) from safelight.artifacts where class = 'model'").await, 1);
}

/// N3: neither answer nor webhook came; the deletion waits as unknown, and the listing resolves it.
#[tokio::test(flavor = "multi_thread")]
async fn n3_an_erasure_with_an_unknown_request_waits_and_is_never_called_done() {
    let app = App::spawn().await;
    app.sandbox.fal.faults().once(Fault::LostAnswer);
    app.sandbox.fal.faults().once(Fault::DropWebhook);
    let (bob, order) = app.small_halo_order().await;
    app.pays(order).await;
    app.run_due_jobs().await;
    assert_eq!(
        app.count("select count(*) from safelight.provider_calls where state = 'unknown' and request_id is null").await,
        1
    );
    let deletion = app.erases(&bob).await;
    app.run_due_jobs().await;
    assert_ne!(app.deletion_state(deletion).await, "complete");
    let step: String = app
        .of("select state || ' ' || code from safelight.deletion_steps where deletion_id = $1 and class = 'processor_copy'", deletion.uuid())
        .await;
    assert_eq!(step, "waiting_provider call_unknown");
    app.wants(&ReconcileCalls { because: "test".to_owned(), grace_seconds: Some(0) }).await;
    app.run_due_jobs().await;
    app.turn_clock(chrono::Duration::minutes(30)).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.sandbox.fal.files().len(), 0);
}

/// N6: ten deliveries at once of what Fal tells.
#[tokio::test(flavor = "multi_thread")]
async fn n6_ten_deliveries_of_fals_webhook_have_one_effect() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    let request = app.sandbox.fal.requests()[0].id;
    let before = app.count("select count(*) from safelight.webhook_inbox").await;
    for _ in 0..10 {
        app.sandbox.fal.deliver_again(request).unwrap();
    }
    app.run_due_jobs().await;
    let deliveries = app.sandbox.fal.deliveries();
    assert!(deliveries.iter().rev().take(10).all(|delivery| delivery.status == Some(200)));
    assert_eq!(app.count("select count(*) from safelight.webhook_inbox").await, before);
    assert_eq!(app.count("select count(*) from safelight.artifacts where class = 'model'").await, 1);
    assert_eq!(app.sandbox.fal.generations(), 4);
}

/// Withdrawn when the model is there and the images are not ordered yet: the model goes, and the order says why.
#[tokio::test(flavor = "multi_thread")]
async fn k43_a_model_goes_with_its_consent_also_when_it_is_there_already() {
    let app = App::spawn().await;
    let (ann, order) = app.model_order().await;
    app.fulfils(order).await;
    let model = app.artifacts("model", order.uuid()).await[0];
    app.withdraws(&ann, Purpose::Train).await;
    app.run_due_jobs().await;
    assert!(!app.has_row(model).await);
    assert!(!app.stored_keys().iter().any(|key| key.contains("/model/")));
    assert_eq!(app.artifacts("image", order.uuid()).await.len(), 12, "images that were delivered rest on the contract");
}

/// K9: biometric too: home under the person's own path, purged where it was made, and no address of Fal's is kept.
#[tokio::test(flavor = "multi_thread")]
async fn k9_a_model_lies_under_the_persons_own_path_and_its_copy_at_fal_is_purged_and_looked_for() {
    let app = App::spawn().await;
    let (ann, order) = app.model_order().await;
    app.fulfils(order).await;
    let model = app.artifacts("model", order.uuid()).await[0];
    let key = app.key_of(model).await;
    assert!(key.starts_with(&format!("koselfie/{}/model/", ann.id.uuid().simple())), "{key}");
    assert!(app.stored_keys().contains(&key));
    let training = &app.sandbox.fal.requests()[0];
    assert!(app.sandbox.fal.purged().contains(&training.id));
    for file in &training.files {
        assert_eq!(app.http.get(file).send().await.unwrap().status(), 404);
    }
    let files = url::Url::parse(&app.sandbox.description().fal.files_url).unwrap();
    assert!(app.lines_with(files.authority()).await.is_empty(), "no address at Fal's file host is stored");
}
