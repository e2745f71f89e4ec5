//! What keeps a process from starting: a policy that says too little, or that is not the one that is installed. And what one that
//! has started says of itself: its numbers, and its log as JSON.

use std::process::Stdio;

use safelight_jobs::sweep_retention::SweepRetention;
use serde_json::Value;

use crate::{
    app::App,
    pools::{SOON, until},
    processes::{command, ends, environment},
};

const KOSELFIE: &str = include_str!("../../policies/koselfie.toml");
const HALOPROFILE: &str = include_str!("../../policies/haloprofile.toml");

/// Start a process on a folder with KoSelfie's policy after one change. Answers what it said at its end.
async fn refuses(app: &App, command: &str, from: &str, to: &str) -> String {
    assert!(KOSELFIE.contains(from), "{from}");
    let folder = std::env::temp_dir().join(format!("safelight-start-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("koselfie.toml"), KOSELFIE.replacen(from, to, 1)).unwrap();
    std::fs::write(folder.join("haloprofile.toml"), HALOPROFILE).unwrap();
    let mut environment = environment(app, "http://127.0.0.1:0");
    environment.push(("SAFELIGHT_POLICIES", folder.display().to_string()));
    let ended = ends(&[command], &environment).await;
    std::fs::remove_dir_all(folder).unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{command} does not start: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn h10_h1_k1_no_process_starts_with_a_policy_that_says_too_little_or_changed_under_its_version() {
    let app = App::spawn().await;
    for command in ["api", "worker", "migrate"] {
        for (from, to, why) in [
            ("backup = { rolling", "# backup = { rolling", "class `backup` has no retention rule"),
            (r#"nsfw = { basis = "legitimate_interest", "#, "nsfw = { ", "purpose `nsfw`"),
            (r#"agreement = "KS-DPA-03""#, r#"agreement = """#, "processor `stripe`"),
            ("fe07f42398c1", "fe07f42398c0", "is installed with other content; give the changed policy a new version"),
        ] {
            let said = refuses(&app, command, from, to).await;
            assert!(said.contains(why), "{command}, {to}: {said}");
        }
    }
    for command in ["api", "worker"] {
        let said = refuses(&app, command, r#"version = "2026-05-25""#, r#"version = "2026-12-24""#).await;
        assert!(said.contains("policy 2026-12-24 of koselfie is not installed; run safelight migrate"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_counts_what_it_did_at_an_address_of_its_own_and_logs_a_json_object_a_line() {
    let app = App::spawn().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut environment = environment(&app, &app.url);
    environment.retain(|(name, _)| *name != "SAFELIGHT_LOG");
    for (name, value) in [
        ("SAFELIGHT_LOG", "info".to_owned()),
        ("SAFELIGHT_LOG_JSON", "true".to_owned()),
        ("SAFELIGHT_METRICS_LISTEN", format!("127.0.0.1:{port}")),
        ("METRICS_SECRET", "a secret of the scraper".to_owned()),
        ("SAFELIGHT_STOP_WITH_STDIN", "1".to_owned()),
    ] {
        environment.push((name, value));
    }
    let mut process = command(&["worker"], &environment);
    let mut worker = process.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    app.enqueues(&SweepRetention { because: "to be counted".to_owned() }).await;
    until(
        &app.db,
        "select count(*) from safelight.jobs_archive where kind = 'sweep_retention' and outcome = 'done'",
        1,
    )
    .await;

    let scraped = async {
        loop {
            let asked = app.http.get(format!("http://127.0.0.1:{port}/metrics")).bearer_auth("a secret of the scraper");
            let text = asked.send().await.expect("it listens").text().await.expect("text");
            if text.contains("safelight_job_attempts_total{job=\"sweep_retention\",verdict=\"done\"} 1") {
                return text;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let numbers = tokio::time::timeout(SOON, scraped).await.expect("an attempt is counted when it has ended");
    assert!(numbers.contains("safelight_job_seconds_count{job=\"sweep_retention\"} 1"), "{numbers}");
    let anybody = app.http.get(format!("http://127.0.0.1:{port}/metrics")).send().await.unwrap();
    assert_eq!(anybody.status().as_u16(), 401, "numbers are for who has the secret");

    drop(worker.stdin.take()); // who holds it by its standard input lets it go
    let ended = tokio::time::timeout(SOON, worker.wait_with_output()).await.expect("it stops").unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(!log.is_empty());
    for line in log.lines() {
        let said: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in ["timestamp", "level", "target"] {
            assert!(said[field].is_string(), "{line}");
        }
        assert!(said["fields"]["message"].is_string(), "{line}");
    }
}

/// Each line of the Procfile by a shell, as a host runs it: with the program's folder in the path, and the port in `$PORT`.
#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_the_procfile_starts_what_it_names_and_ends_by_a_signal() {
    let app = App::spawn().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut environment = environment(&app, &app.url);
    environment.push(("PORT", port.to_string()));
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_safelight")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let lines: Vec<(&str, &str)> = include_str!("../../Procfile")
        .lines()
        .map(|line| line.split_once(": ").expect("a name and a command"))
        .collect();
    assert_eq!(lines.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["release", "web", "worker", "cron"]);
    for (name, line) in lines {
        let mut host = tokio::process::Command::new("sh");
        host.args(["-c", &format!("exec {line}")]).env_clear().envs(environment.iter().cloned()).env("PATH", &path);
        let mut process =
            host.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        match name {
            "release" => assert!(process.wait().await.unwrap().success(), "{line}"),
            "web" => {
                let ready = format!("http://127.0.0.1:{port}/ready");
                let answers = async {
                    while !app.http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::time::timeout(SOON, answers).await.expect("it listens at $PORT");
            }
            "worker" => until(&app.db, "select count(*) from safelight.workers", 1).await,
            "cron" => until(&app.db, "select least(count(*), 1) from safelight.schedules", 1).await,
            other => panic!("{other} is tried here, too"),
        }
        if name != "release" {
            let ended = std::process::Command::new("kill").args(["-TERM", &process.id().unwrap().to_string()]).status();
            assert!(ended.unwrap().success());
            let ended = tokio::time::timeout(SOON, process.wait()).await.expect("it ends").unwrap();
            assert!(ended.success(), "{line}: {ended}");
        }
    }
}
