//! What was agreed to: a grant covers what its own version said, and what rests on it ends with it, at a tenant whose images need
//! a consent. Nothing here is known of that tenant but its file.

use chrono::Duration;
use safelight_jobs::{
    gate::{Ask, Generate},
    intake,
    policy::{CapturePoint, DataClass, Processor, Purpose},
    policy_rows,
};
use safelight_sandbox::{Fault, fal::Hold};

use super::policies::{PORTRAITLAB, changed};
use crate::app::{App, WORDING};

/// Its next version: for images, another class goes to Fal, and we look at them ourselves.
fn widened() -> safelight_jobs::policy::Policy {
    changed(
        PORTRAITLAB,
        &[
            ("version = \"2026-06-01\"", "version = \"2026-07-01\""),
            (
                "processor = \"fal\"\nclasses = [\"upload\", \"prompt\", \"image\"]",
                "processor = \"fal\"\nclasses = [\"upload\", \"prompt\", \"image\", \"verdict\"]\n\n[[rule]]\npurpose = \"generate\"\nprocessor = \"self\"\nclasses = [\"image\"]",
            ),
        ],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn n30_k1_a_grant_does_not_cover_what_a_later_version_adds_to_its_purpose() {
    let app = App::with_portraitlab().await;
    let (eve, order) = app.portrait_order(true).await;
    app.pays(order).await;
    app.run_due_jobs().await;
    policy_rows::install(&app.db, &widened()).await.unwrap();
    policy_rows::announce(&app.db, "portraitlab", "2026-07-01", crate::app::OPS).await.unwrap();
    app.turn_clock(Duration::hours(49)).await;
    let asks = |processor, classes| Ask::of(eve.id, processor, classes).order(order);
    let agreed = || asks(Processor::Fal, &[DataClass::Upload, DataClass::Prompt]);
    let new_class = || asks(Processor::Fal, &[DataClass::Upload, DataClass::Verdict]);
    let new_processor = || asks(Processor::SelfHosted, &[DataClass::Image]);
    assert_eq!(app.gate::<Generate>(new_class()).await.unwrap_err(), "consent_missing");
    assert_eq!(app.gate::<Generate>(new_processor()).await.unwrap_err(), "consent_missing");
    app.gate::<Generate>(agreed()).await.expect("what was agreed to still holds");

    let grant = intake::Grant {
        subject: eve.id,
        purpose: Purpose::Generate,
        capture_point: CapturePoint::Upload,
        batch: Some(app.batch_of(order).await),
        order: None,
        wording_sha256: WORDING.to_owned(),
        policy_version: "2026-07-01".to_owned(),
    };
    let mut tx = app.tx().await;
    intake::grant(&mut tx, "portraitlab", &grant).await.unwrap();
    tx.commit().await.unwrap();
    for ask in [agreed(), new_class(), new_processor()] {
        app.gate::<Generate>(ask).await.expect("agreed to under the version that names it");
    }
}

/// While Fal makes the images: the cancel is ignored, they are made, their webhooks come.
#[tokio::test(flavor = "multi_thread")]
async fn k43_an_order_whose_images_are_not_consented_to_any_more_goes_to_refund_review_in_that_commit() {
    let app = App::with_portraitlab().await;
    app.sandbox.fal.hold(Hold::InProgress);
    app.sandbox.fal.faults().always(Fault::CancelIgnored);
    let (eve, order) = app.portrait_order(true).await;
    app.begins(order).await;
    app.stands(order, "generating", None).await;
    let withdrawn = app.withdraws(&eve, Purpose::Generate).await;
    app.stands(order, "refund_review", Some("consent_withdrawn")).await;
    let marked = "select count(*) from safelight.provider_calls where cancel_wanted and purge = 'wanted'";
    assert_eq!(app.count(marked).await, 2);

    app.sandbox.fal.hold(Hold::Nowhere);
    app.run_due_jobs().await;
    app.lives_on(2, Duration::hours(1)).await;
    assert_eq!(app.artifacts("image", order.uuid()).await.len(), 0, "none is taken home");
    assert_eq!(app.sandbox.fal.purged().len(), 2);
    assert_eq!(app.deletion_state(withdrawn.deletion).await, "complete");
    app.stands(order, "refund_review", Some("consent_withdrawn")).await;
    assert_eq!(app.sale_status(&app.session(order).await).await, "paid", "a person decides about the money");
}

/// Home, and not delivered: here an image still waits for its label.
#[tokio::test(flavor = "multi_thread")]
async fn k43_an_image_that_was_not_delivered_yet_is_not_delivered_after_the_withdrawal() {
    let labels = changed(
        PORTRAITLAB,
        &[
            ("pay = { basis", "nsfw = { basis = \"legitimate_interest\" }\npay = { basis"),
            (
                "[[rule]]\npurpose = \"pay\"",
                "[[rule]]\npurpose = \"nsfw\"\nprocessor = \"fal\"\nclasses = [\"image\", \"verdict\"]\n\n[[rule]]\npurpose = \"pay\"",
            ),
            ("[[plan]]", "[nsfw]\nmodel = \"fal-ai/imageutils/nsfw\"\nthreshold = 0.5\n\n[[plan]]"),
        ],
    );
    let app = App::with_third_tenant(labels).await;
    let (eve, order) = app.portrait_order(true).await;
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    let look = app.runs_up_to("check_image").await;
    let images = app.artifacts("image", order.uuid()).await;
    assert!(!images.is_empty());
    app.withdraws(&eve, Purpose::Generate).await;
    for &image in &images {
        assert!(!app.readable(image).await, "from that commit");
    }
    // The look that was under way has lost its job, and the others are not begun.
    let _ = safelight_worker::perform(&app.worker, &app.services, &look).await;
    app.run_due_jobs().await;
    app.lives_on(2, Duration::hours(1)).await;
    assert_eq!(app.artifacts("image", order.uuid()).await.len(), 0);
    assert_eq!(app.count("select count(*) from safelight.audit_entries where action = 'image.delivered'").await, 0);
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
    assert!(!app.stored_keys().iter().any(|key| key.contains("/image/")));
    app.stands(order, "refund_review", Some("consent_withdrawn")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k43_images_that_rest_on_a_consent_go_with_it_and_the_photos_stay() {
    let app = App::with_portraitlab().await;
    let (eve, order) = app.portrait_order(true).await;
    app.fulfils(order).await;
    let (images, photos) = (app.artifacts("image", order.uuid()).await, app.artifacts("upload", eve.id.uuid()).await);
    let withdrawn = app.withdraws(&eve, Purpose::Generate).await;
    assert!(!app.readable(images[0]).await, "from that commit");
    app.run_due_jobs().await;
    assert_eq!(app.deletion_state(withdrawn.deletion).await, "complete");
    assert_eq!(app.artifacts("image", order.uuid()).await.len(), 0);
    assert!(!app.stored_keys().iter().any(|key| key.contains("/image/")));
    assert!(app.readable(photos[0]).await);
    app.stands(order, "delivered", None).await;
}
