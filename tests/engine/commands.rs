//! The operators' commands as they are typed: what they print, what they print for machines, what they ask before they
//! destroy, and the codes they end with.

use safelight_jobs::{
    act_on_jobs::ActOnJobs,
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
    /// `safelight` with these words, as the operator ops_1.
    pub async fn types(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_safelight"));
        command.args(words).env("DATABASE_URL", &self.database_url).env("SAFELIGHT_LOG", "error").env("USER", "ops_1");
        let output = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// What it prints for machines.
    pub async fn prints(&self, words: &[&str]) -> Value {
        let (code, out, complaint) = self.types(words).await;
        assert_eq!(code, 0, "{words:?}: {complaint}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words:?}: {error}: {out}"))
    }

    /// A job that stands there.
    pub async fn waits(&self, kind: &str, queue: Queue) -> uuid::Uuid {
        sqlx::query_scalar("select job_id from safelight.enqueue($1, '{}', $2, p_tenant => 'koselfie')")
            .bind(kind)
            .bind(queue.as_str())
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    pub async fn gives_up(&self, kind: &str, queue: Queue, code: &str) -> String {
        self.waits(kind, queue).await;
        let claimed = queue::claim(&self.worker, queue, "a worker", 1, 60.0).await.unwrap().pop().unwrap();
        let verdict = Verdict::GiveUp { code: code.to_owned() };
        queue::settle(&self.worker, &[Outcome { lease: claimed.lease, verdict }]).await.unwrap();
        claimed.lease.job.to_string()
    }
}

/// `safelight policy show koselfie | head -1`.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_no_further_ends_a_command_in_peace() {
    for words in [&["policy", "show", "koselfie"][..], &["completions", "bash"], &["manual"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_safelight"));
        command.args(words).stdin(std::process::Stdio::null()).kill_on_drop(true);
        let (reads, writes) = std::io::pipe().unwrap();
        drop(reads);
        let output = command.stdout(writes).output().await.unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), complaint.as_str()), (Some(0), ""), "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_explained_held_released_retried_and_cancelled_from_the_command_line() {
    let app = App::spawn().await;
    let job = Id::<safelight_jobs::id::Job>::from(app.waits("train_model", Queue::Training).await).to_string();
    let (code, out, _) = app.types(&["job", "explain", &job, "--why", "it waits"]).await;
    assert_eq!((code, out.as_str()), (0, "ready: no live worker serves the queue training (no_worker)\n"));
    assert_eq!(app.prints(&["job", "explain", &job, "--why", "it waits", "--json"]).await["code"], "no_worker");

    let (code, out, _) = app.types(&["job", "hold", &job, "--why", "wait for the new version"]).await;
    assert_eq!((code, out), (0, format!("{job}: held\n")));
    let (code, _, complaint) = app.types(&["job", "hold", &job, "--why", "again"]).await;
    assert_eq!(code, 6, "{complaint}");
    assert!(complaint.contains("is held: release lets it run"), "{complaint}");
    let released = app.prints(&["job", "release", &job, "--why", "it is there", "--json"]).await;
    assert_eq!(released, json!({ "job": job, "outcome": "released" }));
    assert_eq!(app.types(&["job", "cancel", &job, "--why", "not wanted"]).await.0, 7, "nobody said yes");
    let payload = app.prints(&["job", "payload", &job, "--why", "which order is it"]).await;
    assert_eq!(payload, json!({ "job": job, "payload": {} }));
    assert_eq!(
        app.prints(&["job", "cancel", &job, "--yes", "--why", "not wanted", "--json"]).await["outcome"],
        "cancelled"
    );
    let (code, _, complaint) = app.types(&["job", "retry", &job, "--why", "wanted after all"]).await;
    assert_eq!(code, 6);
    assert!(complaint.contains("is ended"), "{complaint}");

    let nobody = Id::<safelight_jobs::id::Job>::new().to_string();
    for words in
        [["job", "cancel", &nobody, "--yes", "--why", "x"].as_slice(), &["job", "explain", &nobody, "--why", "x"]]
    {
        let (code, _, complaint) = app.types(words).await;
        assert_eq!(code, 5, "{complaint}");
        assert!(complaint.contains(&nobody));
    }
    for words in [
        ["job", "cancel", &nobody].as_slice(),
        &["job", "cancel", "order_1", "--why", "x"],
        &["job", "cancel", &nobody, "--yes", "--why", "ann@example.org asked"],
    ] {
        assert_eq!(app.types(words).await.0, 2, "{words:?} is no use of the command");
    }
    let promise = Id::<safelight_jobs::id::Job>::from(app.waits("delete_data", Queue::Deletion).await).to_string();
    assert_eq!(
        app.types(&["job", "cancel", &promise, "--yes", "--why", "too slow"]).await.0,
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
async fn jobs_are_found_and_all_that_match_are_acted_on_from_the_command_line() {
    let app = App::spawn().await;
    for code in ["fal_rejected", "fal_rejected", "crashed"] {
        app.gives_up("train_model", Queue::Training, code).await;
    }
    app.waits("send_notice", Queue::Notices).await;
    let (code, out, _) = app.types(&["jobs", "list", "--state", "dead", "--code", "fal_rejected"]).await;
    assert_eq!((code, out.lines().count()), (0, 2), "{out}");
    assert!(out.contains("train_model       dead       fal_rejected"), "{out}");
    let listed = app.prints(&["jobs", "list", "--most", "3", "--json"]).await;
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 3);
    let rest = app.prints(&["jobs", "list", "--before", listed["next"].as_str().unwrap(), "--json"]).await;
    assert_eq!((rest["jobs"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));

    let (code, out, _) = app.types(&["jobs", "list", "--queue", "notices"]).await;
    assert_eq!((code, out.lines().count()), (0, 1), "{out}");

    let wish = ["jobs", "retry", "--code", "fal_rejected", "--why", "topped up"];
    let (code, _, complaint) = app.types(&wish).await;
    assert_eq!(code, 7, "{complaint}");
    assert!(complaint.contains("retry 2 jobs (code=fal_rejected)?"), "{complaint}");
    assert_eq!(complaint.matches("train_model       dead").count(), 2, "they are shown before: {complaint}");
    for (words, code) in [
        (["jobs", "retry", "--yes", "--why", "x"].as_slice(), 2),
        (&["jobs", "retry", "--code", "ann@example.org", "--yes", "--why", "x"], 2),
        (&["jobs", "retry", "--queue", "trainings", "--yes", "--why", "x"], 2),
        (&["jobs", "hold", "--queue", "faces", "--yes", "--why", "x"], 5),
        (&["jobs", "retry", "--state", "waiting", "--yes", "--why", "x"], 2),
        (&["jobs", "release", "--code", "fal_rejected", "--yes", "--why", "x"], 5),
        (&["jobs", "acts", &Id::<safelight_jobs::id::Bulk>::new().to_string()], 5),
    ] {
        assert_eq!(app.types(words).await.0, code, "{words:?}");
    }
    assert_eq!(app.count("select count(*) from safelight.bulk_acts").await, 0, "nothing was changed");
    let asked = app.prints(&[&wish[..], &["--yes", "--json"]].concat()).await;
    assert_eq!((&asked["state"], &asked["matched"], &asked["done"]), (&json!("under_way"), &json!(2), &json!(0)));
    app.performs_one::<ActOnJobs>().await;
    let bulk = asked["bulk"].as_str().unwrap();
    let done = app.prints(&["jobs", "acts", bulk, "--json"]).await;
    assert_eq!((&done["state"], &done["done"], &done["actor"]), (&json!("done"), &json!(2), &json!("cli:ops_1")));
    let (_, out, _) = app.types(&["jobs", "acts"]).await;
    assert!(out.contains("retry    done      2 of 2") && out.contains("by cli:ops_1: topped up"), "{out}");
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
    assert!(out.contains("sweep_retention        0 * * * * *"), "{out}");
    assert!(out.lines().all(|line| line.contains(", next 2")), "each says when it comes next: {out}");
    assert_eq!(
        app.types(&["schedule", "pause", "sweep_retention", "--why", "a restore"]).await.1,
        "sweep_retention: paused\n"
    );
    let listed = app.prints(&["schedule", "list", "--json"]).await;
    let sweep = listed["schedules"].as_array().unwrap().iter().find(|s| s["name"] == "sweep_retention").unwrap();
    assert_eq!((&sweep["paused"], &sweep["next_tick"]), (&json!(true), &json!(null)));
    assert_eq!((&sweep["actor"], &sweep["why"]), (&json!("cli:ops_1"), &json!("a restore")));
    let (_, out, _) = app.types(&["schedule", "list"]).await;
    assert!(out.contains(", paused (cli:ops_1: a restore)\n"), "{out}");
    let (_, out, _) = app.types(&["control", "list"]).await;
    assert!(out.contains("schedule  sweep_retention    paused"), "{out}");
    assert!(out.contains("(cli:ops_1: a restore)"), "{out}");
    assert_eq!(
        app.prints(&["control", "list", "--json"]).await["paused_schedules"],
        json!([{ "name": "sweep_retention", "why": "a restore", "actor": "cli:ops_1" }])
    );
    app.types(&["control", "pause", "provider", "stripe", "--why", "status page"]).await;
    let (_, out, _) = app.types(&["provider", "list"]).await;
    assert!(out.contains("paused (cli:ops_1: status page)"), "{out}");
    let listed = app.prints(&["provider", "list", "--json"]).await;
    let stripe = listed["providers"].as_array().unwrap().iter().find(|one| one["provider"] == "stripe").unwrap();
    assert_eq!((&stripe["actor"], &stripe["why"]), (&json!("cli:ops_1"), &json!("status page")));
    let resumed = app.prints(&["schedule", "resume", "sweep_retention", "--why", "done", "--json"]).await;
    assert_eq!(resumed, json!({ "schedule": "sweep_retention", "state": "resumed" }));
    assert_eq!(app.types(&["schedule", "pause", "sweep_nothing", "--why", "x"]).await.0, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_providers_deletions_and_acts_are_listed_for_people_and_for_machines() {
    let app = App::spawn().await;
    app.waits("train_model", Queue::Training).await;
    let job = Id::<safelight_jobs::id::Job>::from(app.waits("send_notice", Queue::Notices).await).to_string();
    app.types(&["job", "hold", &job, "--why", "a test"]).await;
    app.types(&["control", "limit", "provider", "fal", "7", "--why", "their limit"]).await;
    let (code, out, complaint) = app.types(&["queue", "list"]).await;
    assert_eq!(code, 0, "{complaint}");
    assert!(out.lines().any(|line| line.split_whitespace().take(6).eq(["training", "1", "0", "0", "0", "0"])), "{out}");
    let queues = app.prints(&["queue", "list", "--json"]).await;
    let notices = queues["queues"].as_array().unwrap().iter().find(|queue| queue["queue"] == "notices").unwrap();
    assert_eq!((&notices["held"], &notices["ready"]), (&json!(1), &json!(0)));
    let (_, out, _) = app.types(&["provider", "list"]).await;
    assert!(out.contains("0 running, 0 set aside, 7 at once"), "{out}");
    assert_eq!(app.prints(&["provider", "list", "--json"]).await["providers"][0]["breaker"], "closed");

    let (ann, _) = app.pro_order().await;
    let deletion = app.erases(&ann).await.to_string();
    let (_, out, _) = app.types(&["deletions", "list"]).await;
    assert!(out.contains(&deletion) && out.contains("0 of 0  steps seen  due "), "{out}");
    assert_eq!(app.prints(&["deletions", "list", "--json"]).await["deletions"][0]["deletion"], json!(deletion));
    assert_eq!(app.prints(&["deletions", "list", "--finished", "--json"]).await["deletions"], json!([]));
    let shown = app.prints(&["deletions", "show", &deletion, "--why", "a deadline", "--json"]).await;
    assert_eq!((&shown["waits"]["code"], &shown["trigger"]), (&json!("no_worker"), &json!("erasure")));
    let nothing = Id::<safelight_jobs::id::Deletion>::new().to_string();
    assert_eq!(app.types(&["deletions", "show", &nothing, "--why", "a deadline"]).await.0, 5);

    let acts = app.prints(&["audit", "acts", "--about", &job, "--why", "a look", "--json"]).await;
    assert_eq!((&acts["acts"][1]["why"], &acts["acts"][1]["actor"]), (&json!("a test"), &json!("cli:ops_1")));
    assert_eq!(app.types(&["audit", "acts", "--actor", "nobody"]).await.1, "nobody did anything\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_stands_elsewhere_or_was_not_confirmed_ends_with_its_own_code_in_every_command() {
    let app = App::spawn().await;
    let (ann, order) = app.pro_order().await;
    let (order, ann) = (order.to_string(), ann.id.to_string());
    let nobody = Id::<safelight_jobs::id::Subject>::new().to_string();
    let no_order = Id::<safelight_jobs::id::Order>::new().to_string();
    let nothing = Id::<safelight_jobs::id::Artifact>::new().to_string();
    let no_case = Id::<safelight_jobs::id::Case>::new().to_string();
    let no_call = Id::<safelight_jobs::id::Intent>::new().to_string();
    let no_deletion = Id::<safelight_jobs::id::Deletion>::new().to_string();
    let opened = app.prints(&["case", "open", "koselfie", "erasure", "--by", "ops_1", "--json"]).await;
    let case = opened["case"].as_str().unwrap().to_owned();
    let no_job = Id::<safelight_jobs::id::Job>::new().to_string();
    let no_token = "token_019a8f2e6c5d7b1290f3a4b5c6d7e8f9";
    for (words, code) in [
        (["refund", &no_order, "--why", "work_died", "--by", "ops_1", "--yes"].as_slice(), 5),
        (&["refund", &order, "--why", "work_died", "--by", "ops_1", "--yes"], 6),
        (&["refund", &order, "--why", "She asked", "--by", "ops_1", "--yes"], 2),
        (&["refund", &order, "--why", "work_died", "--by", "ops_1"], 7),
        (&["refund", &order, "--why", "work_died", "--by", "ops_1", "--yes", "--most", "500"], 2), // how much it is says --amount-cents
        (&["delete", "photo", &nothing, "--by", "ops_1", "--why", "hers", "--yes"], 5),
        (&["delete", "order", &order, "--by", "ops_1", "--why", "hers", "--yes"], 6),
        (&["delete", "photo", &nothing, "--why", "hers", "--yes"], 2),
        (&["delete", "photo", &nothing, "--by", "ops_1", "--yes"], 2),
        (&["delete", "photo", &nothing, "--by", "ops_1", "--why", "hers"], 7),
        (&["delete", "order", &order, "--by", "ops_1", "--why", "hers"], 7),
        (&["case", "answer", &no_case, "--by", "ops_1"], 5),
        (&["case", "answer", &no_case], 2),
        (&["case", "verify", &no_case, "--subject", &ann, "--by", "ops_1"], 5),
        (&["case", "verify", &case, "--subject", &ann, "--by", "ops_1", "--why", "seen"], 7),
        (&["case", "verify", &case, "--subject", &ann, "--by", "ops_1", "--yes"], 2),
        (&["case", "verify", &case, "--subject", &nobody, "--by", "ops_1", "--why", "seen", "--yes"], 5),
        (&["case", "refuse", &case, "--why", "She asked", "--by", "ops_1"], 2),
        (&["case", "refuse", &case, "--why", "unverified", "--by", "Ann Example"], 2),
        (&["provider", "resolve", &no_call, "--as", "not-made", "--why", "seen_there", "--by", "ops_1"], 7),
        (&["provider", "resolve", &no_call, "--as", "not-made", "--why", "seen_there", "--by", "ops_1", "--yes"], 5),
        (
            &[
                "provider",
                "resolve",
                &no_call,
                "--as",
                "not-made",
                "--request",
                "r",
                "--why",
                "seen_there",
                "--by",
                "ops_1",
            ],
            2,
        ),
        (&["objection", "note", &nobody, "nsfw", "--by", "ops_1"], 5),
        (&["objection", "decide", &ann, "nsfw", "--as", "upheld", "--why", "no_ground", "--by", "ops_1", "--yes"], 5),
        (&["objection", "decide", &ann, "nsfw", "--as", "upheld", "--why", "no_ground", "--by", "ops_1"], 7),
        (&["export", "ask", &nobody, "--why", "access_by_mail", "--by", "ops_1"], 5),
        (&["certificate", &no_deletion, "--why", "ticket 1"], 5),
        (&["job", "discard", &no_job, "--why", "a test"], 7),
        (&["token", "revoke", no_token, "--yes"], 2),
        (&["token", "revoke", no_token, "--why", "lost"], 7),
        (&["token", "revoke", no_token, "--why", "lost", "--yes"], 5),
        (&["token", "rotate", no_token, "--keep-hours", "0", "--why", "lost"], 7),
        (&["token", "rotate", no_token, "--keep-hours", "0", "--why", "lost", "--yes"], 5),
        (&["token", "rotate", no_token, "--keep-hours", "0", "--yes"], 2),
        (&["policy", "announce", "koselfie", "2099-01-01", "--by-mail", "--why", "new"], 7),
        (&["policy", "announce", "koselfie", "2099-01-01", "--by-mail", "--yes"], 2),
    ] {
        let (ended, out, complaint) = app.types(words).await;
        assert_eq!((ended, out.as_str()), (code, ""), "{words:?}: {complaint}");
    }
    assert_eq!(app.count("select count(*) from safelight.deletions").await, 0, "nothing was changed");
    let verify = ["case", "verify", &case, "--subject", &ann, "--by", "ops_1", "--why", "seen", "--yes", "--json"];
    let verified = app.prints(&verify).await;
    assert_eq!((&verified["case"], &verified["identity"]), (&json!(case), &json!("verified")));
    assert!(verified["deletion"].as_str().unwrap().starts_with("deletion_"));
    let answered = app.prints(&["case", "answer", &case, "--by", "ops_1", "--json"]).await;
    assert_eq!(answered, json!({ "case": case, "state": "answered" }));
    assert_eq!(app.types(&["case", "answer", &case, "--by", "ops_1"]).await.0, 6, "it is closed");

    let swept = app.prints(&["sweep", "retention", "--json"]).await;
    assert!(swept["job"].as_str().unwrap().starts_with("job_"), "{swept}");
    let made = app.prints(&["token", "create", "a backend", "--scopes", "read", "--json"]).await;
    assert!(made["secret"].as_str().unwrap().starts_with("slt_"));
    let token = made["token"].as_str().unwrap().to_owned();
    assert_eq!(
        app.prints(&["token", "list", "--json"]).await["tokens"][0]["token"],
        made["token"],
        "it says which it is"
    );
    let rotated = app.prints(&["token", "rotate", &token, "--json"]).await;
    assert_ne!((&rotated["secret"], &rotated["token"]), (&made["secret"], &made["token"]));
    let revoked = app.prints(&["token", "revoke", &token, "--why", "a test", "--yes", "--json"]).await;
    assert_eq!(revoked, json!({ "token": token, "state": "revoked" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_and_the_manual_know_every_command() {
    let app = App::spawn().await;
    let (_, help, _) = app.types(&["--help"]).await;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next().filter(|_| !line.starts_with("   ")))
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() > 20, "{commands:?}");
    let folder = std::env::temp_dir().join(format!("safelight-manual-{}", uuid::Uuid::new_v4().simple()));
    let (code, _, complaint) = app.types(&["manual", folder.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{complaint}");
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, complaint) = app.types(&["completions", shell]).await;
        assert_eq!(code, 0, "{complaint}");
        for command in &commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    for command in &commands {
        let page = std::fs::read_to_string(folder.join(format!("safelight-{command}.1"))).unwrap();
        assert!(page.starts_with(".ie") || page.contains(".TH"), "{command}: {page}");
    }
    assert!(std::fs::read_to_string(folder.join("safelight.1")).unwrap().contains("Exit codes"));
    std::fs::remove_dir_all(folder).unwrap();
}
