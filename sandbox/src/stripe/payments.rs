//! What the customer does at checkout, and what the bank says later.

use serde_json::{Value, json};

use super::State;
use super::error::StripeError;
use super::ledger::Ledger;
use super::sessions::{details, tax_in};
use crate::lock::lock;
use crate::token;

impl State {
    /// Completes an open session; `now_paid` false: by a method whose money comes later.
    pub(crate) fn pay(&self, id: &str, now_paid: bool) -> Result<Value, StripeError> {
        self.expire_overdue();
        let session = {
            let mut ledger = lock(&self.ledger);
            let session = ledger.get("checkout.session", id)?.clone();
            match session["status"].as_str() {
                Some("open") => {}
                Some("complete") => return Ok(session),
                _ => return Err(StripeError::new(400, "invalid_request_error", "The session has expired.")),
            }
            let free = session["amount_total"] == 0;
            let status = match (free, now_paid) {
                (true, _) => "no_payment_required",
                (false, true) => "paid",
                (false, false) => "unpaid",
            };
            let intent = if free { Value::Null } else { self.open_payment(&mut ledger, &session, now_paid) };
            let email = if session["customer_email"].is_null() {
                json!("customer@example.com")
            } else {
                session["customer_email"].clone()
            };
            let customer_details = details(&ledger, &email);
            let session = ledger.get_mut("checkout.session", id)?;
            session["status"] = json!("complete");
            session["payment_status"] = json!(status);
            session["payment_intent"] = intent;
            session["customer_details"] = customer_details;
            if session["automatic_tax"]["enabled"] == true {
                session["automatic_tax"]["status"] = json!("complete");
                session["total_details"]["amount_tax"] =
                    json!(tax_in(session["amount_total"].as_i64().unwrap_or_default()));
            }
            session["url"] = Value::Null;
            session.clone()
        };
        self.emit("checkout.session.completed", session.clone(), None);
        Ok(session)
    }

    /// The money of an unpaid, complete session comes, or does not.
    pub(crate) fn settle(&self, id: &str, arrived: bool) -> Result<Value, StripeError> {
        let session = {
            let mut ledger = lock(&self.ledger);
            let session = ledger.get("checkout.session", id)?.clone();
            if session["status"] != "complete" || session["payment_status"] != "unpaid" {
                let text = "The session is not complete and unpaid; use pay_unpaid first.";
                return Err(StripeError::new(400, "invalid_request_error", text));
            }
            let intent = session["payment_intent"].as_str().unwrap_or_default().to_owned();
            if arrived {
                let charge = self.charge(&mut ledger, &session, &intent);
                let intent = ledger.get_mut("payment_intent", &intent)?;
                intent["status"] = json!("succeeded");
                intent["amount_received"] = session["amount_total"].clone();
                intent["latest_charge"] = charge;
                ledger.get_mut("checkout.session", id)?["payment_status"] = json!("paid");
            } else {
                ledger.get_mut("payment_intent", &intent)?["status"] = json!("requires_payment_method");
            }
            ledger.get("checkout.session", id)?.clone()
        };
        let word = if arrived { "succeeded" } else { "failed" };
        self.emit(&format!("checkout.session.async_payment_{word}"), session.clone(), None);
        Ok(session)
    }

    /// Makes the payment intent of a session, with a charge when the money is there. Returns its id.
    fn open_payment(&self, ledger: &mut Ledger, session: &Value, paid: bool) -> Value {
        let id = token::prefixed("pi_3");
        let total = session["amount_total"].clone();
        let charge = if paid { self.charge(ledger, session, &id) } else { Value::Null };
        let intent = ledger.sample(
            "payment_intent",
            json!({
                "id": id,
                "amount": total,
                "amount_received": if paid { total.clone() } else { json!(0) },
                "canceled_at": null,
                "client_secret": format!("{id}_secret_{}", token::letters(24)),
                "created": self.clock.now().timestamp(),
                "currency": session["currency"],
                "customer": session["customer"],
                "last_payment_error": null,
                "latest_charge": charge,
                "managed_payments": null,
                "metadata": {},
                "next_action": null,
                "payment_method_configuration_details": null,
                "processing": null,
                "shipping": null,
                "status": if paid { "succeeded" } else { "processing" },
                "transfer_data": null,
            }),
        );
        ledger.add("payment_intent", intent);
        json!(id)
    }

    fn charge(&self, ledger: &mut Ledger, session: &Value, intent: &str) -> Value {
        let id = token::prefixed("ch_3");
        let charge = ledger.sample(
            "charge",
            json!({
                "id": id,
                "amount": session["amount_total"],
                "amount_captured": session["amount_total"],
                "captured": true,
                "created": self.clock.now().timestamp(),
                "currency": session["currency"],
                "customer": session["customer"],
                "description": null,
                "payment_intent": intent,
                "shipping": null,
                "source": null,
                "transfer_data": null,
            }),
        );
        ledger.add("charge", charge);
        json!(id)
    }
}
