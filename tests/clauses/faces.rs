//! Vectors: never without consent, never of an image, never across persons or orders.

use safelight_jobs::{
    gate::{Ask, Compare, Generate},
    id::{Artifact, Id},
    measure_selfies::MeasureSelfies,
    policy::{CapturePoint, DataClass, Processor, Purpose},
    train_model::TrainModel,
};

use crate::app::App;

#[tokio::test(flavor = "multi_thread")]
async fn k6_without_a_grant_no_vector_is_extracted_and_the_job_says_which_consent_is_missing() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, 0);
    assert_eq!(app.count("select count(*) from safelight.similarities").await, 0);
    let said: String = app
        .of(
            "select outcome from safelight.audit_entries where order_id = $1 and action = 'selfies.not_measured'",
            order.uuid(),
        )
        .await;
    assert_eq!(said, "consent_missing");
}

/// A job of the time before the withdrawal is tried again after it.
#[tokio::test(flavor = "multi_thread")]
async fn k6_a_retry_of_an_older_job_extracts_nothing_without_a_grant() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(true).await;
    sqlx::query("update safelight.orders set state = 'generating', paid_at = safelight.now() where id = $1")
        .bind(order.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    // The first attempt meets a store that is down.
    app.sandbox.supabase.faults().add(safelight_sandbox::Rule {
        fault: safelight_sandbox::Fault::ServerError { status: 503 },
        times: None,
        on: Some("GET /storage/".to_owned()),
    });
    let job = app.wants(&MeasureSelfies { order }).await;
    app.run_due_jobs().await;
    assert_eq!(app.why(job).await, "store_unreachable");
    app.sandbox.supabase.faults().clear();
    // Withdrawn while it waits; and even a job that somebody puts back does not get through.
    app.withdraws(&ann, Purpose::Compare).await;
    app.run_due_jobs().await;
    app.turn_clock(chrono::Duration::hours(1)).await;
    app.wants(&MeasureSelfies { order }).await;
    app.run_due_jobs().await;
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn k6_a_vector_names_the_model_that_made_it_its_photo_and_the_grants_it_rests_on() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    let registered = app.services.faces.model().clone();
    let rows: Vec<(String, String, i32, Vec<uuid::Uuid>, uuid::Uuid)> =
        sqlx::query_as("select model_name, model_sha256, dimension, grants, upload_id from safelight.embeddings")
            .fetch_all(&app.db)
            .await
            .unwrap();
    assert_eq!(rows.len(), 3);
    let selfies = app.artifacts("upload", ann.id.uuid()).await;
    for (name, sha256, dimension, grants, upload) in rows {
        assert_eq!((name.as_str(), sha256.as_str()), (registered.name.as_str(), registered.sha256.as_str()));
        assert_eq!(sha256.len(), 64);
        assert!(dimension >= 128);
        assert_eq!(grants.len(), 2, "the box at sign-up and the box at the upload");
        assert!(selfies.contains(&Id::<Artifact>::from(upload)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k7_a_vector_of_a_generated_image_is_never_stored() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    assert_eq!(
        app.count("select count(*) from safelight.similarities where mean_best3 is not null").await,
        4,
        "they were measured"
    );
    let of_uploads = app
        .count("select count(*) from safelight.embeddings e join safelight.artifacts a on a.id = e.upload_id where a.class = 'upload'")
        .await;
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, of_uploads);
    // A worker that tries to store one is refused: an image is no photo of the order's batch.
    let image = app.artifacts("image", order.uuid()).await[0];
    let stored =
        sqlx::query("select safelight.record_embedding($1, 1, $2, $3, 'model', repeat('a', 64), 512, '\\x00')")
            .bind(ann.id.uuid())
            .bind(order.uuid())
            .bind(image.uuid())
            .execute(&app.worker)
            .await;
    assert!(stored.is_err(), "a vector of an image was stored");
    // And directly into the table no role of a process can write.
    let direct = sqlx::query(
        "insert into safelight.embeddings (subject_id, upload_id, order_id, model_name, model_sha256, dimension, vector_sealed, grants)
        select subject_id, $1, order_id, model_name, model_sha256, dimension, vector_sealed, grants from safelight.embeddings limit 1",
    )
    .bind(image.uuid())
    .execute(&app.worker)
    .await;
    assert!(direct.unwrap_err().to_string().contains("permission denied"));
}

#[tokio::test(flavor = "multi_thread")]
async fn k7_k20_a_vector_is_read_for_its_own_person_and_order_only() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(true).await;
    let (eve, of_eve) = app.basic_order(true).await;
    for order in [order, of_eve] {
        sqlx::query("update safelight.orders set state = 'generating', paid_at = safelight.now() where id = $1")
            .bind(order.uuid())
            .execute(&app.db)
            .await
            .unwrap();
    }
    let foreign = app.artifacts("upload", ann.id.uuid()).await[0];
    let asks = Ask::of(eve.id, Processor::SelfHosted, &[DataClass::Upload, DataClass::Embedding])
        .order(of_eve)
        .objects(std::slice::from_ref(&foreign));
    assert_eq!(app.gate::<Compare>(asks).await.unwrap_err(), "object_foreign");
    let asks = Ask::of(eve.id, Processor::SelfHosted, &[DataClass::Upload, DataClass::Embedding]).order(order);
    assert_eq!(app.gate::<Compare>(asks).await.unwrap_err(), "order_foreign");
    let crossed =
        sqlx::query("select safelight.record_embedding($1, 1, $2, $3, 'model', repeat('a', 64), 512, '\\x00')")
            .bind(eve.id.uuid())
            .bind(of_eve.uuid())
            .bind(foreign.uuid())
            .execute(&app.worker)
            .await;
    assert!(crossed.is_err());
    // No index that could search all faces: vectors are sealed bytes, each under the key of its person.
    let indexes = app
        .count("select count(*) from pg_indexes where schemaname = 'safelight' and tablename = 'embeddings' and indexdef like '%vector%'")
        .await;
    assert_eq!(indexes, 0);
    assert_eq!(app.count("select count(*) from pg_extension where extname = 'vector'").await, 0);
}

/// N31: the account, the photos and the images that were paid for stay.
#[tokio::test(flavor = "multi_thread")]
async fn n31_k43_withdrawing_the_comparison_takes_vectors_and_scores_and_nothing_else() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    app.withdraws(&ann, Purpose::Compare).await;
    app.run_due_jobs().await;
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, 0);
    assert_eq!(app.count("select count(*) from safelight.similarities").await, 0);
    assert_eq!(app.artifacts("upload", ann.id.uuid()).await.len(), 3);
    assert_eq!(app.artifacts("image", order.uuid()).await.len(), 4);
    assert_eq!(app.order_state(order).await.0, "delivered");
}

