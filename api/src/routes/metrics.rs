//! Numbers for Prometheus: what this process counted, and what the database says about queues, calls and deletions.

use std::{fmt::Write, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

use safelight_jobs::{
    queue::{self, Filter},
    schedule,
    sealer::Lag,
};
use sqlx::PgPool;

use crate::{
    caller::bearer,
    error::Error,
    house::{self, House},
    numbers::{self, Numbers, SweepNumbers},
    openapi::Problem,
    state::ApiState,
};

/// For the database's numbers: less than the ten seconds for which Prometheus waits.
const PATIENCE: Duration = Duration::from_secs(6);

/// The numbers, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "operations", operation_id = "metrics", security((), ("metrics" = [])),
    responses((status = 200, description = "The numbers", body = String, content_type = "text/plain"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn metrics(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, Error> {
    if let Some(secret) = &state.config.metrics_secret
        && !secret.matches(bearer(&headers).unwrap_or_default())
    {
        return Err(Error::MetricsRefused);
    }
    let mut text = state.metrics.as_ref().map(|handle| handle.render()).unwrap_or_default();
    // What this process counted is told also where the database is away, and that it is.
    let of_the_database = tokio::time::timeout(PATIENCE, of_the_database(&state.pool)).await;
    let numbers = of_the_database.map_err(|_| None).and_then(|read| read.map_err(Some));
    family(&mut text, "safelight_database_up", "1: the database answers, and the numbers of it follow.");
    line(&mut text, "safelight_database_up", i64::from(numbers.is_ok()));
    match numbers {
        Ok(numbers) => text.push_str(&numbers),
        Err(error) => tracing::warn!(?error, "metrics without the database's numbers"),
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

async fn of_the_database(pool: &PgPool) -> Result<String, sqlx::Error> {
    let mut text = String::new();
    let numbers = Numbers::read(pool, None).await?;
    write(&mut text, &numbers);
    let house = House::read(pool).await?;
    write_sweeps(&mut text, &house.sweeps);
    write_log(&mut text, &house.lag);
    write_operations(&mut text, pool, &numbers, &house).await?;
    Ok(text)
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
        (
            "safelight_sales_without_rule",
            "Sales of a country whose fiscal rule nobody has looked up.",
            numbers.sales_without_rule,
        ),
        ("safelight_dead_letters", "Jobs that gave up.", numbers.dead_letters),
        ("safelight_deletions_open", "Deletions that are not complete.", numbers.deletions_open),
        ("safelight_deletions_stuck", "Deletions that need a person.", numbers.deletions_stuck),
        ("safelight_deletions_late", "Open deletions past their legal deadline.", numbers.deletions_late),
        (
            "safelight_orders_late",
            "Orders paid over two hours ago and not at an end; without those of restricted people.",
            numbers.orders_late,
        ),
        (
            "safelight_orders_restricted",
            "The same of people whose data are restricted: they wait for the release.",
            numbers.orders_restricted,
        ),
        ("safelight_artifacts_due", "Objects past their term that no deletion has removed yet.", numbers.due_artifacts),
        (
            "safelight_artifacts_overdue",
            "Those that have been so for more than an hour: at rest it is 0.",
            numbers.overdue_artifacts,
        ),
        ("safelight_objects_missing", "Rows whose object the store does not have.", numbers.missing_objects),
        (
            "safelight_claims_refused",
            "1: restored, and not compared with the erasure ledger; nothing is worked on.",
            numbers.claims_refused,
        ),
        ("safelight_cases_open", "What people ask for and nobody has answered.", numbers.cases_open),
        ("safelight_cases_late", "The same past the legal deadline.", numbers.cases_late),
        ("safelight_subjects_restricted", "People whose data are restricted.", numbers.restricted),
        ("safelight_objections_open", "Objections that nobody has decided.", numbers.objections_open),
        (
            "safelight_objections_upheld",
            "Objections that were upheld: that purpose is closed.",
            numbers.objections_upheld,
        ),
        (
            "safelight_calls_taken_home",
            "Results of the last seven days that may be another person's: Fal's report named another request.",
            numbers.taken_home,
        ),
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
        (
            "safelight_audit_certificates_late",
            "Those that have been so for a quarter of an hour: at rest it is 0.",
            lag.certificates_late,
        ),
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

/// What answers an operator's questions and stands in no number above.
async fn write_operations(
    text: &mut String,
    pool: &PgPool,
    numbers: &Numbers,
    of_the_house: &House,
) -> Result<(), sqlx::Error> {
    family(text, "safelight_breaker_open", "1 while a provider is left alone because it failed again and again.");
    for breaker in queue::breakers(pool).await? {
        let open = i64::from(breaker.state != "closed");
        line(text, &format!("safelight_breaker_open{{provider=\"{}\"}}", breaker.provider), open);
    }
    family(text, "safelight_paused", "1 for each queue, kind, tenant, provider and schedule that somebody paused.");
    for control in queue::controls(pool).await?.iter().filter(|control| control.paused) {
        line(text, &format!("safelight_paused{{scope=\"{}\",name=\"{}\"}}", control.scope, control.name), 1);
    }
    for schedule in schedule::list(pool).await?.iter().filter(|schedule| schedule.paused) {
        line(text, &format!("safelight_paused{{scope=\"schedule\",name=\"{}\"}}", schedule.name), 1);
    }
    family(text, "safelight_dead_letters_by", "Jobs that gave up, by kind and code.");
    for group in queue::dead_letters(pool, Filter::default()).await? {
        let name = format!("safelight_dead_letters_by{{kind=\"{}\",code=\"{}\"}}", group.kind, group.code);
        line(text, &name, group.count);
    }
    family(text, "safelight_jobs_refused_us", "Jobs that wait because a provider refuses our key or our account.");
    for code in queue::REFUSED_US {
        let jobs = of_the_house.refused_us.iter().find(|(known, _)| known == code).map_or(0, |(_, jobs)| *jobs);
        line(text, &format!("safelight_jobs_refused_us{{code=\"{code}\"}}"), jobs);
    }
    let attempts = house::attempts(pool).await?;
    family(text, "safelight_attempts_10m", "Attempts of the last ten minutes that did not simply succeed, by verdict.");
    for verdict in ["retry", "wait", "gave_up", "crashed", "released", "cancelled"] {
        let count = attempts.iter().find(|(known, _)| known == verdict).map_or(0, |(_, count)| *count);
        line(text, &format!("safelight_attempts_10m{{verdict=\"{verdict}\"}}"), count);
    }
    family(
        text,
        "safelight_pickup_milliseconds",
        "How long jobs that ended lately had been due when they started, first attempts only.",
    );
    for row in numbers::pickup(pool, None).await? {
        line(text, &format!("safelight_pickup_milliseconds{{queue=\"{}\",quantile=\"0.5\"}}", row.queue), row.p50);
        line(text, &format!("safelight_pickup_milliseconds{{queue=\"{}\",quantile=\"0.95\"}}", row.queue), row.p95);
    }
    for (name, help, count) in [
        ("safelight_bulk_acts_under_way", "Acts on many jobs that are not over.", of_the_house.bulk_under_way),
        (
            "safelight_bulk_acts_stuck",
            "Acts on many jobs whose own job gave up in the middle.",
            of_the_house.bulk_stuck,
        ),
        (
            "safelight_bulk_act_oldest_seconds",
            "How long ago the oldest of those under way was asked for.",
            of_the_house.bulk_oldest_seconds,
        ),
        (
            "safelight_workers_silent",
            "Workers that said nothing for a minute and did not go in peace.",
            numbers.workers_silent,
        ),
        (
            "safelight_schedule_behind_seconds",
            "For how long nobody has looked at a schedule; since the installation, where nobody ever did.",
            of_the_house.schedule_behind_seconds,
        ),
        (
            "safelight_timeline_changes",
            "Times within seven days that the database began another timeline: a failover, or a restored backup.",
            of_the_house.timeline_changes,
        ),
        (
            "safelight_jobs_dead_tuples",
            "Dead rows of the hot table that vacuum has not taken yet.",
            of_the_house.dead_tuples,
        ),
        ("safelight_jobs_bytes", "Size of the hot table with its indexes.", of_the_house.bytes),
    ] {
        family(text, name, help);
        line(text, name, count);
    }
    Ok(())
}
