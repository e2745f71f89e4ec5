//! A collector that stands beside real processes: one trace runs from the request over the row of the job to the provider call, and
//! carries nobody's data.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::State, routing::post};
use serde_json::{Value, json};

use crate::{app::App, pools::SOON, processes::Fleet};

/// What a collector was sent, span by span.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Value>>>);

/// One span, as far as this test looks at it.
#[derive(Debug, Clone)]
struct Span {
    name: String,
    trace: String,
    id: String,
    parent: String,
    kind: i64,
    failed: bool,
    said: HashMap<String, String>,
}

impl Collector {
    /// Listens on this machine; the address is what a process is given.
    async fn listens() -> (Self, String) {
        let collector = Self::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, address)
    }

    fn spans(&self) -> Vec<Span> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = self.0.lock().unwrap();
        let scopes = all.iter().flat_map(|sent| sent["resourceSpans"].as_array().unwrap());
        let spans = scopes.flat_map(|resource| resource["scopeSpans"].as_array().unwrap());
        spans
            .flat_map(|scope| scope["spans"].as_array().unwrap())
            .map(|span| Span {
                name: text(&span["name"]),
                trace: text(&span["traceId"]),
                id: text(&span["spanId"]),
                parent: text(&span["parentSpanId"]),
                kind: span["kind"].as_i64().unwrap_or_default(),
                failed: span["status"]["code"] == 2,
                said: span["attributes"]
                    .as_array()
                    .map(Vec::as_slice)
                    .unwrap_or_default()
                    .iter()
                    .map(|said| {
                        let value = &said["value"];
                        (
                            text(&said["key"]),
                            value["stringValue"].as_str().or(value["intValue"].as_str()).unwrap_or_default().to_owned(),
                        )
                    })
                    .collect(),
            })
            .collect()
    }

    /// A span below this one, by its name and one of its attributes.
    fn below(&self, parent: &Span, name: &str, key: &str, value: &str) -> Option<Span> {
        self.spans().into_iter().find(|span| {
            span.trace == parent.trace
                && span.parent == parent.id
                && span.name == name
                && span.said.get(key).is_some_and(|said| said == value)
        })
    }
}

async fn take(State(collector): State<Collector>, Json(sent): Json<Value>) -> Json<Value> {
    collector.0.lock().unwrap().push(sent);
    Json(json!({}))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_runs_from_the_request_over_the_job_to_the_provider_and_carries_nobodys_data() {
    let app = App::spawn().await;
    let (collector, endpoint) = Collector::listens().await;
    let (ann, order) = app.pro_order().await;
    let batch_delay = ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned());
    // As in production: whether a line would be logged is asked before each span.
    let log = ("SAFELIGHT_LOG", "info".to_owned());
    let fleet = Fleet::start_with(&app, &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), batch_delay, log]).await;
    app.pays(order).await;

    let whole = async {
        loop {
            let webhook = collector.spans().into_iter().find(|span| {
                span.name == "request" && span.said.get("http.route").is_some_and(|route| route == "/webhooks/stripe")
            });
            if let Some(webhook) = webhook
                && let Some(confirm) = collector.below(&webhook, "job", "job.name", "confirm_payment")
                && let Some(call) = collector.below(&confirm, "provider_call", "server.address", "127.0.0.1")
                && let Some(follows) = collector.below(&confirm, "job", "job.name", "train_model")
            {
                return (webhook, confirm, call, follows);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let (webhook, confirm, call, _) =
        tokio::time::timeout(SOON, whole).await.unwrap_or_else(|_| panic!("{:#?}", collector.spans()));
    assert_eq!(call.said["http.method"], "GET", "Stripe is asked about the session");
    assert_eq!((webhook.kind, confirm.kind, call.kind), (2, 5, 3), "served, consumed, called");
    assert_eq!((webhook.said["http.status"].as_str(), confirm.said["job.verdict"].as_str()), ("200", "done"));
    assert!(!webhook.failed && !confirm.failed);

    // One that nobody can read is told as what failed.
    let unreadable = "select safelight.enqueue('train_model', '{}')";
    sqlx::query(unreadable).execute(&app.db).await.unwrap();
    let parked = async {
        loop {
            let told = |span: &Span| span.said.get("job.verdict").is_some_and(|verdict| verdict == "parked");
            if let Some(parked) = collector.spans().into_iter().find(told) {
                return parked;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let parked = tokio::time::timeout(SOON, parked).await.unwrap_or_else(|_| panic!("{:#?}", collector.spans()));
    assert!(parked.failed && !parked.said["job.code"].is_empty(), "{parked:?}");

    let everything = serde_json::to_string(&*collector.0.lock().unwrap()).unwrap();
    for never in [ann.email.as_str(), "cs_test", "whsec_", "/v1/checkout", "X-Amz", "token="] {
        assert!(!everything.contains(never), "{never} reached the collector");
    }
    drop(fleet);
}
