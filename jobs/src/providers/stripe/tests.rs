use serde_json::{Value, json};

use super::{super::testing::*, *};

fn stripe(url: &str) -> Stripe {
    let config = StripeConfig {
        base_url: url.to_owned(),
        secret_key: Secret::new("sk_test_planted"),
        timeout: Duration::from_secs(5),
    };
    Stripe::new(&config).unwrap()
}

fn request() -> CheckoutRequest {
    CheckoutRequest {
        order: Id::new(),
        price_cents: 2_900,
        currency: "eur".into(),
        name: "Pro portraits".into(),
        success_url: "https://shop.example/thanks?session={CHECKOUT_SESSION_ID}".into(),
        cancel_url: "https://shop.example/back".into(),
        automatic_tax: true,
    }
}

fn of(payment_intent: &str) -> RefundRequest {
    RefundRequest { payment_intent: payment_intent.to_owned(), amount_cents: 900, refund: Id::new() }
}

fn session() -> Value {
    json!({
        "id": "cs_test_1", "object": "checkout.session", "payment_status": "paid", "status": "complete",
        "amount_total": 2900, "currency": "eur", "client_reference_id": "order_1", "metadata": {"order_id": "order_1"},
        "created": 1_700_000_000, "livemode": false, "payment_intent": "pi_1",
        "customer_details": {"email": "ann@example.test", "name": "Ann", "address": {"country": "DE", "line1": "Way 1"}}
    })
}

fn error(status: u16, kind: &str, code: &str) -> Reply {
    let body = json!({"error": {"type": kind, "code": code, "message": "No such thing: 'ann@example.test'"}});
    Reply::Say(status, vec![("request-id", "req_1".into())], body.to_string())
}

#[tokio::test]
async fn a_session_is_read_without_mail_address_or_name() {
    let server = StandIn::start([Reply::json(200, session())]).await;
    let session = stripe(&server.url).retrieve_session("cs_test_1").await.unwrap();
    assert!(session.is_settled());
    assert_eq!(session.status, SessionStatus::Complete);
    assert_eq!((session.amount_total_cents, session.currency.as_deref()), (Some(2_900), Some("eur")));
    assert_eq!((session.order_id.as_deref(), session.country.as_deref()), (Some("order_1"), Some("DE")));
    assert_eq!(session.payment_intent.as_deref(), Some("pi_1"));
    let shown = format!("{session:?}");
    assert!(!shown.contains("ann@") && !shown.contains("Ann") && !shown.contains("Way"), "{shown}");
    let asked = &server.asked()[0];
    assert_eq!(
        (asked.path.as_str(), asked.header("authorization")),
        ("/v1/checkout/sessions/cs_test_1", "Bearer sk_test_planted")
    );
    assert_eq!(asked.header("stripe-version"), VERSION.as_str());
}

#[tokio::test]
async fn words_and_shapes_newer_than_this_program_still_parse() {
    let mut newer = session();
    newer["payment_status"] = json!("partially_paid");
    newer["status"] = Value::Null;
    newer["payment_intent"] = json!({"id": "pi_2", "object": "payment_intent"});
    for field in ["amount_total", "currency", "client_reference_id", "metadata", "customer_details"] {
        newer[field] = Value::Null;
    }
    let server = StandIn::start([Reply::json(200, newer)]).await;
    let session = stripe(&server.url).retrieve_session("cs_test_1").await.unwrap();
    assert_eq!(session.payment_status, PaymentStatus::Other("partially_paid".into()));
    assert_eq!(session.status, SessionStatus::Other(String::new()));
    assert!(!session.is_settled(), "an unknown word is not paid");
    assert_eq!(session.payment_intent.as_deref(), Some("pi_2"));
}

