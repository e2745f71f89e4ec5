//! The sealer: every committed entry gets one place, whatever the order of commits, however many sealers there are, and
//! wherever one of them ends.

use std::{path::PathBuf, process::Stdio, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use safelight_evidence::{
    Signer, Verdict,
    check::{Question, check, checkpoints},
};
use safelight_jobs::{
    db::{self, Role},
    providers::witness::Witness,
    sealer::{self, Sealer, Sign},
};
use safelight_sandbox::postgres::{Cut, Line};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::process::Command;

use crate::{
    app::{database, polled},
    properties::seed,
};

/// A log with its own database and its own place outside.
pub struct Log {
    pub url: String,
    pub owner: PgPool,
    pub worker: PgPool,
    pub sealing: PgPool,
    pub folder: PathBuf,
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub fn key(seed: u8) -> Signer {
    Signer::new("photos.example/audit", &[seed; 32]).unwrap()
}

impl Log {
    pub async fn open() -> Self {
        let url = database().await;
        Self {
            owner: db::connect(&url, Role::Owner, 2).await.unwrap(),
            worker: db::connect(&url, Role::Worker, 8).await.unwrap(),
            sealing: db::connect_sealer(&url, 4).await.unwrap(),
            folder: std::env::temp_dir().join(format!("safelight-log-{}", uuid::Uuid::new_v4().simple())),
            url,
        }
    }

    pub fn outside(&self) -> PathBuf {
        self.folder.join("outside")
    }

    /// Signs and delivers in every pass.
    pub fn sealer(&self) -> Sealer {
        self.sealer_with(key(1), None, vec![Witness::folder(&self.outside()).unwrap()])
    }

    pub fn sealer_with(&self, signer: Signer, former: Option<Signer>, places: Vec<Witness>) -> Sealer {
        let mut sealer = Sealer::new(signer, former, places).unwrap();
        (sealer.interval, sealer.lease) = (Duration::ZERO, Duration::ZERO);
        sealer
    }

    pub async fn writes(&self, entries: i64) {
        sqlx::query(WRITE).bind(entries).execute(&self.worker).await.unwrap();
    }

    pub async fn passes(&self) -> sealer::Passed {
        sealer::pass(&self.sealing, &self.sealer(), Sign::Now).await.unwrap()
    }

    pub async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&self.owner).await.unwrap()
    }

    /// As many entries as leaves as the head says, without gaps; the checker finds nothing, from inside and from files.
    pub async fn is_whole(&self, entries: i64) {
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

/// Unlike a future that is dropped, a process that is killed says nothing more to Postgres, not even that it gives up.
#[tokio::test(flavor = "multi_thread")]
async fn n24_every_statement_of_a_pass_may_be_its_last() {
    let log = Log::open().await;
    let line = Line::to(&log.url).await.unwrap();
    let (mut entries, mut killed) = (0, 0);
    for how in [Cut::Before, Cut::After] {
        for statement in 1.. {
            assert!(statement < 300, "{how:?}: it never came through");
            log.writes(3).await;
            entries += 3;
            line.cut_at(statement, how);
            let passed = one_pass(&log, line.url()).await;
            let dead = line.is_dead();
            line.mend();
            // A connection that comes back is looked at after its last statement: the line may have gone dead at that.
            assert!(passed.is_some() || dead, "{how:?} {statement}");
            if !dead {
                break;
            }
            killed += 1;
            // The dead one's session holds the head until Postgres notices.
            let recovered = async {
                while log.number("select signed_size from safelight.audit_log").await < entries {
                    log.passes().await;
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), recovered).await.unwrap();
        }
        log.passes().await;
        log.is_whole(entries).await;
    }
    assert!(killed > 40, "{killed} statements in all");
}

/// Everything that a process does in one pass, over connections of its own; none if it did not come through.
async fn one_pass(log: &Log, url: &str) -> Option<()> {
    let pool = db::connect_sealer(url, 1).await.ok()?;
    let sealer = log.sealer();
    while sealer::seal(&pool, &sealer, 2, Sign::Now).await.ok()?.more {}
    sealer::deliver(&pool, &sealer).await.ok()?;
    sealer::issue(&pool, &sealer).await.ok()?;
    Some(())
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
