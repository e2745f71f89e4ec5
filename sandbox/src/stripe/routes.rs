//! Which call is which, and who may make it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::error::StripeError;
use super::{API_VERSION, State, checkout_page, form, idempotency, lists};
use crate::faults::Fault;
use crate::lock::lock;
use crate::token;

pub(crate) fn router() -> Router<Arc<State>> {
    Router::new().route("/c/pay/{session}", get(checkout_page::show).post(checkout_page::pay)).fallback(handle)
}

async fn handle(Shared(state): Shared<Arc<State>>, request: Request) -> Response {
    let id = token::prefixed("req_");
    let mut response = answer(state, request, &id).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("request-id", value);
    }
    response.headers_mut().insert("stripe-version", HeaderValue::from_static(API_VERSION));
    response
}

async fn answer(state: Arc<State>, request: Request, id: &str) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(error) = state.check_key(&parts.headers) {
        return error.response();
    }
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return StripeError::new(400, "invalid_request_error", "The body could not be read.").response();
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    let path = parts.uri.path().trim_end_matches('/').to_owned();
    let result = match parts.method {
        Method::POST => {
            let (own_path, params) = (path.clone(), form::parse(&body));
            let run = move |state: &Arc<State>| state.write(&own_path, &params);
            return idempotency::post(state, &parts.headers, &path, &body, id, run).await;
        }
        Method::GET => state.read(&path, &form::parse(parts.uri.query().unwrap_or_default())),
        Method::DELETE => state.delete(&path),
        _ => Err(unknown_url(&parts.method, &path)),
    };
    match result {
        Ok(body) => axum::Json(body).into_response(),
        Err(error) => error.response(),
    }
}

fn unknown_url(method: &Method, path: &str) -> StripeError {
    StripeError::new(404, "invalid_request_error", format!("Unrecognized request URL ({method}: {path})."))
}

impl State {
    /// Bearer, or Basic with the key as the user.
    fn check_key(&self, headers: &HeaderMap) -> Result<(), StripeError> {
        let sent = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let basic = || {
            let text = STANDARD.decode(sent.strip_prefix("Basic ")?).ok()?;
            Some(String::from_utf8(text).ok()?.trim_end_matches(':').to_owned())
        };
        let key = sent.strip_prefix("Bearer ").map(str::to_owned).or_else(basic);
        match key {
            Some(key) if key == self.description.secret_key => Ok(()),
            Some(_) => Err(StripeError::new(401, "invalid_request_error", "Invalid API Key provided")),
            None => Err(StripeError::new(401, "invalid_request_error", "You did not provide an API key.")),
        }
    }

    fn write(&self, path: &str, params: &Value) -> Result<Value, StripeError> {
        if self.faults.take(&format!("POST {path}"), Fault::StoredServerError) {
            let error = StripeError::new(500, "api_error", "An unknown error occurred.");
            return Err(error.after_execution_began());
        }
        let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        match parts.as_slice() {
            ["checkout", "sessions"] => self.create_session(params),
            ["checkout", "sessions", id, "expire"] => self.expire(id),
            ["refunds"] => self.create_refund(params),
            ["customers"] => self.create_customer(params),
            _ => Err(unknown_url(&Method::POST, path)),
        }
    }

    fn read(&self, path: &str, params: &Value) -> Result<Value, StripeError> {
        self.expire_overdue();
        let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        let mut object = match parts.as_slice() {
            ["checkout", "sessions"] => self.list_sessions(params)?,
            ["checkout", "sessions", id] => self.one("checkout.session", id)?,
            ["checkout", "sessions", id, "line_items"] => {
                let ledger = lock(&self.ledger);
                ledger.get("checkout.session", id)?;
                return Ok(ledger.line_items(id));
            }
            ["refunds"] => self.list_refunds(params)?,
            ["refunds", id] => self.one("refund", id)?,
            ["disputes"] => self.list_disputes(params)?,
            ["disputes", id] => self.one("dispute", id)?,
            ["payment_intents", id] => self.one("payment_intent", id)?,
            ["charges", id] => self.one("charge", id)?,
            ["customers", id] => self.one("customer", id)?,
            ["events"] => self.list_events(params)?,
            ["events", id] => self.one("event", id)?,
            _ => return Err(unknown_url(&Method::GET, path)),
        };
        lock(&self.ledger).expand(&mut object, params)?;
        Ok(object)
    }

    fn one(&self, kind: &str, id: &str) -> Result<Value, StripeError> {
        Ok(lock(&self.ledger).get(kind, id)?.clone())
    }

    fn list_sessions(&self, params: &Value) -> Result<Value, StripeError> {
        let mut sessions = lock(&self.ledger).all("checkout.session");
        sessions.retain(|session| {
            lists::within(params, "created", session["created"].as_i64().unwrap_or_default())
                && ["payment_intent", "status", "customer"]
                    .iter()
                    .all(|field| params[*field].as_str().is_none_or(|wanted| session[*field] == wanted))
        });
        lists::page(sessions, params, "/v1/checkout/sessions")
    }

    fn create_customer(&self, params: &Value) -> Result<Value, StripeError> {
        let mut ledger = lock(&self.ledger);
        let customer = ledger.sample(
            "customer",
            json!({
                "id": token::prefixed("cus_"),
                "created": self.clock.now().timestamp(),
                "email": params["email"],
                "name": params["name"],
                "metadata": params["metadata"].as_object().cloned().unwrap_or_default(),
            }),
        );
        ledger.add("customer", customer.clone());
        Ok(customer)
    }

    /// A deleted customer answers 200 for ever, as `deleted`; charges and sessions stay as they are.
    fn delete(&self, path: &str) -> Result<Value, StripeError> {
        let Some(id) = path.strip_prefix("/v1/customers/") else {
            return Err(unknown_url(&Method::DELETE, path));
        };
        let mut ledger = lock(&self.ledger);
        let customer = ledger.get_mut("customer", id)?;
        if customer["deleted"] == true {
            return Err(StripeError::no_such("customer", id));
        }
        *customer = json!({ "id": id, "object": "customer", "deleted": true });
        Ok(customer.clone())
    }
}
