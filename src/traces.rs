//! Traces for a collector: the spans of requests, jobs and provider calls, by OTLP over HTTP. Off unless an endpoint is named.
//!
//! Never: a log line, a body, a path or a person. A span carries what is named in `ALLOWED`, and nothing that is added to a span
//! later reaches a collector before it is named there.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::{
    KeyValue,
    trace::{SpanKind, TracerProvider as _},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter as Exports},
};
use tracing_subscriber::{Layer, filter::dynamic_filter_fn, registry::LookupSpan};

/// Attributes that may leave the house: ids, words of ours, numbers.
const ALLOWED: &[&str] = &[
    "request.id",
    "trace.id",
    "http.method",
    "http.route",
    "http.status",
    "job.name",
    "job.id",
    "job.verdict",
    "job.code",
    "attempt",
    "server.address",
    "busy_ns",
    "idle_ns",
];
/// Spans that may leave the house.
const SPANS: &[&str] = &["request", "job", "provider_call"];
/// The longest that one delivery to the collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to the collector; what is under way is delivered when it ends.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// `endpoint`: the collector's base address; `/v1/traces` is added. `part`: which process this is.
    pub(crate) fn to(endpoint: &str, part: &'static str) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpJson)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(PATIENCE)
            .build()
            .context("the collector of traces cannot be used; check OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(Discreet(exporter)).build())
            .with_resource(Resource::builder_empty().with_attribute(KeyValue::new("service.name", part)).build())
            .build();
        Ok(Self { provider })
    }

    /// For the subscriber: our three spans, and no event.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("safelight"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            // Not `filter_fn`: that gives no hint of a level, so whoever asks whether a line of any level would be logged
            // leaves this layer's answer behind, and the next span is lost.
            .with_filter(dynamic_filter_fn(|meta, _| meta.is_span() && SPANS.contains(&meta.name())))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last traces may not have reached the collector");
        }
    }
}

/// Hands on what is allowed and drops the rest.
#[derive(Debug)]
struct Discreet<E>(E);

impl<E: Exports> Exports for Discreet<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        for span in &mut batch {
            span.attributes.retain(|attribute| ALLOWED.contains(&attribute.key.as_str()));
            span.events = Default::default();
            span.span_kind = match &*span.name {
                "request" => SpanKind::Server,
                "job" => SpanKind::Consumer,
                _ => SpanKind::Client,
            };
            span.status = match &span.status {
                opentelemetry::trace::Status::Error { .. } => opentelemetry::trace::Status::error(""),
                other => other.clone(),
            };
        }
        self.0.export(batch).await
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }
    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::{Span as _, Status, Tracer as _};

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl Exports for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().expect("kept").extend(batch);
            Ok(())
        }
    }

    #[test]
    fn h29_what_nobody_allowed_does_not_leave_in_a_span() {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(Discreet(kept.clone())).build();
        let mut span = provider.tracer("test").start("request");
        span.set_attribute(KeyValue::new("http.route", "/v1/orders/{order}"));
        span.set_attribute(KeyValue::new("http.path", "/v1/orders/ann@example.org"));
        span.add_event("log line", vec![KeyValue::new("why", "ann@example.org")]);
        span.set_status(Status::error("ann@example.org"));
        span.end();
        let sent = kept.0.lock().expect("kept");
        let words: Vec<&str> = sent[0].attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        assert_eq!((sent.len(), words), (1, vec!["http.route"]));
        assert!(!format!("{sent:?}").contains("ann@"), "{sent:?}");
        assert_eq!(sent[0].status, Status::error(""), "that it failed is told");
    }
}
