//! Which trace a span belongs to, as the text that travels: in a request's `traceparent`, on the row of a job, and from there to
//! the jobs that follow. Where nobody collects traces, spans belong to none and nothing here has an effect.
//!
//! Never: sends a trace anywhere, or to a provider. Source: w3.org/TR/trace-context, read November 2026.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The span goes on where the sender of this `traceparent` was. A text of another shape is passed over: the span then begins a
/// trace of its own.
pub fn continues(span: &Span, traceparent: &str) {
    let Some(sender) = sender(traceparent) else { return };
    // Refused where no collector listens.
    let _ = span.set_parent(Context::new().with_remote_span_context(sender));
}

/// The `traceparent` for whatever this span sets going; none where nobody collects traces.
pub fn of(span: &Span) -> Option<String> {
    let context = span.context();
    let here = context.span().span_context().clone();
    here.is_valid().then(|| format!("00-{}-{}-{:02x}", here.trace_id(), here.span_id(), here.trace_flags().to_u8()))
}

/// What became of what this span stands for, said where it is collected and in no line of the log.
pub fn says(span: &Span, key: &'static str, value: impl Into<opentelemetry::Value>) {
    span.set_attribute(key, value);
}

/// What this span stands for failed. Why is not said: that is in the log.
pub fn failed(span: &Span) {
    span.set_status(opentelemetry::trace::Status::error(""));
}

fn sender(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let ("00", trace, span, flags, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next())
    else {
        return None;
    };
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::NONE)).filter(SpanContext::is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_read_from_the_exact_shape_only() {
        let good = sender("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").expect("a sender");
        assert_eq!(good.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(good.span_id().to_string(), "b7ad6b7169203331");
        assert!(good.is_sampled() && good.is_remote());
        for bad in [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-ann@example.org-b7ad6b7169203331-01",
        ] {
            assert!(sender(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn without_a_collector_a_span_belongs_to_no_trace() {
        let span = tracing::info_span!("alone");
        continues(&span, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(of(&span), None);
    }
}
