//! The sealer: every committed entry gets one place, whatever the order of commits, however many sealers there are, and
//! wherever one of them ends.

use std::{path::PathBuf, process::Stdio, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use safelight_evidence::{
    Checkpoint, Signer, Verdict,
    check::{Question, check, checkpoints},
};
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

use crate::{
    app::{database, polled},
    properties::seed,
};

/// A log with its own database and its own place outside.
struct Log {
    url: String,
    owner: PgPool,
    worker: PgPool,
    sealing: PgPool,
    folder: PathBuf,
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn key(seed: u8) -> Signer {
    Signer::new("photos.example/audit", &[seed; 32]).unwrap()
}

impl Log {
    async fn open() -> Self {
        let url = database().await;
        Self {
            owner: db::connect(&url, Role::Owner, 2).await.unwrap(),
            worker: db::connect(&url, Role::Worker, 8).await.unwrap(),
            sealing: db::connect_sealer(&url, 4).await.unwrap(),
            folder: std::env::temp_dir().join(format!("safelight-log-{}", uuid::Uuid::new_v4().simple())),
            url,
        }
    }

    fn outside(&self) -> PathBuf {
        self.folder.join("outside")
    }

    /// Signs and delivers in every pass.
    fn sealer(&self) -> Sealer {
        self.sealer_with(key(1), None, vec![Witness::folder(&self.outside()).unwrap()])
    }

    fn sealer_with(&self, signer: Signer, former: Option<Signer>, places: Vec<Witness>) -> Sealer {
        let mut sealer = Sealer::new(signer, former, places).unwrap();
        (sealer.interval, sealer.lease) = (Duration::ZERO, Duration::ZERO);
        sealer
    }

    async fn writes(&self, entries: i64) {
        sqlx::query(WRITE).bind(entries).execute(&self.worker).await.unwrap();
    }

    async fn passes(&self) -> sealer::Passed {
        sealer::pass(&self.sealing, &self.sealer(), Sign::Now).await.unwrap()
    }

    async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&self.owner).await.unwrap()
    }

    /// As many entries as leaves as the head says, without gaps; the checker finds nothing, from inside and from files.
    async fn is_whole(&self, entries: i64) {
        for sql in [
            "select count(*) from safelight.audit_entries",
            "select count(*) from safelight.audit_leaves",
            "select max(seq) + 1 from safelight.audit_leaves",
            "select size from safelight.audit_log",
            "select signed_size from safelight.audit_log",
            "select max(size) from safelight.audit_checkpoints",
            "select delivered from safelight.audit_destinations where name = 'file'",
        ] {
            assert_eq!(self.number(sql).await, entries, "{sql}");
        }
        let keys = [key(1).verifier()];
        let outside = checkpoints(&[self.outside()]).unwrap();
        assert_eq!(outside.len() as i64, self.number("select count(*) from safelight.audit_checkpoints").await);
        let report = sealer::check_database(&self.owner, &outside, &keys).await.unwrap();
        assert_eq!((report.verdict, &report.findings[..]), (Verdict::Verified, &[][..]));
        assert_eq!((report.entries, report.covered), (entries as u64, entries as u64));

        let export = self.folder.join(format!("export-{}", uuid::Uuid::new_v4().simple()));
        let auditor = db::connect(&self.url, Role::Auditor, 1).await.unwrap();
        sealer::export(&auditor, &export).await.unwrap();
        let answer = check(&Question {
            export: Some(export),
            outside: vec![self.outside()],
            keys: vec![key(1).verifier().to_string()],
            certificates: Vec::new(),
        })
        .unwrap();
        assert_eq!(answer.log.unwrap(), report, "files say what the tables say");
    }
}

const WRITE: &str = "insert into safelight.audit_entries (tenant, actor, action, outcome, counts)
    select 'koselfie', 'worker', 'test.entry', 'ok', jsonb_build_object('n', n) from generate_series(1, $1) n";

