//! Stripe's lists: what belongs to one payment, and what was made in one span of time, page by page.
//!
//! Source: docs.stripe.com/api/pagination, /api/checkout/sessions/list, /api/refunds/list, /api/disputes/list, read
//! November 2026: newest first, at most a hundred a page, `starting_after` the last of the page before.

use backon::Retryable;
use serde::{Serialize, de::DeserializeOwned};
use stripe_client_core::{RequestBuilder, StripeMethod};

use super::{Dispute, Page, Refund, Session, Span, Stripe, StripeError, plain};
use crate::providers::http::read_again;

/// The most that Stripe puts on a page.
const A_PAGE: u8 = 100;
/// Pages about one payment that are read: more refunds of one payment there cannot be.
const PAGES: usize = 20;

#[derive(Serialize, Default)]
struct Wanted<'a> {
    limit: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_intent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<Created>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starting_after: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expand: Option<[&'static str; 1]>,
}

#[derive(Serialize)]
struct Created {
    gte: i64,
    lt: i64,
}

/// What a list is made of: its place and its members' ids.
trait Listed: DeserializeOwned {
    const PATH: &'static str;
    const EXPAND: Option<[&'static str; 1]> = None;
    fn id(&self) -> &str;
}

impl Listed for Session {
    const PATH: &'static str = "/checkout/sessions";
    /// With its charge, as one session is read: it stays `paid` when its money went back.
    const EXPAND: Option<[&'static str; 1]> = Some(["data.payment_intent.latest_charge"]);
    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for Refund {
    const PATH: &'static str = "/refunds";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for Dispute {
    const PATH: &'static str = "/disputes";
    fn id(&self) -> &str {
        &self.id
    }
}

impl Stripe {
    /// The session that a payment was made through; none for a payment that was not made at a checkout.
    pub async fn sessions_of(&self, payment_intent: &str) -> Result<Vec<Session>, StripeError> {
        self.all_of(payment_intent).await
    }

    /// Every refund of a payment.
    pub async fn refunds_of(&self, payment_intent: &str) -> Result<Vec<Refund>, StripeError> {
        self.all_of(payment_intent).await
    }

    /// Every dispute about a payment.
    pub async fn disputes_of(&self, payment_intent: &str) -> Result<Vec<Dispute>, StripeError> {
        self.all_of(payment_intent).await
    }

    /// Sessions made in a span of time; `after`: the last one of the page before.
    pub async fn sessions_in(&self, span: Span, after: Option<&str>) -> Result<Page<Session>, StripeError> {
        self.in_span(span, after).await
    }

    /// Refunds made in a span of time.
    pub async fn refunds_in(&self, span: Span, after: Option<&str>) -> Result<Page<Refund>, StripeError> {
        self.in_span(span, after).await
    }

    /// Disputes opened in a span of time.
    pub async fn disputes_in(&self, span: Span, after: Option<&str>) -> Result<Page<Dispute>, StripeError> {
        self.in_span(span, after).await
    }

    async fn all_of<T: Listed>(&self, payment_intent: &str) -> Result<Vec<T>, StripeError> {
        plain(payment_intent, "payment")?;
        let mut all: Vec<T> = Vec::new();
        for _ in 0..PAGES {
            let after = all.last().map(|last| last.id().to_owned());
            let wanted =
                Wanted { payment_intent: Some(payment_intent), starting_after: after.as_deref(), ..Wanted::default() };
            let page: Page<T> = self.page(wanted).await?;
            let more = page.has_more && !page.data.is_empty();
            all.extend(page.data);
            if !more {
                return Ok(all);
            }
        }
        Ok(all)
    }

    async fn in_span<T: Listed>(&self, span: Span, after: Option<&str>) -> Result<Page<T>, StripeError> {
        if let Some(after) = after {
            plain(after, "last one")?;
        }
        let wanted = Wanted {
            created: Some(Created { gte: span.from, lt: span.until }),
            starting_after: after,
            ..Wanted::default()
        };
        self.page(wanted).await
    }

    /// A read, tried up to three times.
    async fn page<T: Listed>(&self, wanted: Wanted<'_>) -> Result<Page<T>, StripeError> {
        let wanted = Wanted { limit: A_PAGE, expand: T::EXPAND, ..wanted };
        let request = || RequestBuilder::new(StripeMethod::Get, T::PATH).query(&wanted);
        (|| async { self.call(request(), None).await })
            .retry(read_again())
            .when(|error| matches!(error, StripeError::Unreachable { .. }))
            .await
    }
}