#[tokio::test]
async fn h21_a_new_session_sends_only_the_listed_fields() {
    let server = StandIn::start([Reply::json(200, json!({"id": "cs_1", "url": "https://pay.example/1"}))]).await;
    let request = request();
    let created = stripe(&server.url).create_session(&request, "order-key").await.unwrap();
    assert_eq!(created.url.as_deref(), Some("https://pay.example/1"));
    let asked = &server.asked()[0];
    assert_eq!(asked.header("idempotency-key"), "order-key");
    let mut sent = asked.form();
    sent.sort();
    let order = request.order.to_string();
    let expected = [
        ("automatic_tax[enabled]", "true"),
        ("cancel_url", "https://shop.example/back"),
        ("client_reference_id", &order),
        ("line_items[0][price_data][currency]", "eur"),
        ("line_items[0][price_data][product_data][name]", "Pro portraits"),
        ("line_items[0][price_data][tax_behavior]", "inclusive"),
        ("line_items[0][price_data][unit_amount]", "2900"),
        ("line_items[0][quantity]", "1"),
        ("metadata[order_id]", &order),
        ("mode", "payment"),
        ("payment_intent_data[metadata][order_id]", &order),
        ("success_url", "https://shop.example/thanks?session={CHECKOUT_SESSION_ID}"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_refund_is_asked_for_once_under_its_key() {
    let refund = json!({"id": "re_1", "status": "pending", "amount": 900, "currency": "eur"});
    let server = StandIn::start([Reply::json(200, refund), error(500, "api_error", "")]).await;
    let stripe = stripe(&server.url);
    let request = of("pi_1");
    let refund = stripe.refund(&request, "refund-key").await.unwrap();
    assert_eq!((refund.amount_cents, refund.status.as_deref()), (900, Some("pending")));
    let mut form = server.asked()[0].form();
    form.sort();
    let ours = ("metadata[refund_id]".into(), request.refund.to_string());
    assert_eq!(form, [("amount".into(), "900".into()), ours, ("payment_intent".into(), "pi_1".into())]);
    assert_eq!(server.asked()[0].header("idempotency-key"), "refund-key");
    // The queue repeats, not the client.
    assert!(matches!(stripe.refund(&of("pi_1"), "refund-key").await, Err(StripeError::Unreachable { .. })));
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn the_refunds_of_a_payment_are_read_to_the_last_page_and_ours_is_known_again() {
    let ours = Id::<crate::id::Refund>::new();
    let refund = |id: &str| json!({"id": id, "status": "succeeded", "amount": 100, "currency": "eur", "payment_intent": "pi_1", "created": 5});
    let mut second = refund("re_2");
    second["metadata"] = json!({"refund_id": ours.to_string()});
    let server = StandIn::start([
        Reply::json(200, json!({"object": "list", "data": [refund("re_1")], "has_more": true})),
        Reply::json(200, json!({"object": "list", "data": [second], "has_more": false})),
    ])
    .await;
    let refunds = stripe(&server.url).refunds_of("pi_1").await.unwrap();
    assert_eq!(
        refunds.iter().map(|refund| (refund.id.as_str(), refund.ours)).collect::<Vec<_>>(),
        [("re_1", None), ("re_2", Some(ours))]
    );
    let asked = server.asked();
    let page = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        (asked[0].path.as_str(), asked[0].pairs()),
        ("/v1/refunds", vec![page("limit", "100"), page("payment_intent", "pi_1")])
    );
    assert_eq!(asked[1].pairs()[2], page("starting_after", "re_1"));
}

#[tokio::test]
async fn a_read_is_tried_again_at_once_but_not_for_ever() {
    let server = StandIn::start([error(503, "api_error", ""), Reply::json(200, session())]).await;
    assert!(stripe(&server.url).retrieve_session("cs_test_1").await.is_ok());
    let server = StandIn::start((0..9).map(|_| error(503, "api_error", ""))).await;
    assert!(matches!(stripe(&server.url).retrieve_session("cs_1").await, Err(StripeError::Unreachable { .. })));
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn each_refusal_has_its_own_word_and_repeats_nothing_that_was_sent() {
    let server = StandIn::start([
        error(404, "invalid_request_error", "resource_missing"),
        error(401, "invalid_request_error", ""),
        error(409, "idempotency_error", ""),
        Reply::Say(429, vec![("retry-after", "7".into())], String::new()),
        error(429, "invalid_request_error", "rate_limit"),
        error(400, "invalid_request_error", "charge_already_refunded"),
        Reply::Say(200, vec![], "<html>".into()),
        Reply::BreakOff,
    ])
    .await;
    let stripe = stripe(&server.url);
    let mut heard = Vec::new();
    for _ in 0..8 {
        let error = stripe.refund(&of("pi_1"), "key").await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("ann@"), "{error}");
        heard.push(match error {
            StripeError::NotFound { request } => format!("not found {request}"),
            StripeError::Refused { code, .. } => format!("refused {code}"),
            StripeError::NotAllowed { status, .. } => format!("not allowed {status}"),
            StripeError::Busy { after } => format!("busy {}", after.as_secs()),
            StripeError::Unreachable { .. } => "unreachable".into(),
            StripeError::Unreadable { request } => format!("unreadable {request}"),
            StripeError::BadInput { what } => format!("bad {what}"),
        });
    }
    assert_eq!(
        heard,
        [
            "not found req_1",
            "not allowed 401",
            "busy 2",
            "busy 7",
            "busy 2",
            "refused charge_already_refunded",
            "unreadable unknown",
            "unreachable"
        ]
    );
}

#[tokio::test]
async fn an_id_that_would_change_the_path_is_not_sent() {
    let server = StandIn::start([]).await;
    let stripe = stripe(&server.url);
    for id in ["", "../refunds", "cs_1/expire", "cs_1?expand[]=customer"] {
        assert!(matches!(stripe.retrieve_session(id).await, Err(StripeError::BadInput { .. })));
        assert!(matches!(stripe.expire_session(id).await, Err(StripeError::BadInput { .. })));
        assert!(matches!(stripe.refund(&of(id), "k").await, Err(StripeError::BadInput { .. })));
    }
    assert!(matches!(stripe.refund(&of("pi_1"), "").await, Err(StripeError::BadInput { .. })));
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_silent_stripe_does_not_hold_a_worker_for_longer_than_its_limit() {
    let server = StandIn::start((0..3).map(|_| Reply::Silence)).await;
    let config = StripeConfig {
        base_url: server.url.clone(),
        secret_key: Secret::new("sk_test_1"),
        timeout: Duration::from_millis(50),
    };
    let stripe = Stripe::new(&config).unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(10), stripe.retrieve_session("cs_1")).await;
    assert!(matches!(heard, Ok(Err(StripeError::Unreachable { .. }))));
}

#[test]
fn h23_a_key_is_never_sent_over_plain_http() {
    let config = |url: &str, key: &str| StripeConfig {
        base_url: url.into(),
        secret_key: Secret::new(key),
        timeout: Duration::from_secs(1),
    };
    assert!(matches!(Stripe::new(&config("http://stripe.example", "sk")), Err(ConfigError::PlainHttp { .. })));
    assert!(matches!(Stripe::new(&config("https://api.stripe.com", "")), Err(ConfigError::BadSecret { .. })));
}
