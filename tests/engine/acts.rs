//! Every command that changes something keeps who did it and why, in the trail that the console and `safelight audit acts` show; and
//! every command of an operator answers machines. The commands are those that the program itself names: a new one stands in one
//! of the lists here, or the test says so.

use std::collections::BTreeSet;

use safelight_jobs::{
    act_on_jobs::ActOnJobs,
    id::{self, Id},
    job::Queue,
    policy::Policy,
    policy_rows, schedule,
};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    app::App,
    processes::{ends, environment},
};

/// What changes nothing that an operator answers for, by the name of its page in the manual, and why.
const NO_ACTS: [(&str, &str); 44] = [
    ("api", "serves"),
    ("worker", "works"),
    ("cron", "ticks"),
    ("migrate", "brings the schema up to date before anybody acts"),
    ("bench", "measures a database of its own"),
    ("completions", "prints"),
    ("manual", "prints"),
    ("sandbox", "stands in for providers"),
    ("demo", "has a database of its own"),
    ("register", "prints"),
    ("report", "prints"),
    ("certificate", "a look, which is kept as one"),
    ("policy-check", "reads"),
    ("policy-show", "reads"),
    ("policy-diff", "reads"),
    ("policy-status", "reads"),
    ("audit-acts", "reads, or a look"),
    ("audit-key", "prints"),
    ("audit-seal", "what the sealer does by itself"),
    ("audit-export", "reads"),
    ("audit-verify", "reads"),
    ("restore-check", "reads"),
    ("key-status", "reads"),
    ("case-list", "reads"),
    ("objection-list", "reads"),
    ("export-list", "reads"),
    ("export-link", "a look, which is kept as one"),
    ("provider-list", "reads"),
    ("provider-calls", "reads"),
    ("control-list", "reads"),
    ("queue-list", "reads"),
    ("job-explain", "a look, which is kept as one"),
    ("jobs-list", "reads, or a look"),
    ("jobs-acts", "reads"),
    ("dead-list", "reads"),
    ("deletions-list", "reads"),
    ("deletions-show", "a look, which is kept as one"),
    ("job-payload", "a look, which is kept as one"),
    ("order-late", "reads"),
    ("order-list", "reads"),
    ("order-show", "a look, which is kept as one"),
    ("queue-workers", "reads"),
    ("schedule-list", "reads"),
    ("token-list", "reads"),
];

/// Whose answer is no document for machines, and why.
const NO_DOCUMENT: [(&str, &str); 9] = [
    ("api", "serves until it is stopped; its log is JSON with --log-json"),
    ("worker", "works until it is stopped; the same"),
    ("cron", "ticks until it is stopped; the same"),
    ("migrate", "is over when the schema is there: its exit code says it"),
    ("bench", "a report for people, and a file"),
    ("completions", "a script of a shell"),
    ("manual", "pages for man"),
    ("sandbox", "stand-ins for development, until they are stopped"),
    ("demo", "a story for people"),
];

/// The page of each command that has none below it.
fn pages(folder: &std::path::Path) -> Vec<(String, String)> {
    let name = |file: std::io::Result<std::fs::DirEntry>| {
        let file = file.unwrap().file_name().into_string().unwrap();
        file.strip_suffix(".1").unwrap().strip_prefix("safelight-").map(str::to_owned)
    };
    let names: Vec<String> = std::fs::read_dir(folder).unwrap().filter_map(name).collect();
    let is_leaf = |name: &&String| !names.iter().any(|other| other.starts_with(&format!("{name}-")));
    let page = |name: &String| std::fs::read_to_string(folder.join(format!("safelight-{name}.1"))).unwrap();
    names.iter().filter(is_leaf).map(|name| (name.clone(), page(name))).collect()
}

