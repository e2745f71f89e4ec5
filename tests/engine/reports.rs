//! What error monitoring is told: that a job failed, by kind, id and code, and nothing of what went wrong in words or of whom.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use safelight_jobs::{
    id::{self, Id},
    intake,
    job::Undecodable,
    policy::{Processor, Purpose},
    providers::{
        Secret,
        sentry::{Sentry, SentryConfig},
    },
    queue::Claimed,
    stop::Stop,
};
use safelight_sandbox::Fault;
use safelight_worker::{Perform, Performed, Reports, config::WorkerConfig};
use serde_json::{Value, json};

use crate::{
    app::App,
    pools::{Pools, SOON, quick, until},
};

/// What an error can pick up on its way: words, keys and links of a person.
pub const MARKERS: [&str; 5] = [
    "ann.planted@mail.example",
    "Ann Planted",
    "koselfie/0190a/upload/planted",
    "https://store.example/x?X-Amz-Signature=planted",
    "planted in a garden",
];

/// Fails in the way that its payload names, with every marker in its words.
fn fails(job: &Claimed) -> Performed {
    let words = MARKERS.join(", ");
    let chain = || anyhow::anyhow!("{words}").context(format!("while looking at {words}"));
    match job.payload["way"].as_str().unwrap_or_default() {
        "gives_up" => Ok(Err(Stop::give_up("fal_rejected", words))),
        "retries" => Ok(Err(Stop::retry("database", chain()))),
        "is_in_trouble" => Ok(Err(Stop::trouble(Processor::Fal, "fal_unreachable", chain()))),
        "waits" => Ok(Err(Stop::wait(Duration::from_secs(3600), words))),
        "panics" => panic!("{words}"),
        "is_unknown" => Err(Undecodable::UnknownKind { job: job.lease.job.uuid(), kind: job.kind.clone() }),
        _ => {
            let source = serde_json::from_value::<u64>(json!(words)).expect_err("words are no number");
            Err(Undecodable::Payload { job: job.lease.job.uuid(), kind: "train_model", source })
        }
    }
}

pub fn failing() -> Perform {
    Arc::new(|job| async move { fails(&job) }.boxed())
}

impl App {
    fn reporting(&self) -> WorkerConfig {
        self.reporting_to(self.sandbox.description().sentry.dsn)
    }

    /// A worker that tells failures there.
    pub fn reporting_to(&self, dsn: String) -> WorkerConfig {
        let sentry = Sentry::new(&SentryConfig {
            dsn: Secret::new(dsn),
            environment: "test".to_owned(),
            timeout: Duration::from_secs(5),
        })
        .expect("a client");
        WorkerConfig {
            reports: Some(Reports::start(sentry, self.services.policies.clone(), self.worker.clone())),
            ..quick()
        }
    }

    /// A job with one attempt, whose payload and kind hold what they may not.
    pub async fn will_fail(&self, kind: &str, tenant: &str, way: &str) -> Id<id::Job> {
        self.will_fail_of(None, kind, tenant, way).await
    }

    /// The same, of a person.
    async fn will_fail_of(&self, subject: Option<Id<id::Subject>>, kind: &str, tenant: &str, way: &str) -> Id<id::Job> {
        let id = Id::<id::Job>::new();
        sqlx::query(
            "insert into safelight.jobs (id, queue, kind, payload, tenant, subject_id, run_at, rank, max_attempts, created_at)
            values ($1, 'training', $2, $3, $4, $5, safelight.now(), safelight.now(), 1, safelight.now())",
        )
        .bind(id.uuid())
        .bind(kind)
        .bind(json!({ "way": way, "markers": MARKERS }))
        .bind(tenant)
        .bind(subject.map(Id::uuid))
        .execute(&self.db)
        .await
        .expect("a job");
        id
    }

