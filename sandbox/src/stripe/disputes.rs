//! Disputes: the customer's bank asks for the money back, and decides later who keeps it.
//!
//! Source: docs.stripe.com/disputes/how-disputes-work and api/disputes, November 2026: the amount is withdrawn when the
//! dispute opens, and comes back when it is won; a charge stays `disputed` for ever; one that is disputed cannot be
//! refunded meanwhile.

use serde_json::{Value, json};

use super::error::StripeError;
use super::sessions::number;
use super::{State, lists};
use crate::lock::lock;
use crate::token;

impl State {
    /// Opens a dispute over what is left of a payment.
    pub(crate) fn open_dispute(&self, payment_intent: &str) -> Result<Value, StripeError> {
        let dispute = {
            let mut ledger = lock(&self.ledger);
            let charge = ledger.get("payment_intent", payment_intent)?["latest_charge"].as_str().map(str::to_owned);
            let text = format!("This PaymentIntent ({payment_intent}) does not have a successful charge.");
            let charge = charge.ok_or_else(|| StripeError::invalid("payment_intent", text))?;
            let paid = ledger.get("charge", &charge)?.clone();
            // What another dispute holds, or took for good, is not there to be asked back a second time.
            let taken = |dispute: &Value| dispute["charge"] == charge.as_str() && dispute["status"] != "won";
            let taken: i64 = ledger
                .all("dispute")
                .iter()
                .filter(|dispute| taken(dispute))
                .filter_map(|dispute| number(&dispute["amount"]))
                .sum();
            let left = number(&paid["amount"]).unwrap_or(0) - number(&paid["amount_refunded"]).unwrap_or(0) - taken;
            if left <= 0 {
                let text = format!("Charge {charge} has nothing left to be disputed.");
                return Err(StripeError::invalid("charge", text));
            }
            let dispute = ledger.sample(
                "dispute",
                json!({
                    "id": token::prefixed("dp_1"),
                    "amount": left,
                    "charge": charge,
                    "created": self.clock.now().timestamp(),
                    "currency": paid["currency"],
                    "is_charge_refundable": false,
                    "payment_intent": payment_intent,
                    "reason": "fraudulent",
                    "status": "needs_response",
                }),
            );
            ledger.add("dispute", dispute.clone());
            ledger.get_mut("charge", &charge)?["disputed"] = json!(true);
            dispute
        };
        self.emit("charge.dispute.created", dispute.clone(), None);
        self.emit("charge.dispute.funds_withdrawn", dispute.clone(), None);
        Ok(dispute)
    }

    /// The bank decides. Won: the money comes back.
    pub(crate) fn close_dispute(&self, id: &str, won: bool) -> Result<Value, StripeError> {
        let dispute = {
            let mut ledger = lock(&self.ledger);
            let dispute = ledger.get_mut("dispute", id)?;
            if dispute["status"] == "won" || dispute["status"] == "lost" {
                return Ok(dispute.clone());
            }
            dispute["status"] = json!(if won { "won" } else { "lost" });
            dispute.clone()
        };
        if won {
            self.emit("charge.dispute.funds_reinstated", dispute.clone(), None);
        }
        self.emit("charge.dispute.closed", dispute.clone(), None);
        Ok(dispute)
    }

    pub(crate) fn list_disputes(&self, params: &Value) -> Result<Value, StripeError> {
        let mut disputes = lock(&self.ledger).all("dispute");
        disputes.retain(|dispute| {
            lists::within(params, "created", dispute["created"].as_i64().unwrap_or_default())
                && ["payment_intent", "charge"]
                    .iter()
                    .all(|field| params[*field].as_str().is_none_or(|id| dispute[*field] == id))
        });
        lists::page(disputes, params, "/v1/disputes")
    }
}
