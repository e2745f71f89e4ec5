//! Versions of policies: none changes, none counts before it was told, and what was agreed to stays what it was.

use std::sync::Arc;

use chrono::Duration;
use safelight_jobs::{
    gate::{Ask, Generate, Nsfw, Train},
    id::{Id, Order},
    intake,
    policy::{CapturePoint, DataClass, Policy, Processor, Purpose},
    policy_rows::{self, InstallError},
    services::Policies,
};

use crate::app::{App, Person};

const KOSELFIE: &str = include_str!("../../policies/koselfie.toml");
pub(super) const PORTRAITLAB: &str = include_str!("../policies/portraitlab.toml");

pub(super) fn changed(text: &str, changes: &[(&str, &str)]) -> Policy {
    let text = changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    let policy = Policy::parse(&text).unwrap();
    policy.check().unwrap();
    policy
}

impl App {
    async fn policy_in_force(&self, tenant: &str) -> String {
        sqlx::query_scalar("select safelight.policy_in_force($1)").bind(tenant).fetch_one(&self.db).await.unwrap()
    }

    /// With a third tenant beside the two.
    pub(super) async fn with_portraitlab() -> Self {
        Self::with_third_tenant(changed(PORTRAITLAB, &[])).await
    }

    /// The same, by this policy of it.
    pub(super) async fn with_third_tenant(policy: Policy) -> Self {
        let mut app = Self::spawn().await;
        policy_rows::install(&app.db, &policy).await.unwrap();
        let mut all = Policy::bundled().unwrap();
        all.push(policy);
        Arc::get_mut(&mut app.services).expect("nobody else has them yet").policies = Policies::new(all);
        app
    }

