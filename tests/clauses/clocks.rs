//! Clocks: until when something is there, from when on it is not served, and when it is gone. Hours, never days; the read
//! gate closes at the instant, however late the sweep.

use std::path::{Path, PathBuf};

use chrono::{Duration, TimeZone, Utc};
use safelight_jobs::{
    db::{self, Role},
    gate::{Ask, Compare, Train},
    generate_batch::GenerateBatch,
    id::{Artifact, Id, Order},
    intake,
    policy::{DataClass, Processor},
};
use safelight_sandbox::fal::{Hold, Oddities};
use sqlx::Executor;

use crate::app::{App, term};

pub(super) async fn uploaded_at(app: &App, artifact: Id<Artifact>) -> chrono::DateTime<Utc> {
    app.of("select uploaded_at from safelight.artifacts where id = $1", artifact.uuid()).await
}

pub(super) async fn delivered_at(app: &App, artifact: Id<Artifact>) -> chrono::DateTime<Utc> {
    app.of("select delivered_at from safelight.artifacts where id = $1", artifact.uuid()).await
}

async fn mark_paid(app: &App, order: Id<Order>) {
    sqlx::query("update safelight.orders set state = 'paid', paid_at = safelight.now() where id = $1")
        .bind(order.uuid())
        .execute(&app.db)
        .await
        .unwrap();
}

