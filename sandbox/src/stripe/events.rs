//! Events: one for each change, kept for 30 days, sent to the webhook URL.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Duration;
use serde_json::{Value, json};

use super::error::StripeError;
use super::{API_VERSION, State, lists, sign};
use crate::faults::Fault;
use crate::lock::lock;
use crate::token;
use crate::webhooks::Parcel;

/// How long events can be read.
const LIFE: Duration = Duration::days(30);

/// The version of an event that was made by an endpoint of long ago.
const OLDER_VERSION: &str = "2019-05-16";

/// The same event as an older endpoint sends it: fields that came later are missing, others are null, and a word is one that
/// nobody knows any more.
fn age(event: &mut Value) {
    event["api_version"] = json!(OLDER_VERSION);
    let object = event["data"]["object"].take();
    let mut older = json!({ "metadata": null, "status": "in_review", "payment_status": "settling" });
    for field in ["id", "object", "payment_intent", "charge"] {
        if !object[field].is_null() {
            older[field] = object[field].clone();
        }
    }
    event["data"] = json!({ "object": older });
    if let Some(event) = event.as_object_mut() {
        event.remove("request");
        event.remove("pending_webhooks");
    }
}

impl State {
    /// An event that is neither kept nor sent.
    pub(crate) fn new_event(&self, kind: &str, object: Value, previous: Option<Value>) -> Value {
        let mut data = json!({ "object": object });
        if let Some(previous) = previous {
            data["previous_attributes"] = previous;
        }
        let pending = u8::from(lock(&self.webhook_url).is_some());
        json!({
            "id": token::prefixed("evt_1"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.clock.now().timestamp(),
            "data": data,
            "livemode": false,
            "pending_webhooks": pending,
            "request": { "id": null, "idempotency_key": null },
            "type": kind,
        })
    }

    /// Keeps an event and sends it.
    pub(crate) fn emit(&self, kind: &str, object: Value, previous: Option<Value>) {
        let mut event = self.new_event(kind, object, previous);
        if self.faults.take(kind, Fault::OlderEvent) {
            age(&mut event);
        }
        lock(&self.ledger).add("event", event.clone());
        if let Some(url) = lock(&self.webhook_url).clone() {
            self.post_event(&event, url);
        }
    }

    pub(crate) fn deliver_again(&self, id: &str) -> anyhow::Result<()> {
        let event = lock(&self.ledger).get("event", id)?.clone();
        let url = lock(&self.webhook_url).clone();
        let url = url.ok_or_else(|| anyhow::anyhow!("no webhook URL is set; set one first"))?;
        self.post_event(&event, url);
        Ok(())
    }

    fn post_event(&self, event: &Value, url: String) {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let (id, label) = (text("id"), format!("{} {}", text("type"), text("id")));
        let body = Bytes::from(event.to_string());
        let (secret, signed) = (self.description.webhook_secret.clone(), body.clone());
        let other = self.faults.take(&label, Fault::TwoSignatures).then(|| token::prefixed("whsec_"));
        let header = move |at: chrono::DateTime<chrono::Utc>| {
            let at = at.timestamp();
            let header = match &other {
                Some(other) => sign::rolling_header(other, &secret, &signed, at),
                None => sign::header(&secret, &signed, at),
            };
            vec![("Stripe-Signature", header)]
        };
        self.courier.send(Parcel { id, label, url, body, sign: Arc::new(header), until: None });
    }

    pub(crate) fn list_events(&self, params: &Value) -> Result<Value, StripeError> {
        let oldest = (self.clock.now() - LIFE).timestamp();
        let mut events = lock(&self.ledger).all("event");
        events.retain(|event| {
            let created = event["created"].as_i64().unwrap_or_default();
            let kinds = params["types"].as_array();
            created >= oldest
                && lists::within(params, "created", created)
                && params["type"].as_str().is_none_or(|kind| event["type"] == kind)
                && kinds.is_none_or(|kinds| kinds.contains(&event["type"]))
        });
        lists::page(events, params, "/v1/events")
    }
}
