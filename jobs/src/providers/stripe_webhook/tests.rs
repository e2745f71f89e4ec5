use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_700_000_000;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../specs/webhook-and-jwt-vectors.json")).unwrap()
}

fn sign(body: &[u8], time: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

fn header(body: &[u8], time: i64, secret: &str) -> String {
    format!("t={time},v1={}", sign(body, &time.to_string(), secret))
}

fn secrets(texts: &[&str]) -> Vec<Secret> {
    texts.iter().map(|text| Secret::new(*text)).collect()
}

fn event() -> Value {
    json!({
        "id": "evt_1", "object": "event", "type": "checkout.session.completed", "created": NOW, "livemode": false,
        "api_version": "2020-08-27", "pending_webhooks": 1, "request": null,
        "data": {"object": {"id": "cs_1", "object": "checkout.session", "payment_intent": "pi_1", "payment_status": "paid",
            "customer_details": {"email": "ann@example.test", "name": "Ann"}, "metadata": {"note": "x"}}}
    })
}

fn deliver(event: &Value) -> Result<StripeEvent, WebhookError> {
    let body = event.to_string().into_bytes();
    verify(&body, &header(&body, NOW, "whsec_1"), &secrets(&["whsec_1"]), NOW)
}

#[test]
fn signatures_made_by_stripes_own_library_are_accepted() {
    let vectors = vectors();
    let secret = secrets(&[vectors["stripe"]["secret"].as_str().unwrap()]);
    for case in vectors["stripe"]["cases"].as_array().unwrap() {
        let (body, header) = (case["payload"].as_str().unwrap(), case["header"].as_str().unwrap());
        let at = case["valid_at"].as_i64().unwrap();
        let heard = |body: &str, header: &str, secret: &[Secret], at| verify(body.as_bytes(), header, secret, at);
        // The vectors' bodies are signed well but are no whole events: `Unreadable` means the signature was good.
        assert_eq!(heard(body, header, &secret, at), Err(WebhookError::Unreadable));
        assert_eq!(heard(&body.replace("evt", "evu"), header, &secret, at), Err(WebhookError::Forged));
        assert_eq!(heard(body, header, &secret, at + 301), Err(WebhookError::Stale));
        assert_eq!(heard(body, &header.replace("v1=", "v0="), &secret, at), Err(WebhookError::BadHeader));
        assert_eq!(heard(body, &header.replace("v1=", "v1=zz"), &secret, at), Err(WebhookError::BadHeader));
        let bare = secrets(&[vectors["stripe"]["secret"].as_str().unwrap().trim_start_matches("whsec_")]);
        assert_eq!(heard(body, header, &bare, at), Err(WebhookError::Forged));
        for wrong in [format!("{header},v1=00ff"), header.replace("v1=", "v1=00ff,v1=")] {
            assert_eq!(heard(body, &wrong, &secret, at), Err(WebhookError::Unreadable), "a second, wrong v1");
        }
    }
}

#[test]
fn an_event_is_reduced_to_the_listed_fields() {
    let expected = json!({
        "id": "evt_1", "type": "checkout.session.completed", "created": NOW, "livemode": false,
        "object_id": "cs_1", "payment_intent": "pi_1", "payment_status": "paid"
    });
    assert_eq!(serde_json::to_value(deliver(&event()).unwrap()).unwrap(), expected);
}

#[test]
fn an_event_of_an_unknown_kind_or_with_a_thin_object_is_accepted() {
    let mut thin = event();
    thin["type"] = json!("v2.core.something_new");
    thin["data"]["object"] = json!({"id": "new_1"});
    let read = deliver(&thin).unwrap();
    assert_eq!((read.object_id.as_deref(), read.payment_intent, read.payment_status), (Some("new_1"), None, None));
    thin["data"]["object"] = json!({"id": "ch_1", "payment_intent": {"id": "pi_9"}, "payment_status": 7});
    let read = deliver(&thin).unwrap();
    assert_eq!((read.payment_intent.as_deref(), read.payment_status), (Some("pi_9"), None));
}

/// A balance has no id, an invoice that is to come neither, and a thin event no object.
#[test]
fn an_event_about_what_has_no_id_is_accepted_unless_money_hangs_on_it() {
    for (kind, data) in [
        ("balance.available", json!({"object": {"object": "balance", "available": []}})),
        ("invoice.upcoming", json!({"object": {"id": null, "payment_intent": ["odd"]}})),
        ("v2.core.event_destination.ping", json!({})),
        ("customer.updated", json!({"object": {"id": "4242424242424242"}})),
    ] {
        let mut other = event();
        other["type"] = json!(kind);
        other["data"] = data;
        assert_eq!(deliver(&other).unwrap().object_id, None, "{kind}");
    }
    for kind in ["checkout.session.completed", "charge.refunded", "charge.dispute.created", "refund.updated"] {
        let mut ours = event();
        ours["type"] = json!(kind);
        ours["data"] = json!({"object": {"id": null}});
        assert_eq!(deliver(&ours), Err(WebhookError::Unreadable), "{kind}");
    }
}

#[test]
fn both_secrets_work_while_one_replaces_the_other() {
    let body = event().to_string().into_bytes();
    for used in ["whsec_old", "whsec_new"] {
        assert!(verify(&body, &header(&body, NOW, used), &secrets(&["whsec_old", "whsec_new"]), NOW).is_ok());
    }
    let gone = verify(&body, &header(&body, NOW, "whsec_old"), &secrets(&["whsec_new"]), NOW);
    assert_eq!(gone, Err(WebhookError::Forged));
}

#[test]
fn h5_a_delivery_more_than_five_minutes_off_is_refused_on_both_sides() {
    let body = event().to_string().into_bytes();
    for (distance, fine) in [(-301, false), (-300, true), (0, true), (300, true), (301, false)] {
        let heard = verify(&body, &header(&body, NOW + distance, "whsec_1"), &secrets(&["whsec_1"]), NOW);
        assert_eq!(heard.is_ok(), fine, "{distance}: {heard:?}");
    }
}

#[test]
fn an_unset_secret_refuses_even_what_is_signed_with_nothing() {
    let body = event().to_string().into_bytes();
    let forged = header(&body, NOW, "");
    assert_eq!(verify(&body, &forged, &[], NOW), Err(WebhookError::NoSecret));
    assert_eq!(verify(&body, &forged, &secrets(&[""]), NOW), Err(WebhookError::NoSecret));
    assert_eq!(verify(&body, &forged, &secrets(&["", "whsec_1"]), NOW), Err(WebhookError::Forged));
}

#[test]
fn a_header_that_is_not_stripes_is_refused() {
    let body = event().to_string().into_bytes();
    let good = header(&body, NOW, "whsec_1");
    let long = format!("{good},{}", "v0=0,".repeat(2_000));
    for bad in ["", "t=1", "v1=00", "t=x,v1=00", "nonsense", "t=1,t=2,v1=00", long.as_str()] {
        assert_eq!(verify(&body, bad, &secrets(&["whsec_1"]), NOW), Err(WebhookError::BadHeader), "{bad:.40}");
    }
    assert!(verify(&body, &good.replace(',', ", "), &secrets(&["whsec_1"]), NOW).is_ok());
}

/// Every text in the event, one after the other and then all at once, becomes a card number in each usual spelling.
#[test]
fn h6_k12_no_card_number_gets_through_any_field() {
    let cards =
        ["4242424242424242", "4000056655665556", "378282246310005", "5555 5555 5555 4444", "4242-4242-4242-4242"];
    for card in cards {
        for spelled in [card.to_owned(), format!("evt_{card}"), format!("pi_{card}x"), format!("a.{card}")] {
            let mut places = Vec::new();
            texts(&event(), String::new(), &mut places);
            assert!(places.len() > 10);
            let mut all = event();
            for place in &places {
                let mut one = event();
                *one.pointer_mut(place).unwrap() = json!(spelled);
                *all.pointer_mut(place).unwrap() = json!(spelled);
                assert_clean(deliver(&one), card, place);
            }
            assert_clean(deliver(&all), card, "everywhere");
        }
    }
    let mut number = event();
    number["created"] = json!(4_242_424_242_424_242_i64);
    assert_eq!(deliver(&number), Err(WebhookError::Unreadable));
}

fn assert_clean(heard: Result<StripeEvent, WebhookError>, card: &str, place: &str) {
    let Ok(event) = heard else { return };
    let kept = serde_json::to_string(&event).unwrap();
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    assert!(!digits(&kept).contains(&digits(card)), "{place}: {kept}");
}

fn texts(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::String(_) => places.push(place),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| texts(value, format!("{place}/{name}"), places))
        }
        _ => {}
    }
}
