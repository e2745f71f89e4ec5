//! Checkout sessions: made by a backend, ended by a customer or by time.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::State;
use super::error::StripeError;
use crate::lock::lock;
use crate::token;

/// Seconds a session stays open when nothing else is asked for.
const LIFE: i64 = 24 * 3600;
const SHORTEST_LIFE: i64 = 30 * 60;

/// A session for one thing at one price: what a web backend asks Stripe for.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub struct NewSession {
    /// Minor units.
    pub amount: i64,
    /// Lower case; empty: `eur`.
    #[serde(default)]
    pub currency: String,
    /// What the line item is called; empty: `Portraits`.
    #[serde(default)]
    pub name: String,
    /// The order, in the backend's words.
    #[serde(default)]
    pub client_reference_id: Option<String>,
    /// Ids only, never personal data.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Fills the customer's e-mail in.
    #[serde(default)]
    pub customer_email: Option<String>,
}

impl NewSession {
    /// As form parameters would parse.
    pub(crate) fn params(&self) -> Value {
        let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
        let price = json!({
            "currency": or(&self.currency, "eur"),
            "unit_amount": self.amount.to_string(),
            "product_data": { "name": or(&self.name, "Portraits") },
        });
        let mut params = json!({
            "mode": "payment",
            "success_url": "http://127.0.0.1/paid?session={CHECKOUT_SESSION_ID}",
            "line_items": [{ "price_data": price, "quantity": "1" }],
            "metadata": self.metadata,
        });
        if let Some(id) = &self.client_reference_id {
            params["client_reference_id"] = json!(id);
        }
        if let Some(email) = &self.customer_email {
            params["customer_email"] = json!(email);
        }
        params
    }
}

/// A number that came as text, or as a number from inside.
pub(crate) fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

impl State {
    pub(crate) fn create_session(&self, params: &Value) -> Result<Value, StripeError> {
        let mut ledger = lock(&self.ledger);
        ledger.check_params("SessionCreateParams", params)?;
        let mode = params["mode"].as_str().ok_or_else(|| StripeError::missing("mode"))?;
        if mode != "payment" {
            return Err(StripeError::invalid("mode", "The sandbox takes payments only: mode must be payment"));
        }
        let hosted = matches!(params["ui_mode"].as_str(), None | Some("hosted" | "hosted_page"));
        if hosted && params["success_url"].as_str().is_none() {
            return Err(StripeError::missing("success_url"));
        }
        let id = format!("cs_test_{}", token::letters(58));
        let (items, currency, total) = line_items(&ledger, params, &id)?;
        let now = self.clock.now().timestamp();
        let expires_at = match params["expires_at"].as_str() {
            None => now + LIFE,
            Some(text) => {
                text.parse().ok().filter(|at| (now + SHORTEST_LIFE..=now + LIFE).contains(at)).ok_or_else(|| {
                    StripeError::invalid("expires_at", "expires_at must be between 30 minutes and 24 hours from now")
                })?
            }
        };
        let email = &params["customer_email"];
        let customer_details = if email.is_null() { Value::Null } else { details(&ledger, email) };
        let session = ledger.sample(
            "checkout.session",
            json!({
                "id": id,
                "adaptive_pricing": { "enabled": false },
                "after_expiration": null,
                "amount_subtotal": total,
                "amount_total": total,
                "cancel_url": params["cancel_url"],
                "client_reference_id": params["client_reference_id"],
                "collected_information": null,
                "consent": null,
                "consent_collection": null,
                "created": now,
                "currency": currency,
                "currency_conversion": null,
                "custom_text": {
                    "after_submit": null, "shipping_address": null, "submit": null,
                    "terms_of_service_acceptance": null,
                },
                "customer": params["customer"],
                "customer_creation": "if_required",
                "customer_details": customer_details,
                "customer_email": email,
                "expires_at": expires_at,
                "managed_payments": null,
                "metadata": params["metadata"].as_object().cloned().unwrap_or_default(),
                "payment_intent": null,
                "payment_method_collection": "if_required",
                "payment_method_configuration_details": null,
                "payment_status": "unpaid",
                "permissions": null,
                "saved_payment_method_options": null,
                "shipping_address_collection": null,
                "shipping_cost": null,
                "status": "open",
                "success_url": params["success_url"],
                "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 },
                "ui_mode": "hosted_page",
                "url": format!("{}/c/pay/{id}", self.description.url),
                "wallet_options": null,
            }),
        );
        let mut session = session;
        session["invoice_creation"]["enabled"] = json!(false);
        session["automatic_tax"]["enabled"] = json!(params["automatic_tax"]["enabled"] == "true");
        ledger.add("checkout.session", session.clone());
        ledger.items.insert(id, items);
        ledger.expand(&mut session, params)?;
        Ok(session)
    }

