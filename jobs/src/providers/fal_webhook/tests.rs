use ed25519_dalek::{Signer, SigningKey};
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::json;

use super::{super::testing::*, *};

const NOW: i64 = 1_700_000_000;

fn vectors() -> Value {
    let all: Value = serde_json::from_str(include_str!("../../../specs/webhook-and-jwt-vectors.json")).unwrap();
    all["fal"].clone()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

fn signed(key: &SigningKey, body: &[u8], user: &str, time: i64) -> HeaderMap {
    let time = time.to_string();
    let message = format!("r1\n{user}\n{time}\n{}", hex::encode(Sha256::digest(body)));
    headers(&[
        ("x-fal-webhook-request-id", "r1"),
        ("x-fal-webhook-user-id", user),
        ("x-fal-webhook-timestamp", &time),
        ("x-fal-webhook-signature", &hex::encode(key.sign(message.as_bytes()).to_bytes())),
    ])
}

fn jwks(keys: &[&SigningKey]) -> Reply {
    let keys: Vec<Value> = keys
        .iter()
        .map(|key| json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(key.verifying_key().to_bytes())}))
        .collect();
    Reply::json(200, json!({ "keys": keys }))
}

fn check(server: &StandIn, account: Option<&str>) -> FalWebhook {
    let account = account.map(str::to_owned);
    let config = FalWebhookConfig { keys_url: server.url.clone(), account, timeout: Duration::from_secs(5) };
    FalWebhook::new(&config).unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

const BODY: &[u8] = br#"{"request_id":"r1","status":"OK","payload":{"images":[]}}"#;

#[tokio::test]
async fn the_published_vector_is_accepted_and_every_change_of_it_refused() {
    let vectors = vectors();
    let body = vectors["body"].as_str().unwrap();
    let server = StandIn::start([Reply::json(200, vectors["jwks"].clone())]).await;
    let check = check(&server, Some("user_0001"));
    let of = |change: &str, to: &str| {
        let pairs: Vec<(&str, &str)> = vectors["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.as_str(), if name == change { to } else { value.as_str().unwrap() }))
            .collect();
        headers(&pairs)
    };
    let good = of("", "");
    let event = check.verify(body.as_bytes(), &good, NOW).await.unwrap();
    assert_eq!((event.status, event.must_fetch(), event.error_code()), (FalOutcome::Ok, false, None));
    assert_eq!(server.asked()[0].path, "/.well-known/jwks.json");

    let forged = Err(FalWebhookError::Forged);
    assert_eq!(check.verify(body.replace("OK", "KO").as_bytes(), &good, NOW).await, forged);
    assert_eq!(check.verify(body.as_bytes(), &of("X-Fal-Webhook-Request-Id", "other"), NOW).await, forged);
    assert_eq!(check.verify(body.as_bytes(), &of("X-Fal-Webhook-User-Id", "user_0002"), NOW).await, forged);
    assert_eq!(check.verify(body.as_bytes(), &of("X-Fal-Webhook-Timestamp", "1700000001"), NOW).await, forged);
    for (distance, fine) in [(-301, false), (-300, true), (300, true), (301, false)] {
        let heard = check.verify(body.as_bytes(), &good, NOW + distance).await;
        assert_eq!(heard.is_ok(), fine, "{distance}");
        assert!(fine || heard == Err(FalWebhookError::Stale));
    }
    for (header, value) in [
        ("X-Fal-Webhook-Signature", "zz"),
        ("X-Fal-Webhook-Signature", "00"),
        ("X-Fal-Webhook-Timestamp", "soon"),
        ("X-Fal-Webhook-User-Id", ""),
    ] {
        let heard = check.verify(body.as_bytes(), &of(header, value), NOW).await;
        assert!(matches!(heard, Err(FalWebhookError::BadHeader { .. })), "{header}");
    }
    for missing in
        ["x-fal-webhook-request-id", "x-fal-webhook-user-id", "x-fal-webhook-timestamp", "x-fal-webhook-signature"]
    {
        let mut fewer = good.clone();
        fewer.remove(missing);
        let heard = check.verify(body.as_bytes(), &fewer, NOW).await;
        assert_eq!(heard, Err(FalWebhookError::BadHeader { header: missing }));
    }
    assert_eq!(server.asked().len(), 1, "forgeries did not make us ask again within the minute");
}

#[tokio::test]
async fn another_customers_good_signature_is_not_ours() {
    let server = StandIn::start([jwks(&[&key(1)]), jwks(&[&key(1)])]).await;
    let delivery = signed(&key(1), BODY, "stranger", NOW);
    let ours = check(&server, Some("us")).verify(BODY, &delivery, NOW).await;
    assert_eq!(ours, Err(FalWebhookError::OtherAccount));
    assert!(check(&server, None).verify(BODY, &delivery, NOW).await.is_ok());
}

#[tokio::test]
async fn a_new_key_of_fals_is_found_and_any_key_of_the_set_will_do() {
    let server = StandIn::start([jwks(&[&key(1)]), jwks(&[&key(1), &key(2)]), jwks(&[&key(2)])]).await;
    let check = check(&server, None);
    assert!(check.verify(BODY, &signed(&key(1), BODY, "u", NOW), NOW).await.is_ok());
    let later = NOW + 60;
    assert!(check.verify(BODY, &signed(&key(2), BODY, "u", later), later).await.is_ok());
    assert!(check.verify(BODY, &signed(&key(1), BODY, "u", later), later).await.is_ok());
    let heard = check.verify(BODY, &signed(&key(3), BODY, "u", later), later).await;
    assert_eq!(heard, Err(FalWebhookError::Forged));
    assert_eq!(server.asked().len(), 2);
    let later = later + 60;
    let heard = check.verify(BODY, &signed(&key(3), BODY, "u", later), later).await;
    assert_eq!(heard, Err(FalWebhookError::Forged), "not by the newest keys either");
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn without_keys_a_delivery_is_neither_believed_nor_refused() {
    let server = StandIn::start([Reply::Say(500, vec![], String::new())]).await;
    let heard = check(&server, None).verify(BODY, &signed(&key(1), BODY, "u", NOW), NOW).await;
    assert_eq!(heard, Err(FalWebhookError::NoKeys));
    // Fal has a key at all times: a set without one is a fault of theirs, and the next set is asked for soon.
    let server = StandIn::start([jwks(&[]), jwks(&[&key(1)])]).await;
    let check = check(&server, None);
    let heard = check.verify(BODY, &signed(&key(1), BODY, "u", NOW), NOW).await;
    assert_eq!(heard, Err(FalWebhookError::NoKeys));
    let later = NOW + 5;
    assert!(check.verify(BODY, &signed(&key(1), BODY, "u", later), later).await.is_ok());
}

#[tokio::test]
async fn every_shape_of_a_report_is_read_and_no_link_of_it_is_printed() {
    let server = StandIn::start([jwks(&[&key(1)])]).await;
    let check = check(&server, None);
    let cases = [
        (
            json!({"request_id": "r", "status": "ERROR", "payload": {"detail": [{"type": "image_load_error"}]}}),
            Some("image_load_error"),
            false,
        ),
        (
            json!({"request_id": "r", "status": "ERROR", "error": "Invalid status code: 422", "payload": {"detail": "text"}}),
            Some("model_error"),
            false,
        ),
        (json!({"request_id": "r", "status": "ERROR", "error": "x"}), Some("model_error"), false),
        (json!({"request_id": "r", "status": "OK", "payload": null, "payload_error": "not json"}), None, true),
        (
            json!({"request_id": "r", "status": "OK", "payload": {"images": [{"url": "https://v3.fal.media/planted"}]}, "new": 1}),
            None,
            false,
        ),
        (json!({"request_id": "r", "status": "HELD"}), Some("model_error"), false),
    ];
    for (body, code, must_fetch) in cases {
        let body = body.to_string().into_bytes();
        let event = check.verify(&body, &signed(&key(1), &body, "u", NOW), NOW).await.unwrap();
        assert_eq!((event.error_code().as_deref(), event.must_fetch()), (code, must_fetch));
        assert!(!format!("{event:?}").contains("planted"));
    }
    for bad in ["{}", "[]", "", r#"{"request_id":"../x"}"#, r#"{"request_id":7}"#] {
        let heard = check.verify(bad.as_bytes(), &signed(&key(1), bad.as_bytes(), "u", NOW), NOW).await;
        assert_eq!(heard, Err(FalWebhookError::Unreadable), "{bad}");
    }
}

#[test]
fn h23_keys_are_not_fetched_over_plain_http() {
    let config = |url: &str, account: Option<&str>| FalWebhookConfig {
        keys_url: url.into(),
        account: account.map(str::to_owned),
        timeout: Duration::from_secs(1),
    };
    assert!(FalWebhook::new(&config("http://rest.fal.ai", None)).is_err());
    assert!(FalWebhook::new(&config("https://rest.fal.ai", Some(""))).is_err());
}