/// The images are paid for: they are delivered without a score.
#[tokio::test(flavor = "multi_thread")]
async fn n31_images_in_the_making_are_delivered_without_a_score_after_a_withdrawal() {
    let app = App::spawn().await;
    app.sandbox.fal.hold(safelight_sandbox::fal::Hold::InProgress);
    let (ann, order) = app.basic_order(true).await;
    app.begins(order).await;
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, 3);
    app.withdraws(&ann, Purpose::Compare).await;
    app.sandbox.fal.hold(safelight_sandbox::fal::Hold::Nowhere);
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await, ("delivered".to_owned(), None));
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, 0);
    assert_eq!(app.count("select count(*) from safelight.similarities").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn k22_n26_a_second_order_cannot_use_the_first_orders_model() {
    let app = App::spawn().await;
    let (ann, first) = app.model_order().await;
    app.fulfils(first).await;
    let model = app.artifacts("model", first.uuid()).await[0];
    let second = app.orders(&ann, app.batch_of(first).await, "pro", true).await;
    sqlx::query("update safelight.orders set state = 'generating', paid_at = safelight.now() where id = $1")
        .bind(second.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    let asks = Ask::of(ann.id, Processor::Fal, &[DataClass::Model, DataClass::Prompt])
        .order(second)
        .objects(std::slice::from_ref(&model));
    assert_eq!(app.gate::<Generate>(asks).await.unwrap_err(), "object_foreign");
    // The job of the second order does not find it either, and asks nobody.
    let before = app.sandbox.fal.requests().len();
    let job = app.wants(&safelight_jobs::generate_batch::GenerateBatch { order: second }).await;
    app.run_due_jobs().await;
    assert_eq!(app.why(job).await, "object_gone");
    assert_eq!(app.sandbox.fal.requests().len(), before, "Fal was not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn k22_n26_an_order_cannot_use_another_persons_model() {
    let app = App::spawn().await;
    let (_bob, first) = app.small_halo_order().await;
    app.fulfils(first).await;
    let model = app.artifacts("model", first.uuid()).await[0];
    let (eve, second) = app.small_halo_order().await;
    sqlx::query("update safelight.orders set state = 'generating', paid_at = safelight.now() where id = $1")
        .bind(second.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    let asks = Ask::of(eve.id, Processor::Fal, &[DataClass::Model, DataClass::Prompt])
        .order(second)
        .objects(std::slice::from_ref(&model));
    assert_eq!(app.gate::<Generate>(asks).await.unwrap_err(), "object_foreign");
    let no_order = Ask::of(eve.id, Processor::Fal, &[DataClass::Model]).objects(std::slice::from_ref(&model));
    assert_eq!(app.gate::<Generate>(no_order).await.unwrap_err(), "object_foreign");
}

/// A second order trains anew, on its own consent.
#[tokio::test(flavor = "multi_thread")]
async fn k22_a_second_order_of_the_same_person_trains_its_own_model() {
    let app = App::spawn().await;
    let (bob, first) = app.small_halo_order().await;
    app.fulfils(first).await;
    let second = app.orders(&bob, app.batch_of(first).await, "basic", true).await;
    app.fulfils(second).await;
    assert_eq!(app.sandbox.fal.trainings(), 2);
    let job = app.wants(&TrainModel { order: second }).await;
    app.run_due_jobs().await;
    assert_eq!(app.why(job).await, "done");
    assert_eq!(app.sandbox.fal.trainings(), 2, "and one model an order, however often it is asked for");
}

/// K8, K21: photos of another batch or person never reach a training.
#[tokio::test(flavor = "multi_thread")]
async fn k21_h8_a_training_set_of_two_persons_is_refused() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    let (eve, of_eve) = app.small_halo_order().await;
    sqlx::query("update safelight.orders set state = 'paid', paid_at = safelight.now()")
        .execute(&app.db)
        .await
        .unwrap();
    let mut photos: Vec<uuid::Uuid> = app.artifacts("upload", bob.id.uuid()).await.into_iter().map(Id::uuid).collect();
    photos.extend(app.artifacts("upload", eve.id.uuid()).await.into_iter().take(1).map(Id::uuid));
    let key = format!("haloprofile/{}/bundle/a", bob.id.uuid().simple());
    let mixed = sqlx::query("select safelight.record_bundle($1, $2, 1, $3, $4, $5)")
        .bind(uuid::Uuid::new_v4())
        .bind(bob.id.uuid())
        .bind(order.uuid())
        .bind(key)
        .bind(&photos)
        .execute(&app.worker)
        .await;
    assert!(mixed.unwrap_err().to_string().contains("object_foreign"));
    let _ = of_eve;
    // And what Fal is asked is private and short-lived.
    app.wants(&TrainModel { order }).await;
    app.run_due_jobs().await;
    let request = &app.sandbox.fal.requests()[0];
    assert!(!request.store_io, "Fal keeps no payload");
    assert!(request.file_life_seconds.is_some_and(|seconds| seconds <= 3600));
    assert!(app.sandbox.fal.uploads().is_empty(), "no photo was ever uploaded to Fal");
}

/// The consent to compare covers both boxes; a box at the settings page is none.
#[tokio::test(flavor = "multi_thread")]
async fn k6_k14_a_box_somewhere_else_is_no_consent_to_compare() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let elsewhere = app.grants(&ann, Purpose::Compare, CapturePoint::Settings, None, None).await;
    assert!(elsewhere.is_err(), "the policy does not ask there");
    let bob = app.person("haloprofile").await;
    let none = app.grants(&bob, Purpose::Compare, CapturePoint::SignUp, None, None).await;
    assert!(none.is_err(), "HaloProfile's policy has no such purpose");
}
