//! Planted markers: words and bytes that name a person, searched for everywhere, before an erasure where they must not stand
//! in the clear, and after it everywhere.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use safelight_evidence::Signer;
use safelight_jobs::{
    db,
    providers::witness::Witness,
    sealer::{self, Sealer, Sign},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{MakeWriter, format::FmtSpan},
};

use crate::app::App;

/// Every log line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Of all tests of this program: a listener of one thread alone misses what another thread has heard first.
    fn of_the_program() -> Self {
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(
                "debug,safelight=trace,safelight_jobs=trace,safelight_api=trace,safelight_worker=trace",
            ))
            // Every span of a trace, with its fields, when it begins and when it ends.
            .with_span_events(FmtSpan::NEW | FmtSpan::CLOSE)
            .with_ansi(false)
            .with_writer(lines.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber)
            .expect("somebody listens already: run this without RUST_LOG");
        lines
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// Tables of the queue: arguments, keys, errors, dead letters, archive.
const QUEUE: [&str; 6] = ["jobs", "job_keys", "job_steps", "job_attempts", "jobs_archive", "dead_letters"];

#[tokio::test(flavor = "multi_thread")]
async fn n19_n20_h16_h17_k50_no_marker_of_a_person_is_found_anywhere_after_the_erasure_and_none_in_queue_and_log_before()
 {
    let lines = Lines::of_the_program();
    let app = App::spawn().await;
    let (ann, order) = app.pro_order().await;
    app.fulfils(order).await;
    // A job that dies, one that waits, one that failed: what goes wrong says codes.
    let batch = app.batch_of(order).await;
    let second = app.orders(&ann, batch, "basic", true).await;
    app.pays(second).await;
    let died = app.runs_up_to("generate_batch").await;
    app.dies(&died, "fal_rejected").await;
    app.run_due_jobs().await;
    assert!(lines.text().len() > 1000, "the log is heard");

    // What names her: her words, her objects' keys, her face.
    let mut connection = app.db.acquire().await.unwrap();
    let key = app.services.vault.key(&mut connection, ann.id).await.unwrap();
    let sealed: Vec<u8> =
        app.of("select vector_sealed from safelight.embeddings where subject_id = $1 limit 1", ann.id.uuid()).await;
    let vector = key.open("vector", &sealed).unwrap();
    assert!(vector.len() >= 512);
    drop(connection);
    let mut words = vec![
        ann.email.clone(),
        ann.email.split('@').next().unwrap().to_owned(),
        "Ann Example".to_owned(),
        "108000000000000000001".to_owned(),
        "in a garden".to_owned(),
        hex::encode(&vector[100..124]),
    ];
    let before = app.everything_stored().await;
    for word in &words {
        assert!(!before.contains(word), "{word} is stored in the clear");
    }
    let paths = app.stored_keys();
    assert!(paths.len() > 20);
    let queue: String = {
        let mut all = String::new();
        for table in QUEUE {
            let sql = format!("select coalesce(string_agg(t::text, E'\\n'), '') from safelight.{table} t");
            let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&app.db).await.unwrap();
            all.push_str(&rows);
        }
        all
    };
    assert!(queue.contains("fal_rejected"), "the dead letter is among what is searched");
    // A mail goes to her address, and says nothing else of her: no name, no word of hers, no picture, no link to one.
    let mails = app.sandbox.resend.mails();
    assert!(!mails.is_empty(), "a delivery was told");
    let (to, said): (Vec<_>, Vec<_>) = mails
        .iter()
        .map(|mail| {
            let mut rest = serde_json::to_value(mail).unwrap();
            (rest["to"].take(), rest.to_string())
        })
        .unzip();
    assert!(to.iter().all(|to| to[0] == ann.email.as_str()));
    let metrics = || async { app.http.get(format!("{}/metrics", app.url)).send().await.unwrap().text().await.unwrap() };
    let traces = lines.text();
    assert!(traces.contains("request{") && traces.contains("job{"), "the intake's and the worker's spans are heard");
    for (place, text) in [
        ("the queue", queue),
        ("the log and its traces", traces),
        ("the metrics", metrics().await),
        ("the mails", said.join("\n")),
    ] {
        for word in words.iter().chain(&paths) {
            assert!(!text.contains(word), "{word} stands in {place}");
        }
    }

    let deletion = app.erases(&ann).await;
    app.waits_out_late_writers().await;
    app.turn_clock(chrono::Duration::hours(2)).await;
    app.run_due_jobs().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    let after = app.sandbox.resend.mails();
    assert_eq!(after.len(), mails.len() + 1, "one confirmation, and nothing else to a person who is gone");
    let mut confirmation = serde_json::to_value(after.last().unwrap()).unwrap();
    assert_eq!(confirmation["to"].take()[0], ann.email.as_str());
    let outside = std::env::temp_dir().join(format!("safelight-outside-{}", uuid::Uuid::new_v4().simple()));
    let signer = Signer::new("photos.example/audit", &[6; 32]).unwrap();
    let sealer = Sealer::new(signer, None, vec![Witness::folder(&outside).unwrap()]).unwrap();
    let pool = db::connect_sealer(&app.database_url, 2).await.unwrap();
    sealer::pass(&pool, &sealer, Sign::Now).await.unwrap();
    let signed = sealer::certificate(&app.db, deletion, None).await.unwrap().expect("a certificate");
    std::fs::remove_dir_all(&outside).unwrap();

    words.extend(paths);
    words.push(ann.auth_user.to_string());
    let stripe: String = app.sandbox.stripe.calls().iter().map(|call| call.body.to_string()).collect();
    let fal = format!("{:?}", app.sandbox.fal.files());
    for (place, text) in [
        ("the tables", app.everything_stored().await),
        ("the log", lines.text()),
        ("the metrics", metrics().await),
        ("the certificate", serde_json::to_string(&signed).unwrap()),
        ("the certificate's page", safelight_api::certificate_page(&signed)),
        ("the store", app.stored_keys().join("\n")),
        ("the confirmation but for its address", confirmation.to_string()),
        ("what Stripe was told", stripe),
        ("what lies at Fal", fal),
        ("the sign-in users", format!("{:?}", app.sandbox.supabase.users())),
    ] {
        for word in &words {
            assert!(!text.contains(word), "{word} is found in {place}");
        }
    }
}
