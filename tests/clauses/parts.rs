//! Deletions of a part: one photo, one image, what is left of an order that failed; each fenced at once, carried out by the same
//! engine, and gone with everything that rests on it.

use safelight_jobs::{
    compare_faces::CompareFaces,
    id::{Artifact, Deletion, Id, Order},
    job::Job,
};
use safelight_sandbox::fal::Hold;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::app::App;

impl App {
    async fn deletes_photo(&self, token: &str, photo: Id<Artifact>) -> Id<Deletion> {
        let (status, answer) = self.post(token, &format!("/v1/photos/{photo}/delete"), json!({})).await;
        assert_eq!((status, &answer["already"]), (202, &json!(false)), "{answer}");
        answer["deletion"].as_str().unwrap().parse().unwrap()
    }

    /// Its verified steps: class, processor, how many went.
    async fn steps_of(&self, deletion: Id<Deletion>) -> Vec<(String, String, i32)> {
        sqlx::query_as("select class, processor, deleted from safelight.deletion_steps where deletion_id = $1 and state = 'verified' order by seq")
            .bind(deletion.uuid())
            .fetch_all(&self.db)
            .await
            .unwrap()
    }

    /// A Basic order whose last comparison died for good: in refund review, with one image that was never delivered.
    async fn failed_order(&self) -> (crate::app::Person, Id<Order>, uuid::Uuid) {
        let (ann, order) = self.basic_order(true).await;
        self.pays(order).await;
        let dead = self.runs_up_to("compare_faces").await;
        let dead = self.dies(&dead, "model_unreadable").await;
        self.run_due_jobs().await;
        self.reconciles().await;
        self.stands(order, "refund_review", Some("work_died")).await;
        (ann, order, dead)
    }
}

/// K26, D4, K49: the vectors, the scores that counted it, the bytes; and the scores are made anew of the photos that are left.
#[tokio::test(flavor = "multi_thread")]
async fn k26_k40_k49_one_photo_goes_at_once_with_what_rests_on_it_and_the_rest_is_compared_anew() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    let selfies = app.artifacts("upload", ann.id.uuid()).await;
    let key = app.key_of(selfies[0]).await;
    assert_eq!(app.count("select count(*) from safelight.similarities where compared = 3").await, 4);

    let deletion = app.deletes_photo(&token, selfies[0]).await;
    assert!(!app.readable(selfies[0]).await, "nobody reads it from the answer on");
    let (status, again) = app.post(&token, &format!("/v1/photos/{}/delete", selfies[0]), json!({})).await;
    assert_eq!((status, &again["already"], &again["deletion"]), (202, &json!(true), &json!(deletion)));
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert!(!app.has_row(selfies[0]).await && !app.stored_keys().contains(&key));
    let left = "select count(*) from safelight.embeddings where subject_id = $1";
    assert_eq!(app.of::<i64>(left, ann.id.uuid()).await, 2);
    assert_eq!(app.count("select count(*) from safelight.similarities where compared = 2").await, 4, "compared anew");
    assert_eq!(app.count("select count(*) from safelight.similarities").await, 4);
    for image in app.artifacts("image", order.uuid()).await {
        assert!(app.readable(image).await, "the images have their own term");
    }
    assert_eq!(app.post(&token, &format!("/v1/photos/{}/delete", selfies[0]), json!({})).await.0, 404, "it is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn k25_k40_one_image_goes_at_once_with_its_score_its_label_and_its_copies_at_fal() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    let images = app.artifacts("image", order.uuid()).await;
    let deletion = app.deletes_photo(&token, images[1]).await;
    assert_eq!(app.reads_image(&token, ann.id, images[1]).await, 410);
    app.run_due_jobs().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.reads_image(&token, ann.id, images[1]).await, 404);
    assert_eq!(app.reads_image(&token, ann.id, images[0]).await, 200);
    for table in ["select count(*) from safelight.similarities", "select count(*) from safelight.image_checks"] {
        assert_eq!(app.count(table).await, 3, "{table}");
    }
    let steps = app.steps_of(deletion).await;
    let at_fal = ("processor_copy".to_owned(), "fal".to_owned(), 2);
    assert!(steps.contains(&at_fal), "the call that made it and the one that labelled it: {steps:?}");
    assert!(steps.contains(&("image".to_owned(), "supabase".to_owned(), 1)), "{steps:?}");
}