    async fn until_reported(&self, wanted: usize) -> Vec<Value> {
        let began = std::time::Instant::now();
        loop {
            let events = self.sandbox.sentry.events();
            if events.len() >= wanted {
                return events;
            }
            assert!(began.elapsed() < SOON, "{} of {wanted} reports came", events.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub const UNDER_WAY: &str = "select count(*) from safelight.jobs where state in (0, 1)";

#[tokio::test(flavor = "multi_thread")]
async fn k35_h29_a_report_holds_kind_id_and_code_of_a_failed_job_and_no_word_of_a_person_or_of_a_tenant_that_names_no_monitoring()
 {
    let app = App::spawn().await;
    let pools = Pools::start_with(&app.database_url, failing(), app.reporting()).await;
    // HaloProfile's first: were it told, it would be told before the others.
    app.will_fail("train_model", "haloprofile", "gives_up").await;
    until(&app.db, UNDER_WAY, 0).await;
    let mut wanted = Vec::new();
    for (kind, way, code, level) in [
        ("train_model", "gives_up", "fal_rejected", "error"),
        ("train_model", "retries", "database", "error"),
        ("train_model", "is_in_trouble", "fal_unreachable", "error"),
        ("train_model", "panics", "panicked", "fatal"),
        ("train_model", "is_unreadable", "undecodable", "error"),
        ("ann.planted@mail.example", "is_unknown", "unknown_kind", "error"),
    ] {
        let job = app.will_fail(kind, "koselfie", way).await;
        let told = if kind == "train_model" { kind } else { "unknown_kind" };
        wanted.push((job.to_string(), told.to_owned(), code.to_owned(), level.to_owned()));
    }
    app.will_fail("train_model", "koselfie", "waits").await;
    until(&app.db, UNDER_WAY, 0).await;
    let events = app.until_reported(wanted.len()).await;
    pools.stop().await;
    assert_eq!(app.sandbox.sentry.calls().len(), wanted.len(), "neither the wait nor HaloProfile's job is told");

    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut told: Vec<_> = events
        .iter()
        .map(|event| {
            let tag = |name: &str| word(&event["tags"][name]);
            (word(&event["extra"]["job.id"]), tag("job.kind"), tag("job.code"), word(&event["level"]))
        })
        .collect();
    told.sort();
    wanted.sort();
    assert_eq!(told, wanted);
    let all = format!("{:?} {:?}", app.sandbox.sentry.envelopes(), app.sandbox.sentry.calls());
    assert!(all.contains("fal_rejected"), "what was sent is what is searched");
    for marker in MARKERS.iter().chain(&["planted", "koselfie", "haloprofile", "payload"]) {
        assert!(!all.contains(marker), "a report holds `{marker}`");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k35_a_monitoring_that_drips_is_down_or_asks_for_quiet_holds_no_job_up() {
    let app = App::spawn().await;
    let faults = app.sandbox.sentry.faults();
    faults.always(Fault::SlowDrip { millis: 1000 });
    let pools = Pools::start_with(&app.database_url, failing(), app.reporting()).await;
    for _ in 0..100 {
        app.will_fail("train_model", "koselfie", "gives_up").await;
    }
    until(&app.db, "select count(*) from safelight.dead_letters", 100).await;
    assert!(app.sandbox.sentry.events().len() < 10, "the jobs did not wait for their reports");
    pools.stop().await;

    app.sandbox.sentry.take_down().await;
    let pools = Pools::start_with(&app.database_url, failing(), app.reporting()).await;
    app.will_fail("train_model", "koselfie", "gives_up").await;
    until(&app.db, "select count(*) from safelight.dead_letters", 101).await;
    pools.stop().await;

    app.sandbox.sentry.bring_up().await.unwrap();
    faults.clear();
    faults.once(Fault::TooManyRequests { retry_after_seconds: None });
    let before = app.sandbox.sentry.calls().len();
    let pools = Pools::start_with(&app.database_url, failing(), app.reporting()).await;
    for _ in 0..20 {
        app.will_fail("train_model", "koselfie", "gives_up").await;
    }
    until(&app.db, "select count(*) from safelight.dead_letters", 121).await;
    pools.stop().await;
    assert!(app.sandbox.sentry.calls().len() <= before + 1, "asked for quiet, and told on");
}

#[tokio::test(flavor = "multi_thread")]
async fn k35_k41_who_objected_to_being_observed_and_was_right_is_reported_no_more() {
    let app = App::spawn().await;
    let (ann, bob) = (app.person("koselfie").await, app.person("koselfie").await);
    let mut tx = app.tx().await;
    intake::object(&mut tx, "koselfie", ann.id, Purpose::Observe, None).await.unwrap();
    tx.commit().await.unwrap();
    let told = Some(intake::Told { by: intake::Way::Mail, at: app.now().await });
    let mut tx = app.tx().await;
    intake::decide_objection(&mut tx, ann.id, Purpose::Observe, true, "ops_1", "no_reason_to_go_on", told)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let pools = Pools::start_with(&app.database_url, failing(), app.reporting()).await;
    app.will_fail_of(Some(ann.id), "train_model", "koselfie", "gives_up").await;
    // Reports leave in order: were hers told, it would have been told before his.
    until(&app.db, UNDER_WAY, 0).await;
    let his = app.will_fail_of(Some(bob.id), "train_model", "koselfie", "gives_up").await;
    until(&app.db, UNDER_WAY, 0).await;
    let events = app.until_reported(1).await;
    pools.stop().await;
    assert_eq!(app.sandbox.sentry.calls().len(), 1);
    assert_eq!(events[0]["extra"]["job.id"], json!(his.to_string()));
}
