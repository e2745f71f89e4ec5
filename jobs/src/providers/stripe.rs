//! Stripe: Checkout Sessions and refunds.
//!
//! Requests are built by async-stripe's typed builders, so a misspelt parameter does not compile, and pin its API
//! version; they travel over our own transport, and of the answer only the fields below are read. Two reasons, both
//! read in async-stripe 1.0.0-rc.10: its client hides `Retry-After`, has no connect limit and panics where TLS has no
//! certificates or two crypto providers; its types refuse a whole session over one missing field.
//!
//! What goes out holds no personal data: our order id, a price, a product name, two addresses of ours (policy H21).
//! What comes back is never stored whole: no mail address, no card (H6, K12).
//! Repeating a call under the same key is safe for 24 hours: Stripe replays its first answer, a 500 included.
//! Sources: docs.stripe.com/api/checkout/sessions, /api/refunds, /api/idempotent_requests, read November 2026.

use std::{collections::HashMap, time::Duration};

use backon::Retryable;
use reqwest::{
    Client, Method,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde::de::DeserializeOwned;
use stripe_checkout::{
    CheckoutSessionMode,
    checkout_session::{
        CreateCheckoutSession, CreateCheckoutSessionAutomaticTax, CreateCheckoutSessionLineItems,
        CreateCheckoutSessionLineItemsPriceData, CreateCheckoutSessionLineItemsPriceDataTaxBehavior,
        CreateCheckoutSessionPaymentIntentData, ExpireCheckoutSession, ProductData, RetrieveCheckoutSession,
    },
};
use stripe_client_core::{IdempotencyKey, RequestBuilder, StripeMethod, StripeRequest, VERSION};

use super::{
    ConfigError, Secret,
    http::{Answer, Base, Limits, Lost, client, exchange, is_plain_id, read_again, retry_after, secret_header},
};
use crate::id::{Id, Order};

mod lists;
mod types;

pub(super) use types::id_of;
pub use types::{
    CreatedSession, Dispute, Page, PaymentStatus, Refund, RefundRequest, Returned, Session, SessionStatus, Span,
    StripeError,
};

/// The metadata field that holds our order id, at the session and at its payment.
pub const ORDER_ID_FIELD: &str = "order_id";
/// The metadata field of a refund that holds our refund's id.
pub const REFUND_ID_FIELD: &str = "refund_id";
/// Stripe's answers stay far below this, in bytes.
const MOST: usize = 1024 * 1024;
/// How long to leave Stripe alone when it is busy and does not say for how long.
const BUSY_PAUSE: Duration = Duration::from_secs(2);

/// Where Stripe is and who we are.
#[derive(Clone)]
pub struct StripeConfig {
    /// `https://api.stripe.com`; a slash at the end makes no difference.
    pub base_url: String,
    /// The secret or restricted key, `sk_…` or `rk_…`.
    pub secret_key: Secret,
    /// The longest one call may take.
    pub timeout: Duration,
}

/// What a customer is asked to pay for one order. Nothing here describes a person.
#[derive(Debug, Clone)]
pub struct CheckoutRequest {
    /// Our order.
    pub order: Id<Order>,
    /// In the smallest unit of the currency; tax included.
    pub price_cents: i64,
    /// Three lower-case letters.
    pub currency: String,
    /// What stands on the payment page, for example the plan's name.
    pub name: String,
    /// Where the browser goes after paying.
    pub success_url: String,
    /// Where the browser goes after giving up.
    pub cancel_url: String,
    /// Let Stripe Tax work out the tax that the price includes.
    pub automatic_tax: bool,
}

/// The client. Made once; clones share connections.
#[derive(Clone)]
pub struct Stripe {
    http: Client,
    base: Base,
    key: HeaderValue,
}

impl Stripe {
    /// Checks the settings; sends nothing.
    pub fn new(config: &StripeConfig) -> Result<Self, ConfigError> {
        let base = Base::parse("stripe", &config.base_url)?;
        let limits = Limits { connect: config.timeout.min(Duration::from_secs(5)), total: config.timeout };
        let secret = config.secret_key.expose();
        Ok(Self {
            http: client("stripe", &[&base], limits)?,
            key: secret_header("stripe", &format!("Bearer {secret}"), secret)?,
            base,
        })
    }

    /// The truth about a session: an event is only a hint to ask. Asked up to three times.
    pub async fn retrieve_session(&self, session: &str) -> Result<Session, StripeError> {
        plain(session, "session")?;
        // With its charge: a session stays `paid` when its money went back.
        let wanted = RetrieveCheckoutSession::new(session).expand(["payment_intent.latest_charge".to_owned()]);
        (|| async { self.call(wanted.build(), None).await })
            .retry(read_again())
            .when(|error| matches!(error, StripeError::Unreachable { .. }))
            .await
    }

    /// Opens a payment page. The same key gives the same page.
    pub async fn create_session(&self, request: &CheckoutRequest, key: &str) -> Result<CreatedSession, StripeError> {
        self.call(create(request).build(), Some(key)).await
    }

    /// Closes an open payment page, so that nobody can pay for a cancelled order. Stripe refuses for any other status.
    pub async fn expire_session(&self, session: &str) -> Result<Session, StripeError> {
        plain(session, "session")?;
        self.call(ExpireCheckoutSession::new(session).build(), None).await
    }

    /// Gives money back. Sent once. A refund can still fail after it succeeded: watch its events.
    pub async fn refund(&self, request: &RefundRequest, key: &str) -> Result<Refund, StripeError> {
        plain(&request.payment_intent, "payment")?;
        #[derive(serde::Serialize)]
        struct Form<'a> {
            payment_intent: &'a str,
            amount: i64,
            metadata: HashMap<&'static str, String>,
        }
        let form = Form {
            payment_intent: &request.payment_intent,
            amount: request.amount_cents,
            metadata: HashMap::from([(REFUND_ID_FIELD, request.refund.to_string())]),
        };
        let request = RequestBuilder::new(StripeMethod::Post, "/refunds").form(&form);
        self.call(request, Some(key)).await
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder, key: Option<&str>) -> Result<T, StripeError> {
        let method = match request.method {
            StripeMethod::Get => Method::GET,
            StripeMethod::Post => Method::POST,
            StripeMethod::Delete => Method::DELETE,
        };
        let mut url = self.base.at("/v1") + &request.path;
        if let Some(query) = request.query.filter(|query| !query.is_empty()) {
            url = url + "?" + &query;
        }
        let mut sent = self
            .http
            .request(method, url)
            .header(AUTHORIZATION, self.key.clone())
            .header("Stripe-Version", VERSION.as_str());
        if let Some(key) = key {
            let key = IdempotencyKey::new(key).map_err(|_| StripeError::BadInput { what: "idempotency key" })?;
            sent = sent.header("Idempotency-Key", key.as_str());
        }
        if let Some(form) = request.body {
            sent = sent.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        }
        let answer = exchange(sent, MOST).await.map_err(|lost: Lost| StripeError::Unreachable { why: lost.why() })?;
        if answer.status.is_success() {
            serde_json::from_slice(&answer.body).map_err(|_| StripeError::Unreadable { request: request_id(&answer) })
        } else {
            Err(refusal(&answer))
        }
    }
}

