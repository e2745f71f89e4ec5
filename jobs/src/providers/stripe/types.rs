//! What we read of Stripe's answers, and what can go wrong. Unknown words parse: Stripe's enums are open.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Deserializer};

use super::{ORDER_ID_FIELD, REFUND_ID_FIELD};
use crate::id::{self, Id};

/// A Checkout Session, reduced to what decides about an order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Wire")]
pub struct Session {
    /// `cs_…`
    pub id: String,
    /// Whether the money is there. A session can be complete and unpaid: some banks take days.
    pub payment_status: PaymentStatus,
    /// How far the customer came.
    pub status: SessionStatus,
    /// What was or will be paid, in the smallest unit of the currency; tax included.
    pub amount_total_cents: Option<i64>,
    /// How much of it is tax, by what Stripe Tax worked out; zero where it was not asked to.
    pub tax_cents: i64,
    /// Three lower-case letters.
    pub currency: Option<String>,
    /// What we called the order when we made the session.
    pub client_reference_id: Option<String>,
    /// Our order id in the metadata.
    pub order_id: Option<String>,
    /// Unix seconds.
    pub created: i64,
    /// False for test money.
    pub livemode: bool,
    /// `pi_…`, once there is a payment.
    pub payment_intent: Option<String>,
    /// Two letters, for the tax rules; the only thing we keep of the customer's details.
    pub country: Option<String>,
    /// What Stripe says of the payment behind it, where it was expanded: `processing` while a slow bank has not decided.
    pub payment: Option<String>,
    /// How much of it went back by refunds, in the smallest unit of the currency. A session stays `paid` all the same.
    pub refunded_cents: i64,
    /// Whether the customer's bank ever asked for it back.
    pub disputed: bool,
}

/// Why paid money is not the service's to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// It went back, in whole or in part.
    Refunded,
    /// The customer's bank asks for it back.
    Disputed,
}

impl Session {
    /// True when there is nothing left to pay.
    pub fn is_settled(&self) -> bool {
        matches!(self.payment_status, PaymentStatus::Paid | PaymentStatus::NoPaymentRequired)
    }

    /// Whether the money went back or may go back.
    pub fn returned(&self) -> Option<Returned> {
        if self.disputed {
            Some(Returned::Disputed)
        } else if self.refunded_cents > 0 {
            Some(Returned::Refunded)
        } else {
            None
        }
    }

    /// True while a bank that takes days has not decided: the customer is through, and the money may still come.
    pub fn is_at_a_slow_bank(&self) -> bool {
        self.status == SessionStatus::Complete
            && self.payment_status == PaymentStatus::Unpaid
            && !matches!(self.payment.as_deref(), Some("requires_payment_method" | "canceled"))
    }
}

macro_rules! open_words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A word that is newer than this program, or none.
            Other(String),
        }
        impl From<Option<String>> for $name {
            fn from(word: Option<String>) -> Self {
                match word.as_deref() {
                    $(Some($word) => Self::$variant,)*
                    _ => Self::Other(word.unwrap_or_default()),
                }
            }
        }
    };
}

open_words! {
    /// Whether a session is paid.
    PaymentStatus {
        /// The money is there.
        Paid = "paid",
        /// It is not, or not yet.
        Unpaid = "unpaid",
        /// A coupon covered everything.
        NoPaymentRequired = "no_payment_required",
    }
}

open_words! {
    /// How far a session is.
    SessionStatus {
        /// The payment page works.
        Open = "open",
        /// The customer is through; look at the payment status.
        Complete = "complete",
        /// The payment page is closed and nothing will be paid.
        Expired = "expired",
    }
}

#[derive(Deserialize)]
struct Wire {
    id: String,
    payment_status: Option<String>,
    status: Option<String>,
    amount_total: Option<i64>,
    #[serde(default)]
    total_details: Option<Totals>,
    currency: Option<String>,
    client_reference_id: Option<String>,
    #[serde(default)]
    metadata: Option<HashMap<String, String>>,
    created: i64,
    livemode: bool,
    #[serde(default)]
    payment_intent: Option<Payment>,
    customer_details: Option<Details>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Payment {
    Id(String),
    Expanded { id: String, status: Option<String>, latest_charge: Option<Charge> },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Charge {
    Expanded {
        amount_refunded: Option<i64>,
        disputed: Option<bool>,
    },
    #[expect(dead_code, reason = "the id of a charge that was not expanded says nothing about refunds")]
    Id(String),
}

impl Charge {
    fn returned(&self) -> (i64, bool) {
        match self {
            Self::Expanded { amount_refunded, disputed } => {
                (amount_refunded.unwrap_or_default(), disputed.unwrap_or_default())
            }
            Self::Id(_) => (0, false),
        }
    }
}

#[derive(Deserialize)]
struct Totals {
    amount_tax: Option<i64>,
}

#[derive(Deserialize)]
struct Details {
    address: Option<Address>,
}

#[derive(Deserialize)]
struct Address {
    country: Option<String>,
}

impl From<Wire> for Session {
    fn from(wire: Wire) -> Self {
        let country = wire.customer_details.and_then(|details| details.address).and_then(|address| address.country);
        let (payment_intent, payment, charge) = match wire.payment_intent {
            Some(Payment::Expanded { id, status, latest_charge }) => (Some(id), status, latest_charge),
            Some(Payment::Id(id)) => (Some(id), None, None),
            None => (None, None, None),
        };
        let (refunded_cents, disputed) = charge.map_or((0, false), |charge| charge.returned());
        Self {
            id: wire.id,
            payment_status: wire.payment_status.into(),
            status: wire.status.into(),
            amount_total_cents: wire.amount_total,
            tax_cents: wire.total_details.and_then(|totals| totals.amount_tax).unwrap_or_default(),
            currency: wire.currency,
            client_reference_id: wire.client_reference_id,
            order_id: wire.metadata.and_then(|mut metadata| metadata.remove(ORDER_ID_FIELD)),
            created: wire.created,
            livemode: wire.livemode,
            payment_intent,
            country: country.filter(|code| code.len() == 2),
            payment,
            refunded_cents,
            disputed,
        }
    }
}

/// The id of a related object, which Stripe sends as text, or as an object when it was expanded.
pub(in crate::providers) fn id_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Expandable {
        Id(String),
        Object { id: String },
    }
    Ok(Option::<Expandable>::deserialize(deserializer)?.map(|found| match found {
        Expandable::Id(id) | Expandable::Object { id } => id,
    }))
}

/// A payment page that was just opened.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CreatedSession {
    /// `cs_…`
    pub id: String,
    /// Where to send the browser; absent once the session is closed.
    pub url: Option<String>,
}

