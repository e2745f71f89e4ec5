//! Stripe's answers read by the typed requests of async-stripe, sent with our own transport.

use std::collections::HashMap;
use std::fmt::Display;

use axum::body::Bytes;
use stripe_checkout::CheckoutSessionMode;
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionLineItems, CreateCheckoutSessionLineItemsPriceData, ProductData,
    RetrieveCheckoutSession,
};
use stripe_client_core::{CustomizedStripeRequest, StripeClient, StripeClientErr, StripeMethod, StripeRequest as _};

use crate::house::House;
use crate::stripe::wish;

#[expect(unreachable_pub, reason = "an associated type of a public trait must be public")]
#[derive(Debug)]
pub struct Unread(#[expect(dead_code, reason = "shown when a test unwraps it")] String);

impl StripeClientErr for Unread {
    fn deserialize_err(message: impl Display) -> Self {
        Unread(message.to_string())
    }
}

impl StripeClient for House {
    type Err = Unread;

    async fn execute(&self, request: CustomizedStripeRequest) -> Result<Bytes, Unread> {
        let (request, _) = request.into_pieces();
        let stripe = self.sandbox.description().stripe;
        let url = format!("{}/v1{}?{}", stripe.url, request.path, request.query.unwrap_or_default());
        let sent = match request.method {
            StripeMethod::Get => self.http.get(url),
            StripeMethod::Post => self.http.post(url).body(request.body.unwrap_or_default()),
            StripeMethod::Delete => self.http.delete(url),
        };
        let answer = sent.bearer_auth(stripe.secret_key).send().await.unwrap();
        let status = answer.status();
        let bytes = answer.bytes().await.unwrap();
        if status.is_success() { Ok(bytes) } else { Err(Unread(String::from_utf8(bytes.to_vec()).unwrap())) }
    }
}

#[tokio::test]
async fn async_stripe_reads_an_open_a_paid_an_unpaid_and_an_expired_session() {
    let house = House::open().await;
    let stripe = &house.sandbox.stripe;
    let new = || stripe.create_session(&wish()).unwrap()["id"].as_str().unwrap().to_owned();
    let (open, paid, unpaid, expired) = (new(), new(), new(), new());
    stripe.pay(&paid).unwrap();
    stripe.pay_unpaid(&unpaid).unwrap();
    stripe.expire(&expired).unwrap();
    let mut seen = Vec::new();
    for id in [open, paid, unpaid, expired] {
        let call = RetrieveCheckoutSession::new(id.as_str()).expand(["line_items", "payment_intent"].map(String::from));
        let session = call.customize().send(&house).await.unwrap();
        assert_eq!(session.amount_total, Some(1900));
        assert_eq!(session.client_reference_id.as_deref(), Some("ord_1"));
        assert_eq!(session.line_items.unwrap().data.len(), 1);
        seen.push((session.status.unwrap().to_string(), session.payment_status.to_string()));
    }
    let words = [("open", "unpaid"), ("complete", "paid"), ("complete", "unpaid"), ("expired", "unpaid")];
    assert_eq!(seen, words.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[tokio::test]
async fn a_session_that_async_stripe_asks_for_is_the_one_it_gets() {
    let house = House::open().await;
    let price = CreateCheckoutSessionLineItemsPriceData {
        currency: "eur".parse().unwrap(),
        product: None,
        product_data: Some(ProductData::new("Pro")),
        recurring: None,
        tax_behavior: None,
        unit_amount: Some(4900),
        unit_amount_decimal: None,
    };
    let item = CreateCheckoutSessionLineItems {
        price_data: Some(price),
        quantity: Some(1),
        ..CreateCheckoutSessionLineItems::new()
    };
    let call = CreateCheckoutSession::new()
        .mode(CheckoutSessionMode::Payment)
        .success_url("https://shop.test/ok")
        .line_items(vec![item])
        .metadata(HashMap::from([("order".to_owned(), "ord_9".to_owned())]));
    let session = call.customize().send(&house).await.unwrap();
    assert_eq!(session.amount_total, Some(4900));
    assert_eq!(session.metadata.unwrap()["order"], "ord_9");
    assert_eq!(session.currency.unwrap().to_string(), "eur");
}