/// Everything a new session says. A field that is not here is not sent.
fn create(request: &CheckoutRequest) -> CreateCheckoutSession {
    let order = || HashMap::from([(ORDER_ID_FIELD.to_owned(), request.order.to_string())]);
    let mut price = CreateCheckoutSessionLineItemsPriceData {
        currency: currency(&request.currency),
        product_data: Some(ProductData::new(request.name.clone())),
        unit_amount: Some(request.price_cents),
        product: None,
        recurring: None,
        tax_behavior: None,
        unit_amount_decimal: None,
    };
    let mut item = CreateCheckoutSessionLineItems::new();
    item.quantity = Some(1);
    let mut payment = CreateCheckoutSessionPaymentIntentData::new();
    payment.metadata = Some(order());
    let mut session = CreateCheckoutSession::new();
    if request.automatic_tax {
        // Inclusive, or the total would no longer be the price that the order was made for.
        price.tax_behavior = Some(CreateCheckoutSessionLineItemsPriceDataTaxBehavior::Inclusive);
        session = session.automatic_tax(CreateCheckoutSessionAutomaticTax::new(true));
    }
    item.price_data = Some(price);
    session
        .mode(CheckoutSessionMode::Payment)
        .client_reference_id(request.order.to_string())
        .metadata(order())
        .payment_intent_data(payment)
        .line_items(vec![item])
        .success_url(request.success_url.clone())
        .cancel_url(request.cancel_url.clone())
}

/// Never fails: a code that async-stripe does not know is passed on as it is, and Stripe answers.
fn currency<C: std::str::FromStr<Err = std::convert::Infallible>>(code: &str) -> C {
    match code.to_ascii_lowercase().parse() {
        Ok(currency) => currency,
        Err(never) => match never {},
    }
}

fn plain(id: &str, what: &'static str) -> Result<(), StripeError> {
    if is_plain_id(id) { Ok(()) } else { Err(StripeError::BadInput { what }) }
}

fn request_id(answer: &Answer) -> String {
    let id = answer.headers.get("request-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_plain_id(id) { id.to_owned() } else { "unknown".to_owned() }
}

/// Stripe's error object, without its text: that repeats what was sent.
fn refusal(answer: &Answer) -> StripeError {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Body {
        error: Option<Error>,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Error {
        r#type: Option<String>,
        code: Option<String>,
        param: Option<String>,
    }
    let request = request_id(answer);
    let status = answer.status.as_u16();
    let error = serde_json::from_slice::<Body>(&answer.body).ok().and_then(|body| body.error).unwrap_or_default();
    let code = error.code.or(error.r#type).filter(|code| is_plain_id(code)).unwrap_or_else(|| format!("http_{status}"));
    match status {
        404 => StripeError::NotFound { request },
        401 | 403 => StripeError::NotAllowed { status, request },
        // A second request with our key while the first still runs, or too many requests: nothing was done.
        409 | 429 => StripeError::Busy { after: retry_after(&answer.headers).unwrap_or(BUSY_PAUSE) },
        424 | 500.. => StripeError::Unreachable { why: "Stripe answered with a fault of its own" },
        _ => StripeError::Refused { code, param: error.param.filter(|param| is_parameter(param)), request },
    }
}

/// True for a name as `line_items[0][price]`: another text may repeat what was sent.
fn is_parameter(text: &str) -> bool {
    (1..=80).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_[]".contains(&b))
}

#[cfg(test)]
mod tests;
