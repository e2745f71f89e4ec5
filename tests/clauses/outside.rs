//! Buckets outside the database's reach: checkpoints and the erasure ledger arrive there, and what was downloaded from there is
//! enough to check the log and a restored database.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use safelight_evidence::Signer;
use safelight_jobs::{
    db,
    policy::Purpose,
    providers::{Secret, ledger::Ledger, storage::S3Config, witness::Witness},
    restore::{self, Admission},
    sealer::{self, Sealer, Sign},
};
use tokio::process::Command;

use crate::app::{App, MASTER_KEY};

const BUCKET: &str = "outside";

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl App {
    async fn with_a_bucket_outside() -> Self {
        Self::spawn_with(|options| options.buckets.push(BUCKET.to_owned())).await
    }

    fn bucket_outside(&self, secret: &str) -> S3Config {
        let there = self.sandbox.description().supabase.clone();
        S3Config {
            endpoint: there.s3_endpoint,
            region: there.s3_region,
            bucket: BUCKET.to_owned(),
            access_key: Secret::new(there.s3_access_key_id.as_str()),
            secret_key: Secret::new(secret),
            timeout: Duration::from_secs(20),
        }
    }

    fn secret_outside(&self) -> String {
        self.sandbox.description().supabase.s3_secret_access_key.clone()
    }

    /// Download what lies outside, as an auditor does with another program.
    async fn downloads_outside(&self, folder: &Folder) -> Vec<String> {
        let there = self.sandbox.description().supabase.clone();
        std::fs::create_dir_all(&folder.0).unwrap();
        let mut keys = Vec::new();
        for object in self.sandbox.supabase.objects(BUCKET) {
            let address = format!("{}/storage/v1/object/{BUCKET}/{}", there.url, object.key);
            let answer = self.http.get(&address).header("apikey", &there.secret_key).send().await.unwrap();
            assert!(answer.status().is_success(), "{address}: {}", answer.status());
            let name = object.key.rsplit('/').next().unwrap().to_owned();
            std::fs::write(folder.0.join(&name), answer.bytes().await.unwrap()).unwrap();
            keys.push(object.key);
        }
        keys
    }

    pub(super) async fn command_says(&self, words: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_safelight"));
        command.args(["--log", "error"]).args(words).env("DATABASE_URL", &self.database_url);
        command.envs(settings.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.unwrap();
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }
}

fn temporary(what: &str) -> Folder {
    Folder(std::env::temp_dir().join(format!("safelight-{what}-{}", uuid::Uuid::new_v4().simple())))
}

/// N23: what was downloaded from the bucket covers the export; an entry that is edited afterwards is found by it.
#[tokio::test(flavor = "multi_thread")]
async fn n23_checkpoints_arrive_in_a_bucket_and_the_log_is_verified_by_what_was_downloaded_from_it() {
    let app = App::with_a_bucket_outside().await;
    app.person("koselfie").await;
    let signer = Signer::new("photos.example/audit", &[6; 32]).unwrap();
    let public = signer.verifier().to_string();
    let private = signer.secret_text();
    let pool = db::connect_sealer(&app.database_url, 2).await.unwrap();

    // A key that the bucket does not know: nothing arrives, and it says so.
    let refused = Witness::bucket(&app.bucket_outside("another secret"), "checkpoints").unwrap();
    let sealer = Sealer::new(signer, None, vec![refused]).unwrap();
    assert_eq!(sealer::pass(&pool, &sealer, Sign::Now).await.unwrap().delivered, 0);
    let code: String = sqlx::query_scalar("select code from safelight.audit_destinations where name = 'bucket'")
        .fetch_one(&app.db)
        .await
        .unwrap();
    assert!(matches!(code.as_str(), "refused" | "unreachable"), "{code}");
    assert_eq!(app.sandbox.supabase.objects(BUCKET).len(), 0);
    sqlx::query("update safelight.audit_destinations set claimed_until = null").execute(&app.db).await.unwrap();

    // By the command, with the settings that an operator gives it.
    let (endpoint, secret) = (app.sandbox.description().supabase.s3_endpoint.clone(), app.secret_outside());
    let access = app.sandbox.description().supabase.s3_access_key_id.clone();
    let settings = [
        ("SAFELIGHT_LOG_KEY", private.as_str()),
        ("SAFELIGHT_CHECKPOINT_BUCKET", BUCKET),
        ("CHECKPOINT_S3_ENDPOINT", endpoint.as_str()),
        ("CHECKPOINT_S3_REGION", "local"),
        ("CHECKPOINT_S3_ACCESS_KEY", access.as_str()),
        ("CHECKPOINT_S3_SECRET_KEY", secret.as_str()),
    ];
    app.person("haloprofile").await;
    let (code, said) = app.command_says(&["audit", "seal"], &settings).await;
    assert_eq!(code, 0, "{said}");
    let (taken, kept) = (temporary("taken"), temporary("kept"));
    let keys = app.downloads_outside(&kept).await;
    assert!(keys.len() >= 2 && keys.iter().all(|key| key.starts_with("checkpoints/checkpoint-0000")), "{keys:?}");

    let (taken_at, kept_at) = (taken.0.display().to_string(), kept.0.display().to_string());
    assert_eq!(app.command_says(&["audit", "export", &taken_at], &[]).await.0, 0);
    let verify = ["audit", "verify", &taken_at, "--key", &public];
    let (code, said) = app.command_says(&[&verify[..], &["--checkpoints", &kept_at]].concat(), &[]).await;
    assert!(code == 0 && said.contains("verified"), "{said}");
    assert_eq!(app.command_says(&verify, &[]).await.0, 3, "without what was kept outside it is unverified");
    let entries = taken.0.join("entries.txt");
    let text = std::fs::read_to_string(&entries).unwrap();
    std::fs::write(&entries, text.replacen("haloprofile", "koselfie", 1)).unwrap();
    let (code, said) = app.command_says(&[&verify[..], &["--checkpoints", &kept_at]].concat(), &[]).await;
    assert_eq!(code, 4, "{said}");
}

/// N23: fetched from the bucket by the command itself, export and checkpoints; whatever is changed there is found, and what is not
/// there is not taken for an answer.
#[tokio::test(flavor = "multi_thread")]
async fn n23_the_log_is_verified_straight_from_the_bucket_and_an_object_that_was_tampered_with_is_found() {
    let app = App::with_a_bucket_outside().await;
    app.person("koselfie").await;
    app.person("haloprofile").await;
    let signer = Signer::new("photos.example/audit", &[6; 32]).unwrap();
    let (public, private) = (signer.verifier().to_string(), signer.secret_text());
    let there = app.sandbox.description().supabase.clone();
    let settings = |secret| {
        [
            ("SAFELIGHT_CHECKPOINT_BUCKET", BUCKET),
            ("CHECKPOINT_S3_ENDPOINT", there.s3_endpoint.as_str()),
            ("CHECKPOINT_S3_REGION", "local"),
            ("CHECKPOINT_S3_ACCESS_KEY", there.s3_access_key_id.as_str()),
            ("CHECKPOINT_S3_SECRET_KEY", secret),
            ("SAFELIGHT_LOG_KEY", private.as_str()),
        ]
    };
    let right = settings(there.s3_secret_access_key.as_str());
    let taken = temporary("taken");
    let taken_at = taken.0.display().to_string();
    let verify = ["audit", "verify", "--export-from-bucket", "exports/one", "--from-bucket", "--key", &public];
    let (code, said) = app.command_says(&verify, &right).await;
    assert!(code == 1 && said.contains("`checkpoints`"), "nothing is there yet, and that is no answer: {said}");

    assert_eq!(app.command_says(&["audit", "seal"], &right).await.0, 0);
    let export = ["audit", "export", &taken_at, "--to-bucket", "exports/one"];
    let (code, said) = app.command_says(&export, &right).await;
    assert!(code == 0 && said.contains("`exports/one`"), "{said}");
    let (code, said) = app.command_says(&verify, &right).await;
    assert!(code == 0 && said.ends_with("verified\n"), "{said}");
    let of_a_folder = ["audit", "verify", &taken_at, "--from-bucket", "--key", &public];
    assert_eq!(app.command_says(&of_a_folder, &right).await.0, 0, "an export that was taken away");
    let without = ["audit", "verify", "--export-from-bucket", "exports/one", "--key", &public];
    assert_eq!(app.command_says(&without, &right).await.0, 3, "the database's own copies prove nothing");
    let (code, said) = app.command_says(&verify, &settings("another secret")).await;
    assert!(code == 1 && said.contains("bucket"), "{said}");
    let again = temporary("again");
    let again_at = again.0.display().to_string();
    let (code, said) = app.command_says(&["audit", "export", &again_at, "--to-bucket", "exports/one"], &right).await;
    assert!(code == 1 && said.contains("exports/one"), "nothing is overwritten there: {said}");

    let keys: Vec<String> = app.sandbox.supabase.objects(BUCKET).into_iter().map(|object| object.key).collect();
    let entries = "exports/one/entries.txt";
    let checkpoint = keys.iter().find(|key| key.starts_with("checkpoints/")).unwrap();
    for (key, change) in
        [(entries, ("haloprofile", "koselfie")), (checkpoint, ("photos.example/audit\n", "photos.example/other\n"))]
    {
        let genuine = app.sandbox.supabase.read(BUCKET, key).await.unwrap();
        let bent = String::from_utf8(genuine.to_vec()).unwrap().replacen(change.0, change.1, 1);
        assert_ne!(bent.as_bytes(), &genuine[..], "{key}");
        app.sandbox.supabase.put(BUCKET, key, "text/plain", bent.into_bytes().into()).await.unwrap();
        let (code, said) = app.command_says(&verify, &right).await;
        assert_eq!(code, 4, "{key}: {said}");
        app.sandbox.supabase.put(BUCKET, key, "text/plain", genuine).await.unwrap();
        assert_eq!(app.command_says(&verify, &right).await.0, 0, "{key}");
    }
}

/// A key that is locked just then is passed by, and the old master key must not be destroyed for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_has_passed_somebody_by_says_so_and_ends_as_a_failure() {
    const NEW: &str = "00000000000000000000000000000000000000000000000000000000000000aa";
    let app = App::spawn().await;
    let (ann, _eve) = (app.person("koselfie").await, app.person("koselfie").await);
    let keys = [("SAFELIGHT_MASTER_KEY", NEW), ("SAFELIGHT_MASTER_KEY_FORMER", MASTER_KEY)];
    let mut erasing = db::begin(&app.db).await.unwrap();
    sqlx::query("select from safelight.subject_keys where subject_id = $1 for update")
        .bind(ann.id.uuid())
        .execute(&mut *erasing)
        .await
        .unwrap();
    let (code, said) = app.command_says(&["key", "rotate"], &keys).await;
    assert!(code == 1 && said.contains("still wraps the keys of 1 persons"), "{said}");
    erasing.rollback().await.unwrap();
    let (code, said) = app.command_says(&["key", "rotate"], &keys).await;
    assert!(code == 0 && said.contains("1 keys are wrapped anew"), "{said}");
}

