//! One request from the queue to its webhook.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

use super::record::{Outcome, Progress};
use super::webhook::{Keys, send_headers};
use super::{Hold, State, models};
use crate::faults::Fault;
use crate::lock::lock;
use crate::webhooks::Parcel;

/// Starts the work; the queue has answered meanwhile.
pub(crate) fn begin(state: &Arc<State>, id: Uuid) {
    let (state, piece) = (state.clone(), state.busy.begin());
    tokio::spawn(async move {
        let _piece = piece;
        let stop = state.stop.clone();
        let _ = stop.run_until_cancelled(run(&state, id)).await;
    });
}

async fn run(state: &Arc<State>, id: Uuid) {
    let Some(cancel) = lock(&state.book).get(id).map(|request| request.cancel.clone()) else { return };

    let queued = async {
        let slot = state.slots.clone().acquire_owned().await;
        let mut hold = state.hold.subscribe();
        let _ = hold.wait_for(|hold| *hold != Hold::InQueue).await;
        slot
    };
    let Some(_slot) = cancel.run_until_cancelled(queued).await else {
        // Taken out of the queue: it never ran, so nothing is posted. Fal's pages are silent on that webhook.
        return state.finish(id, cancelled(), Vec::new());
    };
    if let Some(request) = lock(&state.book).get_mut(id) {
        request.progress = Progress::Running;
        request.started_at = Some(state.clock.now());
    }

    let working = async {
        tokio::time::sleep(state.options.delay).await;
        let mut hold = state.hold.subscribe();
        let _ = hold.wait_for(|hold| *hold != Hold::InProgress).await;
        models::perform(state, id).await
    };
    let (outcome, files) = match cancel.run_until_cancelled(working).await {
        None => (cancelled(), Vec::new()),
        Some(Ok(made)) => (Outcome { status: 200, body: made.body, error: None, error_type: None }, made.files),
        Some(Err(error)) => (
            Outcome {
                status: error.status,
                body: error.body(),
                error: Some(format!("Invalid status code: {}", error.status)),
                error_type: Some(error.kind.to_owned()),
            },
            Vec::new(),
        ),
    };
    state.finish(id, outcome, files);
    if let Err(error) = state.deliver(id) {
        tracing::debug!(request.id = %id, %error, "no webhook for this request");
    }
}

fn cancelled() -> Outcome {
    Outcome {
        status: 499,
        body: json!({ "detail": "Client cancelled the request", "error_type": "client_cancelled" }),
        error: Some("Client cancelled the request".to_owned()),
        error_type: Some("client_cancelled".to_owned()),
    }
}

impl State {
    fn finish(&self, id: Uuid, outcome: Outcome, files: Vec<String>) {
        let now = self.clock.now();
        if let Some(request) = lock(&self.book).get_mut(id) {
            request.progress = Progress::Completed;
            request.started_at.get_or_insert(now);
            request.ended_at = Some(now);
            request.outcome = Some(outcome);
            request.files = files;
        }
    }

    /// Posts the result to the webhook URL, until a 2xx or until the result is gone.
    pub(crate) fn deliver(self: &Arc<Self>, id: Uuid) -> anyhow::Result<()> {
        let (url, until, body) = {
            let book = lock(&self.book);
            let request = book.get(id).ok_or_else(|| anyhow::anyhow!("Fal never accepted a request {id}"))?;
            let outcome = request.outcome.as_ref().ok_or_else(|| anyhow::anyhow!("request {id} has not ended yet"))?;
            let url = request.webhook_url.clone();
            let url = url.ok_or_else(|| anyhow::anyhow!("request {id} was submitted without fal_webhook"))?;
            let ids = json!({ "request_id": id, "gateway_request_id": id });
            let mut body = ids;
            body["status"] = json!(if outcome.error.is_none() { "OK" } else { "ERROR" });
            body["payload"] = outcome.body.clone();
            if let Some(error) = &outcome.error {
                body["error"] = json!(error);
            }
            (url, request.result_until(), Bytes::from(body.to_string()))
        };
        if self.faults.take(&id.to_string(), Fault::RotateKey) {
            *lock(&self.keys) = Keys::new();
        }
        let (state, signed) = (self.clone(), body.clone());
        self.courier.send(Parcel {
            id: id.to_string(),
            label: format!("{id} {}", self.endpoint_of(id)),
            url,
            body,
            sign: Arc::new(move |at| {
                let user = &state.description.user_id;
                send_headers(lock(&state.keys).sign(&signed, &id.to_string(), user, at.timestamp()))
            }),
            until,
        });
        Ok(())
    }

    fn endpoint_of(&self, id: Uuid) -> String {
        lock(&self.book).get(id).map(|request| request.endpoint.clone()).unwrap_or_default()
    }
}