/// Both edges, and no sweep has run in between: the gate alone closes.
#[tokio::test(flavor = "multi_thread")]
async fn k23_a_selfie_may_be_read_until_720_hours_and_not_a_moment_longer_although_no_sweep_ran() {
    let app = App::spawn().await;
    let (ann, order) = app.model_order().await;
    mark_paid(&app, order).await;
    let selfie = app.artifacts("upload", ann.id.uuid()).await[0];
    let due = uploaded_at(&app, selfie).await + term();
    let asks =
        || Ask::of(ann.id, Processor::Fal, &[DataClass::Upload]).order(order).objects(std::slice::from_ref(&selfie));

    app.turn_clock_to(due - Duration::minutes(1)).await;
    assert!(app.readable(selfie).await, "719:59");
    assert!(app.gate::<Train>(asks()).await.is_ok());

    app.turn_clock_to(due).await;
    assert!(!app.readable(selfie).await, "720:00");
    assert_eq!(app.gate::<Train>(asks()).await.unwrap_err(), "object_gone");
    assert!(app.has_row(selfie).await, "nobody has swept yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn k23_after_the_sweep_the_bytes_of_a_selfie_are_gone_from_the_store_and_its_row_too() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, selfies) = app.uploads(&ann, 3).await;
    let last = uploaded_at(&app, selfies[2]).await;
    app.turn_clock_to(last + term() - Duration::minutes(1)).await;
    app.sweeps().await;
    assert_eq!(app.stored_keys().len(), 3, "a sweep before the instant takes nothing");
    app.turn_clock_to(last + term()).await;
    app.sweeps().await;
    assert_eq!(app.stored_keys().len(), 0);
    assert_eq!(app.artifacts("upload", batch.uuid()).await.len(), 0);
    let verified: String = app
        .of("select s.state || ': ' || s.evidence from safelight.deletion_steps s join safelight.deletions d on d.id = s.deletion_id where d.subject_id = $1 limit 1", ann.id.uuid())
        .await;
    assert_eq!(
        verified,
        "verified: looked: the store has none of 3 objects; their rows are gone, with the vectors and scores that rested on them"
    );
}

/// Two days without a sweep: nothing is served meanwhile, then the backlog goes.
#[tokio::test(flavor = "multi_thread")]
async fn k23_a_sweep_that_comes_two_days_late_clears_the_backlog() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (_, selfies) = app.uploads(&ann, 3).await;
    app.turn_clock(term() + Duration::hours(48)).await;
    assert!(!app.readable(selfies[0]).await);
    let answer =
        app.http.get(format!("{}/sweeps/retention", app.url)).bearer_auth(&app.cron_secret).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    app.run_due_jobs().await;
    assert_eq!(app.stored_keys().len(), 0);
    assert_eq!(app.count("select residue::bigint from safelight.sweeps where kind = 'retention' limit 1").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn k24_k25_k49_an_image_is_served_until_720_hours_after_its_delivery_and_then_no_more() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let token = app.token("koselfie").await;
    let image = app.artifacts("image", order.uuid()).await[0];
    let due = delivered_at(&app, image).await + term();

    app.turn_clock_to(due - Duration::minutes(1)).await;
    app.sweeps().await;
    assert_eq!(app.reads_image(&token, ann.id, image).await, 200, "719:59, and a sweep has run");

    app.turn_clock_to(due).await;
    assert_eq!(app.reads_image(&token, ann.id, image).await, 410, "720:00, before any sweep");
    let key = app.key_of(image).await;
    assert!(app.stored_keys().contains(&key));

    app.turn_clock(Duration::minutes(5)).await;
    app.sweeps().await;
    assert_eq!(app.reads_image(&token, ann.id, image).await, 404);
    assert_eq!(app.stored_keys().len(), 0, "images and selfies are gone");
    for table in [
        "select count(*) from safelight.artifacts",
        "select count(*) from safelight.image_checks",
        "select count(*) from safelight.similarities",
    ] {
        assert_eq!(app.count(table).await, 0, "{table}");
    }
    assert_eq!(app.sandbox.fal.files().len(), 0, "and nothing lies at Fal");
}

/// Each image has its own term: one that is delivered three days later is there three days longer.
#[tokio::test(flavor = "multi_thread")]
async fn k24_an_image_that_is_delivered_later_has_its_own_full_term() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    app.sandbox.fal.hold(Hold::InProgress);
    app.begins(order).await;
    // Fal says only three days later that the last picture is done.
    let last = app.sandbox.fal.requests().last().unwrap().id;
    app.sandbox.fal.faults().add(safelight_sandbox::Rule {
        fault: safelight_sandbox::Fault::DropWebhook,
        times: Some(1),
        on: Some(last.to_string()),
    });
    app.sandbox.fal.hold(Hold::Nowhere);
    app.run_due_jobs().await;
    let early = app.artifacts("image", order.uuid()).await;
    assert_eq!(early.len(), 3);
    // The real Fal would have dropped the result by then; what matters here is the instant of the delivery.
    app.sandbox.fal.deliver_again(last).unwrap();
    app.sandbox.fal.idle().await;
    app.turn_clock_house_only(Duration::hours(72)).await;
    app.run_due_jobs().await;
    let all = app.artifacts("image", order.uuid()).await;
    assert_eq!(all.len(), 4);
    let late = *all.iter().find(|image| !early.contains(image)).unwrap();
    let first = early[0];
    let apart = delivered_at(&app, late).await - delivered_at(&app, first).await;
    assert!(apart >= Duration::hours(72), "{apart}");

    let token = app.token("koselfie").await;
    app.turn_clock_to(delivered_at(&app, first).await + term() + Duration::minutes(1)).await;
    app.sweeps().await;
    assert_eq!(app.reads_image(&token, ann.id, first).await, 404, "the early one is gone");
    assert_eq!(app.reads_image(&token, ann.id, late).await, 200, "the late one is there");
    app.turn_clock_to(delivered_at(&app, late).await + term() - Duration::minutes(1)).await;
    app.sweeps().await;
    assert_eq!(app.reads_image(&token, ann.id, late).await, 200, "for its own 719:59");
    app.turn_clock(Duration::minutes(1)).await;
    assert_eq!(app.reads_image(&token, ann.id, late).await, 410);
}

/// Nothing withheld has a term: it was never delivered.
#[tokio::test(flavor = "multi_thread")]
async fn k24_an_image_that_is_withheld_goes_at_once() {
    let app = App::spawn().await;
    app.sandbox.fal.set_oddities(Oddities { nobody_at: Some(2), nsfw_at: None });
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    assert_eq!(app.artifacts("image", order.uuid()).await.len(), 3, "one of four showed nobody");
    assert_eq!(app.stored_keys().iter().filter(|key| key.contains("/image/")).count(), 3);
    let deleted = app
        .of::<i64>(
            "select count(*) from safelight.deletions where subject_id = $1 and state = 'complete'",
            ann.id.uuid(),
        )
        .await;
    assert_eq!(deleted, 1);
}

