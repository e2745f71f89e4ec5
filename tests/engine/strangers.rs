//! Our clients against servers that nobody here wrote: moto and s3s-fs where the store is, localstripe where payments are, kent
//! where error reports go. s3s-fs is a crate and always there; `./dev conformance` starts the others and says where they are, and
//! alone their tests are left out, by name.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    error_handling::HandleError,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use futures::StreamExt;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use safelight_jobs::{
    id::{self, Id, Refund, Subject},
    providers::{
        Secret,
        sentry::{Level, Report, Sentry, SentryConfig},
        storage::{Key, Prefix, S3Config, Storage, StorageError},
        stripe::{RefundRequest, Stripe, StripeConfig, StripeError},
        stripe_webhook,
    },
};
use serde_json::Value;

use crate::{
    app::App,
    pools::{Pools, SOON, until},
    reports::{MARKERS, UNDER_WAY, failing},
};

const PATIENCE: Duration = Duration::from_secs(20);
/// The secret of the stranger that checks signatures.
const SECRET: &str = "a-secret-of-forty-characters-for-s3s-fs!";

fn there(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} says nothing: run ./dev conformance"))
}

fn store(endpoint: &str, secret: &str) -> Storage {
    Storage::s3(&S3Config {
        endpoint: endpoint.to_owned(),
        region: "us-east-1".to_owned(),
        bucket: "people".to_owned(),
        access_key: Secret::new("safelight"),
        secret_key: Secret::new(secret),
        timeout: PATIENCE,
    })
    .expect("a client")
}

/// Everything that we ask of a store.
async fn keeps_serves_lists_and_deletes(store: &Storage) {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let subject = Id::<Subject>::new();
    let key = |id: &str| Key::new("koselfie", &subject.uuid().simple().to_string(), "upload", id).expect("a key");
    let mine = Prefix::subject("koselfie", subject).expect("a prefix");
    assert_eq!(store.absent(&key("one")).await, Ok(true));
    assert_eq!(store.get(&key("one"), 10).await, Err(StorageError::NotFound));
    assert_eq!(store.list(&mine).await, Ok(Vec::new()));

    for id in ["one", "two", "three"] {
        store.put(&key(id), Bytes::from_static(b"selfie"), "image/jpeg").await.expect("a put");
    }
    assert_eq!(store.get(&key("one"), 6).await.expect("the bytes"), Bytes::from_static(b"selfie"));
    assert_eq!(store.get(&key("one"), 5).await, Err(StorageError::TooLarge { most: 5 }));
    store.put(&key("one"), Bytes::from_static(b"other"), "image/jpeg").await.expect("a put over it");
    assert_eq!(store.get(&key("one"), 6).await.expect("the bytes"), Bytes::from_static(b"other"));

    let link = store.signed_get(&key("two"), Duration::from_secs(60)).await.expect("a link");
    let read = http.get(link.expose()).send().await.expect("an answer");
    assert_eq!((read.status().as_u16(), read.bytes().await.expect("bytes")), (200, Bytes::from_static(b"selfie")));
    let link = store.signed_put(&key("four"), Duration::from_secs(60)).await.expect("a link");
    let put =
        http.put(link.expose()).header("content-type", "image/png").body("by link").send().await.expect("an answer");
    assert!(put.status().is_success(), "{}", put.status());
    assert_eq!(store.get(&key("four"), 10).await.expect("the bytes"), Bytes::from_static(b"by link"));

    // Above what one part holds.
    let chunk = || Ok::<_, std::io::Error>(Bytes::from(vec![7_u8; 5 * 1024 * 1024]));
    let parts = futures::stream::iter([chunk(), chunk(), chunk()]).boxed();
    assert_eq!(store.put_stream(&key("model"), parts, "application/octet-stream").await, Ok(15 * 1024 * 1024));
    assert_eq!(store.get(&key("model"), u64::MAX).await.expect("the bytes").len(), 15 * 1024 * 1024);
    let broken = futures::stream::iter([chunk(), chunk(), Err(std::io::Error::other("gone"))]).boxed();
    assert_eq!(
        store.put_stream(&key("broken"), broken, "application/octet-stream").await,
        Err(StorageError::SourceBroke)
    );
    assert_eq!(store.absent(&key("broken")).await, Ok(true));

    let ids = |listed: Vec<safelight_jobs::providers::storage::Listed>| -> Vec<String> {
        listed.iter().map(|one| one.key.as_str().rsplit('/').next().unwrap_or_default().to_owned()).collect()
    };
    let mut all = ids(store.list(&mine).await.expect("a list"));
    all.sort();
    assert_eq!(all, ["four", "model", "one", "three", "two"]);
    let page = ids(store.list_after(&mine, Some(&key("model")), 2).await.expect("a page"));
    assert_eq!(page, ["one", "three"]);

    store.delete(&key("two")).await.expect("a deletion");
    store.delete(&key("two")).await.expect("as often as wanted");
    assert_eq!(store.absent(&key("two")).await, Ok(true));
    let rest: Vec<Key> = ["one", "three", "four", "model", "never-there"].map(key).into();
    let claims = store.delete_many(&rest).await;
    assert!(claims.iter().all(|(_, claim)| claim.is_ok()), "{claims:?}");
    for key in &rest {
        assert_eq!(store.absent(key).await, Ok(true));
    }
    assert_eq!(store.list(&mine).await, Ok(Vec::new()));
}

