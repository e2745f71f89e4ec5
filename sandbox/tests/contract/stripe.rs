//! Stripe's calls, by hand. `stripe_typed` has the typed requests of async-stripe.

use chrono::Duration;
use reqwest::Response;
use safelight_sandbox::Fault;
use safelight_sandbox::stripe::NewSession;
use serde_json::{Value, json};

use crate::house::{House, soon};

pub(crate) fn wish() -> NewSession {
    NewSession { amount: 1900, client_reference_id: Some("ord_1".to_owned()), ..NewSession::default() }
}

impl House {
    pub(crate) async fn stripe_post(&self, path: &str, form: &[(&str, &str)], key: Option<&str>) -> Response {
        let stripe = self.sandbox.description().stripe;
        let mut request = self.http.post(format!("{}/v1/{path}", stripe.url)).bearer_auth(stripe.secret_key).form(form);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn stripe_get(&self, path: &str) -> Value {
        let stripe = self.sandbox.description().stripe;
        let request = self.http.get(format!("{}/v1/{path}", stripe.url)).bearer_auth(stripe.secret_key);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// A paid session's payment intent.
    pub(crate) fn paid(&self) -> String {
        let session = self.sandbox.stripe.create_session(&wish()).unwrap();
        let session = self.sandbox.stripe.pay(session["id"].as_str().unwrap()).unwrap();
        session["payment_intent"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_session_is_made_from_a_form_and_strange_ones_are_refused() {
    let house = House::open().await;
    let form = [
        ("mode", "payment"),
        ("success_url", "https://shop.test/ok?s={CHECKOUT_SESSION_ID}"),
        ("line_items[0][price_data][currency]", "eur"),
        ("line_items[0][price_data][unit_amount]", "950"),
        ("line_items[0][price_data][product_data][name]", "Pro"),
        ("line_items[0][quantity]", "2"),
        ("metadata[order]", "ord_7"),
        ("expand[]", "line_items"),
    ];
    let made: Value = house.stripe_post("checkout/sessions", &form, None).await.json().await.unwrap();
    assert_eq!((&made["amount_total"], &made["status"]), (&json!(1900), &json!("open")));
    assert_eq!(made["metadata"], json!({ "order": "ord_7" }));
    assert_eq!(made["line_items"]["data"][0]["description"], "Pro");
    let id = made["id"].as_str().unwrap();
    assert_eq!(house.stripe_get(&format!("checkout/sessions/{id}/line_items")).await["data"][0]["quantity"], 2);
    assert_eq!(house.stripe_get(&format!("checkout/sessions/{id}")).await["line_items"], Value::Null);

    let strange = house.stripe_post("checkout/sessions", &[("mode", "payment"), ("colour", "red")], None).await;
    assert_eq!(strange.status(), 400);
    assert_eq!(strange.json::<Value>().await.unwrap()["error"]["code"], "parameter_unknown");
    assert_eq!(house.stripe_get("checkout/sessions/cs_none").await["error"]["code"], "resource_missing");
    let url = format!("{}/v1/events", house.sandbox.description().stripe.url);
    assert_eq!(house.http.get(url).bearer_auth("sk_test_wrong").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_key_replays_its_answer_refuses_other_parameters_and_is_forgotten_after_a_day() {
    let house = House::open().await;
    let intent = house.paid();
    let form = [("payment_intent", intent.as_str()), ("amount", "500")];
    let first = house.stripe_post("refunds", &form, Some("k1")).await;
    assert_eq!(first.status(), 200);
    let original = first.headers()["request-id"].clone();
    let first: Value = first.json().await.unwrap();
    let second = house.stripe_post("refunds", &form, Some("k1")).await;
    assert_eq!(second.headers()["idempotent-replayed"], "true");
    assert_eq!(second.headers()["original-request"], original);
    assert_eq!(second.json::<Value>().await.unwrap(), first);
    assert_eq!(house.sandbox.stripe.refunds().len(), 1);

    let other = [("payment_intent", intent.as_str()), ("amount", "600")];
    let mismatch = house.stripe_post("refunds", &other, Some("k1")).await;
    assert_eq!(mismatch.status(), 400);
    assert_eq!(mismatch.json::<Value>().await.unwrap()["error"]["type"], "idempotency_error");
    let long = "k".repeat(256);
    assert_eq!(house.stripe_post("refunds", &form, Some(&long)).await.status(), 400);

    house.sandbox.turn_clock(Duration::hours(25));
    assert_eq!(house.stripe_post("refunds", &form, Some("k1")).await.status(), 200);
    assert_eq!(house.sandbox.stripe.refunds().len(), 2, "the key was forgotten, so it was done again");
}

#[tokio::test]
async fn a_stored_500_replays_a_failed_validation_does_not_and_in_flight_is_409() {
    let house = House::open().await;
    let intent = house.paid();
    let form = [("payment_intent", intent.as_str())];
    house.sandbox.stripe.faults().once(Fault::StoredServerError);
    assert_eq!(house.stripe_post("refunds", &form, Some("k500")).await.status(), 500);
    let replay = house.stripe_post("refunds", &form, Some("k500")).await;
    assert_eq!((replay.status().as_u16(), &replay.headers()["idempotent-replayed"]), (500, &"true".parse().unwrap()));

    house.sandbox.stripe.faults().once(Fault::ServerError { status: 502 });
    assert_eq!(house.stripe_post("refunds", &[("reason", "mood")], Some("kval")).await.status(), 502);
    assert_eq!(house.stripe_post("refunds", &[("reason", "mood")], Some("kval")).await.status(), 400);
    assert_eq!(house.stripe_post("refunds", &form, Some("kval")).await.status(), 200, "the key was not used up");

    let next = house.paid();
    let form = [("payment_intent", next.as_str())];
    house.sandbox.stripe.hold_posts(true);
    let again = async {
        let busy = loop {
            // Until the first one has arrived.
            if house.sandbox.stripe.calls().last().is_some_and(|call| call.status.is_none()) {
                break house.stripe_post("refunds", &form, Some("kfly")).await;
            }
            tokio::task::yield_now().await;
        };
        house.sandbox.stripe.hold_posts(false);
        busy
    };
    let (first, busy) = soon(async { tokio::join!(house.stripe_post("refunds", &form, Some("kfly")), again) }).await;
    assert_eq!((first.status().as_u16(), busy.status().as_u16()), (200, 409));
    assert_eq!(busy.headers()["stripe-should-retry"], "true");
}

#[tokio::test]
async fn a_lost_answer_under_a_key_is_found_again_by_the_same_key() {
    let house = House::open().await;
    let intent = house.paid();
    let stripe = house.sandbox.description().stripe;
    house.sandbox.stripe.faults().once(Fault::LostAnswer);
    let form = [("payment_intent", intent.as_str())];
    let lost = house.http.post(format!("{}/v1/refunds", stripe.url)).bearer_auth(stripe.secret_key).form(&form);
    assert!(lost.header("idempotency-key", "k").send().await.is_err());
    let found = house.stripe_post("refunds", &form, Some("k")).await;
    assert_eq!((found.status().as_u16(), &found.headers()["idempotent-replayed"]), (200, &"true".parse().unwrap()));
    assert_eq!(house.sandbox.stripe.refunds().len(), 1);
}

#[tokio::test]
async fn no_more_is_refunded_than_was_paid_and_a_refund_can_fail_afterwards() {
    let house = House::open().await;
    let intent = house.paid();
    let part = [("payment_intent", intent.as_str()), ("amount", "900"), ("reason", "requested_by_customer")];
    let refund: Value = house.stripe_post("refunds", &part, None).await.json().await.unwrap();
    assert_eq!((&refund["status"], &refund["amount"]), (&json!("succeeded"), &json!(900)));
    let much = [("payment_intent", intent.as_str()), ("amount", "1001")];
    assert_eq!(house.stripe_post("refunds", &much, None).await.status(), 400);
    house.sandbox.stripe.refund(&intent).unwrap();
    let again: Value = house.stripe_post("refunds", &part, None).await.json().await.unwrap();
    assert_eq!(again["error"]["code"], "charge_already_refunded");
    let paid = house.stripe_get(&format!("payment_intents/{intent}?expand[]=latest_charge")).await;
    assert_eq!(
        (&paid["latest_charge"]["amount_refunded"], &paid["latest_charge"]["refunded"]),
        (&json!(1900), &json!(true))
    );

    let id = refund["id"].as_str().unwrap();
    house.sandbox.stripe.fail_refund(id).unwrap();
    assert_eq!(house.stripe_get(&format!("refunds/{id}")).await["status"], "failed");
    let listed = house.stripe_get(&format!("refunds?payment_intent={intent}")).await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_session_runs_out_with_the_clock_and_cannot_be_paid_then() {
    let house = House::open().await;
    let stripe = &house.sandbox.stripe;
    let id = stripe.create_session(&wish()).unwrap()["id"].as_str().unwrap().to_owned();
    house.sandbox.turn_clock(Duration::hours(24));
    assert_eq!(stripe.session(&id).unwrap()["status"], "expired");
    assert!(stripe.pay(&id).is_err());
    assert_eq!(house.stripe_post(&format!("checkout/sessions/{id}/expire"), &[], None).await.status(), 400);
    assert_eq!(stripe.events()[0]["type"], "checkout.session.expired");
}

#[tokio::test]
async fn a_deleted_customer_still_answers_200() {
    let house = House::open().await;
    let made: Value =
        house.stripe_post("customers", &[("email", "ann@safelight.test")], None).await.json().await.unwrap();
    let id = made["id"].as_str().unwrap();
    let stripe = house.sandbox.description().stripe;
    let url = format!("{}/v1/customers/{id}", stripe.url);
    let gone = house.http.delete(&url).bearer_auth(&stripe.secret_key).send().await.unwrap();
    assert_eq!(gone.json::<Value>().await.unwrap(), json!({ "id": id, "object": "customer", "deleted": true }));
    let seen = house.http.get(&url).bearer_auth(&stripe.secret_key).send().await.unwrap();
    assert_eq!((seen.status().as_u16(), seen.json::<Value>().await.unwrap()["deleted"].clone()), (200, json!(true)));
}

#[tokio::test]
async fn the_button_of_the_checkout_page_pays() {
    let house = House::open().await;
    let session = house.sandbox.stripe.create_session(&wish()).unwrap();
    let url = session["url"].as_str().unwrap();
    let page = house.http.get(url).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("19.00 EUR") && page.contains("<button>"), "{page}");
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let paid = client.post(url).send().await.unwrap();
    assert_eq!(paid.status(), 303);
    let id = session["id"].as_str().unwrap();
    assert!(paid.headers()["location"].to_str().unwrap().ends_with(id));
    assert_eq!(house.sandbox.stripe.session(id).unwrap()["payment_status"], "paid");
}

/// docs.stripe.com/disputes: the charge is marked for ever, is not refunded meanwhile, and the bank decides.
#[tokio::test]
async fn a_disputed_payment_cannot_be_refunded_until_the_bank_says_that_it_was_won() {
    let house = House::open().await;
    let intent = house.paid();
    house.sandbox.stripe.refund_part(&intent, 400).unwrap();
    let dispute = house.sandbox.stripe.dispute(&intent).unwrap();
    assert!(house.sandbox.stripe.dispute(&intent).is_err(), "all of it is asked back already");
    assert_eq!((&dispute["amount"], &dispute["status"]), (&json!(1500), &json!("needs_response")));
    let listed = house.stripe_get(&format!("disputes?payment_intent={intent}")).await;
    assert_eq!(listed["data"][0]["id"], dispute["id"]);
    let paid = house.stripe_get(&format!("payment_intents/{intent}?expand[]=latest_charge")).await;
    assert_eq!(paid["latest_charge"]["disputed"], true);
    let form = [("payment_intent", intent.as_str())];
    let refused: Value = house.stripe_post("refunds", &form, None).await.json().await.unwrap();
    assert_eq!(refused["error"]["code"], "charge_disputed");
    let id = dispute["id"].as_str().unwrap();
    house.sandbox.stripe.close_dispute(id, true).unwrap();
    assert_eq!(house.stripe_get(&format!("disputes/{id}")).await["status"], "won");
    assert_eq!(house.stripe_post("refunds", &form, None).await.status(), 200);
    let kinds: Vec<String> =
        house.sandbox.stripe.events().iter().filter_map(|event| event["type"].as_str().map(str::to_owned)).collect();
    for kind in ["charge.dispute.created", "charge.dispute.funds_reinstated", "charge.dispute.closed"] {
        assert_eq!(kinds.iter().filter(|had| *had == kind).count(), 1, "{kind}");
    }
}

#[tokio::test]
async fn sessions_refunds_and_disputes_are_listed_by_the_time_of_their_making_page_by_page() {
    let house = House::open().await;
    let first = house.paid();
    house.sandbox.turn_clock(Duration::days(3));
    let from = house.sandbox.clock().now().timestamp();
    let later: Vec<String> = (0..3).map(|_| house.paid()).collect();
    for intent in later.iter().chain([&first]) {
        house.sandbox.stripe.refund_part(intent, 100).unwrap();
    }
    let path = format!("checkout/sessions?created[gte]={from}&limit=2&expand[]=data.payment_intent.latest_charge");
    let page = house.stripe_get(&path).await;
    assert_eq!((page["data"].as_array().unwrap().len(), &page["has_more"]), (2, &json!(true)));
    assert_eq!(page["data"][0]["payment_intent"]["latest_charge"]["amount_refunded"], 100);
    let after = page["data"][1]["id"].as_str().unwrap();
    let last = house.stripe_get(&format!("{path}&starting_after={after}")).await;
    assert_eq!((last["data"].as_array().unwrap().len(), &last["has_more"]), (1, &json!(false)));
    let refunds = house.stripe_get(&format!("refunds?created[gte]={from}&limit=100")).await;
    assert_eq!(refunds["data"].as_array().unwrap().len(), 4, "a refund has a time of its own");
    let none = house.stripe_get(&format!("disputes?created[gte]={from}")).await;
    assert_eq!(none["data"], json!([]));
}
