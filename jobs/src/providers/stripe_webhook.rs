//! Stripe's webhook: is it from Stripe, and which object is it about?
//!
//! The signature is checked over the raw bytes, so read them before anything parses them. What comes out is a handful
//! of listed fields, each with its shape checked; the event itself is not kept. No card number and no mail address can
//! pass (policy H6, K12). An event is a hint: ask Stripe for the object before acting (docs.stripe.com/webhooks and
//! /checkout/fulfillment, read November 2026).
//!
//! The rule of the signature: header `t=unix,v1=hex[,v1=hex]`, HMAC-SHA256 over `t`, a dot and the body, with the whole
//! secret text as the key. Several `v1` and several secrets while one is replaced; `v0` counts for nothing.

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Secret, http::is_plain_id, stripe};

/// How far the signature's time may be from ours, in seconds, on both sides.
pub const TOLERANCE: i64 = 300;
/// No real header is longer, in bytes; and none names more signatures.
const LONGEST_HEADER: usize = 4_096;

/// An event of which nobody else can be the sender, reduced to what we act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeEvent {
    /// `evt_…`: the same event comes more than once.
    pub id: String,
    /// For example `checkout.session.completed`. New ones must be accepted.
    #[serde(rename = "type")]
    pub kind: String,
    /// Unix seconds. Events come in any order.
    pub created: i64,
    /// False for test money: refuse what does not match our own key.
    pub livemode: bool,
    /// The object it is about, for example `cs_…` or `re_…`; none where that has no id, as a balance.
    pub object_id: Option<String>,
    /// The payment that object belongs to, where it names one.
    pub payment_intent: Option<String>,
    /// The session's payment status at that time, where it has one.
    pub payment_status: Option<String>,
}

/// Why a delivery is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// We have no secret to check with: refuse everything.
    #[error("no webhook secret is set for Stripe; set STRIPE_WEBHOOK_SECRET, until then every delivery is refused")]
    NoSecret,
    /// No time, no `v1`, or a time that is no number.
    #[error("the Stripe-Signature header is not of the form t=…,v1=…")]
    BadHeader,
    /// No secret of ours made any of its signatures.
    #[error("the signature was not made with our secret; it is a forgery, or the endpoint's secret has changed")]
    Forged,
    /// The signature is right, and more than five minutes old or ahead.
    #[error("the signature's time is more than five minutes from ours; it is a replay, or a clock is wrong")]
    Stale,
    /// The signature is right and the body is not an event with an id and a type, or one that money hangs on has no object with an id.
    #[error("the signed body is not an event that we can read")]
    Unreadable,
}

/// Checks a delivery and reads it. `now` in Unix seconds.
pub fn verify(raw: &[u8], header: &str, secrets: &[Secret], now: i64) -> Result<StripeEvent, WebhookError> {
    if secrets.iter().all(Secret::is_empty) {
        return Err(WebhookError::NoSecret);
    }
    let (time_text, time, signatures) = parse_header(header).ok_or(WebhookError::BadHeader)?;
    let genuine = secrets.iter().filter(|secret| !secret.is_empty()).any(|secret| {
        signatures.iter().any(|signature| is_signed(raw, time_text, signature, secret.expose().as_bytes()))
    });
    if !genuine {
        return Err(WebhookError::Forged);
    }
    // Only now: an outsider learns nothing about our clock.
    if now.abs_diff(time) > TOLERANCE.unsigned_abs() {
        return Err(WebhookError::Stale);
    }
    read(raw).ok_or(WebhookError::Unreadable)
}

fn parse_header(header: &str) -> Option<(&str, i64, Vec<Vec<u8>>)> {
    let mut time = None;
    let mut signatures = Vec::new();
    if header.len() > LONGEST_HEADER {
        return None;
    }
    for item in header.split(',') {
        match item.trim().split_once('=')? {
            ("t", text) if time.is_none() => time = Some((text, text.parse().ok()?)),
            ("t", _) => return None,
            ("v1", hex) => signatures.extend(hex::decode(hex)),
            _ => {}
        }
    }
    let (text, seconds) = time?;
    (!signatures.is_empty()).then_some((text, seconds, signatures))
}

fn is_signed(raw: &[u8], time: &str, signature: &[u8], secret: &[u8]) -> bool {
    // An HMAC takes a key of any length; if it ever did not, nothing would be signed.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(raw);
    mac.verify_slice(signature).is_ok() // constant time
}

fn read(raw: &[u8]) -> Option<StripeEvent> {
    #[derive(Deserialize)]
    struct Wire {
        id: String,
        r#type: String,
        created: i64,
        livemode: bool,
        #[serde(default)]
        data: serde_json::Value,
    }
    #[derive(Deserialize)]
    struct Object {
        id: String,
        #[serde(default, deserialize_with = "stripe::id_of")]
        payment_intent: Option<String>,
        // Tolerant: the field may have another type at another kind of object.
        #[serde(default)]
        payment_status: serde_json::Value,
    }
    let wire: Wire = serde_json::from_slice(raw).ok()?;
    let is_id = |text: &str| is_plain_id(text) && !holds_card_number(text);
    let is_kind = |text: &str| {
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'_';
        text.contains('.') && text.len() <= 128 && text.bytes().all(fine) && !holds_card_number(text)
    };
    let is_word = |text: &str| text.len() <= 40 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    // Seconds until the year 5138: a card number does not pass for a time either.
    let is_time = (0..100_000_000_000).contains(&wire.created);
    let object = wire.data.get("object").cloned().and_then(|object| serde_json::from_value::<Object>(object).ok());
    let object = object.filter(|object| is_id(&object.id));
    // What other kinds are about may have no id, as a balance, or one of another sort: they are taken, and nothing is done.
    let needs_object = ["checkout.session.", "charge.", "refund."].iter().any(|start| wire.r#type.starts_with(start));
    (is_id(&wire.id) && is_kind(&wire.r#type) && is_time && (object.is_some() || !needs_object)).then(|| {
        let (object_id, payment_intent, payment_status) = match object {
            Some(object) => (Some(object.id), object.payment_intent, object.payment_status),
            None => (None, None, serde_json::Value::Null),
        };
        StripeEvent {
            id: wire.id,
            kind: wire.r#type,
            created: wire.created,
            livemode: wire.livemode,
            object_id,
            payment_intent: payment_intent.filter(|id| is_id(id)),
            payment_status: payment_status.as_str().filter(|word| is_word(word)).map(str::to_owned),
        }
    })
}

/// True if 13 to 19 digits in a row, dashes ignored, pass the check of card numbers (Luhn).
fn holds_card_number(text: &str) -> bool {
    let digits: Vec<Option<u32>> =
        text.chars().filter(|c| !matches!(c, '-' | '_' | '.')).map(|c| c.to_digit(10)).collect();
    (13..=19).any(|length| {
        digits.windows(length).any(|window| {
            window.iter().copied().collect::<Option<Vec<u32>>>().is_some_and(|digits| {
                let sum: u32 = digits
                    .iter()
                    .rev()
                    .enumerate()
                    .map(|(place, digit)| match (place % 2, digit * 2) {
                        (0, _) => *digit,
                        (_, double) if double > 9 => double - 9,
                        (_, double) => double,
                    })
                    .sum();
                sum.is_multiple_of(10)
            })
        })
    })
}

#[cfg(test)]
mod tests;
