//! The recorder of what this process counts: one for the process, whoever asks first makes it.

use std::{sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of request times, in seconds.
const BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Upper bounds of what jobs take, in seconds: a training may take an hour.
const JOB_BUCKETS: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];
/// How often measured times are put into their buckets, so that they do not pile up while nobody reads them.
const UPKEEP: Duration = Duration::from_secs(5);

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// The process has no recorder.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The settings are wrong.
    #[error("the metrics recorder could not be made: {0}")]
    Build(#[from] BuildError),
    /// Another library set one.
    #[error("this process has another metrics recorder already")]
    Taken,
}

/// The process's recorder, made and installed at the first call. Call it inside the runtime.
///
/// # Errors
/// Another recorder is installed.
pub fn metrics_recorder() -> Result<PrometheusHandle, RecorderError> {
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)?
        .set_buckets_for_metric(Matcher::Full("safelight_job_seconds".to_owned()), JOB_BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    match metrics::set_global_recorder(recorder) {
        Ok(()) => {
            metrics::describe_counter!(
                "safelight_http_requests_total",
                "Requests answered, by method, route and status."
            );
            metrics::describe_histogram!(
                "safelight_http_request_seconds",
                "How long answers took, by method and route."
            );
            metrics::describe_counter!("safelight_webhooks_total", "What providers told us, by provider and outcome.");
            metrics::describe_counter!(
                "safelight_http_overloaded_total",
                "Requests that found no seat and were sent away."
            );
            metrics::describe_counter!(
                "safelight_http_connections_refused_total",
                "Connections that found no place: each that was open had a request."
            );
            metrics::describe_counter!(
                "safelight_http_connections_cut_total",
                "Connections that were ended from here, by why: nothing was asked in time, or there were too many."
            );
            metrics::describe_counter!("safelight_error_reports_total", "Error reports, by what became of them.");
            metrics::describe_histogram!("safelight_job_seconds", "How long attempts took, by job.");
            metrics::describe_counter!("safelight_job_attempts_total", "Attempts, by job and verdict.");
            let upkeep = HANDLE.get_or_init(|| handle.clone()).clone();
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(UPKEEP).await;
                    upkeep.run_upkeep();
                }
            });
            Ok(handle)
        }
        // Perhaps another caller of ours was faster.
        Err(_) => HANDLE.get().cloned().ok_or(RecorderError::Taken),
    }
}