/// N17: the erasure ledger in a bucket; a restored database that lacks an erasure and a withdrawal is refused by it.
#[tokio::test(flavor = "multi_thread")]
async fn n17_k51_the_erasure_ledger_arrives_in_a_bucket_and_a_database_that_lacks_its_entries_is_refused() {
    let mut app = App::with_a_bucket_outside().await;
    let ledger =
        Ledger::bucket(&app.bucket_outside(&app.secret_outside()), "ledger", app.services.vault.ledger_keys()).unwrap();
    Arc::get_mut(&mut app.services).unwrap().ledger = Some(ledger.clone());
    assert!(matches!(restore::admit(&app.worker, &ledger).await.unwrap(), Admission::Cleared(_)));
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    app.agrees_to_compare(&eve, app.uploads(&eve, 1).await.0).await;
    let deletion = app.erases(&ann).await;
    app.withdraws(&eve, Purpose::Compare).await;
    let photo = app.artifacts("upload", eve.id.uuid()).await[0];
    let mut tx = app.tx().await;
    safelight_jobs::intake::delete_photo(&mut tx, None, photo, Some("ops_1")).await.unwrap();
    tx.commit().await.unwrap();
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    let keys: Vec<String> = app.sandbox.supabase.objects(BUCKET).into_iter().map(|object| object.key).collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    let of_the_photo = format!("_photo_{}", photo.uuid().simple());
    assert!(keys.iter().any(|key| key.contains(&of_the_photo)), "{keys:?}");
    assert!(keys.iter().any(|key| key.starts_with("ledger/") && key.contains("_erasure.")), "{keys:?}");
    assert!(keys.iter().any(|key| key.contains("_withdrawal_compare.")), "{keys:?}");

    let (endpoint, secret) = (app.sandbox.description().supabase.s3_endpoint.clone(), app.secret_outside());
    let access = app.sandbox.description().supabase.s3_access_key_id.clone();
    let settings = [
        ("SAFELIGHT_MASTER_KEY", MASTER_KEY),
        ("SAFELIGHT_LEDGER_BUCKET", BUCKET),
        ("LEDGER_S3_ENDPOINT", endpoint.as_str()),
        ("LEDGER_S3_REGION", "local"),
        ("LEDGER_S3_ACCESS_KEY", access.as_str()),
        ("LEDGER_S3_SECRET_KEY", secret.as_str()),
    ];
    let (code, said) = app.command_says(&["restore", "check"], &settings).await;
    assert!(code == 0 && said.contains("3 entries in the ledger, 0 the database does not know of"), "{said}");
    // As a backup from before the withdrawal would have it.
    for sql in [
        "delete from safelight.deletion_steps where deletion_id in (select id from safelight.deletions where subject_id = $1 and trigger = 'withdrawal')",
        "delete from safelight.deletions where subject_id = $1 and trigger = 'withdrawal'",
        "delete from safelight.consents where subject_id = $1 and event = 'withdrawn'",
    ] {
        sqlx::query(sql).bind(eve.id.uuid()).execute(&app.db).await.unwrap();
    }
    let (code, said) = app.command_says(&["restore", "check"], &settings).await;
    assert!(code == 1 && said.contains("withdrawal of compare"), "{said}");
}
