//! Refunds: money back for a payment, in whole or in part, and the ones that fail later.

use serde_json::{Value, json};

use super::error::StripeError;
use super::sessions::number;
use super::{State, lists};
use crate::faults::Fault;
use crate::lock::lock;
use crate::token;

const REASONS: [&str; 3] = ["duplicate", "fraudulent", "requested_by_customer"];

impl State {
    pub(crate) fn create_refund(&self, params: &Value) -> Result<Value, StripeError> {
        let (refund, charge) = {
            let mut ledger = lock(&self.ledger);
            ledger.check_params("RefundCreateParams", params)?;
            if let Some(reason) = params["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
                return Err(StripeError::invalid("reason", format!("Invalid reason: {reason}")));
            }
            let charge_id = match (params["charge"].as_str(), params["payment_intent"].as_str()) {
                (Some(charge), _) => charge.to_owned(),
                (None, Some(intent)) => {
                    let charge = ledger.get("payment_intent", intent)?["latest_charge"].as_str().map(str::to_owned);
                    let text = format!("This PaymentIntent ({intent}) does not have a successful charge to refund.");
                    charge.ok_or_else(|| StripeError::invalid("payment_intent", text))?
                }
                (None, None) => return Err(StripeError::missing("payment_intent")),
            };
            let charge = ledger.get("charge", &charge_id)?.clone();
            let left = number(&charge["amount"]).unwrap_or(0) - number(&charge["amount_refunded"]).unwrap_or(0);
            if left <= 0 {
                let text = format!("Charge {charge_id} has already been refunded.");
                let error = StripeError::new(400, "invalid_request_error", text).code("charge_already_refunded");
                return Err(error.after_execution_began());
            }
            let disputed = |dispute: &Value| {
                dispute["charge"] == charge_id.as_str()
                    && dispute["is_charge_refundable"] == false
                    && dispute["status"] != "won"
            };
            if ledger.all("dispute").iter().any(disputed) {
                let text = format!("Charge {charge_id} has been charged back; cannot issue a refund.");
                let error = StripeError::new(400, "invalid_request_error", text).code("charge_disputed");
                return Err(error.after_execution_began());
            }
            let amount = if params["amount"].is_null() { Some(left) } else { number(&params["amount"]) };
            let amount = amount.filter(|amount| (1..=left).contains(amount)).ok_or_else(|| {
                let text =
                    format!("Refund amount is greater than unrefunded amount on charge ({left}) or not positive");
                StripeError::invalid("amount", text).after_execution_began()
            })?;
            let refund = ledger.sample(
                "refund",
                json!({
                    "id": token::prefixed("re_3"),
                    "amount": amount,
                    "charge": charge_id,
                    "created": self.clock.now().timestamp(),
                    "currency": charge["currency"],
                    "metadata": params["metadata"].as_object().cloned().unwrap_or_default(),
                    "payment_intent": charge["payment_intent"],
                    "reason": params["reason"],
                    "status": "succeeded",
                }),
            );
            ledger.add("refund", refund.clone());
            let charge = ledger.get_mut("charge", &charge_id)?;
            let refunded = number(&charge["amount_refunded"]).unwrap_or(0) + amount;
            charge["amount_refunded"] = json!(refunded);
            charge["refunded"] = json!(amount == left);
            (refund, charge.clone())
        };
        self.emit("refund.created", refund.clone(), None);
        self.emit("charge.refunded", charge, None);
        if self.faults.take("refund", Fault::RefundFailsLater) {
            self.fail_refund(refund["id"].as_str().unwrap_or_default())?;
        }
        let mut answer = refund;
        lock(&self.ledger).expand(&mut answer, params)?;
        Ok(answer)
    }

    /// The bank refuses the money; what was refunded is open again.
    pub(crate) fn fail_refund(&self, id: &str) -> Result<Value, StripeError> {
        let (refund, previous) = {
            let mut ledger = lock(&self.ledger);
            let refund = ledger.get_mut("refund", id)?;
            let previous = json!({ "status": refund["status"] });
            if refund["status"] == "failed" {
                return Ok(refund.clone());
            }
            refund["status"] = json!("failed");
            refund["failure_reason"] = json!("lost_or_stolen_card");
            let refund = refund.clone();
            let charge = ledger.get_mut("charge", refund["charge"].as_str().unwrap_or_default())?;
            let refunded = number(&charge["amount_refunded"]).unwrap_or(0) - number(&refund["amount"]).unwrap_or(0);
            charge["amount_refunded"] = json!(refunded.max(0));
            charge["refunded"] = json!(false);
            (refund, previous)
        };
        self.emit("refund.updated", refund.clone(), Some(previous));
        self.emit("refund.failed", refund.clone(), None);
        Ok(refund)
    }

    pub(crate) fn list_refunds(&self, params: &Value) -> Result<Value, StripeError> {
        let mut refunds = lock(&self.ledger).all("refund");
        refunds.retain(|refund| {
            lists::within(params, "created", refund["created"].as_i64().unwrap_or_default())
                && ["payment_intent", "charge"]
                    .iter()
                    .all(|field| params[*field].as_str().is_none_or(|id| refund[*field] == id))
        });
        lists::page(refunds, params, "/v1/refunds")
    }
}