    pub(crate) fn expire(&self, id: &str) -> Result<Value, StripeError> {
        let session = {
            let mut ledger = lock(&self.ledger);
            let session = ledger.get_mut("checkout.session", id)?;
            if session["status"] != "open" {
                let text = "Only Checkout Sessions with a status in [\"open\"] can be expired.";
                return Err(StripeError::new(400, "invalid_request_error", text).after_execution_began());
            }
            session["status"] = json!("expired");
            session["url"] = Value::Null;
            session.clone()
        };
        self.emit("checkout.session.expired", session.clone(), None);
        Ok(session)
    }

    /// Expires every open session whose time is over.
    pub(crate) fn expire_overdue(&self) {
        let now = self.clock.now().timestamp();
        let overdue = |s: &Value| s["status"] == "open" && s["expires_at"].as_i64().is_some_and(|at| now >= at);
        let sessions = lock(&self.ledger).all("checkout.session");
        for id in sessions.iter().filter(|s| overdue(s)).filter_map(|s| s["id"].as_str()) {
            if let Err(error) = self.expire(id) {
                tracing::debug!(%error, "a session was ended by somebody else meanwhile");
            }
        }
    }
}

/// What a session shows of its customer.
pub(crate) fn details(ledger: &super::ledger::Ledger, email: &Value) -> Value {
    let mut details = ledger.sample("checkout.session", json!({}))["customer_details"].take();
    details["email"] = email.clone();
    // Whoever pays has typed at least this in.
    details["address"]["country"] = json!("DE");
    details
}

/// The tax that a price includes where every customer sits: Germany, 19 percent.
pub(crate) fn tax_in(total: i64) -> i64 {
    (total * 19 + 59) / 119
}

fn line_items(
    ledger: &super::ledger::Ledger,
    params: &Value,
    session: &str,
) -> Result<(Vec<Value>, String, i64), StripeError> {
    let wishes = params["line_items"].as_array().filter(|items| !items.is_empty());
    let wishes = wishes.ok_or_else(|| StripeError::missing("line_items"))?;
    let (mut items, mut currency, mut total) = (Vec::new(), None::<String>, 0_i64);
    for (index, wish) in wishes.iter().enumerate() {
        let at = |name: &str| format!("line_items[{index}][{name}]");
        if let Some(price) = wish["price"].as_str() {
            // Prices live in a catalogue that the sandbox does not have.
            return Err(
                StripeError::invalid(&at("price"), format!("No such price: '{price}'")).code("resource_missing")
            );
        }
        let price = &wish["price_data"];
        let money = price["currency"].as_str().ok_or_else(|| StripeError::missing(&at("price_data][currency")))?;
        let unit = number(&price["unit_amount"]).filter(|unit| *unit >= 0);
        let unit = unit.ok_or_else(|| StripeError::missing(&at("price_data][unit_amount")))?;
        let quantity = number(&wish["quantity"]).filter(|quantity| *quantity > 0);
        let quantity = quantity.ok_or_else(|| StripeError::missing(&at("quantity")))?;
        if currency.get_or_insert_with(|| money.to_lowercase()) != &money.to_lowercase() {
            return Err(StripeError::invalid(&at("price_data][currency"), "All line items must have one currency."));
        }
        let amount = unit.checked_mul(quantity).and_then(|amount| total.checked_add(amount).map(|sum| (amount, sum)));
        let (amount, sum) = amount.ok_or_else(|| StripeError::invalid(&at("quantity"), "The amount is too large."))?;
        total = sum;
        let mut item = ledger.sample(
            "item",
            json!({
                "id": token::prefixed("li_1"),
                "amount_subtotal": amount,
                "amount_total": amount,
                "adjustable_quantity": null,
                "currency": money.to_lowercase(),
                "description": price["product_data"]["name"],
                "quantity": quantity,
            }),
        );
        item["price"]["id"] = json!(token::prefixed("price_1"));
        item["price"]["currency"] = json!(money.to_lowercase());
        item["price"]["unit_amount"] = json!(unit);
        item["price"]["unit_amount_decimal"] = json!(unit.to_string());
        item["price"]["recurring"] = Value::Null;
        item["price"]["custom_unit_amount"] = Value::Null;
        item["price"]["transform_quantity"] = Value::Null;
        items.push(item);
    }
    let currency = currency.ok_or_else(|| StripeError::missing("line_items"))?;
    tracing::debug!(session.id = session, items = items.len(), "a checkout session opens");
    Ok((items, currency, total))
}
