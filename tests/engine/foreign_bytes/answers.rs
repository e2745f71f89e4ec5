//! What providers answer: our clients of Stripe, Fal, Resend, Supabase Auth, the object store, the erasure ledger, the places of
//! checkpoints and Sentry behind a twister each. An error repeats nothing of what was answered, because errors are logged.

use std::time::Duration;

use axum::body::Bytes;
use futures::StreamExt;
use safelight_jobs::{
    gate::{Ask, Host, Notify, Train},
    id::{self, Id, Refund, Subject},
    policy::{DataClass, Processor},
    providers::{
        Secret,
        auth::{Auth, AuthConfig},
        fal::{Fal, FalConfig, FileAccess, TrainingRequest},
        fal_webhook::{FalWebhook, FalWebhookConfig},
        ledger::{Act, Ledger, LedgerEntry},
        mail::{Mail, MailConfig, Mailer},
        outside::Outside,
        sentry::{Level, Report, Sentry, SentryConfig},
        storage::{Key, Prefix, S3Config, Storage},
        stripe::{CheckoutRequest, RefundRequest, Span, Stripe, StripeConfig},
        witness::Witness,
    },
};
use safelight_sandbox::Sandbox;
use serde_json::{Map, json};

use super::{PATIENCE, twister::Twister};
use crate::app::App;

const SESSION_LIFE: i64 = 86_400;