#[tokio::test]
#[ignore = "needs moto: ./dev conformance"]
async fn moto_keeps_serves_lists_and_deletes_what_the_store_client_asks() {
    keeps_serves_lists_and_deletes(&store(&there("SAFELIGHT_MOTO"), SECRET)).await;
}

/// s3s-fs, as its own program serves it: files in a folder, one account, signatures checked.
async fn s3s_fs(folder: &std::path::Path) -> String {
    std::fs::create_dir_all(folder.join("people")).expect("a bucket");
    let mut service = S3ServiceBuilder::new(FileSystem::new(folder).expect("a store"));
    service.set_auth(SimpleAuth::from_single("safelight", SECRET));
    let refused = |error: s3s::HttpError| async move { (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")) };
    let router = Router::new().fallback_service(HandleError::new(service.build(), refused));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn s3s_fs_does_so_too_and_believes_no_other_secret() {
    let folder = std::env::temp_dir().join(format!("safelight-store-{}", uuid::Uuid::new_v4().simple()));
    let endpoint = s3s_fs(&folder).await;
    keeps_serves_lists_and_deletes(&store(&endpoint, SECRET)).await;
    let key = Key::new("koselfie", &Id::<Subject>::new().uuid().simple().to_string(), "upload", "one").expect("a key");
    let stranger = store(&endpoint, "another-secret-of-forty-characters-more!");
    assert_eq!(stranger.put(&key, Bytes::new(), "image/jpeg").await, Err(StorageError::NotAllowed));
    assert_eq!(stranger.absent(&key).await, Err(StorageError::NotAllowed), "a refusal proves nothing");
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

/// A receiver of webhooks: signature and body.
async fn receiver() -> (String, Arc<Mutex<Vec<(String, Bytes)>>>) {
    let got: Arc<Mutex<Vec<(String, Bytes)>>> = Arc::default();
    let kept = got.clone();
    let take = move |headers: HeaderMap, body: Bytes| async move {
        let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
        kept.lock().expect("nobody panicked").push((signature.to_owned(), body));
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(take))).await });
    (url, got)
}

/// localstripe has payments, refunds and signed news, and no Checkout Sessions.
#[tokio::test]
#[ignore = "needs localstripe: ./dev conformance"]
async fn localstripe_refunds_a_payment_lists_it_and_signs_its_news() {
    let url = there("SAFELIGHT_LOCALSTRIPE");
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let makes = async |path: &str, form: &[(&str, &str)]| -> Value {
        let sent = http.post(format!("{url}{path}")).bearer_auth("sk_test_12345").form(form).send().await;
        let answer = sent.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let text = answer.text().await.expect("a body");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    };
    let (webhook, got) = receiver().await;
    makes("/_config/webhooks/safelight", &[("url", webhook.as_str()), ("secret", "whsec_of_a_stranger")]).await;
    let card = [
        ("type", "card"),
        ("card[number]", "4242424242424242"),
        ("card[exp_month]", "12"),
        ("card[exp_year]", "2039"),
        ("card[cvc]", "123"),
    ];
    let card = makes("/v1/payment_methods", &card).await;
    let method = card["id"].as_str().expect("an id");
    let wish = [("amount", "1900"), ("currency", "eur"), ("payment_method", method)];
    let payment = makes("/v1/payment_intents", &wish).await["id"].as_str().expect("an id").to_owned();
    makes(&format!("/v1/payment_intents/{payment}/confirm"), &[]).await;

    let stripe = Stripe::new(&StripeConfig {
        base_url: url.clone(),
        secret_key: Secret::new("sk_test_12345"),
        timeout: PATIENCE,
    })
    .expect("a client");
    let ours = Id::<Refund>::new();
    let wish = RefundRequest { payment_intent: payment.clone(), amount_cents: 700, refund: ours };
    let refund = stripe.refund(&wish, "refund:1").await.expect("a refund");
    assert_eq!((refund.amount_cents, refund.status.as_deref(), refund.ours), (700, Some("succeeded"), Some(ours)));
    assert_eq!(stripe.refunds_of(&payment).await.expect("a list"), [refund]);
    assert!(matches!(stripe.refunds_of("pi_never_made").await, Err(StripeError::NotFound { .. })));
    assert!(matches!(stripe.retrieve_session("cs_test_none").await, Err(StripeError::NotFound { .. })));

    let paid = async {
        loop {
            let news = got.lock().expect("nobody panicked").clone();
            let now = chrono::Utc::now().timestamp();
            let secrets = [Secret::new("whsec_of_a_stranger")];
            let read = |(signature, body): &(String, Bytes)| stripe_webhook::verify(body, signature, &secrets, now);
            let events: Vec<_> = news.iter().map(|one| read(one).expect("a genuine event")).collect();
            if let Some(paid) = events.into_iter().find(|event| event.kind == "payment_intent.succeeded") {
                return paid;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let paid = tokio::time::timeout(PATIENCE, paid).await.expect("the news of the payment");
    assert_eq!(paid.object_id, Some(payment));
}

#[tokio::test]
#[ignore = "needs kent: ./dev conformance"]
async fn kent_reads_an_error_report() {
    let url = there("SAFELIGHT_KENT");
    let sentry = Sentry::new(&SentryConfig {
        dsn: Secret::new(url.replace("http://", "http://key@") + "/1"),
        environment: "test".to_owned(),
        timeout: PATIENCE,
    })
    .expect("a client");
    let job = Id::<id::Job>::new();
    let report = Report::new("train_model", job, "fal_rejected", Level::Error);
    sentry.send(&report, chrono::Utc::now().timestamp()).await.expect("taken");
    // Other tests tell it things, too.
    let kept = kept_by_kent(&url).await;
    let event =
        kept.iter().find(|event| event.contains(&job.to_string())).unwrap_or_else(|| panic!("none in {kept:?}"));
    for part in ["train_model: fal_rejected", "safelight.worker"] {
        assert!(event.contains(part), "{part} is not in {event}");
    }
}

/// Everything that it has, as text.
async fn kept_by_kent(url: &str) -> Vec<String> {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let asked = async |path: &str| -> Value {
        http.get(format!("{url}{path}")).send().await.expect("an answer").json().await.expect("JSON")
    };
    let mut kept = Vec::new();
    for event in asked("/api/eventlist/").await["events"].as_array().expect("a list") {
        let id = event["event_id"].as_str().expect("an id");
        kept.push(asked(&format!("/api/event/{id}")).await.to_string());
    }
    kept
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kent: ./dev conformance"]
async fn k35_h29_kent_is_told_that_jobs_failed_and_no_word_of_a_person() {
    let url = there("SAFELIGHT_KENT");
    let app = App::spawn().await;
    let reporting = app.reporting_to(url.replace("http://", "http://key@") + "/1");
    let pools = Pools::start_with(&app.database_url, failing(), reporting).await;
    let mut jobs = Vec::new();
    for way in ["gives_up", "retries", "is_in_trouble", "panics", "is_unreadable"] {
        jobs.push(app.will_fail("train_model", "koselfie", way).await.to_string());
    }
    until(&app.db, UNDER_WAY, 0).await;
    let told = async {
        loop {
            let kept = kept_by_kent(&url).await;
            if jobs.iter().all(|job| kept.iter().any(|event| event.contains(job))) {
                return kept;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let kept = tokio::time::timeout(SOON, told).await.expect("each failure is told");
    pools.stop().await;
    for event in kept {
        for marker in MARKERS.iter().chain(&["planted", "koselfie", "\"transaction\"", "\"log\""]) {
            assert!(!event.contains(marker), "{marker} is in {event}");
        }
    }
}