/// K26, N7: the vectors go in the step that takes the photo, and so does the copy in the training zip.
#[tokio::test(flavor = "multi_thread")]
async fn k26_k49_embeddings_and_scores_go_with_the_photos_that_they_came_from() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(true).await;
    let selfies = app.artifacts("upload", ann.id.uuid()).await;
    app.fulfils(order).await;
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, 3);
    let vector: Vec<u8> =
        app.of("select vector_sealed from safelight.embeddings where upload_id = $1", selfies[0].uuid()).await;
    let planted: String = vector.iter().take(24).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(app.lines_with(&planted).await.len(), 1);

    app.turn_clock_to(uploaded_at(&app, selfies[2]).await + term()).await;
    app.sweeps().await;
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, 0);
    assert!(app.lines_with(&planted).await.is_empty(), "no table holds the vector any more");
    assert_eq!(app.artifacts("image", order.uuid()).await.len(), 4, "the images have their own, later term");
    assert_eq!(app.count("select count(*) from safelight.similarities").await, 0, "no score outlives what it counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn k26_a_photo_cannot_be_deleted_while_its_embedding_stays() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(true).await;
    let selfies = app.artifacts("upload", ann.id.uuid()).await;
    app.fulfils(order).await;
    let refused =
        sqlx::query("delete from safelight.artifacts where id = $1").bind(selfies[0].uuid()).execute(&app.db).await;
    assert!(refused.unwrap_err().to_string().contains("embeddings"), "the schema itself refuses it");
}

/// The gate is open at 719:30. What leaves then is a link, and a link does not outlive its photo, however late the sweep.
#[tokio::test(flavor = "multi_thread")]
async fn k23_a_link_that_a_processor_gets_shortly_before_a_photos_end_ends_with_the_photo() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    let due = uploaded_at(&app, app.artifacts("upload", ann.id.uuid()).await[0]).await + term();
    app.sandbox.fal.hold(Hold::InProgress);
    app.turn_clock_to(due - Duration::minutes(30)).await;
    mark_paid(&app, order).await;
    sqlx::query("update safelight.orders set state = 'generating' where id = $1")
        .bind(order.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    app.wants(&GenerateBatch { order }).await;
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    let requests = app.sandbox.fal.requests();
    assert_eq!(requests.len(), 4);
    for request in requests {
        let link = url::Url::parse(request.input["image_url"].as_str().unwrap()).unwrap();
        let (_, seconds) = link.query_pairs().find(|(name, _)| name.eq_ignore_ascii_case("x-amz-expires")).unwrap();
        let seconds: i64 = seconds.parse().unwrap();
        assert!((1700..=1800).contains(&seconds), "{seconds}");
    }
}

