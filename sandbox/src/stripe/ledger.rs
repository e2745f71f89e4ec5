//! All objects by kind and id, in order of creation, each begun as Stripe's own sample of its kind.

use std::collections::HashMap;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::error::StripeError;

/// The objects.
pub(crate) struct Ledger {
    samples: Value,
    params: Value,
    kinds: HashMap<&'static str, Vec<Value>>,
    /// Line items of a session, by session id.
    pub(crate) items: HashMap<String, Vec<Value>>,
}

impl Ledger {
    pub(crate) fn new() -> anyhow::Result<Ledger> {
        let mut samples: Value = serde_json::from_str(include_str!("../../specs/stripe-fixtures.json"))
            .context("the sample objects of Stripe")?;
        let params = serde_json::from_str(include_str!("../../specs/stripe-create-params.json"))
            .context("the parameter names of Stripe")?;
        let mut samples = samples["resources"].take();
        // The samples are older than the version that calls name: what that one added.
        samples["checkout.session"]["allowed_payment_method_types"] = Value::Null;
        samples["payment_intent"]["allowed_payment_method_types"] = Value::Null;
        samples["payment_intent"]["payment_record"] = Value::Null;
        samples["dispute"]["intended_submission_method"] = Value::Null;
        samples["dispute"]["evidence_details"]["submission_method"] = json!("not_submitted");
        Ok(Ledger { samples, params, kinds: HashMap::new(), items: HashMap::new() })
    }

    /// Stripe's sample of that kind with these fields put over it.
    pub(crate) fn sample(&self, kind: &str, fields: Value) -> Value {
        let mut object = self.samples[kind].clone();
        if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
            object.extend(fields);
        }
        object
    }

    /// Refuses parameters that the call does not know.
    pub(crate) fn check_params(&self, call: &str, sent: &Value) -> Result<(), StripeError> {
        let known = self.params[call].as_array();
        let knows = |name: &str| known.is_some_and(|known| known.iter().any(|k| k == name));
        match sent.as_object().into_iter().flatten().find(|(name, _)| !knows(name)) {
            Some((name, _)) => {
                Err(StripeError::invalid(name, format!("Received unknown parameter: {name}")).code("parameter_unknown"))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn add(&mut self, kind: &'static str, object: Value) {
        self.kinds.entry(kind).or_default().push(object);
    }

    pub(crate) fn get(&self, kind: &str, id: &str) -> Result<&Value, StripeError> {
        let found = self.kinds.get(kind).and_then(|objects| objects.iter().find(|object| object["id"] == id));
        found.ok_or_else(|| StripeError::no_such(kind, id))
    }

    pub(crate) fn get_mut(&mut self, kind: &str, id: &str) -> Result<&mut Value, StripeError> {
        let found = self.kinds.get_mut(kind).and_then(|objects| objects.iter_mut().find(|object| object["id"] == id));
        found.ok_or_else(|| StripeError::no_such(kind, id))
    }

    /// Oldest first.
    pub(crate) fn all(&self, kind: &str) -> Vec<Value> {
        self.kinds.get(kind).cloned().unwrap_or_default()
    }

    /// Replaces ids by their objects, as `expand[]` asks.
    pub(crate) fn expand(&self, object: &mut Value, params: &Value) -> Result<(), StripeError> {
        for path in params["expand"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.expand_path(object, path)?;
        }
        Ok(())
    }

    fn expand_path(&self, object: &mut Value, path: &str) -> Result<(), StripeError> {
        let (field, rest) = path.split_once('.').map_or((path, None), |(field, rest)| (field, Some(rest)));
        if let (Some(list), Some(rest)) = (object["data"].as_array_mut().filter(|_| field == "data"), rest) {
            return list.iter_mut().try_for_each(|item| self.expand_path(item, rest));
        }
        let kind = match field {
            "payment_intent" => "payment_intent",
            "latest_charge" | "charge" => "charge",
            "customer" => "customer",
            "line_items" if object["object"] == "checkout.session" => {
                object["line_items"] = self.line_items(object["id"].as_str().unwrap_or_default());
                return Ok(());
            }
            _ => {
                let text = format!("This property cannot be expanded ({path}).");
                return Err(StripeError::invalid("expand", text));
            }
        };
        if let Some(id) = object[field].as_str() {
            object[field] = self.get(kind, id)?.clone();
        }
        match rest {
            Some(rest) if object[field].is_object() => self.expand_path(&mut object[field], rest),
            _ => Ok(()),
        }
    }

    pub(crate) fn line_items(&self, session: &str) -> Value {
        let items = self.items.get(session).cloned().unwrap_or_default();
        let url = format!("/v1/checkout/sessions/{session}/line_items");
        json!({ "object": "list", "data": items, "has_more": false, "url": url })
    }
}
