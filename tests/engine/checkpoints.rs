//! The sealed log outside the sealer: checkpoints on their way to a place, keys that are replaced, who may write what, and the commands.

use std::{process::Stdio, time::Duration};

use safelight_evidence::{Checkpoint, Signer, Verdict, check::checkpoints};
use safelight_jobs::{
    db::{self, Role},
    providers::{Secret, witness::Witness},
    sealer::{self, Sealer, Sign},
};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
};

use crate::sealer::{Log, key};

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_does_not_arrive_is_tried_again_and_is_seen() {
    let log = Log::open().await;
    let sealer = log.sealer();
    log.writes(2).await;
    std::fs::remove_dir_all(log.outside()).unwrap();
    std::fs::write(log.outside(), "a file where the folder was").unwrap();
    let passed = sealer::pass(&log.sealing, &sealer, Sign::Now).await.unwrap();
    assert_eq!((passed.sealed, passed.delivered), (2, 0));
    assert_eq!(sealer::lag(&log.owner).await.unwrap().destinations, [("file".to_owned(), 1, 1)]);
    log.writes(2).await;
    assert_eq!(sealer::pass(&log.sealing, &sealer, Sign::Now).await.unwrap().delivered, 0);
    assert_eq!(sealer::lag(&log.owner).await.unwrap().destinations, [("file".to_owned(), 2, 2)]);
    std::fs::remove_file(log.outside()).unwrap();
    std::fs::create_dir_all(log.outside()).unwrap();
    assert_eq!(sealer::pass(&log.sealing, &sealer, Sign::Now).await.unwrap().delivered, 2);
    assert_eq!(sealer::lag(&log.owner).await.unwrap().destinations, [("file".to_owned(), 0, 0)]);
    log.is_whole(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_failures_a_place_is_left_alone_for_a_while() {
    let log = Log::open().await;
    let mut sealer = log.sealer();
    sealer.lease = Duration::from_secs(60);
    log.writes(1).await;
    std::fs::remove_dir_all(log.outside()).unwrap();
    std::fs::write(log.outside(), "").unwrap();
    for _ in 0..3 {
        sealer::pass(&log.sealing, &sealer, Sign::Now).await.unwrap();
    }
    assert_eq!(log.number("select tries::bigint from safelight.audit_destinations").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_knows_another_log_of_this_size_is_not_overwritten() {
    let log = Log::open().await;
    let other: safelight_evidence::Tree = [[9; 32]; 3].into_iter().collect();
    let note = Checkpoint::sign(&other, &key(1)).unwrap();
    let sealer = log.sealer();
    let path = log.outside().join("checkpoint-00000000000000000003.txt");
    std::fs::write(&path, &note).unwrap();
    log.writes(3).await;
    assert_eq!(sealer::pass(&log.sealing, &sealer, Sign::Now).await.unwrap().delivered, 0);
    let code: String =
        sqlx::query_scalar("select code from safelight.audit_destinations").fetch_one(&log.owner).await.unwrap();
    assert_eq!(code, "other_checkpoint");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), note);
}

/// Answers 503 so many times, then 200; gives the bodies and bearers that it took.
async fn webhook(mut refusals: usize) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/checkpoints", listener.local_addr().unwrap());
    let (taken, take) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut part = [0; 4096];
            // Head and body; a checkpoint's note ends in a signature line.
            while !String::from_utf8_lossy(&request).contains("\n— photos") || !request.ends_with(b"\n") {
                match stream.read(&mut part).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend(&part[..read]),
                }
            }
            let status = if refusals > 0 { "503 Service Unavailable" } else { "200 OK" };
            refusals = refusals.saturating_sub(1);
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = taken.send(String::from_utf8_lossy(&request).into_owned());
        }
    });
    (url, take)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_each_checkpoint_as_text_until_it_takes_it() {
    let log = Log::open().await;
    let (url, mut take) = webhook(1).await;
    let place = Witness::webhook(&url, Some(&Secret::new("a bearer of a test"))).unwrap();
    let sealer = log.sealer_with(key(1), None, vec![place]);
    log.writes(2).await;
    assert_eq!(sealer::pass(&log.sealing, &sealer, Sign::Now).await.unwrap().delivered, 0);
    assert_eq!(sealer::pass(&log.sealing, &sealer, Sign::Now).await.unwrap().delivered, 1);
    for _ in 0..2 {
        let request = take.recv().await.unwrap();
        assert!(request.to_lowercase().contains("authorization: bearer a bearer of a test"), "{request}");
        let note = &request[request.find("\r\n\r\n").unwrap() + 4..];
        assert_eq!(Checkpoint::open(note, &key(1).verifier()).unwrap().size, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_key_is_replaced_both_sign_and_afterwards_the_new_one_alone() {
    let log = Log::open().await;
    let place = || vec![Witness::folder(&log.outside()).unwrap()];
    let (old, new) = (key(1).verifier(), key(2).verifier());
    for (signer, former) in [(key(1), None), (key(2), Some(key(1))), (key(2), None)] {
        log.writes(1).await;
        let sealer = log.sealer_with(signer, former, place());
        sealer::pass(&log.sealing, &sealer, Sign::Now).await.unwrap();
    }
    let notes = checkpoints(&[log.outside()]).unwrap();
    let opens = |note: &str| (Checkpoint::open(note, &old).is_ok(), Checkpoint::open(note, &new).is_ok());
    assert_eq!(notes.iter().map(|note| opens(note)).collect::<Vec<_>>(), [(true, false), (true, true), (false, true)]);
    let report = sealer::check_database(&log.owner, &notes, &[old.clone(), new]).await.unwrap();
    assert_eq!((report.verdict, report.covered), (Verdict::Verified, 3));
    assert_eq!(sealer::check_database(&log.owner, &notes, &[old]).await.unwrap().verdict, Verdict::Broken);
    let other = Signer::new("elsewhere.example/audit", &[3; 32]).unwrap();
    assert!(Sealer::new(key(1), Some(other), Vec::new()).is_err(), "keys of two logs do not sign together");
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_come_at_the_interval_and_only_when_the_log_has_grown() {
    let log = Log::open().await;
    let mut sealer = log.sealer();
    sealer.interval = Duration::from_secs(3600);
    for _ in 0..3 {
        log.writes(1).await;
        sealer::pass(&log.sealing, &sealer, Sign::AtInterval).await.unwrap();
    }
    assert_eq!(log.number("select count(*) from safelight.audit_checkpoints").await, 1);
    assert_eq!(sealer::lag(&log.owner).await.unwrap().unsigned, 2);
    log.passes().await;
    log.passes().await;
    assert_eq!(log.number("select count(*) from safelight.audit_checkpoints").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_role_that_writes_entries_changes_them_and_the_sealer_writes_none() {
    let log = Log::open().await;
    log.writes(3).await;
    log.passes().await;
    let api = db::connect(&log.url, Role::Api, 1).await.unwrap();
    let auditor = db::connect(&log.url, Role::Auditor, 1).await.unwrap();
    let write = "insert into safelight.audit_entries (actor, action, outcome) values ('x', 'x', 'x')";
    let change = [
        "update safelight.audit_entries set outcome = 'other'",
        "delete from safelight.audit_entries",
        "truncate safelight.audit_entries",
        "insert into safelight.audit_entries (actor, action, outcome, xid) values ('x', 'x', 'x', '3')",
        "insert into safelight.audit_entries (actor, action, outcome, at) values ('x', 'x', 'x', now())",
        "insert into safelight.audit_entries (actor, action, outcome, seq) overriding system value values ('x', 'x', 'x', 1)",
        "insert into safelight.audit_leaves values (9, 9, sha256(''))",
        "update safelight.audit_log set size = 0",
        "delete from safelight.audit_checkpoints",
        "update safelight.audit_destinations set delivered = 9",
    ];
    let only_the_log = [
        write,
        "update safelight.audit_entries set outcome = 'other'",
        "update safelight.audit_leaves set seq = seq + 9",
        "delete from safelight.audit_checkpoints",
        "delete from safelight.deletion_certificates",
        "update safelight.deletions set state = 'complete'",
    ];
    let mut cases: Vec<(&PgPool, &str)> = Vec::new();
    for pool in [&log.worker, &api, &auditor] {
        cases.extend(change.map(|sql| (pool, sql)));
    }
    cases.extend(only_the_log.map(|sql| (&log.sealing, sql)));
    cases.push((&auditor, write));
    for (pool, sql) in cases {
        let error = sqlx::query(AssertSqlSafe(sql.to_owned())).execute(pool).await.expect_err(sql);
        let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{sql}: {error}");
    }
    // Not even their owner, as long as nobody takes the triggers away.
    for sql in [
        "update safelight.audit_entries set outcome = 'other'",
        "delete from safelight.audit_leaves",
        "truncate safelight.audit_checkpoints",
        "update safelight.audit_nodes set level = 1",
    ] {
        let changed = sqlx::query(sql).execute(&log.owner).await;
        assert!(changed.is_err() || changed.unwrap().rows_affected() == 0, "{sql}");
    }
    log.is_whole(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_canonical_form_is_not_taken_as_an_entry() {
    let log = Log::open().await;
    for (column, value) in [
        ("actor", "'ann@example.org'"),
        ("tenant", "'Ann Lee'"),
        ("job_kind", "''"),
        ("class", "'koselfie/ann/1.jpg'"),
        ("counts", r#"'{"to": "ann"}'"#),
        ("counts", r#"'{"n": -1}'"#),
        ("counts", r#"'{"n": 1.5}'"#),
        ("counts", r#"'{"ann@example.org": 1}'"#),
        ("counts", "'[]'"),
        ("codes", r#"'{"why": "Ann was unhappy"}'"#),
        ("codes", r#"'{"why": 1}'"#),
        ("commitment", "'ann'"),
    ] {
        let columns = if column == "actor" { "actor, action, outcome" } else { "actor, action, outcome, COLUMN" };
        let values = if column == "actor" { format!("{value}, 'x', 'x'") } else { format!("'x', 'x', 'x', {value}") };
        let sql =
            format!("insert into safelight.audit_entries ({}) values ({values})", columns.replace("COLUMN", column));
        let error = sqlx::query(AssertSqlSafe(sql.clone())).execute(&log.worker).await.expect_err(&sql);
        let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
        assert_eq!(code.as_deref(), Some("23514"), "{sql}: {error}");
    }
}

async fn says(log: &Log, private: &str, words: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_safelight"))
        .args(["--log", "error", "audit"])
        .args(words)
        .current_dir(&log.folder)
        .env("DATABASE_URL", &log.url)
        .env("SAFELIGHT_LOG_KEY", private)
        .env("SAFELIGHT_CHECKPOINT_DIR", log.outside())
        .env_remove("SAFELIGHT_LOG_PUBLIC_KEY")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_make_a_key_seal_export_and_verify_with_codes_that_stay() {
    let log = Log::open().await;
    std::fs::create_dir_all(log.outside()).unwrap();
    let (code, made) = says(&log, "", &["key", "photos.example/audit", "--json"]).await;
    assert_eq!(code, 0, "{made}");
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let (private, public) = (made["private"].as_str().unwrap(), made["public"].as_str().unwrap());
    let (code, said) = says(&log, "", &["seal"]).await;
    assert!(code == 1 && said.contains("safelight audit key"), "{said}");
    let (code, said) = says(&log, "PRIVATE+KEY+a+b+c", &["seal"]).await;
    assert!(code == 1 && !said.contains("+a+b+c"), "a key is never printed: {said}");

    log.writes(5).await;
    let (code, said) = says(&log, private, &["seal", "--json"]).await;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["sealed"], &said["delivered"]), (0, &5.into(), &1.into()));
    assert_eq!(says(&log, private, &["export", "taken"]).await.0, 0);
    assert_eq!(says(&log, private, &["export", "taken"]).await.0, 1, "a folder that is not empty is left alone");
    let verify = ["verify", "taken", "--key", public];
    let with = |more: &[&'static str]| [&verify[..], more].concat();
    assert_eq!(
        says(&log, "", &with(&["--checkpoints", "outside"])).await,
        (0, "log: verified, 5 entries, 5 covered from outside\nverified\n".to_owned())
    );
    assert_eq!(says(&log, "", &verify).await.0, 3);
    assert_eq!(says(&log, "", &["verify", "--database", "--key", public, "--checkpoints", "outside"]).await.0, 0);
    assert_eq!(says(&log, "", &["verify", "--database", "--key", public]).await.0, 3);
    assert_eq!(says(&log, "", &["verify", "nowhere", "--key", public]).await.0, 1);
    assert_eq!(says(&log, "", &["verify", "--key", public]).await.0, 2);
    let entries = log.folder.join("taken/entries.txt");
    let text = std::fs::read_to_string(&entries).unwrap();
    std::fs::write(&entries, text.replace(r#""n":3"#, r#""n":4"#)).unwrap();
    let (code, said) = says(&log, "", &with(&["--checkpoints", "outside", "--json"])).await;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["log"]["findings"][0]["finding"]), (4, &"edit".into()));
}