#[tokio::test(flavor = "multi_thread")]
async fn every_committed_entry_gets_one_place_though_writers_and_sealers_race() {
    let log = Log::open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..6_u32 {
        let pool = log.worker.clone();
        tasks.spawn(async move {
            for number in 0..25_u32 {
                let mut tx = db::begin(&pool).await.unwrap();
                sqlx::query(WRITE).bind(2_i64).execute(&mut *tx).await.unwrap();
                tokio::task::yield_now().await;
                sqlx::query(WRITE).bind(1_i64).execute(&mut *tx).await.unwrap();
                // One in five gives up: its numbers are gaps in the table and none in the log.
                if (writer + number) % 5 == 0 { tx.rollback().await.unwrap() } else { tx.commit().await.unwrap() }
            }
        });
    }
    for _ in 0..3 {
        let (pool, sealer) = (log.sealing.clone(), log.sealer());
        tasks.spawn(async move {
            for _ in 0..20 {
                sealer::seal(&pool, &sealer, 7, Sign::Now).await.unwrap();
                sealer::deliver(&pool, &sealer).await.unwrap();
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    log.passes().await;
    log.is_whole(6 * 25 * 3 * 4 / 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_transaction_is_neither_passed_by_nor_waited_for() {
    let log = Log::open().await;
    let mut slow = db::begin(&log.worker).await.unwrap();
    sqlx::query(WRITE).bind(1_i64).execute(&mut *slow).await.unwrap();
    // One that has its number early and writes late.
    let mut silent = db::begin(&log.worker).await.unwrap();
    sqlx::query("select pg_current_xact_id()").execute(&mut *silent).await.unwrap();
    for round in 1..=5 {
        log.writes(10).await;
        log.passes().await;
        assert_eq!(
            log.number("select size from safelight.audit_log").await,
            round * 10,
            "nobody waits for the slow one"
        );
    }
    assert_eq!(sealer::lag(&log.owner).await.unwrap().unsealed, 0);
    slow.commit().await.unwrap();
    assert_eq!(sealer::lag(&log.owner).await.unwrap().unsealed, 1);
    assert_eq!(log.passes().await.sealed, 1, "and nobody passes it by");
    log.writes(3).await;
    log.passes().await;
    sqlx::query(WRITE).bind(2_i64).execute(&mut *silent).await.unwrap();
    silent.commit().await.unwrap();
    assert_eq!(log.passes().await.sealed, 2);
    assert_eq!(log.passes().await.sealed, 0);
    log.is_whole(56).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_transaction_that_ends_while_a_backlog_is_sealed_in_parts_is_not_lost() {
    let log = Log::open().await;
    log.writes(1).await;
    log.passes().await;
    let mut slow = db::begin(&log.worker).await.unwrap();
    sqlx::query(WRITE).bind(2_i64).execute(&mut *slow).await.unwrap();
    log.writes(20).await;
    let sealer = log.sealer();
    assert!(sealer::seal(&log.sealing, &sealer, 8, Sign::AtInterval).await.unwrap().more);
    slow.commit().await.unwrap();
    log.writes(4).await;
    // The part that is under way goes on as it began; what came meanwhile is in the next one.
    assert!(sealer::seal(&log.sealing, &sealer, 8, Sign::AtInterval).await.unwrap().more);
    assert_eq!(sealer::seal(&log.sealing, &sealer, 8, Sign::AtInterval).await.unwrap().entries, 4);
    assert_eq!(log.passes().await.sealed, 6);
    log.is_whole(27).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_whole_parts_does_not_stop_what_comes_after_it() {
    let log = Log::open().await;
    log.writes(1).await;
    log.passes().await;
    let mut sealer = log.sealer();
    sealer.interval = Duration::from_secs(3600);
    log.writes(16).await;
    for _ in 0..2 {
        assert_eq!(sealer::seal(&log.sealing, &sealer, 8, Sign::AtInterval).await.unwrap().entries, 8);
    }
    log.writes(1).await;
    while sealer::seal(&log.sealing, &sealer, 8, Sign::AtInterval).await.unwrap().more {}
    assert_eq!(log.number("select size from safelight.audit_log").await, 18);
}

#[tokio::test(flavor = "multi_thread")]
async fn n24_every_moment_of_a_pass_may_be_its_last() {
    let log = Log::open().await;
    let seed = seed();
    let mut dice = StdRng::seed_from_u64(seed);
    let (mut polls, mut cuts, mut entries) = (1_usize, 0, 0);
    loop {
        log.writes(3).await;
        entries += 3;
        let (pool, sealer) = (log.sealing.clone(), log.sealer());
        let mut pass = Box::pin(async move {
            while sealer::seal(&pool, &sealer, 2, Sign::Now).await.unwrap().more {}
            sealer::deliver(&pool, &sealer).await.unwrap();
            sealer::issue(&pool, &sealer).await.unwrap();
        });
        let ended = tokio::time::timeout(Duration::from_secs(60), polled(&mut pass, polls)).await.unwrap();
        drop(pass);
        if ended.is_some() {
            break;
        }
        cuts += 1;
        polls += 1 + dice.gen_range(0..=polls / 8);
        assert!(cuts < 400, "seed {seed}: it never came through");
    }
    assert!(cuts > 10, "seed {seed}: it ended after {polls} polls");
    log.passes().await;
    log.is_whole(entries).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n24_sealers_that_are_killed_leave_a_whole_log() {
    let log = Log::open().await;
    for round in 0..6_u64 {
        log.writes(4000).await;
        let mut child = Command::new(env!("CARGO_BIN_EXE_safelight"))
            .args(["--log", "error", "audit", "seal"])
            .env("DATABASE_URL", &log.url)
            .env("SAFELIGHT_LOG_KEY", key(1).secret_text())
            .env("SAFELIGHT_CHECKPOINT_DIR", log.outside())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // Each is killed somewhat later; the last ones may come through.
        let _ = tokio::time::timeout(Duration::from_millis(20 + 60 * round), child.wait()).await;
        let _ = child.kill().await;
    }
    // A session that was cut off ends when Postgres notices; until then it may hold the head.
    let whole = async {
        while log.number("select count(*) from safelight.audit_entries e where not exists (select from safelight.audit_leaves l where l.entry = e.seq)").await > 0
        {
            log.passes().await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), whole).await.unwrap();
    // The lease on the delivery was the killed process's.
    sqlx::query("update safelight.audit_destinations set claimed_until = null").execute(&log.owner).await.unwrap();
    log.passes().await;
    log.is_whole(24_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_into_another_database_seals_every_entry_once() {
    let log = Log::open().await;
    log.writes(10).await;
    log.passes().await;
    log.writes(5).await;
    // As after a dump: other numbers of transactions, some of them far ahead, and snapshots of another cluster.
    for sql in [
        "alter table safelight.audit_entries disable trigger user",
        "update safelight.audit_entries set xid = (xid::text::bigint + 5000000000)::text::xid8",
        "alter table safelight.audit_entries enable trigger user",
        "update safelight.audit_log set home = 'elsewhere/1', done = '9000000000:9000000000:'",
    ] {
        sqlx::query(sql).execute(&log.owner).await.unwrap();
    }
    log.writes(2).await;
    assert_eq!(log.passes().await.sealed, 7);
    log.writes(2).await;
    assert_eq!(log.passes().await.sealed, 2);
    log.is_whole(19).await;
}

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
