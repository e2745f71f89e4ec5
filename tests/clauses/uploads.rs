//! Uploads: where they lie, who made them, and what is refused as no photo.

use safelight_jobs::{
    db::{self, Role},
    intake::IntakeError,
    providers::storage::Key,
};

use crate::app::{App, photos};

/// A header that promises 60,000 by 60,000 pixels.
const BOMB: &[u8] = &[
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 234, 96, 0, 0, 234, 96, 8, 2, 0, 0, 0, 15, 176,
    226, 21, 0, 0, 0, 17, 73, 68, 65, 84, 120, 156, 99, 96, 24, 5, 163, 96, 20, 12, 119, 0, 0, 3, 232, 0, 1, 179, 166,
    211, 70, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130,
];

fn code(error: &IntakeError) -> &str {
    match error {
        IntakeError::Invalid { code, .. } | IntakeError::Conflict { code, .. } => code,
        other => panic!("refused in another way: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k5_every_object_lies_under_its_tenant_and_person() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    let own = format!("haloprofile/{}/", bob.id.uuid().simple());
    let keys = app.stored_keys();
    assert!(keys.len() > 10);
    assert!(keys.iter().all(|key| key.starts_with(&own)), "{keys:?}");
    assert!(keys.iter().all(|key| key.parse::<Key>().unwrap().belongs_to("haloprofile", bob.id)));
}

/// The function that records an upload, and the table itself, refuse any other shape and any other person's folder.
#[tokio::test(flavor = "multi_thread")]
async fn k5_a_key_under_another_person_or_outside_the_shape_is_refused() {
    let app = App::spawn().await;
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    let (batch, _) = app.uploads(&ann, 1).await;
    let intake = db::connect(&app.database_url, Role::Api, 1).await.unwrap();
    let (own, foreign) = (ann.id.uuid().simple(), eve.id.uuid().simple());
    for key in [
        format!("koselfie/{foreign}/upload/a"),
        format!("haloprofile/{own}/upload/a"),
        format!("koselfie/{own}/upload/../../{foreign}/upload/a"),
        format!("koselfie/{own}/upload/a/b"),
        format!("koselfie/{own}/model/a"),
        format!("/koselfie/{own}/upload/a"),
        "a".to_owned(),
    ] {
        let recorded = sqlx::query("select safelight.record_upload($1, $2, $3, $4)")
            .bind(uuid::Uuid::new_v4())
            .bind(ann.id.uuid())
            .bind(batch.uuid())
            .bind(&key)
            .execute(&intake)
            .await;
        let why = recorded.expect_err(&key).to_string();
        assert!(why.contains("an_object_lies_under_its_person") || why.contains("storage_key"), "{key}: {why}");
    }
    let recorded = sqlx::query("select safelight.record_upload($1, $2, $3, $4)")
        .bind(uuid::Uuid::new_v4())
        .bind(ann.id.uuid())
        .bind(batch.uuid())
        .bind(format!("koselfie/{own}/upload/a"))
        .execute(&intake)
        .await;
    assert!(recorded.is_ok(), "and the right one is");
}

/// H4: no row of an upload without an act of uploading.
#[tokio::test(flavor = "multi_thread")]
async fn h4_an_upload_that_nobody_uploaded_is_refused() {
    let app = App::spawn().await;
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    let (of_eve, _) = app.uploads(&eve, 1).await;
    // A worker, and the intake's own role, insert past the function.
    let intake = safelight_jobs::db::connect(&app.database_url, safelight_jobs::db::Role::Api, 1).await.unwrap();
    for pool in [&app.worker, &intake] {
        let direct = sqlx::query("insert into safelight.artifacts (id, tenant, subject_id, generation, class, storage_key) values ($1, 'koselfie', $2, 1, 'upload', $3)")
            .bind(uuid::Uuid::new_v4())
            .bind(ann.id.uuid())
            .bind(format!("koselfie/{}/upload/a", ann.id.uuid().simple()))
            .execute(pool)
            .await;
        assert!(direct.unwrap_err().to_string().contains("permission denied"));
    }
    // Into somebody else's batch.
    let mut tx = app.tx().await;
    let slot = safelight_jobs::intake::slot(&mut tx, &app.services.storage, "koselfie", ann.id, of_eve).await;
    assert!(matches!(slot.err(), Some(IntakeError::NotFound { .. })));
    // Without a batch, as the owner of the schema.
    let without = sqlx::query("insert into safelight.artifacts (id, tenant, subject_id, generation, class, storage_key) values ($1, 'koselfie', $2, 1, 'upload', $3)")
        .bind(uuid::Uuid::new_v4())
        .bind(ann.id.uuid())
        .bind(format!("koselfie/{}/upload/a", ann.id.uuid().simple()))
        .execute(&app.db)
        .await;
    assert!(without.unwrap_err().to_string().contains("an_upload_belongs_to_a_batch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_photo_is_refused_with_its_reason_and_the_rest_of_the_batch_goes_on() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 2).await;
    let mut heic = vec![0, 0, 0, 24];
    heic.extend(b"ftypheic\0\0\0\0mif1heic");
    heic.extend([0; 64]);
    let jpeg = &photos()[0].bytes;
    for (bytes, wanted) in [
        (b"Dear service, this is a letter.\n".repeat(20), "photo_not_a_photo"),
        (heic, "photo_heic"),
        (jpeg[..jpeg.len() / 3].to_vec(), "photo_corrupt"),
        (BOMB.to_vec(), "photo_too_many_pixels"),
        (vec![0xff; 13 * 1024 * 1024], "photo_too_large"),
    ] {
        let refused = app.upload(&ann, batch, "image/jpeg", bytes).await.unwrap_err();
        assert_eq!(code(&refused), wanted);
    }
    assert_eq!(app.stored_keys().len(), 2, "what was refused does not stay in the store");
    // The batch takes one more and is ordered.
    app.upload(&ann, batch, "image/jpeg", photos()[2].bytes.clone()).await.unwrap();
    let order = app.orders(&ann, batch, "basic", true).await;
    app.fulfils(order).await;
}

/// The places that were never filled are swept, and with them whatever came too late.
#[tokio::test(flavor = "multi_thread")]
async fn k23_a_place_that_was_never_filled_is_swept_after_a_day() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 1).await;
    assert!(app.upload(&ann, batch, "image/jpeg", b"no photo".to_vec()).await.is_err());
    app.turn_clock(chrono::Duration::hours(25)).await;
    app.sweeps().await;
    assert_eq!(app.artifacts("upload", batch.uuid()).await.len(), 1);
}