#[tokio::test(flavor = "multi_thread")]
async fn stripes_answers_near_good_ones_are_understood_or_refused() {
    let app = App::spawn().await;
    let (_, order) = app.basic_order(false).await;
    app.pays(order).await;
    let (session, payment) = (app.session(order).await, app.payment(order).await);
    app.sandbox.stripe.refund_part(&payment, 100).expect("a refund");
    let there = app.sandbox.description().stripe;
    let twister = Twister::before(&there.url).await;
    let secret_key = Secret::new(there.secret_key.as_str());
    let stripe = Stripe::new(&StripeConfig { base_url: twister.at(&there.url), secret_key, timeout: PATIENCE });
    let stripe = &stripe.expect("a client");
    let new = &CheckoutRequest {
        order,
        price_cents: 4900,
        currency: "eur".to_owned(),
        name: "Portraits".to_owned(),
        success_url: "https://photos.example/thanks".to_owned(),
        cancel_url: "https://photos.example/".to_owned(),
        automatic_tax: true,
    };
    let back = &RefundRequest { payment_intent: payment.clone(), amount_cents: 100, refund: Id::<Refund>::new() };
    let now = chrono::Utc::now().timestamp();
    let span = Span { from: now - SESSION_LIFE, until: now + SESSION_LIFE };
    twister.tries(60, || stripe.retrieve_session(&session)).await;
    twister.tries(40, || stripe.create_session(new, "near-a-session")).await;
    twister.tries(40, || stripe.refund(back, "near-a-refund")).await;
    // A refusal names the parameter that it is about.
    let nothing = &RefundRequest { amount_cents: 0, ..back.clone() };
    twister.refuses(60, || stripe.refund(nothing, "near-no-refund")).await;
    app.sandbox.stripe.dispute(&payment).expect("a dispute");
    twister.tries(40, || stripe.sessions_of(&payment)).await;
    twister.tries(40, || stripe.refunds_of(&payment)).await;
    twister.tries(40, || stripe.disputes_of(&payment)).await;
    twister.tries(20, || stripe.sessions_in(span, None)).await;
    twister.tries(20, || stripe.refunds_in(span, None)).await;
    twister.tries(20, || stripe.disputes_in(span, None)).await;
    // Paid: it cannot be closed any more, and what is twisted is a refusal.
    twister.refuses(40, || stripe.expire_session(&session)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fals_answers_near_good_ones_are_understood_or_refused() {
    let app = App::spawn().await;
    let (ann, order) = app.pro_order().await;
    app.pays(order).await;
    app.run_up_to::<safelight_jobs::train_model::TrainModel>().await;
    let there = app.sandbox.description().fal;
    let (queue, platform) = (Twister::before(&there.queue_url).await, Twister::before(&there.platform_url).await);
    let fal = &Fal::new(&FalConfig {
        queue_url: queue.at(&there.queue_url),
        platform_url: platform.at(&there.platform_url),
        files_hosts: vec![there.files_url.trim_start_matches("http://").to_owned()],
        key: Secret::new(there.key.as_str()),
        admin_key: Some(Secret::new(there.admin_key.as_str())),
        file_life: Duration::from_secs(3600),
        file_access: FileAccess::Anyone,
        timeout: PATIENCE,
        download_timeout: PATIENCE,
    })
    .expect("a client");
    let ask = Ask::of(ann.id, Processor::Fal, &[DataClass::Upload]).order(order);
    let allowed = &app.gate::<Train>(ask).await.expect("she agreed");
    let model = safelight_sandbox::fal::FAST_TRAINER;
    let request = &TrainingRequest {
        model_id: model.to_owned(),
        images_data_url: Secret::new("http://127.0.0.1:1/photos.zip"),
        trigger_word: "ohwx".to_owned(),
        parameters: Map::new(),
        webhook_url: format!("{}/webhooks/fal/0e1c37c0b7d94a1fa4b4f3c6d2e85b10", app.url),
    };
    // A hundred trainings of nothing: what each becomes is of no interest here.
    queue.tries(40, || fal.submit_training(allowed, request)).await;
    let submitted = fal.submit_training(allowed, request).await.expect("a request");
    app.sandbox.fal.idle().await;
    let now = chrono::Utc::now();
    let (from, until) = (now - chrono::Duration::hours(1), now + chrono::Duration::hours(1));
    queue.tries(60, || fal.status(&submitted.status_url)).await;
    queue.refuses(60, || fal.result(&submitted.response_url)).await;
    queue.tries(30, || fal.cancel(&submitted.cancel_url)).await;
    platform.tries(40, || fal.list_requests(model, from, until)).await;
    platform.tries(40, || fal.purge(&submitted.request_id)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_of_mail_sign_in_and_error_reports_near_good_ones_are_understood_or_refused() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let there = app.sandbox.description();
    let twister = Twister::before(&there.resend.url).await;
    let base_url = twister.at(&there.resend.url);
    let api_key = Secret::new(there.resend.api_key.as_str());
    let mailer = &Mailer::new(&MailConfig { base_url, api_key, timeout: PATIENCE }).expect("a client");
    let allowed = &app.gate::<Notify>(Ask::of(ann.id, Processor::Resend, &[DataClass::Account])).await.expect("a gate");
    let mail = &Mail {
        to: Secret::new(ann.email.as_str()),
        subject: "Your portraits".to_owned(),
        text: "They are ready.".to_owned(),
        from: "hello@photos.example".to_owned(),
    };
    twister.tries(40, || mailer.send(allowed, mail, "near-a-mail")).await;
    let sent = mailer.send(allowed, mail, "near-a-mail").await.expect("a mail");
    twister.tries(40, || mailer.fate(&sent)).await;

    let twister = Twister::before(&there.supabase.url).await;
    let project_url = twister.at(&there.supabase.url);
    let service_key = Secret::new(there.supabase.secret_key.as_str());
    let auth = &Auth::new(&AuthConfig { project_url, service_key, timeout: PATIENCE }).expect("a client");
    let allowed = &app.gate::<Host>(Ask::of(ann.id, Processor::Supabase, &[DataClass::Account])).await.expect("a gate");
    let address = &Secret::new("new@mail.example");
    twister.tries(40, || auth.change_address(allowed, ann.auth_user, address)).await;
    twister.tries(60, || auth.delete_user(ann.auth_user)).await;

    let twister = Twister::before(&there.sentry.dsn).await;
    let dsn = Secret::new(twister.at(&there.sentry.dsn));
    let config = SentryConfig { dsn, environment: "test".to_owned(), timeout: PATIENCE };
    let sentry = &Sentry::new(&config).expect("a client");
    let report = &Report::new("train_model", Id::<id::Job>::new(), "fal_rejected", Level::Error);
    // Once it says that it is busy, it is left alone for a while: by the instant that we name.
    let clock = &std::sync::atomic::AtomicI64::new(0);
    let later = || clock.fetch_add(1_000_000, std::sync::atomic::Ordering::Relaxed);
    twister.tries(30, || sentry.send(report, later())).await;
}

/// A bucket of the stand-in, asked through the twister.
fn bucket(sandbox: &Sandbox, twister: &Twister) -> S3Config {
    let there = sandbox.description().supabase;
    S3Config {
        endpoint: twister.at(&there.s3_endpoint),
        region: there.s3_region.clone(),
        bucket: "safelight".to_owned(),
        access_key: Secret::new(there.s3_access_key_id.as_str()),
        secret_key: Secret::new(there.s3_secret_access_key.as_str()),
        timeout: PATIENCE,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stores_answers_near_good_ones_are_understood_or_refused() {
    let app = App::spawn().await;
    let twister = Twister::before(&app.sandbox.description().supabase.s3_endpoint).await;
    let config = bucket(&app.sandbox, &twister);
    let store = &Storage::s3(&config).expect("a client");
    let subject = Id::<Subject>::new();
    let key = |id: &str| Key::new("koselfie", &subject.uuid().simple().to_string(), "upload", id).expect("a key");
    let (one, two) = (&key("one"), &key("two"));
    let mine = &Prefix::subject("koselfie", subject).expect("a prefix");
    for key in [one, two] {
        store.put(key, Bytes::from_static(b"selfie"), "image/jpeg").await.expect("a put");
    }
    twister.tries(60, || store.list(mine)).await;
    twister.tries(40, || store.list_after(mine, Some(one), 5)).await;
    twister.tries(30, || store.get(one, 10)).await;
    twister.tries(20, || store.exists(one)).await;
    twister.tries(20, || store.put(one, Bytes::from_static(b"selfie"), "image/jpeg")).await;
    let parts = || futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"model"))]).boxed();
    twister.tries(40, || store.put_stream(two, parts(), "application/octet-stream")).await;
    twister.tries(20, || store.delete(one)).await;
    let gone = [one.clone(), two.clone()];
    twister.tries(40, || async { Ok::<_, std::convert::Infallible>(store.delete_many(&gone).await) }).await;

    let ledger = &Ledger::bucket(&config, "ledger", app.services.vault.ledger_keys()).expect("a ledger");
    let entry = &LedgerEntry { at: 1_790_000_000, tenant: "koselfie".to_owned(), subject, act: Act::Erasure };
    twister.tries(20, || ledger.write(entry)).await;
    twister.tries(60, || ledger.entries()).await;

    let witness = &Witness::bucket(&config, "checkpoints").expect("a place");
    let note = "safelight.example/log\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u{2014} safelight.example/log q4b8VQAA\n";
    twister.tries(40, || witness.put(7, note)).await;
    let outside = &Outside::bucket(&config).expect("a place");
    let folder = std::env::temp_dir().join(format!("safelight-near-{}", uuid::Uuid::new_v4().simple()));
    let fetched = &std::sync::atomic::AtomicU32::new(0);
    let below = || folder.join(fetched.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string());
    twister.tries(40, || async { outside.fetch("checkpoints", &below()).await }).await;
    let names = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    assert!(names.into_iter().all(|name| name.to_string_lossy().parse::<u32>().is_ok()), "nothing lies beside it");
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn fals_keys_near_good_ones_are_understood_or_refused_and_let_no_stranger_in() {
    let app = App::spawn().await;
    let there = app.sandbox.description().fal;
    let twister = Twister::before(&there.rest_url).await;
    let config = FalWebhookConfig { keys_url: twister.at(&there.rest_url), account: None, timeout: PATIENCE };
    let now = chrono::Utc::now().timestamp();
    let body = json!({ "request_id": "r1", "status": "OK", "payload": {} }).to_string().into_bytes();
    let headers = |signed: safelight_sandbox::fal::SignedHeaders| {
        let pair = |(name, value): &(&str, &str)| (name.parse().expect("a name"), value.parse().expect("a value"));
        signed.pairs().iter().map(pair).collect::<reqwest::header::HeaderMap>()
    };
    let signed = headers(app.sandbox.fal.sign(&body, "r1", now));
    let other =
        Sandbox::start(safelight_sandbox::Options::new(std::env::temp_dir().join("safelight-near-other"))).await;
    let forged = headers(other.expect("another house").fal.sign(&body, "r1", now));
    twister
        .tries(60, || async {
            // A client of its own each time: keys are kept for a while.
            let check = FalWebhook::new(&config).expect("a client");
            assert!(check.verify(&body, &forged, now).await.is_err(), "a stranger's signature");
            check.verify(&body, &signed, now).await
        })
        .await;
}