/// What to give back.
#[derive(Debug, Clone)]
pub struct RefundRequest {
    /// `pi_…`
    pub payment_intent: String,
    /// In the smallest unit of the currency.
    pub amount_cents: i64,
    /// Our refund: it stands in Stripe's metadata, so that one whose answer was lost is found again.
    pub refund: Id<id::Refund>,
}

/// Money on its way back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "RefundWire")]
pub struct Refund {
    /// `re_…`
    pub id: String,
    /// `pending`, `requires_action`, `succeeded`, `failed`, `canceled`, or a newer word.
    pub status: Option<String>,
    /// In the smallest unit of the currency.
    pub amount_cents: i64,
    /// Three lower-case letters.
    pub currency: Option<String>,
    /// The payment that it gives back.
    pub payment_intent: Option<String>,
    /// Our own refund, when it was made by us.
    pub ours: Option<Id<id::Refund>>,
    /// Unix seconds.
    pub created: i64,
}

#[derive(Deserialize)]
struct RefundWire {
    id: String,
    status: Option<String>,
    amount: i64,
    currency: Option<String>,
    #[serde(default, deserialize_with = "id_of")]
    payment_intent: Option<String>,
    #[serde(default)]
    metadata: Option<HashMap<String, String>>,
    #[serde(default)]
    created: i64,
}

impl From<RefundWire> for Refund {
    fn from(wire: RefundWire) -> Self {
        let ours = wire.metadata.and_then(|mut metadata| metadata.remove(REFUND_ID_FIELD));
        Self {
            id: wire.id,
            status: wire.status,
            amount_cents: wire.amount,
            currency: wire.currency,
            payment_intent: wire.payment_intent,
            ours: ours.and_then(|id| id.parse().ok()),
            created: wire.created,
        }
    }
}

/// The customer's bank asks for the money back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Dispute {
    /// `dp_…` or `du_…`
    pub id: String,
    /// `needs_response`, `under_review`, `won`, `lost`, a `warning_…`, or a newer word.
    pub status: Option<String>,
    /// In the smallest unit of the currency.
    #[serde(rename = "amount")]
    pub amount_cents: i64,
    /// Three lower-case letters.
    pub currency: Option<String>,
    /// The payment that it is about.
    #[serde(default, deserialize_with = "id_of")]
    pub payment_intent: Option<String>,
    /// Unix seconds.
    #[serde(default)]
    pub created: i64,
}

/// One page of a list of Stripe's, newest first.
#[derive(Debug, Clone, Deserialize)]
pub struct Page<T> {
    /// What is on it.
    pub data: Vec<T>,
    /// Ask for the next one, after the last of this one.
    pub has_more: bool,
}

/// A span of time by Stripe's clock, in Unix seconds; the end is not in it.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// From here.
    pub from: i64,
    /// Up to here.
    pub until: i64,
}

/// Why Stripe did not do what was asked. `request` is Stripe's id of the request, for its support.
#[derive(Debug, thiserror::Error)]
pub enum StripeError {
    /// No such session, payment or refund under this key: wrong account, test instead of live, or never made.
    #[error("Stripe knows no such object (request {request}); check that the key belongs to the same account and mode")]
    NotFound {
        /// Stripe's id of the request.
        request: String,
    },
    /// Stripe says no, and would say it again.
    #[error("Stripe refused with `{code}` (field {param:?}, request {request}); a repeat will not help")]
    Refused {
        /// Stripe's code, for example `charge_already_refunded` or `idempotency_error`.
        code: String,
        /// The parameter it is about.
        param: Option<String>,
        /// Stripe's id of the request.
        request: String,
    },
    /// The key is wrong, revoked, or lacks a permission.
    #[error(
        "Stripe does not accept the key ({status}, request {request}); check STRIPE_SECRET_KEY and its permissions"
    )]
    NotAllowed {
        /// 401 or 403.
        status: u16,
        /// Stripe's id of the request.
        request: String,
    },
    /// Too many requests, or the same key still runs. Nothing was done.
    #[error("Stripe is busy; ask again after {after:?}")]
    Busy {
        /// Stripe's own wish where it names one.
        after: Duration,
    },
    /// No answer, or a fault at Stripe. A call with a key may be repeated under the same key.
    #[error("Stripe could not be reached: {why}; repeat under the same key")]
    Unreachable {
        /// What happened on the way.
        why: &'static str,
    },
    /// A success whose body is not what we know. What was asked has been done.
    #[error("Stripe's answer could not be read (request {request}); compare the API version")]
    Unreadable {
        /// Stripe's id of the request.
        request: String,
    },
    /// An argument of ours that must not be sent.
    #[error("the {what} is not one that Stripe could know; nothing was sent")]
    BadInput {
        /// Which argument.
        what: &'static str,
    },
}
