//! A person's export: what is in it, how it is handed out, and when it goes.

use chrono::{DateTime, Utc};
use safelight_jobs::{
    intake::{self, Ground},
    job::Queue,
};
use serde_json::{Value, json};

use crate::app::{App, Person};

async fn exports(app: &App, token: &str, person: &Person) -> (String, Value) {
    let (status, asked) = app.post(token, &format!("/v1/subjects/{}/exports", person.id), json!({})).await;
    assert_eq!(status, 202, "{asked}");
    (format!("/v1/subjects/{}/exports/{}", person.id, asked["export"].as_str().unwrap()), asked)
}

fn assert_fits_the_schema(document: &Value) {
    let path =
        std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/schemas/personal-data-export.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert_eq!(errors, Vec::<String>::new());
    for pointer in ["/given", "/files/0/base64", "/rights"] {
        let mut changed = document.clone();
        *changed.pointer_mut(pointer).unwrap() = Value::Null;
        assert!(!validator.is_valid(&changed), "{pointer} may be anything");
    }
}

/// One item of each class is there, opened; the photos are the photos; the document goes after a week.
#[tokio::test(flavor = "multi_thread")]
async fn k38_k42_the_export_has_every_class_in_a_form_that_machines_read_and_goes_after_a_week() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    let (path, asked) = exports(&app, &token, &ann).await;
    let (_, again) = exports(&app, &token, &ann).await;
    assert_eq!((&again["already"], &again["export"]), (&json!(true), &asked["export"]));
    assert_eq!(app.get(&token, &path).await.1["state"], "making");
    app.run_due_jobs().await;
    let (status, ready) = app.get(&token, &path).await;
    assert_eq!((status, &ready["state"]), (200, &json!("ready")));
    let text = app.http.get(ready["url"].as_str().unwrap()).send().await.unwrap().text().await.unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_fits_the_schema(&document);
    assert!(!text.contains("_sealed") && !text.contains("wrapped_key"), "nothing is left sealed, and no key is in it");

    let given = &document["given"];
    assert_eq!(given["safelight.accounts"][0]["email"], json!(ann.email));
    assert_eq!(given["safelight.accounts"][0]["google_id"], "108000000000000000001");
    assert_eq!(given["safelight.orders"][0]["prompt"], "in a garden");
    assert_eq!(given["safelight.consents"].as_array().unwrap().len(), 2);
    assert_eq!(given["safelight_fiscal.sales"].as_array().unwrap().len(), 1);
    let vector = document["about"]["safelight.embeddings"][0]["vector"].as_array().unwrap();
    assert!(vector.len() >= 128 && vector.iter().all(Value::is_number));
    assert_eq!(document["about"]["safelight.similarities"].as_array().unwrap().len(), 4);
    let files = document["files"].as_array().unwrap();
    let of = |class: &str| files.iter().filter(|file| file["class"] == class).count();
    assert_eq!((of("upload"), of("image"), of("export")), (3, 4, 0));
    for file in files {
        use base64::{Engine, engine::general_purpose::STANDARD};
        use sha2::{Digest, Sha256};
        let bytes = STANDARD.decode(file["base64"].as_str().unwrap()).unwrap();
        assert_eq!(file["sha256"], json!(hex::encode(Sha256::digest(&bytes))), "the bytes are the stored ones");
    }
    assert_eq!(document["controller"], "KoSelfie");
    assert!(document["recipients"].as_array().unwrap().iter().any(|one| one["processor"] == "fal"));
    assert!(document["rights"].as_str().unwrap().contains("authority"), "K45");

    let expires: DateTime<Utc> = serde_json::from_value(asked["expires_at"].clone()).unwrap();
    let made: DateTime<Utc> = sqlx::query_scalar("select created_at from safelight.artifacts where class = 'export'")
        .fetch_one(&app.db)
        .await
        .unwrap();
    assert_eq!((expires - made).num_hours(), 168, "a week");
    app.turn_clock_to(expires - chrono::Duration::seconds(60)).await;
    let (_, last) = app.get(&token, &path).await;
    let link = url::Url::parse(last["url"].as_str().unwrap()).unwrap();
    let life = link.query_pairs().find(|(name, _)| name == "X-Amz-Expires").unwrap().1.parse::<u64>().unwrap();
    assert!(life <= 60, "a link ends with what it leads to: {life} s");
    app.turn_clock_to(expires).await;
    assert_eq!(app.get(&token, &path).await.0, 410);
    app.sweeps().await;
    assert!(!app.stored_keys().iter().any(|key| key.contains("/export/")));
}

/// N29: the erasure comes while it is written, or when it lies there.
#[tokio::test(flavor = "multi_thread")]
async fn n29_an_export_dies_with_its_person_whether_it_is_being_made_or_made() {
    let app = App::spawn().await;
    let token = app.token("haloprofile").await;
    for made in [false, true] {
        let bob = app.person("haloprofile").await;
        app.uploads(&bob, 2).await;
        let (path, _) = exports(&app, &token, &bob).await;
        let claimed = app.dequeues(Queue::Notices).await;
        if made {
            assert!(app.performs(&claimed).await.is_ok());
            assert_eq!(app.get(&token, &path).await.1["state"], "ready");
        }
        let deletion = app.erases(&bob).await;
        if !made {
            assert!(app.performs(&claimed).await.is_err(), "who was asked before the erasure writes no row");
            // Nor would whoever came past the lease: the row itself is asked when the bytes are there.
            let export = app.artifacts("export", bob.id.uuid()).await[0];
            let late = sqlx::query("select safelight.export_arrived($1, 5, repeat('0', 64))")
                .bind(export.uuid())
                .execute(&app.worker)
                .await;
            assert!(late.unwrap_err().to_string().contains("subject_erased"));
        }
        app.waits_out_late_writers().await;
        assert_eq!(app.deletion_state(deletion).await, "complete");
        assert_eq!(app.stored_keys(), Vec::<String>::new(), "made: {made}");
        assert_eq!(app.get(&token, &path).await.0, 404);
    }
}

