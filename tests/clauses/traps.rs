//! How the house copes with what providers do by themselves: caches that lag, key sets and lists that are empty, words of another
//! version, an account without money, a black picture, reports that come late, a user who stays.

use chrono::Duration;
use safelight_jobs::{
    generate_batch::GenerateBatch,
    providers::auth::{TokenError, UserTokens, UserTokensConfig},
};
use safelight_sandbox::Fault;

use crate::app::App;

impl App {
    /// What the store's cache answers to a read over REST, which is no way of ours.
    async fn cache_shows(&self, key: &str) -> bool {
        let there = self.sandbox.description().supabase;
        let url = format!("{}/storage/v1/object/authenticated/safelight/{key}", there.url);
        self.http.get(url).header("apikey", there.secret_key).send().await.unwrap().status().is_success()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_that_the_stores_cache_still_shows_was_looked_for_in_the_store_itself_and_no_link_of_ours_leads_there()
{
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let photo = app.key_of(app.artifacts("upload", ann.id.uuid()).await[0]).await;
    app.sandbox.supabase.faults().always(Fault::CacheStillServes { seconds: 60 });
    let deletion = app.erases(&ann).await;
    app.run_due_jobs().await;
    assert_eq!(app.stored_keys(), Vec::<String>::new());
    assert!(app.cache_shows(&photo).await, "the cache lags");
    assert_ne!(app.deletion_state(deletion).await, "complete");

    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert!(!app.cache_shows(&photo).await, "an erasure is longer than any lag of the cache");
    // What we read, looked at and handed out went to the store past its cache, from the first photo on.
    let mut ours = app.sandbox.supabase.calls().into_iter().filter(|call| call.path.starts_with("/storage/"));
    assert!(ours.all(|call| call.path.starts_with("/storage/v1/s3/") || call.path.contains("/authenticated/")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_not_believed_while_the_key_set_is_empty_and_is_believed_again_with_the_next_one() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let there = app.sandbox.description().supabase;
    let tokens = UserTokens::new(&UserTokensConfig {
        project_url: there.url.clone(),
        legacy_jwt_secret: None,
        issuer: None,
        timeout: std::time::Duration::from_secs(5),
    })
    .unwrap();
    let token = app.sandbox.supabase.mint_user_jwt(ann.auth_user, &ann.email).unwrap();
    let now = chrono::Utc::now().timestamp();
    app.sandbox.supabase.faults().once(Fault::EmptyKeySet);
    assert_eq!(tokens.verify_user_jwt(&token, now).await.err(), Some(TokenError::Forged));
    assert_eq!(tokens.verify_user_jwt(&token, now + 59).await.err(), Some(TokenError::Forged), "asked once a minute");
    assert_eq!(tokens.verify_user_jwt(&token, now + 61).await.map(|claims| claims.sub), Ok(ann.auth_user));
}

/// An endpoint that was set up years ago sends events of that time: little more than an id, and words that nobody uses now.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_paid_served_refunded_and_disputed_by_events_of_an_older_version() {
    let app = App::spawn().await;
    app.sandbox.stripe.faults().always(Fault::OlderEvent);
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let (session, payment) = (app.session(order).await, app.payment(order).await);
    assert_eq!(app.sale_status(&session).await, "paid");
    app.sandbox.stripe.refund_part(&payment, 400).unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.sale(&session).await.unwrap().refunded_cents, 400);
    app.sandbox.stripe.dispute(&payment).unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.sale(&session).await.unwrap().disputed_cents, 1500);
    assert!(app.sandbox.stripe.events().iter().all(|event| event["api_version"] == "2019-05-16"));

    let (_eve, unpaid) = app.basic_order(false).await;
    app.sandbox.stripe.expire(&app.session(unpaid).await).unwrap();
    app.run_due_jobs().await;
    app.stands(unpaid, "expired", None).await;
    // What nobody here knows is taken, and nothing follows from it.
    let news =
        app.sandbox.stripe.event("treasury.moon_landing.settled", serde_json::json!({ "id": "tml_1", "status": null }));
    let body = news.to_string();
    let (status, answer) = app.stripe_says(&body, &app.sandbox.stripe.sign_now(body.as_bytes())).await;
    assert_eq!((status, &answer["received"]), (200, &serde_json::json!("ignored")));
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_succeeds_and_fails_afterwards_is_looked_at_again() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    app.sandbox.stripe.faults().once(Fault::RefundFailsLater);
    app.asks_refund(order, None).await.unwrap();
    app.run_due_jobs().await;
    app.lives_on(2, Duration::hours(1)).await;
    let sale = app.sale(&app.session(order).await).await.unwrap();
    assert_eq!((sale.status.as_str(), sale.kept_cents, sale.review.as_deref()), ("paid", 1900, Some("refund_failed")));
}

/// 402: nothing was accepted, and a person has to pay. No attempt is spent on waiting for that.
#[tokio::test(flavor = "multi_thread")]
async fn while_fal_has_no_money_an_order_waits_as_long_as_it_takes_and_is_served_once() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.sandbox.fal.faults().always(Fault::PaymentRequired);
    app.pays(order).await;
    app.run_due_jobs().await;
    app.lives_on(20, Duration::minutes(16)).await;
    app.stands(order, "generating", None).await;
    assert!(app.sandbox.fal.requests().is_empty());
    assert!(app.enqueued(&GenerateBatch { order }).await.is_some_and(|job| job.attempt == 0));
    app.sandbox.fal.faults().clear();
    app.lives_on(1, Duration::minutes(16)).await;
    app.stands(order, "delivered", None).await;
    assert_eq!(app.sandbox.fal.generations(), 4);
    assert_eq!(app.compares_money().await, Vec::<String>::new());
}