/// A person who is restricted may have a photo deleted; somebody else's photo is nobody's business.
#[tokio::test(flavor = "multi_thread")]
async fn k40_k41_a_restricted_person_has_a_photo_deleted_and_no_other_tenant_does() {
    let app = App::spawn().await;
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    let (_, of_ann) = app.uploads(&ann, 2).await;
    let (_, of_eve) = app.uploads(&eve, 1).await;
    sqlx::query("update safelight.subjects set state = 'restricted' where id = $1")
        .bind(ann.id.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    let other = app.token("haloprofile").await;
    let (status, answer) = app.post(&other, &format!("/v1/photos/{}/delete", of_ann[0]), json!({})).await;
    assert_eq!((status, &answer["code"]), (404, &json!("not_found")));
    let deletion = app.deletes_photo(&app.token("koselfie").await, of_ann[0]).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert!(!app.has_row(of_ann[0]).await && app.has_row(of_ann[1]).await && app.has_row(of_eve[0]).await);
    app.erases(&eve).await;
    let token = app.token("koselfie").await;
    let (status, answer) = app.post(&token, &format!("/v1/photos/{}/delete", of_eve[0]), json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("subject_erased")), "the erasure has it");
}

/// The order waited for a look at this image; the attempt that looks writes nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn k40_an_image_that_is_deleted_while_it_is_looked_at_holds_up_nothing() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let (_ann, order) = app.basic_order(true).await;
    app.pays(order).await;
    let claimed = app.runs_up_to(CompareFaces::NAME).await;
    let image: Id<Artifact> = claimed.payload["image"].as_str().unwrap().parse().unwrap();
    app.deletes_photo(&token, image).await;
    assert_eq!(app.enqueued(&CompareFaces { image }).await, None, "nobody looks at it any more");
    assert!(app.performs(&claimed).await.is_err(), "it has lost its job");
    app.run_due_jobs().await;
    app.stands(order, "delivered", None).await;
    assert_eq!(app.artifacts("image", order.uuid()).await.len(), 3);
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
}

/// The copy that Fal was given is gone only when that training has ended. It is not cancelled; but the stand-in fetches its photos
/// late, finds them gone, and fails: nothing extends a photo's life.
#[tokio::test(flavor = "multi_thread")]
async fn k26_n12_a_photo_that_fal_trains_on_is_not_called_gone_before_that_training_has_ended() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let (_ann, order) = app.model_order().await;
    let selfie = app.artifacts("upload", app.batch_of(order).await.uuid()).await[3];
    app.sandbox.fal.hold(Hold::InProgress);
    app.begins(order).await;
    assert!(app.stored_keys().iter().any(|key| key.contains("/bundle/")));
    let deletion = app.deletes_photo(&token, selfie).await;
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    assert!(!app.has_row(selfie).await);
    assert!(!app.stored_keys().iter().any(|key| key.contains("/bundle/")), "the zip that holds it goes with it");
    assert_ne!(app.deletion_state(deletion).await, "complete", "Fal still has a copy");
    assert!(app.sandbox.fal.requests().iter().all(|request| !request.cancelled), "somebody has paid for it");
    app.sandbox.fal.hold(Hold::Nowhere);
    app.run_due_jobs().await;
    app.stands(order, "refund_review", Some("training_failed")).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.sandbox.fal.files().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn k25_k50_the_words_of_an_order_go_with_the_last_of_its_images() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let words = "select count(*) from safelight.orders where prompt_sealed is not null";
    let images = app.artifacts("image", order.uuid()).await;
    for image in &images {
        assert_eq!(app.count(words).await, 1, "an image is there that they describe");
        app.deletes_photo(&token, *image).await;
        app.run_due_jobs().await;
    }
    assert_eq!(app.count(words).await, 0);
}

