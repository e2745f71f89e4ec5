//! The operators' commands as they are typed: what they print, what they print for machines, what they ask before they
//! destroy, and the codes they end with.

use safelight_jobs::{
    id::Id,
    job::Queue,
    queue::{self, Outcome, Verdict},
    schedule,
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::app::App;

/// Exit code, standard output, standard error.
type Ended = (i32, String, String);

impl App {
    async fn types(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_safelight"));
        command.args(words).env("DATABASE_URL", &self.database_url).env("SAFELIGHT_LOG", "error").env("USER", "ops_1");
        let output = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// What it prints for machines.
    async fn prints(&self, words: &[&str]) -> Value {
        let (code, out, complaint) = self.types(words).await;
        assert_eq!(code, 0, "{words:?}: {complaint}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words:?}: {error}: {out}"))
    }

    async fn waits(&self, kind: &str, queue: Queue) -> uuid::Uuid {
        sqlx::query_scalar("select job_id from safelight.enqueue($1, '{}', $2, p_tenant => 'koselfie')")
            .bind(kind)
            .bind(queue.as_str())
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    async fn gives_up(&self, kind: &str, queue: Queue, code: &str) -> String {
        self.waits(kind, queue).await;
        let claimed = queue::claim(&self.worker, queue, "a worker", 1, 60.0).await.unwrap().pop().unwrap();
        let verdict = Verdict::GiveUp { code: code.to_owned() };
        queue::settle(&self.worker, &[Outcome { lease: claimed.lease, verdict }]).await.unwrap();
        claimed.lease.job.to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_explained_held_released_retried_and_cancelled_from_the_command_line() {
    let app = App::spawn().await;
    let job = Id::<safelight_jobs::id::Job>::from(app.waits("train_model", Queue::Training).await).to_string();
    let (code, out, _) = app.types(&["job", "explain", &job]).await;
    assert_eq!((code, out.as_str()), (0, "ready: no live worker serves the queue training (no_worker)\n"));
    assert_eq!(app.prints(&["job", "explain", &job, "--json"]).await["code"], "no_worker");

    let (code, out, _) = app.types(&["job", "hold", &job, "--why", "wait for the new version"]).await;
    assert_eq!((code, out), (0, format!("{job}: held\n")));
    let (code, _, complaint) = app.types(&["job", "hold", &job, "--why", "again"]).await;
    assert_eq!(code, 6, "{complaint}");
    assert!(complaint.contains("is held: release lets it run"), "{complaint}");
    let released = app.prints(&["job", "release", &job, "--why", "it is there", "--json"]).await;
    assert_eq!(released, json!({ "job": job, "outcome": "released" }));
    assert_eq!(app.prints(&["job", "cancel", &job, "--why", "not wanted", "--json"]).await["outcome"], "cancelled");
    let (code, _, complaint) = app.types(&["job", "retry", &job, "--why", "wanted after all"]).await;
    assert_eq!(code, 6);
    assert!(complaint.contains("is ended"), "{complaint}");

    let nobody = Id::<safelight_jobs::id::Job>::new().to_string();
    for words in [["job", "cancel", &nobody, "--why", "x"].as_slice(), &["job", "explain", &nobody]] {
        let (code, _, complaint) = app.types(words).await;
        assert_eq!(code, 5, "{complaint}");
        assert!(complaint.contains(&nobody));
    }
    for words in [
        ["job", "cancel", &nobody].as_slice(),
        &["job", "cancel", "order_1", "--why", "x"],
        &["job", "cancel", &nobody, "--why", "ann@example.org asked"],
    ] {
        assert_eq!(app.types(words).await.0, 2, "{words:?} is no use of the command");
    }
    let promise = Id::<safelight_jobs::id::Job>::from(app.waits("delete_data", Queue::Deletion).await).to_string();
    assert_eq!(
        app.types(&["job", "cancel", &promise, "--why", "too slow"]).await.0,
        6,
        "a deletion ends when it is seen"
    );
    let kept = "select count(*) from safelight.operator_acts where actor = 'cli:ops_1' and action = 'job.control'";
    assert_eq!(app.count(kept).await, 3, "one for each act that was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_redriven_and_discarded_and_nothing_is_taken_back_without_a_yes() {
    let app = App::spawn().await;
    let first = app.gives_up("train_model", Queue::Training, "fal_rejected").await;
    app.gives_up("train_model", Queue::Training, "fal_rejected").await;
    app.gives_up("send_notice", Queue::Notices, "mail_refused").await;
    let (code, out, _) = app.types(&["dead", "list"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("2  train_model        fal_rejected"), "{out}");
    let listed = app.prints(&["dead", "list", "--kind", "send_notice", "--json"]).await;
    assert_eq!(listed["dead_letters"][0]["count"], 1);

    let (code, _, complaint) = app.types(&["dead", "redrive", "--why", "x"]).await;
    assert_eq!(code, 2, "nothing narrows it: {complaint}");
    let (code, _, complaint) = app.types(&["dead", "redrive", "--all", "--why", "x"]).await;
    assert_eq!(code, 7);
    assert!(complaint.contains("Redrive 3 of 3 dead letters (all)?"), "{complaint}");
    let (code, _, complaint) = app.types(&["dead", "discard", "--code", "mail_refused", "--why", "x"]).await;
    assert_eq!(code, 7, "{complaint}");
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 3, "nothing was changed");

    let discarded =
        app.prints(&["dead", "discard", "--code", "mail_refused", "--yes", "--why", "told by hand", "--json"]).await;
    assert_eq!(discarded, json!({ "discarded": 1 }));
    let (code, out, _) = app.types(&["dead", "redrive", "--job", &first, "--why", "topped up"]).await;
    assert_eq!((code, out.as_str()), (0, "1 redriven\n"));
    let (code, out, _) = app.types(&["dead", "redrive", "--all", "--yes", "--why", "topped up"]).await;
    assert_eq!((code, out.as_str()), (0, "1 redriven\n"));
    let (_, out, _) = app.types(&["dead", "list"]).await;
    assert_eq!(out, "no dead letter matches\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_and_the_schedule_are_controlled_from_the_command_line() {
    let app = App::spawn().await;
    assert_eq!(
        app.types(&["control", "list"]).await.1,
        "nothing is paused or limited, and no provider is in trouble\n"
    );
    for words in [
        ["control", "pause", "provider", "fal", "--why", "status page"].as_slice(),
        &["control", "limit", "kind", "train_model", "20", "--why", "new account"],
        &["control", "rate", "fal", "10", "40", "--why", "their limit"],
        &["control", "pause", "tenant", "koselfie", "--why", "asked for"],
    ] {
        let (code, out, complaint) = app.types(words).await;
        assert_eq!(code, 0, "{words:?}: {complaint}");
        assert!(out.ends_with("counts for the whole fleet now\n"), "{out}");
    }
    let (_, out, _) = app.types(&["control", "list"]).await;
    for line in ["paused, 10 a second, 40 in one go", "20 at once", "tenant    koselfie           paused"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    app.prints(&["control", "resume", "provider", "fal", "--why", "over", "--json"]).await;
    assert_eq!(app.types(&["control", "limit", "kind", "train_model", "--why", "over"]).await.0, 0);
    let listed = app.prints(&["control", "list", "--json"]).await;
    let names: Vec<_> = listed["controls"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["fal", "koselfie"], "what says nothing any more is not listed: {listed}");
    let (code, _, complaint) = app.types(&["control", "pause", "queue", "trainings", "--why", "x"]).await;
    assert_eq!(code, 5);
    assert!(complaint.contains("known are: ") && complaint.contains("training"), "{complaint}");
    assert_eq!(app.types(&["control", "limit", "queue", "training", "0", "--why", "x"]).await.0, 2);
    assert_eq!(app.types(&["control", "close-breaker", "fal", "--why", "x"]).await.0, 5, "it is not open");

    schedule::tick(&app.db, &app.bell()).await.unwrap();
    let (_, out, _) = app.types(&["schedule", "list"]).await;
    assert!(out.contains("sweep_retention    0 * * * * *"), "{out}");
    assert_eq!(
        app.types(&["schedule", "pause", "sweep_retention", "--why", "a restore"]).await.1,
        "sweep_retention: paused\n"
    );
    let listed = app.prints(&["schedule", "list", "--json"]).await;
    let sweep = listed["schedules"].as_array().unwrap().iter().find(|s| s["name"] == "sweep_retention").unwrap();
    assert_eq!(sweep["paused"], true);
    let resumed = app.prints(&["schedule", "resume", "sweep_retention", "--why", "done", "--json"]).await;
    assert_eq!(resumed, json!({ "schedule": "sweep_retention", "state": "resumed" }));
    assert_eq!(app.types(&["schedule", "pause", "sweep_nothing", "--why", "x"]).await.0, 5);
}