/// N14: an hour has sixty minutes in every session, also where the clocks change in between.
#[tokio::test(flavor = "multi_thread")]
async fn n14_k23_720_hours_are_720_hours_in_a_session_of_berlin_across_both_changes_of_its_clock() {
    let app = App::spawn().await;
    let berlin = db::connect(&app.database_url, Role::Owner, 1).await.unwrap();
    berlin.execute("set time zone 'Europe/Berlin'").await.unwrap();
    for start in [Utc.with_ymd_and_hms(2027, 3, 10, 22, 30, 0), Utc.with_ymd_and_hms(2027, 10, 10, 22, 30, 0)] {
        app.turn_clock_to(start.unwrap()).await;
        let ann = app.person("koselfie").await;
        let (_, selfies) = app.uploads(&ann, 1).await;
        // The same row once more, written by the session of Berlin.
        let id = Id::<Artifact>::new();
        sqlx::query(
            "insert into safelight.artifacts (id, tenant, subject_id, generation, class, batch_id, storage_key, state, bytes, sha256, uploaded_at)
            select $1, tenant, subject_id, generation, class, batch_id, regexp_replace(storage_key, '[^/]+$', $2), state, bytes, sha256, uploaded_at
            from safelight.artifacts where id = $3",
        )
        .bind(id.uuid())
        .bind(id.uuid().simple().to_string())
        .bind(selfies[0].uuid())
        .execute(&berlin)
        .await
        .unwrap();
        for artifact in [selfies[0], id] {
            let seconds: f64 = app
                .of("select extract(epoch from delete_after - uploaded_at)::float8 from safelight.artifacts where id = $1", artifact.uuid())
                .await;
            assert!((seconds - 720.0 * 3600.0).abs() < 1e-6, "{seconds}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n14_k40_an_erasure_asked_for_on_31_january_is_to_be_answered_by_28_february() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.turn_clock_to(Utc.with_ymd_and_hms(2027, 1, 31, 23, 30, 0).unwrap()).await;
    let mut tx = app.tx().await;
    let erasure = intake::erase(&mut tx, ann.tenant, ann.id, None).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(erasure.answer_due.date_naive().to_string(), "2027-02-28");
}

#[tokio::test(flavor = "multi_thread")]
async fn n15_h27_h10_an_upload_at_haloprofile_stays_beside_one_of_koselfie_that_goes() {
    let app = App::spawn().await;
    let (bob, ann) = (app.person("haloprofile").await, app.person("koselfie").await);
    let (_, kept) = app.uploads(&bob, 2).await;
    let (_, gone) = app.uploads(&ann, 2).await;
    app.turn_clock(Duration::days(31)).await;
    app.sweeps().await;
    assert!(app.readable(kept[0]).await && app.readable(kept[1]).await);
    assert!(!app.has_row(gone[0]).await && !app.has_row(gone[1]).await);
    assert_eq!(app.stored_keys().len(), 2);
    // Written down, not forgotten: the rule says `until_erasure`.
    let rule: String = sqlx::query_scalar(
        "select rule from safelight.policy_retention where tenant = 'haloprofile' and class = 'upload'",
    )
    .fetch_one(&app.db)
    .await
    .unwrap();
    assert_eq!(rule, "until_erasure");
}

/// The order's own photos are compared while they live, and not after.
#[tokio::test(flavor = "multi_thread")]
async fn k26_a_vector_whose_photo_is_due_serves_no_comparison_although_no_sweep_ran() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(true).await;
    let selfie = app.artifacts("upload", ann.id.uuid()).await[0];
    app.fulfils(order).await;
    app.turn_clock_to(uploaded_at(&app, selfie).await + term()).await;
    let asks = Ask::of(ann.id, Processor::SelfHosted, &[DataClass::Upload, DataClass::Embedding])
        .order(order)
        .objects(std::slice::from_ref(&selfie));
    assert_eq!(app.gate::<Compare>(asks).await.unwrap_err(), "object_gone");
}

impl App {
    /// Only the house's clock: the stand-ins keep what they have.
    async fn turn_clock_house_only(&self, by: Duration) {
        self.turn_clock(by).await;
        self.sandbox.turn_clock(-by);
    }
}

/// Files of a folder and of those below it.
fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => sources(&entry, all),
            false => all.push(entry),
        }
    }
}

/// N14: what is due, early or late is said by the database's clock. Who looks at a process's own one stands here, with what for.
#[test]
fn n14_no_process_looks_at_its_own_clock_but_where_nothing_of_a_person_is_decided() {
    const MAY: [(&str, &str); 4] = [
        ("api/src/routes/webhooks.rs", "how old a provider's signature is, by that provider's clock"),
        ("src/bench/intake.rs", "a measurement"),
        ("src/bench/working.rs", "a measurement"),
        ("worker/src/reports.rs", "until when Sentry wants to be left alone"),
    ];
    const CLOCKS: [&str; 5] = ["Utc::now", "Local::now", "SystemTime::now", "OffsetDateTime::now", "UNIX_EPOCH"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["api/src", "evidence/src", "faces/src", "jobs/src", "src", "worker/src"] {
        sources(&root.join(folder), &mut files);
    }
    let mut look: Vec<String> = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|it| it == "rs") && !file.ends_with("tests.rs"))
    {
        let text = std::fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        if CLOCKS.iter().any(|clock| code.contains(clock)) {
            look.push(file.strip_prefix(root).unwrap().display().to_string());
        }
    }
    look.sort();
    assert!(files.len() > 200, "the sources are there");
    assert_eq!(
        look,
        MAY.map(|(file, _)| file),
        "give it the database's time, or say here why nothing is decided by it"
    );
}
