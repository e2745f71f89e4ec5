//! Numbers for Prometheus: what this process counted, and what the database says about queues, calls and deletions.

use std::fmt::Write;

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

use safelight_jobs::sealer::{self, Lag};

use crate::{
    caller::bearer,
    error::Error,
    numbers::{self, Numbers, SweepNumbers},
    state::ApiState,
};

/// The numbers, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "operations", operation_id = "metrics",
    responses((status = 200, description = "The numbers", body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, Error> {
    if let Some(secret) = &state.config.metrics_secret
        && !secret.matches(bearer(&headers).unwrap_or_default())
    {
        return Err(Error::MetricsRefused);
    }
    let numbers = Numbers::read(&state.pool, None).await?;
    let mut text = state.metrics.as_ref().map(|handle| handle.render()).unwrap_or_default();
    write(&mut text, &numbers);
    write_sweeps(&mut text, &numbers::sweeps(&state.pool).await?);
    write_log(&mut text, &sealer::lag(&state.pool).await?);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

fn write(text: &mut String, numbers: &Numbers) {
    family(text, "safelight_jobs", "Jobs in the queue, by queue and state.");
    for queue in &numbers.queues {
        for (state, count) in [
            ("ready", queue.ready),
            ("waiting", queue.waiting),
            ("set_aside", queue.aside),
            ("running", queue.running),
            ("held", queue.held),
        ] {
            line(text, &format!("safelight_jobs{{queue=\"{}\",state=\"{state}\"}}", queue.name), count);
        }
    }
    family(text, "safelight_oldest_ready_job_seconds", "How long the oldest ready job has been due.");
    for queue in &numbers.queues {
        let name = format!("safelight_oldest_ready_job_seconds{{queue=\"{}\"}}", queue.name);
        line(text, &name, queue.oldest_seconds.unwrap_or(0));
    }
    for (name, help, count) in [
        ("safelight_workers", "Workers seen within a minute.", numbers.workers),
        ("safelight_calls_unknown", "Provider calls whose outcome is unknown.", numbers.unknown_calls),
        (
            "safelight_calls_unknown_oldest_seconds",
            "For how long nobody has known the oldest of them.",
            numbers.oldest_unknown_seconds,
        ),
        (
            "safelight_refund_reviews",
            "Orders and sales that wait for a decision about their money.",
            numbers.refund_reviews,
        ),
        ("safelight_money_differences", "Where the books and a provider differ.", numbers.differences),
        ("safelight_dead_letters", "Jobs that gave up.", numbers.dead_letters),
        ("safelight_deletions_open", "Deletions that are not complete.", numbers.deletions_open),
        ("safelight_deletions_stuck", "Deletions that need a person.", numbers.deletions_stuck),
        ("safelight_deletions_late", "Open deletions past their legal deadline.", numbers.deletions_late),
        ("safelight_artifacts_due", "Objects past their term that no deletion has removed yet.", numbers.due_artifacts),
        ("safelight_objects_missing", "Rows whose object the store does not have.", numbers.missing_objects),
        (
            "safelight_claims_refused",
            "1: restored, and not compared with the erasure ledger; nothing is worked on.",
            numbers.claims_refused,
        ),
        ("safelight_cases_open", "What people ask for and nobody has answered.", numbers.cases_open),
        ("safelight_cases_late", "The same past the legal deadline.", numbers.cases_late),
        ("safelight_subjects_restricted", "People whose data are restricted.", numbers.restricted),
    ] {
        family(text, name, help);
        line(text, name, count);
    }
}

/// Do the sweeps come, and what do they leave? A sweep that could not check leaves no number, and `could_not_check` says so.
fn write_sweeps(text: &mut String, sweeps: &[SweepNumbers]) {
    family(text, "safelight_sweep_age_seconds", "How long ago a sweep last ended; -1: never.");
    for sweep in sweeps {
        line(
            text,
            &format!("safelight_sweep_age_seconds{{sweep=\"{}\"}}", sweep.name),
            sweep.age_seconds.unwrap_or(-1),
        );
    }
    family(text, "safelight_sweep_could_not_check", "1: the last run could not count what it left.");
    for sweep in sweeps.iter().filter(|sweep| sweep.age_seconds.is_some()) {
        let name = format!("safelight_sweep_could_not_check{{sweep=\"{}\"}}", sweep.name);
        line(text, &name, i64::from(sweep.residue.is_none()));
    }
    family(text, "safelight_sweep_residue", "What the last run left.");
    for sweep in sweeps {
        if let Some(residue) = sweep.residue {
            line(text, &format!("safelight_sweep_residue{{sweep=\"{}\"}}", sweep.name), residue);
        }
    }
}

/// The sealed log: is the sealer there, and do its checkpoints leave the house?
fn write_log(text: &mut String, lag: &Lag) {
    for (name, help, count) in [
        ("safelight_audit_log_entries", "Entries in the sealed log.", lag.size),
        ("safelight_audit_unsealed_entries", "Committed entries that are not in the log yet.", lag.unsealed),
        ("safelight_audit_unsigned_entries", "Entries in the log that no checkpoint covers yet.", lag.unsigned),
        ("safelight_audit_certificates_due", "Finished deletions without a certificate.", lag.certificates_due),
    ] {
        family(text, name, help);
        line(text, name, count);
    }
    family(text, "safelight_audit_sealer_lag_seconds", "How long the oldest entry that is not in the log has waited.");
    line(text, "safelight_audit_sealer_lag_seconds", lag.oldest_seconds as i64);
    family(
        text,
        "safelight_audit_undelivered_checkpoints",
        "Checkpoints that are not outside the database yet, by place.",
    );
    for (name, undelivered, _) in &lag.destinations {
        line(text, &format!("safelight_audit_undelivered_checkpoints{{destination=\"{name}\"}}"), *undelivered);
    }
    family(text, "safelight_audit_delivery_tries", "Tries in a row that brought no checkpoint to a place.");
    for (name, _, tries) in &lag.destinations {
        line(text, &format!("safelight_audit_delivery_tries{{destination=\"{name}\"}}"), i64::from(*tries));
    }
}

fn family(text: &mut String, name: &str, help: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn line(text: &mut String, name: &str, number: i64) {
    let _ = writeln!(text, "{name} {number}");
}
