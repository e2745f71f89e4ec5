//! N23: an independent script in plain SQL, as a superuser, on the raw tables. Each kind of tampering is detected from the
//! tables and from an export; a cut tail and a rewritten log only by checkpoints that were kept outside.

use std::path::PathBuf;

use safelight_evidence::{
    Finding, Report, Signer, Verdict,
    check::{Question, check, checkpoints},
};
use safelight_jobs::{
    db::{self, Role},
    providers::witness::Witness,
    sealer::{self, Sealer, Sign},
};
use sqlx::PgPool;

use crate::app::database;

/// A log of twelve entries with checkpoints of five and twelve, kept outside.
struct Log {
    owner: PgPool,
    sealing: PgPool,
    folder: PathBuf,
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn key() -> Signer {
    Signer::new("photos.example/audit", &[4; 32]).unwrap()
}

impl Log {
    async fn sealed() -> Self {
        let url = database().await;
        let log = Self {
            owner: db::connect(&url, Role::Owner, 2).await.unwrap(),
            sealing: db::connect_sealer(&url, 2).await.unwrap(),
            folder: std::env::temp_dir().join(format!("safelight-n23-{}", uuid::Uuid::new_v4().simple())),
        };
        let worker = db::connect(&url, Role::Worker, 1).await.unwrap();
        for entries in [5_i64, 7] {
            sqlx::query(
                "insert into safelight.audit_entries (tenant, actor, action, outcome, counts)
                select 'koselfie', 'worker', 'test.entry', 'ok', jsonb_build_object('n', n) from generate_series(1, $1) n",
            )
            .bind(entries)
            .execute(&worker)
            .await
            .unwrap();
            log.seals(&["outside"]).await;
        }
        log
    }

    async fn seals(&self, places: &[&str]) -> sealer::Passed {
        let places = places.iter().map(|place| Witness::folder(&self.folder.join(place)).unwrap()).collect();
        let sealer = Sealer::new(key(), None, places).unwrap();
        sealer::pass(&self.sealing, &sealer, Sign::Now).await.unwrap()
    }

    async fn tampers(&self, script: &str) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tampering").join(script);
        let sql = std::fs::read_to_string(path).unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&self.owner).await.unwrap();
    }

    /// From the tables, and from an export of them.
    async fn says(&self, outside: bool) -> [Report; 2] {
        let kept = if outside { vec![self.folder.join("outside")] } else { Vec::new() };
        let notes = checkpoints(&kept).unwrap();
        let tables = sealer::check_database(&self.owner, &notes, &[key().verifier()]).await.unwrap();
        let export = self.folder.join(format!("export-{}", uuid::Uuid::new_v4().simple()));
        sealer::export(&self.owner, &export).await.unwrap();
        let question = Question {
            export: Some(export),
            outside: kept,
            keys: vec![key().verifier().to_string()],
            certificates: Vec::new(),
        };
        [tables, check(&question).unwrap().log.unwrap()]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n23_h25_whatever_a_superuser_does_to_sealed_entries_is_detected_from_inside_too() {
    let is = |report: &Report, finding: &str| {
        report.verdict == Verdict::Broken && report.findings.iter().any(|found| found.to_string().starts_with(finding))
    };
    for (script, finding) in [
        ("edit.sql", "edit: entry 4"),
        ("removal.sql", "removal: entry 4"),
        ("removal_of_the_row.sql", "removal: entry 4"),
        ("insertion.sql", "edit: entry 4"),
        ("reorder.sql", "reorder: entry 4"),
        ("reorder_of_the_rows.sql", "reorder: entry 4"),
    ] {
        let log = Log::sealed().await;
        for report in log.says(true).await {
            assert_eq!((report.verdict, report.covered), (Verdict::Verified, 12), "before {script}: {report:?}");
        }
        log.tampers(script).await;
        for outside in [true, false] {
            for report in log.says(outside).await {
                assert!(is(&report, finding), "{script}, outside {outside}: {report:?}");
            }
        }
    }
    // A row beside the log is in no export: it is seen where it lies.
    let log = Log::sealed().await;
    log.tampers("insertion_of_the_row.sql").await;
    let [tables, _] = log.says(false).await;
    assert!(is(&tables, "insertion: row"), "{tables:?}");
    log.seals(&[]).await;
    let [tables, _] = log.says(false).await;
    assert!(is(&tables, "insertion: row"), "a sealer that goes on does not take it in: {tables:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn n23_a_cut_tail_and_a_rewritten_log_are_detected_by_outside_checkpoints_only() {
    let cut = Finding::CutTail { have: 9, signed: 12 };
    let rewritten = Finding::Rewritten { after: 0, until: 5 };
    for (script, finding) in [("cut_tail.sql", cut), ("rewritten.sql", rewritten)] {
        let log = Log::sealed().await;
        log.tampers(script).await;
        log.seals(&["elsewhere"]).await;
        for report in log.says(false).await {
            assert_eq!((report.verdict, &report.findings[..]), (Verdict::Unverified, &[][..]), "{script}");
        }
        for report in log.says(true).await {
            assert_eq!(report.verdict, Verdict::Broken, "{script}");
            assert!(report.findings.contains(&finding), "{script}: {report:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n23_a_rewritten_log_does_not_get_its_checkpoints_to_where_the_old_ones_are() {
    let log = Log::sealed().await;
    log.tampers("rewritten.sql").await;
    sqlx::query("update safelight.audit_destinations set delivered = 0").execute(&log.owner).await.unwrap();
    assert_eq!(log.seals(&["outside"]).await.delivered, 0);
    let code: Option<String> =
        sqlx::query_scalar("select code from safelight.audit_destinations").fetch_one(&log.owner).await.unwrap();
    assert_eq!(code.as_deref(), Some("other_checkpoint"));
}

#[tokio::test(flavor = "multi_thread")]
async fn n23_the_wrong_key_verifies_nothing() {
    let log = Log::sealed().await;
    let notes = checkpoints(&[log.folder.join("outside")]).unwrap();
    let other = Signer::new("photos.example/audit", &[5; 32]).unwrap().verifier();
    let report = sealer::check_database(&log.owner, &notes, &[other]).await.unwrap();
    assert_eq!((report.verdict, report.covered), (Verdict::Broken, 0));
    assert!(matches!(report.findings[0], Finding::BadCheckpoint { .. }), "{report:?}");
}
