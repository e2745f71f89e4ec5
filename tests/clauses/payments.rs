//! Money: whose word counts, what is kept of it, and that nothing is trained which was not bought.

use safelight_jobs::{
    id::{Id, Order},
    intake,
    job::Queue,
    policy::{CapturePoint, Purpose},
    providers::stripe::CheckoutRequest,
    train_model::TrainModel,
};
use serde_json::{Value, json};

use crate::app::{App, Person};

/// An order whose checkout is the test's own: another price, another currency, another order's page.
async fn order_with_session(app: &App, change: impl FnOnce(&mut CheckoutRequest)) -> Id<Order> {
    let (bob, order) = placed(app).await;
    let mut request = CheckoutRequest {
        order,
        price_cents: 2900,
        currency: "eur".to_owned(),
        name: "Portraits".to_owned(),
        success_url: "https://photos.example/thanks".to_owned(),
        cancel_url: "https://photos.example/".to_owned(),
        automatic_tax: false,
    };
    change(&mut request);
    let session = app.services.stripe.create_session(&request, &order.to_string()).await.unwrap();
    let mut tx = app.tx().await;
    intake::start_checkout(&mut tx, bob.tenant, order, &session.id).await.unwrap();
    tx.commit().await.unwrap();
    order
}

async fn placed(app: &App) -> (Person, Id<Order>) {
    let bob = app.person("haloprofile").await;
    let (batch, _) = app.uploads(&bob, 6).await;
    let policy = app.services.policies.of("haloprofile").unwrap();
    let mut tx = app.tx().await;
    let new = intake::NewOrder { subject: bob.id, batch, plan: "basic".to_owned(), prompt: None };
    let order = intake::place(&mut tx, &app.services.vault, policy, &new).await.unwrap().order;
    tx.commit().await.unwrap();
    (bob, order)
}

async fn nothing_was_trained(app: &App) {
    assert_eq!(app.sandbox.fal.requests().len(), 0, "Fal was asked for nothing");
    assert_eq!(app.count("select count(*) from safelight.provider_calls").await, 0);
    assert_eq!(app.count("select count(*) from safelight.artifacts where class in ('bundle', 'model')").await, 0);
}

/// Why an order goes no further: refused, or with a person who looks at the money.
async fn stopped_because(app: &App, order: Id<Order>) -> String {
    let (state, problem) = app.order_state(order).await;
    assert!(state == "refused" || state == "refund_review", "the order is {state}");
    problem.unwrap()
}

/// The event that Stripe would send for a paid session, and its signature.
async fn paid_event(app: &App, order: Id<Order>) -> String {
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

#[tokio::test(flavor = "multi_thread")]
async fn k8_a_basic_plan_trains_nothing() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    assert_eq!(app.sandbox.fal.trainings(), 0);
    let job = app.wants(&TrainModel { order }).await;
    app.run_due_jobs().await;
    assert_eq!(app.why(job).await, "plan_without_training");
    assert_eq!(app.sandbox.fal.trainings(), 0);
}

/// Even with a consent that was given for it.
#[tokio::test(flavor = "multi_thread")]
async fn k8_a_basic_plan_trains_nothing_although_training_was_consented_to() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 3).await;
    let policy = app.services.policies.of("koselfie").unwrap();
    let mut tx = app.tx().await;
    let new = intake::NewOrder { subject: ann.id, batch, plan: "basic".to_owned(), prompt: None };
    let order = intake::place(&mut tx, &app.services.vault, policy, &new).await.unwrap().order;
    tx.commit().await.unwrap();
    app.grants(&ann, Purpose::Train, CapturePoint::Checkout, None, Some(order)).await.unwrap();
    let session = app.sandbox.stripe.create_session(&session_of(order)).unwrap();
    let mut tx = app.tx().await;
    intake::start_checkout(&mut tx, ann.tenant, order, session["id"].as_str().unwrap()).await.unwrap();
    tx.commit().await.unwrap();
    app.pays(order).await;
    app.run_due_jobs().await;
    let job = app.wants(&TrainModel { order }).await;
    app.run_due_jobs().await;
    assert_eq!(app.why(job).await, "plan_without_training");
    assert_eq!(app.sandbox.fal.trainings(), 0);
}

