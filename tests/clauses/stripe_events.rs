//! Whose word counts about money: Stripe's, once, and only after it was asked back.

use safelight_jobs::{
    id::{Id, Order},
    job::Queue,
};
use serde_json::{Value, json};

use super::payments::nothing_was_trained;
use crate::app::App;

/// The event that Stripe would send for a paid session, and its signature.
pub(super) async fn paid_event(app: &App, order: Id<Order>) -> String {
    app.sandbox.stripe.set_webhook_url(None);
    app.pays(order).await;
    let event = app.sandbox.stripe.events().into_iter().find(|event| event["type"] == "checkout.session.completed");
    event.unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn h5_a_forged_event_is_refused_and_nothing_is_stored() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    let event = paid_event(&app, order).await;
    let genuine = app.sandbox.stripe.sign_now(event.as_bytes());
    let forged = format!("{},v1={}", genuine.split(',').next().unwrap(), "ab".repeat(32));
    let changed = event.replace("2900", "2901");
    for (body, signature) in [(&event, forged.as_str()), (&changed, genuine.as_str()), (&event, "")] {
        let (status, answer) = app.stripe_says(body, signature).await;
        assert_eq!(status, 400, "{answer}");
    }
    app.run_due_jobs().await;
    assert_eq!(app.count("select count(*) from safelight.webhook_inbox").await, 0);
    assert_eq!(app.order_state(order).await, ("placed".to_owned(), None));
    nothing_was_trained(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h5_an_event_that_is_replayed_later_than_five_minutes_is_refused() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    let event = paid_event(&app, order).await;
    for seconds in [-301, -86_400, 302] {
        let signature = app.sandbox.stripe.sign(event.as_bytes(), chrono::Utc::now().timestamp() + seconds);
        let (status, answer) = app.stripe_says(&event, &signature).await;
        assert_eq!((status, &answer["code"]), (400, &json!("webhook_stale")));
    }
    assert_eq!(app.count("select count(*) from safelight.webhook_inbox").await, 0);
    assert_eq!(app.order_state(order).await.0, "placed");
}

#[tokio::test(flavor = "multi_thread")]
async fn h5_n6_an_event_that_is_replayed_at_once_or_ten_times_has_one_effect() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    let event = paid_event(&app, order).await;
    let signature = app.sandbox.stripe.sign_now(event.as_bytes());
    let ten = futures::future::join_all((0..10).map(|_| app.stripe_says(&event, &signature))).await;
    assert!(ten.iter().all(|(status, _)| *status == 200), "{ten:?}");
    assert_eq!(ten.iter().filter(|(_, answer)| answer["received"] == "enqueued").count(), 1);
    app.run_due_jobs().await;
    let (status, replayed) = app.stripe_says(&event, &app.sandbox.stripe.sign_now(event.as_bytes())).await;
    assert_eq!((status, &replayed["received"]), (200, &json!("duplicate")));
    app.run_due_jobs().await;
    assert_eq!(app.count("select count(*) from safelight.webhook_inbox where provider = 'stripe'").await, 1);
    assert_eq!(app.count("select count(*) from safelight_fiscal.sales").await, 1);
    assert_eq!(app.sandbox.fal.trainings(), 1);
    assert_eq!(app.order_state(order).await.0, "delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn n21_two_events_about_one_delayed_payment_are_one_fulfilment() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    app.sandbox.stripe.pay_unpaid_then_async(&app.session(order).await).unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await.0, "delivered");
    assert_eq!(app.sandbox.fal.trainings(), 1);
    assert_eq!(app.count("select count(*) from safelight_fiscal.sales").await, 1);
}

/// Numbers of test cards: each passes the check of card numbers.
const CARDS: [&str; 2] = ["4242424242424242", "378282246310005"];

/// JSON pointers of every string in a value.
fn strings(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at),
        Value::Object(fields) => fields.iter().for_each(|(name, field)| strings(field, format!("{at}/{name}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(place, item)| strings(item, format!("{at}/{place}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The genuine event of a real payment, with a card's number in one string field after the other.
#[tokio::test(flavor = "multi_thread")]
async fn h6_k12_a_card_number_in_any_field_of_an_event_reaches_no_table() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    let mut template: Value = serde_json::from_str(&paid_event(&app, order).await).unwrap();
    // Fields that a real event may fill and this one leaves empty.
    template["data"]["object"]["customer_details"] = json!({ "name": "n", "email": "e", "phone": "p", "address": { "country": "DE", "line1": "l", "postal_code": "c" } });
    let mut fields = Vec::new();
    strings(&template, String::new(), &mut fields);
    assert!(fields.len() > 15, "a real event has many fields: {fields:?}");
    let (mut planted, mut taken) = (0, 0);
    for card in CARDS {
        for field in &fields {
            for form in [card.to_owned(), format!("evt_{card}"), format!("cs_test_{}-{}", &card[..6], &card[6..])] {
                let mut event = template.clone();
                if field != "/id" {
                    event["id"] = json!(format!("evt_planted_{planted}"));
                }
                *event.pointer_mut(field).unwrap() = json!(form);
                let body = event.to_string();
                let (status, answer) = app.stripe_says(&body, &app.sandbox.stripe.sign_now(body.as_bytes())).await;
                assert!(status == 200 || status == 400, "{field}: {status} {answer}");
                planted += 1;
                taken += usize::from(status == 200);
            }
        }
    }
    assert!(planted > 80 && taken > planted / 2, "{taken} of {planted} events were taken");
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await.0, "delivered", "and the payment itself counted");
    let stored = app.everything_stored().await.replace(['-', '_', ' '], "");
    for card in CARDS {
        assert!(!stored.contains(card), "a card's number is in the database");
    }
}

/// A worker that is about to confirm while the money goes back meets the truth at Stripe, not the event's word.
#[tokio::test(flavor = "multi_thread")]
async fn h5_an_event_alone_is_never_believed() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    let session = app.session(order).await;
    // Signed by Stripe's own key and saying "paid" of a session that nobody paid.
    let object = json!({ "id": session, "object": "checkout.session", "payment_status": "paid", "amount_total": 2900, "currency": "eur" });
    let event = app.sandbox.stripe.event("checkout.session.completed", object).to_string();
    let (status, answer) = app.stripe_says(&event, &app.sandbox.stripe.sign_now(event.as_bytes())).await;
    assert_eq!((status, &answer["received"]), (200, &json!("enqueued")));
    let claimed = app.dequeues(Queue::Payments).await;
    assert!(app.performs(&claimed).await.is_ok());
    assert_eq!(app.order_state(order).await, ("placed".to_owned(), None));
    nothing_was_trained(&app).await;
}