    /// A customer of the third tenant with one photo, and an order of two images that is ready to be paid.
    pub(super) async fn portrait_order(&self, ticks: bool) -> (Person, Id<Order>) {
        let eve = self.person("portraitlab").await;
        let (batch, _) = self.uploads(&eve, 1).await;
        if ticks {
            self.grants(&eve, Purpose::Generate, CapturePoint::Upload, Some(batch), None).await.unwrap();
        }
        let order = self.orders(&eve, batch, "two", false).await;
        (eve, order)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_k1_a_text_that_changed_by_one_byte_needs_a_version_of_its_own() {
    let app = App::spawn().await;
    let other_text = ("fe07f42398c1", "fe07f42398c0");
    let same_version = changed(KOSELFIE, &[other_text]);
    assert!(matches!(policy_rows::install(&app.db, &same_version).await, Err(InstallError::Changed { .. })));
    // A process that was started with it does not get to work either.
    let started = policy_rows::in_force(&app.worker, std::slice::from_ref(&same_version)).await;
    assert!(matches!(started, Err(InstallError::Changed { .. })), "{started:?}");
    let new_version = changed(KOSELFIE, &[other_text, ("version = \"2026-05-25\"", "version = \"2026-12-01\"")]);
    let unknown = policy_rows::in_force(&app.worker, std::slice::from_ref(&new_version)).await;
    assert!(matches!(unknown, Err(InstallError::NotInstalled { .. })), "{unknown:?}");
    policy_rows::install(&app.db, &new_version).await.unwrap();
    assert_eq!(app.policy_in_force("koselfie").await, "2026-05-25");
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_k1_every_grant_and_every_call_names_the_version_that_it_rests_on() {
    let app = App::spawn().await;
    let (_ann, order) = app.model_order().await;
    app.pays(order).await;
    app.run_due_jobs().await;
    for sql in [
        "select count(*) from safelight.consents where policy_version <> '2026-05-25'",
        "select count(*) from safelight.provider_calls where policy_version <> '2026-05-25'",
    ] {
        assert_eq!(app.count(sql).await, 0, "{sql}");
    }
    assert!(app.count("select count(*) from safelight.provider_calls where cardinality(grants) > 0").await > 0);
    let dated: Vec<String> = Policy::bundled().unwrap().iter().map(|policy| policy.date().to_string()).collect();
    assert_eq!(dated, ["2026-05-13", "2026-05-25"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn k48_a_new_version_counts_only_when_its_notice_was_on_display_long_enough() {
    let app = App::spawn().await;
    let next = changed(KOSELFIE, &[("version = \"2026-05-25\"", "version = \"2026-06-30\"")]);
    policy_rows::install(&app.db, &next).await.unwrap();
    // Its date is over, and nobody was told: it counts for nobody, however long that lasts.
    app.turn_clock(Duration::days(100)).await;
    assert_eq!(app.policy_in_force("koselfie").await, "2026-05-25");

    let from = policy_rows::announce(&app.db, "koselfie", "2026-06-30", crate::app::OPS).await.unwrap();
    app.turn_clock(Duration::hours(335)).await;
    assert_eq!(app.policy_in_force("koselfie").await, "2026-05-25", "an hour early");
    assert_eq!(
        policy_rows::announce(&app.db, "koselfie", "2026-06-30", crate::app::OPS).await.unwrap(),
        from,
        "a later word moves nothing"
    );
    let works_with = policy_rows::in_force(&app.worker, std::slice::from_ref(&next)).await.unwrap();
    assert_eq!(works_with[0].version(), "2026-05-25", "who starts with the new file works by the version that counts");
    app.turn_clock(Duration::hours(1)).await;
    assert_eq!(app.policy_in_force("koselfie").await, "2026-06-30");
    assert_eq!(policy_rows::in_force(&app.worker, &[next]).await.unwrap()[0].version(), "2026-06-30");
    assert_eq!(app.count("select count(*) from safelight.audit_entries where action = 'policy.announced'").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn k48_a_version_that_was_told_early_still_waits_for_its_own_date() {
    let app = App::spawn().await;
    let in_a_year = app.now().await + Duration::days(365);
    let date = format!("effective_at = \"{}\"", in_a_year.format("%Y-%m-%dT%H:%M:%SZ"));
    let next = changed(
        KOSELFIE,
        &[("version = \"2026-05-25\"", "version = \"next\""), ("effective_at = \"2026-05-25T00:00:00Z\"", &date)],
    );
    policy_rows::install(&app.db, &next).await.unwrap();
    policy_rows::announce(&app.db, "koselfie", "next", crate::app::OPS).await.unwrap();
    app.turn_clock(Duration::days(364)).await;
    assert_eq!(app.policy_in_force("koselfie").await, "2026-05-25");
    app.turn_clock(Duration::days(1)).await;
    assert_eq!(app.policy_in_force("koselfie").await, "next");
    // Neither role that works may say so itself.
    for pool in [&app.worker, &app.services_of_the_intake().await] {
        let refused = sqlx::query("select safelight.announce_policy('koselfie', 'next')").execute(pool).await;
        assert!(refused.unwrap_err().to_string().contains("permission denied"));
    }
}

impl App {
    async fn services_of_the_intake(&self) -> sqlx::PgPool {
        safelight_jobs::db::connect(&self.database_url, safelight_jobs::db::Role::Api, 1).await.unwrap()
    }
}

/// PortraitLab's next version: images are labelled, with a consent of its own.
fn with_labels() -> Policy {
    changed(
        PORTRAITLAB,
        &[
            ("version = \"2026-06-01\"", "version = \"2026-07-01\""),
            (
                "pay = { basis",
                "nsfw = { basis = \"consent\", capture_points = [\"upload\"], scope = \"batch\" }\npay = { basis",
            ),
            (
                "[[rule]]\npurpose = \"pay\"",
                "[[rule]]\npurpose = \"nsfw\"\nprocessor = \"fal\"\nclasses = [\"image\", \"verdict\"]\n\n[[rule]]\npurpose = \"pay\"",
            ),
            ("[[plan]]", "[nsfw]\nmodel = \"fal-ai/imageutils/nsfw\"\nthreshold = 0.5\n\n[[plan]]"),
        ],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn n30_k1_a_grant_under_the_old_version_does_not_cover_a_purpose_of_the_new_one() {
    let app = App::with_portraitlab().await;
    let (eve, order) = app.portrait_order(true).await;
    app.pays(order).await;
    app.run_due_jobs().await;
    let asks = || Ask::of(eve.id, Processor::Fal, &[DataClass::Image]).order(order);
    assert_eq!(app.gate::<Nsfw>(asks()).await.unwrap_err(), "purpose_not_allowed", "version one has no such purpose");

    policy_rows::install(&app.db, &with_labels()).await.unwrap();
    policy_rows::announce(&app.db, "portraitlab", "2026-07-01", crate::app::OPS).await.unwrap();
    app.turn_clock(Duration::hours(47)).await;
    assert_eq!(
        app.gate::<Nsfw>(asks()).await.unwrap_err(),
        "purpose_not_allowed",
        "it was told and does not count yet"
    );
    app.turn_clock(Duration::hours(2)).await;
    assert_eq!(app.gate::<Nsfw>(asks()).await.unwrap_err(), "consent_missing", "and what was agreed to is not this");
    // What was agreed to still holds, and still names its own version.
    let made = app.gate::<Generate>(Ask::of(eve.id, Processor::Fal, &[DataClass::Prompt]).order(order)).await.unwrap();
    assert_eq!(made.policy_version(), "2026-07-01");
    let rests_on: Vec<String> = sqlx::query_scalar("select policy_version from safelight.consents where id = any ($1)")
        .bind(made.grants().to_vec())
        .fetch_all(&app.db)
        .await
        .unwrap();
    assert_eq!(rests_on, ["2026-06-01"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn n30_a_job_that_was_enqueued_under_the_old_version_runs_for_the_old_purposes_only() {
    let app = App::with_portraitlab().await;
    let (_eve, order) = app.portrait_order(true).await;
    app.pays(order).await;
    app.sandbox.idle().await;
    // Enqueued under version one; version two counts when it runs.
    policy_rows::install(&app.db, &with_labels()).await.unwrap();
    policy_rows::announce(&app.db, "portraitlab", "2026-07-01", crate::app::OPS).await.unwrap();
    app.turn_clock(Duration::hours(49)).await;
    assert_eq!(app.policy_in_force("portraitlab").await, "2026-07-01");
    app.run_due_jobs().await;
    let purposes: Vec<String> =
        sqlx::query_scalar("select distinct purpose from safelight.provider_calls").fetch_all(&app.db).await.unwrap();
    assert_eq!(purposes, ["generate"], "nothing is labelled without the new consent");
    assert_eq!(app.sandbox.fal.requests().iter().filter(|request| request.endpoint.contains("nsfw")).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_to_a_version_that_does_not_count_yet_is_refused() {
    let app = App::with_portraitlab().await;
    policy_rows::install(&app.db, &with_labels()).await.unwrap();
    let eve = app.person("portraitlab").await;
    let (batch, _) = app.uploads(&eve, 1).await;
    let mut tx = app.tx().await;
    let grant = intake::Grant {
        subject: eve.id,
        purpose: Purpose::Generate,
        capture_point: CapturePoint::Upload,
        batch: Some(batch),
        order: None,
        wording_sha256: crate::app::WORDING.to_owned(),
        policy_version: "2026-07-01".to_owned(),
    };
    let refused = intake::grant(&mut tx, "portraitlab", &grant).await.unwrap_err();
    assert!(refused.to_string().contains("consent_not_asked_for"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_tenant_is_one_file_from_the_first_photo_to_the_last_deletion() {
    let app = App::with_portraitlab().await;
    // Its own rules: nothing is trained, and images need a consent at the upload.
    let (eve, order) = app.portrait_order(true).await;
    let trains = Ask::of(eve.id, Processor::Fal, &[DataClass::Upload]).order(order);
    assert_eq!(app.gate::<Train>(trains).await.unwrap_err(), "purpose_not_allowed");
    app.fulfils(order).await;
    assert_eq!((app.sandbox.fal.trainings(), app.sandbox.fal.generations()), (0, 2));
    assert!(app.sandbox.resend.mails().is_empty(), "it names no mail processor");

    let (_dan, unticked) = app.portrait_order(false).await;
    app.pays(unticked).await;
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.fal.generations(), 2, "no box, no image");

    // Its own terms: two days for images, four for photos.
    let (images, photos) = (app.artifacts("image", order.uuid()).await, app.artifacts("upload", eve.id.uuid()).await);
    assert!(app.readable(images[0]).await);
    app.turn_clock(Duration::hours(48)).await;
    assert!(!app.readable(images[0]).await && app.readable(photos[0]).await);
    app.turn_clock(Duration::hours(48)).await;
    app.sweeps().await;
    assert_eq!(app.stored_keys(), Vec::<String>::new());
    app.erases(&eve).await;
    app.lives_on(2, Duration::hours(2)).await;
    assert_eq!(
        app.count("select count(*) from safelight.deletions where trigger = 'erasure' and state = 'complete'").await,
        1
    );
}

#[test]
fn no_line_of_code_decides_by_the_name_of_a_tenant() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = ["jobs/src", "api/src", "worker/src", "migrations"].map(|part| root.join(part)).into();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.file_name().is_some_and(|name| name.to_string_lossy().contains("tests")) {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            // Tests at the end of a file may name who they like, and the list of bundled files names its files.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            found.extend(
                code.lines()
                    .filter(|line| {
                        let line = line
                            .split("//")
                            .next()
                            .unwrap_or_default()
                            .split("--")
                            .next()
                            .unwrap_or_default()
                            .to_lowercase();
                        ["koselfie", "haloprofile"].iter().any(|tenant| {
                            line.contains(&format!("\"{tenant}\"")) || line.contains(&format!("'{tenant}'"))
                        })
                    })
                    .map(|line| format!("{}: {line}", path.display())),
            );
        }
    }
    assert_eq!(found, Vec::<String>::new());
}