fn session_of(order: Id<Order>) -> safelight_sandbox::stripe::NewSession {
    safelight_sandbox::stripe::NewSession {
        amount: 1900,
        currency: "eur".to_owned(),
        client_reference_id: Some(order.to_string()),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k8_an_unpaid_order_trains_nothing_and_says_why() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    let session = app.session(order).await;
    app.sandbox.stripe.pay_unpaid(&session).unwrap();
    let job = app.wants(&TrainModel { order }).await;
    app.run_due_jobs().await;
    assert_eq!(app.why(job).await, "order_unpaid");
    assert_eq!(app.order_state(order).await, ("placed".to_owned(), None));
    nothing_was_trained(&app).await;
    // The bank says no in the end.
    app.sandbox.stripe.settle(&session, false).unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await, ("placed".to_owned(), None));
    nothing_was_trained(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k8_a_payment_of_the_wrong_amount_trains_nothing_and_the_order_says_why() {
    let app = App::spawn().await;
    let order = order_with_session(&app, |request| request.price_cents = 29).await;
    app.pays(order).await;
    app.run_due_jobs().await;
    assert_eq!(stopped_because(&app, order).await, "wrong_amount");
    nothing_was_trained(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k8_a_payment_in_the_wrong_currency_trains_nothing_and_the_order_says_why() {
    let app = App::spawn().await;
    let order = order_with_session(&app, |request| request.currency = "huf".to_owned()).await;
    app.pays(order).await;
    app.run_due_jobs().await;
    assert_eq!(stopped_because(&app, order).await, "wrong_currency");
    nothing_was_trained(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k8_a_payment_for_another_order_trains_nothing_and_the_order_says_why() {
    let app = App::spawn().await;
    let order = order_with_session(&app, |request| request.order = Id::new()).await;
    app.pays(order).await;
    app.run_due_jobs().await;
    assert_eq!(stopped_because(&app, order).await, "session_foreign");
    nothing_was_trained(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k8_n21_an_order_that_was_refunded_meanwhile_trains_nothing_and_says_why() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    let event = paid_event(&app, order).await;
    let session = app.sandbox.stripe.session(&app.session(order).await).unwrap();
    app.sandbox.stripe.refund(session["payment_intent"].as_str().unwrap()).unwrap();
    let (status, _) = app.stripe_says(&event, &app.sandbox.stripe.sign_now(event.as_bytes())).await;
    assert_eq!(status, 200);
    app.run_due_jobs().await;
    assert_eq!(stopped_because(&app, order).await, "refunded");
    nothing_was_trained(&app).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn k16_n21_a_consent_to_train_that_comes_after_the_checkout_does_not_count() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 10).await;
    let order = app.orders(&ann, batch, "pro", false).await;
    app.grants(&ann, Purpose::Train, CapturePoint::Checkout, None, Some(order)).await.unwrap();
    app.pays(order).await;
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await, ("refund_review".to_owned(), Some("consent_after_checkout".to_owned())));
    nothing_was_trained(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k16_a_consent_to_train_for_an_older_order_does_not_count_for_this_one() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 10).await;
    let first = app.orders(&ann, batch, "pro", true).await;
    let second = app.orders(&ann, batch, "pro", false).await;
    app.pays(second).await;
    app.run_due_jobs().await;
    assert_eq!(app.order_state(second).await, ("refund_review".to_owned(), Some("consent_missing".to_owned())));
    assert_eq!(app.order_state(first).await.0, "placed");
    nothing_was_trained(&app).await;
}

/// What nobody paid within Stripe's day ends, and its consent with it.
#[tokio::test(flavor = "multi_thread")]
async fn k16_a_consent_to_train_ends_with_a_checkout_that_nobody_paid() {
    let app = App::spawn().await;
    let (ann, order) = app.model_order().await;
    app.turn_clock(chrono::Duration::hours(26)).await;
    app.wants(&safelight_jobs::expire_consents::ExpireConsents { because: "test".to_owned() }).await;
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await.0, "expired");
    let last: String = app
        .of(
            "select event from safelight.consents where subject_id = $1 and purpose = 'train' order by at desc limit 1",
            ann.id.uuid(),
        )
        .await;
    assert_eq!(last, "expired");
}

async fn columns(app: &App, schema: &str, table: &str) -> Vec<String> {
    sqlx::query_scalar("select column_name::text from information_schema.columns where table_schema = $1 and table_name = $2 order by 1")
        .bind(schema)
        .bind(table)
        .fetch_all(&app.db)
        .await
        .unwrap()
}

/// Another column fails here first, and whoever adds it says why.
#[tokio::test(flavor = "multi_thread")]
async fn k11_an_order_holds_status_and_session_and_nothing_of_the_card_or_the_person() {
    let app = App::spawn().await;
    let order = [
        "amount_cents",
        "batch_id",
        "checkout_at",
        "checkout_session",
        "created_at",
        "currency",
        "delivered_at",
        "id",
        "images_wanted",
        "needs_model",
        "paid_at",
        // When Stripe said that a slow bank decides.
        "payment_pending_at",
        "plan",
        "problem",
        "prompt_sealed",
        // Until when an order whose work died can be taken back, and to where.
        "repair_until",
        "selfies_measured_at",
        "state",
        "stopped_from",
        "subject_id",
        "tenant",
    ];
    assert_eq!(columns(&app, "safelight", "orders").await, order);
    // Nothing here points at the person: no subject, no address, no name; the order's alias is cut by an erasure.
    let sale = [
        "amount_cents",
        "country",
        "currency",
        "id",
        "keep_until",
        "order_id",
        // Stripe's id of the payment, which refunds and disputes name, and why a person looks at it: a code.
        "payment_intent",
        "review",
        "rule",
        "sold_at",
        "status",
        "stripe_session",
        "tax_cents",
        "tenant",
    ];
    assert_eq!(columns(&app, "safelight_fiscal", "sales").await, sale);
    let refund = [
        "amount_cents",
        "asked_at",
        "asked_by",
        "code",
        "currency",
        "id",
        "seen_at",
        "state",
        "stripe_refund",
        "stripe_session",
        "tenant",
        "why",
    ];
    assert_eq!(columns(&app, "safelight_fiscal", "refunds").await, refund);
    let links = app
        .count("select count(*) from information_schema.referential_constraints where constraint_schema = 'safelight_fiscal' and unique_constraint_schema <> 'safelight_fiscal'")
        .await;
    assert_eq!(links, 0, "no foreign key ties a sale to a person");
}

#[tokio::test(flavor = "multi_thread")]
async fn h3_k4_an_account_has_these_fields_and_no_others() {
    let app = App::spawn().await;
    let account = ["auth_user", "created_at", "email_sealed", "google_id_sealed", "name_sealed", "subject_id"];
    assert_eq!(columns(&app, "safelight", "accounts").await, account);
    assert_eq!(
        columns(&app, "safelight", "subjects").await,
        ["created_at", "erased_at", "generation", "id", "state", "tenant"]
    );
    let ann = app.person("koselfie").await;
    for word in [ann.email.as_str(), "Ann Example", "108000000000000000001"] {
        assert!(app.lines_with(word).await.is_empty(), "{word} is stored in the clear");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h21_stripe_is_told_the_order_and_the_price_and_nothing_of_the_person() {
    let app = App::spawn().await;
    let (bob, _) = app.small_halo_order().await;
    let told: Vec<String> =
        app.sandbox.stripe.calls().iter().map(|call| format!("{}{}", call.path, call.body)).collect();
    assert_eq!(told.len(), 1, "one session was made");
    for word in [bob.email.as_str(), "Ann", bob.id.uuid().simple().to_string().as_str(), "customer_email"] {
        assert!(!told[0].contains(word), "Stripe was told {word}");
    }
}
