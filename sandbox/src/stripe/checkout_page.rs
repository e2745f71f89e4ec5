//! The page behind a session's `url`: one button that pays. For the demo; nothing is typed in.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::State;
use crate::lock::lock;

pub(crate) async fn show(Shared(state): Shared<Arc<State>>, Path(id): Path<String>) -> Response {
    state.expire_overdue();
    let ledger = lock(&state.ledger);
    let Ok(session) = ledger.get("checkout.session", &id) else {
        return (StatusCode::NOT_FOUND, Html("<h1>No such session</h1>")).into_response();
    };
    let amount = session["amount_total"].as_i64().unwrap_or_default();
    let currency = session["currency"].as_str().unwrap_or_default().to_uppercase();
    let action = if session["status"] == "open" {
        "<form method=\"post\"><button>Pay (sandbox, no money moves)</button></form>"
    } else {
        "<p>This session is over.</p>"
    };
    // Only letters from the currency code: it came from a client.
    let currency: String = currency.chars().filter(char::is_ascii_uppercase).take(3).collect();
    let (whole, cents) = (amount / 100, amount % 100);
    Html(format!("<!doctype html><title>Sandbox checkout</title><h1>{whole}.{cents:02} {currency}</h1>{action}"))
        .into_response()
}

pub(crate) async fn pay(Shared(state): Shared<Arc<State>>, Path(id): Path<String>) -> Response {
    match state.pay(&id, true) {
        Ok(session) => {
            let target = session["success_url"].as_str().unwrap_or_default().replace("{CHECKOUT_SESSION_ID}", &id);
            if url::Url::parse(&target).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
                return Redirect::to(&target).into_response();
            }
            Html("<h1>Paid</h1>").into_response()
        }
        Err(error) => error.response(),
    }
}