/// Whoever answers a mail has it made by a command; the console and the list say who and why, and never whose.
#[tokio::test(flavor = "multi_thread")]
async fn k38_k44_an_export_is_asked_for_listed_and_handed_out_by_commands_that_show_nothing_of_it() {
    let app = App::spawn().await;
    let bob = app.person("haloprofile").await;
    app.uploads(&bob, 1).await;
    let types = async |words: &[&str]| {
        let there = app.sandbox.description().supabase.clone();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_safelight"));
        command.args(words).env("DATABASE_URL", &app.database_url).env("SAFELIGHT_LOG", "error").kill_on_drop(true);
        command.env("S3_ENDPOINT", there.s3_endpoint).env("S3_REGION", there.s3_region);
        command.env("S3_ACCESS_KEY", there.s3_access_key_id).env("S3_SECRET_KEY", there.s3_secret_access_key);
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let ask = ["export", "ask", &bob.id.to_string(), "--why", "access_by_mail", "--by", "ops_1", "--json"];
    let asked: Value = serde_json::from_str(&types(&ask).await).unwrap();
    let export = asked["export"].as_str().unwrap().to_owned();
    app.run_due_jobs().await;
    let listed = types(&["export", "list", "--json"]).await;
    let rows: Value = serde_json::from_str(&listed).unwrap();
    let row = &rows["exports"][0];
    assert_eq!((&row["export"], &row["state"]), (&json!(export), &json!("ready")));
    assert_eq!((&row["by"], &row["why"]), (&json!("cli:ops_1"), &json!("access_by_mail")));
    for word in [bob.id.to_string(), bob.id.uuid().simple().to_string(), bob.email.clone()] {
        assert!(!listed.contains(&word), "{word} stands in the list");
    }
    let looks = "select count(*) from safelight.operator_acts where action = 'console.look' and actor = 'cli:ops_2' and why = 'ticket 7'";
    assert_eq!(app.count(looks).await, 0);
    let link = types(&["export", "link", &export, "--why", "ticket 7", "--actor", "ops_2", "--json"]).await;
    assert_eq!(app.count(looks).await, 1, "whoever can read everything about somebody is kept");
    let link: Value = serde_json::from_str(&link).unwrap();
    assert_eq!((&link["export"], &link["works_for_seconds"]), (&json!(export), &json!(300)));
    let document: Value = app.http.get(link["url"].as_str().unwrap()).send().await.unwrap().json().await.unwrap();
    assert_eq!(document["given"]["safelight.accounts"][0]["email"], json!(bob.email));
}

/// Who of the house answered is somebody else's, and a copy to take away ends with its week though the data are kept for a claim.
#[tokio::test(flavor = "multi_thread")]
async fn k38_k41_an_export_names_nobody_of_the_house_and_no_claim_keeps_it() {
    let app = App::spawn().await;
    let token = app.token("haloprofile").await;
    let bob = app.person("haloprofile").await;
    app.uploads(&bob, 1).await;
    let mut tx = app.tx().await;
    let new = intake::NewCase {
        tenant: "haloprofile",
        subject: Some(bob.id),
        kind: "access",
        channel: "mail",
        received_at: None,
        by: "miller_anna",
    };
    let (case, _) = intake::open_case(&mut tx, &new).await.unwrap();
    intake::verify_case(&mut tx, case, bob.id, "smith_john").await.unwrap();
    tx.commit().await.unwrap();
    app.restricts(&bob, Ground::Claims(app.now().await + chrono::Duration::days(40))).await.unwrap();
    let (path, asked) = exports(&app, &token, &bob).await;
    app.run_due_jobs().await;
    let (_, ready) = app.get(&token, &path).await;
    let text = app.http.get(ready["url"].as_str().unwrap()).send().await.unwrap().text().await.unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["about"]["safelight.cases"][0]["kind"], "access", "the case itself is the person's");
    assert!(!text.contains("miller_anna") && !text.contains("smith_john"));

    let expires: DateTime<Utc> = serde_json::from_value(asked["expires_at"].clone()).unwrap();
    app.turn_clock_to(expires + chrono::Duration::seconds(1)).await;
    app.sweeps().await;
    assert!(!app.stored_keys().iter().any(|key| key.contains("/export/")));
    assert!(app.stored_keys().iter().any(|key| key.contains("/upload/")), "the photo is kept for the claim");
}

/// Whose data are restricted gets them all the same.
#[tokio::test(flavor = "multi_thread")]
async fn k38_k41_a_restricted_person_gets_an_export() {
    let app = App::spawn().await;
    let token = app.token("haloprofile").await;
    let bob = app.person("haloprofile").await;
    app.uploads(&bob, 1).await;
    app.restricts(&bob, Ground::Accuracy).await.unwrap();
    let (path, _) = exports(&app, &token, &bob).await;
    app.run_due_jobs().await;
    assert_eq!(app.get(&token, &path).await.1["state"], "ready");
}
