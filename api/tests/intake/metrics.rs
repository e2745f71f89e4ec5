//! Metrics, alert rules, dashboard and runbook hold together.

use std::{collections::BTreeSet, path::Path};

use axum::http::{Method, StatusCode};
use safelight_api::metrics_recorder;

use crate::house::{House, request};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every metric that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("safelight_") && *word != "safelight").map(str::to_owned).collect()
}

#[tokio::test]
async fn every_metric_of_an_alert_or_a_panel_is_there() {
    metrics_recorder().expect("a recorder");
    let house = House::build().await;
    house
        .run(
            "insert into safelight.breakers (provider, state, failures, probe_at) values ('fal', 'open', 5, safelight.now());
            insert into safelight.controls (scope, name, paused) values ('queue', 'training', true);
            insert into safelight.audit_destinations (name) values ('folder');
            insert into safelight.workers (name, host, pid, queues, version, seen_at) values ('w', 'h', 1, '{}', '1', now() - interval '5 minutes');
            insert into safelight.job_attempts (job_id, attempt, verdict, code) values (gen_random_uuid(), 1, 'crashed', 'x');
            insert into safelight.jobs_archive (id, queue, kind, version, payload, attempt, waits, outcome, run_at, created_at, started_at, finished_at, prune_on)
            select safelight.uuid_v7(), 'sweeps', 'x', 1, '{}', 1, 0, 'done', now() - interval '2 s', now() - interval '2 s', now() - interval '1 s', now(), now()::date + 21;
            insert into safelight.dead_letters (id, queue, kind, version, payload, priority, attempt, max_attempts, crashes, waits, code, created_at)
            select safelight.uuid_v7(), 'training', 'train_model', 1, '{}', 0, 5, 5, 0, 0, 'fal_rejected', now();
            insert into safelight.jobs (id, queue, kind, payload, state, run_at, rank, max_attempts, created_at)
            select safelight.uuid_v7(), 'sweeps', 'act_on_jobs', '{}', 0, now(), now(), 5, now();
            insert into safelight.bulk_acts (id, job_id, act, matched, matched_whole, actor, why, reached, asked_at, finished_at)
            select gen_random_uuid(), j.id, 'hold', 5, true, 'ops', 'x', j.id, safelight.now() - interval '2 hours', j.ended
            from (select id, null::timestamptz from safelight.jobs union all select id, null from safelight.dead_letters
                union all select id, safelight.now() from safelight.jobs_archive union all select gen_random_uuid(), null) j(id, ended)",
        )
        .await;
    let answer = house.get("", "/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    let shown = named(&answer.text);
    // What a process counts appears with the first request or webhook.
    let counted = [
        "safelight_http_connections_refused_total",
        "safelight_http_requests_total",
        "safelight_http_request_seconds_bucket",
        "safelight_webhooks_total",
    ];
    let mut wanted = named(&file("ops/alerts.yml"));
    wanted.extend(named(&file("ops/grafana-dashboard.json")));
    assert!(wanted.len() > 25, "{wanted:?}");
    let missing: Vec<_> =
        wanted.iter().filter(|name| !shown.contains(*name) && !counted.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "nobody writes {missing:?}");
    for line in [
        "safelight_breaker_open{provider=\"fal\"} 1",
        "safelight_paused{scope=\"queue\",name=\"training\"} 1",
        "safelight_dead_letters_by{kind=\"train_model\",code=\"fal_rejected\"} 1",
        "safelight_attempts_10m{verdict=\"crashed\"} 1",
        "safelight_pickup_milliseconds{queue=\"sweeps\",quantile=\"0.95\"} 1000",
        "safelight_workers_silent 1",
        // One more is over, and another's job was cancelled: neither is stuck.
        "safelight_bulk_acts_under_way 1\n",
        "safelight_bulk_acts_stuck 1\n",
        "safelight_bulk_act_oldest_seconds 7200\n",
    ] {
        assert!(answer.text.contains(line), "{line}");
    }
}

#[tokio::test]
async fn a_method_that_the_caller_made_up_is_counted_as_another() {
    let counted = metrics_recorder().expect("a recorder");
    let house = House::build().await;
    for made_up in ["BREW", "get", "XGET"] {
        let method = Method::from_bytes(made_up.as_bytes()).expect("a method");
        let answer = house.send(request(method, "/v1/jobs", "", None)).await;
        assert!(answer.status.is_client_error(), "{}", answer.text);
    }
    let shown = counted.render();
    assert!(shown.contains("safelight_http_requests_total{method=\"other\""), "{shown}");
    for made_up in ["BREW", "\"get\"", "XGET"] {
        assert!(!shown.contains(made_up), "{made_up}");
    }
}

/// Each process tells the numbers of the house: asked one by one, they would fire as often as there are processes, and add up.
#[test]
fn a_number_of_the_house_is_taken_once_whatever_number_of_processes_tells_it() {
    let once = "max without (instance, pod) (";
    for (name, key) in [("ops/alerts.yml", "expr: "), ("ops/grafana-dashboard.json", "\"expr\": ")] {
        let text = file(name);
        let lines: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix(key)).collect();
        assert!(lines.len() > 25, "{name}");
        for line in lines {
            let mut parts = line.split("safelight_");
            let mut before = parts.next().unwrap_or_default();
            for part in parts {
                let own = ["http_", "webhooks_total", "database_up"].iter().any(|own| part.starts_with(own));
                assert!(own || before.ends_with(once), "{name}: {line}");
                before = part;
            }
        }
    }
}

#[test]
fn every_alert_has_a_page_in_the_runbook_and_no_page_is_left_over() {
    let alerts: BTreeSet<_> = file("ops/alerts.yml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: ").map(str::to_owned))
        .collect();
    let pages: BTreeSet<_> =
        file("docs/runbook.md").lines().filter_map(|line| line.strip_prefix("## ").map(str::to_owned)).collect();
    assert!(alerts.len() > 15);
    assert_eq!(alerts, pages);
}