async fn manual(app: &App) -> Vec<(String, String)> {
    let folder = std::env::temp_dir().join(format!("safelight-manual-{}", Uuid::new_v4().simple()));
    let (code, _, complaint) = app.types(&["manual", folder.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{complaint}");
    let pages = pages(&folder);
    std::fs::remove_dir_all(folder).unwrap();
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_an_operator_answers_machines() {
    let app = App::spawn().await;
    for (command, page) in manual(&app).await {
        let excused = NO_DOCUMENT.iter().any(|(name, _)| *name == command || command.starts_with(&format!("{name}-")));
        assert!(excused || page.contains("\\-\\-json\\fR"), "`{command}` takes no --json");
    }
}

/// Commands that were typed and what they left.
struct Trail<'a> {
    app: &'a App,
    settings: Vec<(&'static str, String)>,
    seen: Vec<Uuid>,
    typed: BTreeSet<String>,
}

impl<'a> Trail<'a> {
    fn of(app: &'a App) -> Self {
        let mut settings = environment(app, "http://127.0.0.1:1");
        settings.extend([("USER", "ops_1".to_owned()), ("SAFELIGHT_OPERATOR", "ops_1".to_owned())]);
        Self { app, settings, seen: Vec::new(), typed: BTreeSet::new() }
    }

    /// Type it: what it prints for machines. It has kept this act of ops_1 with this reason.
    async fn keeps(&mut self, words: &[&str], action: &str, why: &str) -> Value {
        let ended = ends(&[words, &["--json"]].concat(), &self.settings).await;
        let complaint = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(0), "{words:?}: {complaint}");
        let rows: Vec<(Uuid, String, String, String)> =
            sqlx::query_as("select id, action, actor, why from safelight.operator_acts where id <> all($1)")
                .bind(&self.seen)
                .fetch_all(&self.app.db)
                .await
                .unwrap();
        let kept = rows.iter().any(|(_, a, by, w)| (a.as_str(), by.as_str(), w.as_str()) == (action, "cli:ops_1", why));
        assert!(kept, "{words:?} leaves {rows:?}, and not {action} with `{why}`");
        self.seen.extend(rows.iter().map(|row| row.0));
        self.typed.insert(if words[0] == "refund" || words[0] == "sweep" {
            words[0].to_owned()
        } else {
            words[..2].join("-")
        });
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Nobody says yes: it is not done, and nothing is kept.
    async fn asks(&self, words: &[&str]) {
        let ended = ends(words, &self.settings).await;
        let complaint = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(7), "{words:?}: {complaint}");
        let kept: i64 = sqlx::query_scalar("select count(*) from safelight.operator_acts where id <> all($1)")
            .bind(&self.seen)
            .fetch_one(&self.app.db)
            .await
            .unwrap();
        assert_eq!(kept, 0, "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_changes_something_keeps_who_and_why() {
    let (fleet, people) = (App::spawn().await, App::spawn().await);
    let mut typed = Box::pin(acts_on_jobs_and_the_fleet(&fleet)).await;
    typed.extend(Box::pin(acts_on_people(&people)).await);
    let known: BTreeSet<&str> = NO_ACTS.iter().map(|(name, _)| *name).collect();
    for (command, _) in manual(&fleet).await {
        let reads = known.iter().any(|name| *name == command || command.starts_with(&format!("{name}-")));
        assert!(reads != typed.remove(&command), "`{command}` is not in one of the lists of this test, or in two");
    }
    assert!(typed.is_empty(), "{typed:?}");
}

async fn acts_on_jobs_and_the_fleet(app: &App) -> BTreeSet<String> {
    let mut trail = Trail::of(app);
    let dead = app.gives_up("train_model", Queue::Training, "crashed").await;
    for (act, yes) in [("retry", false), ("hold", false), ("release", false), ("cancel", true)] {
        let words = ["job", act, &dead, "--why", "a test", "--yes"];
        trail.keeps(&words[..if yes { 6 } else { 5 }], "job.control", "a test").await;
    }
    let dead = app.gives_up("train_model", Queue::Training, "crashed").await;
    trail.keeps(&["job", "discard", &dead, "--why", "a test", "--yes"], "job.control", "a test").await;
    let dead = app.gives_up("train_model", Queue::Training, "crashed").await;
    trail.keeps(&["dead", "redrive", "--job", &dead, "--why", "mended"], "dead_letters.redriven", "mended").await;
    for act in ["hold", "release", "cancel"] {
        let words = ["jobs", act, "--kind", "train_model", "--why", "many", "--yes"];
        trail.keeps(&words, "jobs.bulk", "many").await;
        if act == "hold" {
            app.performs_one::<ActOnJobs>().await;
        }
    }
    app.gives_up("send_notice", Queue::Notices, "mail_refused").await;
    for act in ["retry", "discard"] {
        let words = ["jobs", act, "--code", "mail_refused", "--why", "many", "--yes"];
        trail.keeps(&words, "jobs.bulk", "many").await;
    }
    let words = ["dead", "discard", "--code", "mail_refused", "--why", "told", "--yes"];
    trail.keeps(&words, "dead_letters.discarded", "told").await;

    for words in [
        ["control", "pause", "provider", "fal", "--why", "an outage"].as_slice(),
        &["control", "resume", "provider", "fal", "--why", "an outage"],
        &["control", "limit", "kind", "train_model", "20", "--why", "an outage"],
        &["control", "rate", "fal", "10", "40", "--why", "an outage"],
    ] {
        trail.keeps(words, "fleet.control", "an outage").await;
    }
    sqlx::query("insert into safelight.breakers (provider, state, probe_at) values ('fal', 'open', now()) on conflict (provider) do update set state = 'open', probe_at = now()")
        .execute(&app.db)
        .await
        .unwrap();
    trail.keeps(&["control", "close-breaker", "fal", "--why", "well"], "fleet.breaker", "well").await;
    schedule::tick(&app.db, &app.bell()).await.unwrap();
    for act in ["pause", "resume"] {
        let words = ["schedule", act, "sweep_retention", "--why", "a drill"];
        trail.keeps(&words, "schedule.control", "a drill").await;
    }
    trail.keeps(&["sweep", "retention"], "sweep.asked", "by hand").await;

    let made = trail.keeps(&["token", "create", "ann", "--scopes", "read"], "token.create", "a token for ann").await;
    let token = made["token"].as_str().unwrap();
    trail.asks(&["token", "rotate", token, "--keep-hours", "0", "--why", "lost"]).await;
    let newer = trail.keeps(&["token", "rotate", token], "token.rotate", "it is replaced").await;
    let newer = newer["token"].as_str().unwrap();
    trail.keeps(&["token", "revoke", newer, "--why", "lost", "--yes"], "token.revoke", "lost").await;

    let next = include_str!("../../policies/koselfie.toml").replacen("2026-05-25", "2026-07-31", 1);
    policy_rows::install(&app.db, &Policy::parse(&next).unwrap()).await.unwrap();
    let announce = ["policy", "announce", "koselfie", "2026-07-31"];
    trail.keeps(&announce, "policy.announced", "its notice is on display").await;
    app.person("koselfie").await;
    let by_mail = [&announce[..], &["--by-mail", "--why", "a processor more"]].concat();
    trail.asks(&by_mail).await;
    trail.keeps(&[&by_mail[..], &["--yes"]].concat(), "policy.announced", "a processor more").await;
    trail.typed
}

async fn acts_on_people(app: &App) -> BTreeSet<String> {
    let mut trail = Trail::of(app);
    let ann = app.person("koselfie").await;
    let subject = ann.id.to_string();
    let opened = trail.keeps(&["case", "open", "koselfie", "access"], "case.opened", "access by mail").await;
    let case = opened["case"].as_str().unwrap();
    let verify = ["case", "verify", case, "--subject", &subject, "--why", "by her address"];
    trail.keeps(&verify, "case.decided", "by her address").await;
    trail.keeps(&["case", "extend", case, "--why", "many_photos"], "case.decided", "many_photos").await;
    trail.keeps(&["case", "answer", case, "--why", "sent to her"], "case.decided", "sent to her").await;
    let opened = trail.keeps(&["case", "open", "koselfie", "erasure"], "case.opened", "erasure by mail").await;
    let case = opened["case"].as_str().unwrap();
    trail.asks(&["case", "verify", case, "--subject", &subject, "--why", "by her address"]).await;
    trail.keeps(&["case", "refuse", case, "--why", "identity_unverified"], "case.decided", "identity_unverified").await;

    trail.keeps(&["export", "ask", &subject, "--why", "access_by_mail"], "export.asked", "access_by_mail").await;
    for purpose in ["nsfw", "observe"] {
        let note = ["objection", "note", &subject, purpose];
        let noted = trail.keeps(&note, "objection.noted", "it came by mail or letter").await;
        assert_eq!((&noted["state"], &noted["already"]), (&Value::from("open"), &Value::from(false)), "{noted}");
    }
    let decide = ["objection", "decide", &subject, "nsfw", "--as", "upheld", "--why", "no_ground"];
    trail.asks(&decide).await;
    let decided = trail.keeps(&[&decide[..], &["--yes"]].concat(), "objection.decided", "no_ground").await;
    assert_eq!((&decided["state"], &decided["released"]), (&Value::from("upheld"), &Value::from(false)), "{decided}");
    assert!(decided["deletion"].is_string() && decided["jobs_cancelled"].is_number(), "{decided}");

    let eve = app.person("koselfie").await;
    let photo = app.uploads(&eve, 1).await.1[0].to_string();
    let delete = ["delete", "photo", &photo, "--why", "it is hers", "--yes"];
    trail.keeps(&delete, "photo.deletion_asked", "it is hers").await;
    let (_, expired) = app.basic_order(false).await;
    app.sandbox.stripe.expire(&app.session(expired).await).unwrap();
    let (_, paid) = app.basic_order(false).await;
    app.fulfils(paid).await;
    let (expired, paid) = (expired.to_string(), paid.to_string());
    let delete = ["delete", "order", &expired, "--why", "it is hers", "--yes"];
    trail.keeps(&delete, "order.deletion_asked", "it is hers").await;
    trail.keeps(&["refund", &paid, "--why", "goodwill", "--yes"], "refund.asked", "goodwill").await;

    let call = Id::<id::Intent>::new();
    sqlx::query(
        "insert into safelight.provider_calls (id, tenant, subject_id, generation, job_id, purpose, processor, model, wish, token_sha256, state, policy_version)
        values ($1, 'koselfie', $2, 1, gen_random_uuid(), 'generate', 'fal', 'a model', 'a wish', sha256('x'), 'unknown', '2026-05-25')",
    )
    .bind(call.uuid())
    .bind(eve.id.uuid())
    .execute(&app.db)
    .await
    .unwrap();
    let call = call.to_string();
    let resolve = ["provider", "resolve", &call, "--as", "not-made", "--why", "seen_there", "--yes"];
    trail.keeps(&resolve, "call.resolved", "seen_there").await;

    // An entry of the ledger that the database does not know, from before there were codes.
    let folder = std::env::temp_dir().join(format!("safelight-ledger-{}", Uuid::new_v4().simple()));
    std::fs::create_dir_all(&folder).unwrap();
    let entry = format!("000000000001_koselfie_{}_erasure", eve.id.uuid().simple());
    std::fs::write(folder.join(entry), "").unwrap();
    trail.settings.push(("SAFELIGHT_LEDGER_DIR", folder.to_str().unwrap().to_owned()));
    let sign = ["restore", "sign", "--unsigned"];
    trail.keeps(&sign, "restore.ledger_signed", "the master key is replaced").await;
    trail.asks(&["restore", "replay", "--why", "a drill"]).await;
    let state = "select state from safelight.subjects where id = $1";
    assert_eq!(app.of::<String>(state, eve.id.uuid()).await, "active", "nobody said yes");
    trail.keeps(&["restore", "replay", "--why", "a drill", "--yes"], "restore.replayed", "a drill").await;
    assert_ne!(app.of::<String>(state, eve.id.uuid()).await, "active");

    trail.settings.push(("SAFELIGHT_MASTER_KEY_FORMER", crate::app::MASTER_KEY.to_owned()));
    trail.settings.push(("SAFELIGHT_MASTER_KEY", crate::app::MASTER_KEY.replace('5', "6")));
    trail.keeps(&["key", "rotate"], "vault.rewrapped", "the master key is replaced").await;
    std::fs::remove_dir_all(folder).unwrap();
    trail.typed
}