/// What was paid for and came to nothing: gone here and at Fal, and the sale says by which law it stays.
#[tokio::test(flavor = "multi_thread")]
async fn k27_k52_what_is_left_of_a_failed_order_goes_on_request_and_the_sale_stays_by_a_named_law() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let (ann, order, dead) = app.failed_order().await;
    let undelivered = "select count(*) from safelight.artifacts where class = 'image' and delivered_at is null";
    assert_eq!(app.count(undelivered).await, 1);
    let (status, begun) = app.post(&token, &format!("/v1/orders/{order}/delete"), json!({})).await;
    assert_eq!((status, &begun["already"]), (202, &json!(false)), "{begun}");
    let (_, again) = app.post(&token, &format!("/v1/orders/{order}/delete"), json!({})).await;
    assert_eq!((&again["already"], &again["deletion"]), (&json!(true), &begun["deletion"]));
    app.run_due_jobs().await;
    let deletion: Id<Deletion> = begun["deletion"].as_str().unwrap().parse().unwrap();
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.count(undelivered).await, 0);
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, 0);
    assert_eq!(app.count("select count(*) from safelight.orders where prompt_sealed is null").await, 1);
    assert_eq!(app.count("select count(*) from safelight.provider_calls where purge <> 'purged'").await, 0);
    assert_eq!(app.artifacts("upload", ann.id.uuid()).await.len(), 3, "the photos have their own term");
    let images = app.artifacts("image", order.uuid()).await;
    assert_eq!(images.len(), 3, "and so has what was delivered");
    let law: String = sqlx::query_scalar(
        "select evidence from safelight.deletion_steps where deletion_id = $1 and state = 'retained_by_law'",
    )
    .bind(deletion.uuid())
    .fetch_one(&app.db)
    .await
    .unwrap();
    assert!(law.contains("tax law") && law.contains("Directive 2006/112/EC") && law.contains("-01-01 ("), "{law}");
    app.redrives(dead).await;
    app.run_due_jobs().await;
    app.stands(order, "refund_review", Some("work_died")).await;
    assert_eq!(app.artifacts("image", order.uuid()).await.len(), 3, "a redrive brings nothing back");
}

#[tokio::test(flavor = "multi_thread")]
async fn k40_an_order_that_nobody_paid_is_gone_whole_and_one_that_did_not_fail_is_not_deleted_so() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let (_ann, order) = app.basic_order(false).await;
    let refused = |answer: &Value| answer["code"].clone();
    let (status, answer) = app.post(&token, &format!("/v1/orders/{order}/delete"), json!({})).await;
    assert_eq!((status, refused(&answer)), (409, json!("order_not_failed")));
    app.sandbox.stripe.expire(&app.session(order).await).unwrap();
    app.run_due_jobs().await;
    app.stands(order, "expired", None).await;
    let (status, begun) = app.post(&token, &format!("/v1/orders/{order}/delete"), json!({})).await;
    assert_eq!(status, 202, "{begun}");
    app.run_due_jobs().await;
    let deletion: Id<Deletion> = begun["deletion"].as_str().unwrap().parse().unwrap();
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.count("select count(*) from safelight.orders").await, 0);
    let (_, delivered) = app.basic_order(false).await;
    app.fulfils(delivered).await;
    let (status, answer) = app.post(&token, &format!("/v1/orders/{delivered}/delete"), json!({})).await;
    assert_eq!((status, refused(&answer)), (409, json!("order_not_failed")));
}

/// Did the command succeed, and what did it print?
async fn types(app: &App, words: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_safelight"));
    command.args(words).env("DATABASE_URL", &app.database_url).env("SAFELIGHT_LOG", "error").kill_on_drop(true);
    let output = command.output().await.unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn h26_k44_whoever_reads_the_mailbox_deletes_a_photo_or_a_failed_order_by_a_command() {
    let app = App::spawn().await;
    let (ann, order, _) = app.failed_order().await;
    let photo = app.artifacts("upload", ann.id.uuid()).await[0];
    assert!(
        !types(&app, &["delete", "photo", &photo.to_string(), "--why", "it is hers", "--yes"]).await.0,
        "somebody answers for it"
    );
    assert!(
        !types(&app, &["delete", "photo", &photo.to_string(), "--by", "Ann Example", "--why", "it is hers", "--yes"])
            .await
            .0,
        "by a code"
    );
    assert!(!types(&app, &["delete", "photo", &photo.to_string(), "--by", "ops_1", "--yes"]).await.0, "with a reason");
    for (what, id) in [("photo", photo.to_string()), ("order", order.to_string())] {
        let words = ["delete", what, &id, "--by", "ops_1", "--why", "it is hers", "--yes", "--json"];
        let (done, out) = types(&app, &words).await;
        assert!(done, "{what}");
        let begun: Value = serde_json::from_str(&out).unwrap();
        app.waits_out_late_writers().await;
        let deletion: Id<Deletion> = begun["deletion"].as_str().unwrap().parse().unwrap();
        assert_eq!(app.deletion_state(deletion).await, "complete", "{what}");
    }
    let named = "select count(*) from safelight.audit_entries where actor = 'operator' and codes ->> 'by' = 'ops_1'";
    assert_eq!(app.count(named).await, 2);
}