/// 200, a flag, and a black picture: nobody is shown it, and the order goes on with the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_fal_made_black_is_withheld_and_its_copy_purged() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.sandbox.fal.faults().once(Fault::BlackPicture);
    app.fulfils(order).await;
    assert_eq!(app.artifacts("image", order.uuid()).await.len(), 3);
    assert_eq!(app.count("select count(*) from safelight.provider_calls where code = 'nsfw'").await, 1);
    assert_eq!(app.sandbox.fal.files().len(), 0);
}

/// The model's reason is a sentence, which may repeat what was asked: the order goes on, and the sentence stays at Fal.
#[tokio::test(flavor = "multi_thread")]
async fn k35_a_refusal_that_is_a_sentence_fails_its_image_and_is_written_down_nowhere() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    let faults = app.sandbox.fal.faults();
    faults.once(Fault::ModelRefuses);
    faults.once(Fault::PlainDetail);
    faults.always(Fault::DropWebhook);
    app.pays(order).await;
    app.run_due_jobs().await;
    for _ in 0..3 {
        app.turn_clock(Duration::minutes(3)).await;
        app.reconciles().await;
    }
    app.stands(order, "refund_review", Some("images_failed")).await;
    assert_eq!(faults.list().len(), 1, "the model has refused, and said why in a sentence");
    assert_eq!(app.count("select count(*) from safelight.provider_calls where code = 'model_error'").await, 1);
    assert_eq!(app.lines_with("content checker").await, Vec::<String>::new());
    assert_eq!(app.artifacts("image", order.uuid()).await.len(), 3);
}

/// While a secret rolls, each event carries two signatures, and the first is not ours.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_paid_and_refunded_by_events_that_carry_two_signatures() {
    let app = App::spawn().await;
    app.sandbox.stripe.faults().always(Fault::TwoSignatures);
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    app.sandbox.stripe.refund_part(&app.payment(order).await, 400).unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.sale(&app.session(order).await).await.unwrap().refunded_cents, 400);
    assert!(app.sandbox.stripe.deliveries().iter().all(|delivery| delivery.status == Some(200)));
}

/// Every answer of every provider comes in pieces.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_served_once_by_providers_that_drip_and_its_person_erased_by_them() {
    let app = App::spawn().await;
    let drip = Fault::SlowDrip { millis: 2 };
    for faults in [app.sandbox.stripe.faults(), app.sandbox.fal.faults(), app.sandbox.supabase.faults()] {
        faults.always(drip);
    }
    app.sandbox.resend.faults().always(drip);
    let (bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    assert_eq!(app.sandbox.fal.trainings(), 1);
    let deletion = app.erases(&bob).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.stored_keys(), Vec::<String>::new());
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
}

/// Until then only the sweep of the minute asks.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_served_once_although_every_report_of_fal_is_three_quarters_of_an_hour_late() {
    let app = App::spawn().await;
    app.sandbox.fal.faults().always(Fault::DelayWebhookByClock { minutes: 45 });
    let (_bob, order) = app.small_halo_order().await;
    app.pays(order).await;
    app.run_due_jobs().await;
    app.stands(order, "training", None).await;
    for _ in 0..2 {
        app.turn_clock(Duration::minutes(3)).await;
        app.reconciles().await;
    }
    app.stands(order, "delivered", None).await;
    assert!(app.sandbox.fal.deliveries().is_empty());
    let stored = app.stored_keys();

    app.turn_clock(Duration::minutes(46)).await;
    app.run_due_jobs().await;
    let reports = app.sandbox.fal.deliveries();
    assert_eq!(reports.len(), app.sandbox.fal.requests().len());
    assert!(reports.iter().all(|report| report.status == Some(200)), "{reports:?}");
    app.stands(order, "delivered", None).await;
    assert_eq!((app.stored_keys(), app.sandbox.fal.trainings()), (stored, 1));
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn n27_k30_an_erasure_is_not_complete_while_supabase_keeps_the_sign_in_user() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let is_there = || app.sandbox.supabase.users().iter().any(|user| user.id == ann.auth_user);
    app.sandbox.supabase.faults().always(Fault::UserDeletionFails);
    let deletion = app.erases(&ann).await;
    app.waits_out_late_writers().await;
    assert!(is_there());
    assert_ne!(app.deletion_state(deletion).await, "complete");
    app.sandbox.supabase.faults().clear();
    app.lives_on(8, Duration::hours(2)).await;
    assert!(!is_there());
    assert_eq!(app.deletion_state(deletion).await, "complete");
}

/// A list that says 200 and nothing is believed for now; two hours later the folder is listed again.
#[tokio::test(flavor = "multi_thread")]
async fn n10_a_photo_that_an_empty_list_hides_from_an_erasure_is_found_by_its_second_look() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let stray = format!("koselfie/{}/upload/{}", ann.id.uuid().simple(), uuid::Uuid::new_v4().simple());
    app.sandbox.supabase.put("safelight", &stray, "image/jpeg", vec![1].into()).await.unwrap();
    app.sandbox.supabase.faults().always(Fault::ListIsEmpty);
    let deletion = app.erases(&ann).await;
    app.run_due_jobs().await;
    assert_eq!(app.stored_keys(), [stray]);
    app.sandbox.supabase.faults().clear();
    app.waits_out_late_writers().await;
    assert_eq!(app.stored_keys(), Vec::<String>::new());
    assert_eq!(app.deletion_state(deletion).await, "complete");
}
