//! The second look, and the sweeps that look after deletions and after the store: nothing that is written late survives, and
//! nothing is called complete, stuck or checked that is not.

use chrono::Duration;
use safelight_jobs::{
    id::{Deletion, Id},
    sweep_deletions::SweepDeletions,
    sweep_orphans::SweepOrphans,
};
use uuid::Uuid;

use crate::app::{App, Person};

async fn step(app: &App, deletion: Id<Deletion>) -> (String, Option<String>, i32, Option<String>) {
    sqlx::query_as(
        "select state, code, deleted, evidence from safelight.deletion_steps where deletion_id = $1 order by seq desc limit 1",
    )
    .bind(deletion.uuid())
    .fetch_one(&app.db)
    .await
    .unwrap()
}

/// Found, acted, residue of the last run of a sweep.
async fn swept(app: &App, kind: &str) -> (i32, i32, Option<i32>) {
    sqlx::query_as(
        "select found, acted, residue from safelight.sweeps where kind = $1 order by finished_at desc limit 1",
    )
    .bind(kind)
    .fetch_one(&app.db)
    .await
    .unwrap()
}

async fn compares_store(app: &App) -> (i32, i32, Option<i32>) {
    compares_some(app, None).await
}

/// One run that looks at so many objects of each tenant.
async fn compares_some(app: &App, most: Option<u32>) -> (i32, i32, Option<i32>) {
    app.wants(&SweepOrphans { because: Uuid::new_v4().simple().to_string(), most }).await;
    app.run_due_jobs().await;
    swept(app, "orphans").await
}

async fn looks_after_deletions(app: &App) -> (i32, i32, Option<i32>) {
    app.wants(&SweepDeletions { because: Uuid::new_v4().simple().to_string() }).await;
    app.run_due_jobs().await;
    swept(app, "deletions").await
}

async fn puts_stray(app: &App, person: &Person) -> String {
    let key = format!("{}/{}/upload/{}", person.tenant, person.id.uuid().simple(), Uuid::new_v4().simple());
    app.sandbox.supabase.put("safelight", &key, "image/jpeg", b"late".to_vec().into()).await.unwrap();
    key
}

/// N10: the link was made before the erasure and is used after everything was deleted and seen to be gone.
#[tokio::test(flavor = "multi_thread")]
async fn n10_h16_k5_a_photo_put_by_an_old_link_after_the_deletion_is_found_and_the_erasure_was_not_complete_before() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 1).await;
    let slot = app.place_for_a_photo(&ann, batch).await.unwrap();
    let made = app.now().await;
    let deletion = app.erases(&ann).await;
    app.run_due_jobs().await;
    assert_eq!(app.stored_keys().len(), 0);
    let (state, code, ..) = step(&app, deletion).await;
    assert_eq!((state.as_str(), code.as_deref()), ("waiting_provider", Some("late_writers")));

    app.turn_clock_to(made + Duration::minutes(59)).await;
    let put =
        app.http.put(slot.put_url.expose()).header("content-type", "image/jpeg").body("late").send().await.unwrap();
    assert!(put.status().is_success(), "the link still lives: {}", put.status());
    assert_eq!(app.stored_keys().len(), 1);
    app.turn_clock_to(made + Duration::minutes(74)).await;
    app.run_due_jobs().await;
    assert_ne!(
        app.deletion_state(deletion).await,
        "complete",
        "a write that began with the link's last second may still come"
    );
    app.turn_clock_to(made + Duration::minutes(76)).await;
    app.run_due_jobs().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.stored_keys().len(), 0);
    let (state, _, deleted, evidence) = step(&app, deletion).await;
    assert_eq!((state.as_str(), deleted), ("verified", 1), "{evidence:?}");
}

/// N4: Fal repeats a webhook for two hours; no erasure of somebody whose images it made is complete before.
#[tokio::test(flavor = "multi_thread")]
async fn n4_k18_an_erasure_is_complete_when_fal_repeats_no_webhook_any_more_and_not_before() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    let ended: chrono::DateTime<chrono::Utc> =
        app.of("select max(finished_at) from safelight.provider_calls where subject_id = $1", bob.id.uuid()).await;
    let deletion = app.erases(&bob).await;
    app.turn_clock_to(ended + Duration::minutes(119)).await;
    app.run_due_jobs().await;
    assert_ne!(app.deletion_state(deletion).await, "complete");
    app.turn_clock_to(ended + Duration::minutes(121)).await;
    app.run_due_jobs().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
}

/// A row that came after its step: the data map finds it, and its step takes it.
#[tokio::test(flavor = "multi_thread")]
async fn h17_a_row_that_came_after_its_step_was_verified_is_found_by_the_second_look_and_goes() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let deletion = app.erases(&ann).await;
    app.run_due_jobs().await;
    sqlx::query("insert into safelight.notices (id, tenant, subject_id, template, channel) values ($1, 'koselfie', $2, 'order_delivered', 'product')")
        .bind(Uuid::new_v4())
        .bind(ann.id.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.count("select count(*) from safelight.notices").await, 0);
    assert_eq!(step(&app, deletion).await.2, 1);
}

/// The second look waits for hours; a step that fails is tried again in seconds all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_failed_does_not_wait_for_the_second_look() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.uploads(&ann, 1).await;
    app.sandbox.supabase.take_down().await;
    let deletion = app.erases(&ann).await;
    app.run_due_jobs().await;
    app.sandbox.supabase.bring_up().await.unwrap();
    app.turn_clock(Duration::minutes(2)).await;
    app.run_due_jobs().await;
    assert_eq!(app.stored_keys().len(), 0);
    let open = "select count(*) from safelight.deletion_steps where deletion_id = $1 and state not in ('verified', 'retained_by_law')";
    assert_eq!(app.of::<i64>(open, deletion.uuid()).await, 1, "only the second look is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn n24_a_deletion_whose_job_is_lost_or_dead_gets_one_again() {
    let app = App::spawn().await;
    for lost in ["delete from safelight.jobs where kind = 'delete_data'", "dead"] {
        let ann = app.person("koselfie").await;
        let deletion = app.erases(&ann).await;
        if lost == "dead" {
            let job = app.runs_up_to("delete_data").await;
            app.dies(&job, "crashed").await;
        } else {
            sqlx::query(lost).execute(&app.db).await.unwrap();
        }
        app.waits_out_late_writers().await;
        assert_ne!(app.deletion_state(deletion).await, "complete", "nobody works on it");
        assert_eq!(looks_after_deletions(&app).await, (1, 1, Some(0)));
        assert_eq!(looks_after_deletions(&app).await.1, 0, "it has a job by now");
        app.waits_out_late_writers().await;
        assert_eq!(app.deletion_state(deletion).await, "complete");
    }
    assert_eq!(looks_after_deletions(&app).await, (0, 0, Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn n14_a_deletion_that_does_not_end_is_stuck_while_there_is_time_left_and_completes_when_the_store_is_back() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.uploads(&ann, 1).await;
    app.sandbox.supabase.take_down().await;
    let deletion = app.erases(&ann).await;
    app.run_due_jobs().await;
    app.turn_clock(Duration::days(20)).await;
    looks_after_deletions(&app).await;
    assert_eq!(app.deletion_state(deletion).await, "planned");
    app.turn_clock(Duration::days(4)).await;
    let (_, _, residue) = looks_after_deletions(&app).await;
    assert_eq!((app.deletion_state(deletion).await.as_str(), residue), ("stuck", Some(1)));
    let alarms = "select count(*) from safelight.audit_entries where action = 'deletion.stuck'";
    assert_eq!(app.count(alarms).await, 1);
    app.sandbox.supabase.bring_up().await.unwrap();
    app.turn_clock(Duration::hours(2)).await;
    app.run_due_jobs().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(looks_after_deletions(&app).await, (0, 0, Some(0)));
    assert_eq!(app.count(alarms).await, 1, "alarmed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn n9_n10_an_object_under_an_erased_persons_prefix_goes_at_once_and_a_living_persons_stray_after_a_day() {
    let app = App::spawn().await;
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    let (_, photos) = app.uploads(&eve, 2).await;
    app.erases(&ann).await;
    app.waits_out_late_writers().await;
    puts_stray(&app, &ann).await;
    let of_eve = puts_stray(&app, &eve).await;
    assert_eq!(compares_store(&app).await, (1, 1, Some(0)));
    assert_eq!(app.stored_keys().len(), 3, "what somebody may be uploading is left alone");
    app.turn_clock(Duration::hours(20)).await;
    assert_eq!(compares_store(&app).await, (0, 0, Some(0)));
    app.turn_clock(Duration::hours(5)).await;
    assert_eq!(compares_store(&app).await, (1, 1, Some(0)));
    assert!(!app.stored_keys().contains(&of_eve));
    assert!(app.readable(photos[0]).await && app.readable(photos[1]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_object_is_missing_is_shown_until_it_is_there_again_and_keeps_its_row() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (_, photos) = app.uploads(&ann, 3).await;
    let key: safelight_jobs::providers::storage::Key = app.key_of(photos[1]).await.parse().unwrap();
    let bytes = app.services.storage.get(&key, 12 * 1024 * 1024).await.unwrap();
    app.services.storage.delete(&key).await.unwrap();
    assert_eq!(compares_store(&app).await, (1, 0, Some(1)));
    let missing: Vec<Uuid> =
        sqlx::query_scalar("select artifact_id from safelight.missing_objects").fetch_all(&app.db).await.unwrap();
    assert_eq!(missing, [photos[1].uuid()]);
    assert!(app.has_row(photos[1]).await);
    app.services.storage.put(&key, bytes, "image/jpeg").await.unwrap();
    assert_eq!(compares_store(&app).await, (0, 0, Some(0)));
    assert_eq!(app.count("select count(*) from safelight.missing_objects").await, 0);
}

/// With more objects than one run looks at, the next one goes on behind them, and after the last it begins anew.
#[tokio::test(flavor = "multi_thread")]
async fn n10_a_comparison_goes_on_where_the_last_one_ended_and_comes_round_again() {
    let app = App::spawn().await;
    let mut people = vec![app.person("koselfie").await, app.person("koselfie").await, app.person("koselfie").await];
    people.sort_by_key(|person| person.id.uuid());
    for person in &people {
        app.uploads(person, 2).await;
    }
    // Behind the objects that are there; and a row without an object among the first.
    let stray = puts_stray(&app, &people[2]).await;
    let lost = app.artifacts("upload", people[0].id.uuid()).await[0];
    let lost_key: safelight_jobs::providers::storage::Key = app.key_of(lost).await.parse().unwrap();
    let bytes = app.services.storage.get(&lost_key, 12 * 1024 * 1024).await.unwrap();
    app.services.storage.delete(&lost_key).await.unwrap();
    app.turn_clock(Duration::hours(25)).await;
    let missing = "select count(*) from safelight.missing_objects";
    let (mut found, mut acted, mut residues) = (0, 0, Vec::new());
    for _ in 0..4 {
        let (more, done, residue) = compares_some(&app, Some(2)).await;
        (found, acted) = (found + more, acted + done);
        residues.push(residue);
    }
    assert_eq!((found, acted), (2, 1), "what lies behind the first two is looked at, too, and nothing twice");
    assert!(!app.stored_keys().contains(&stray));
    assert_eq!(residues, [None, None, None, Some(1)], "a number is there when a round was whole");
    assert_eq!(app.count(missing).await, 1);

    // The next round: the object is back, and a new stray lies before all others.
    app.services.storage.put(&lost_key, bytes, "image/jpeg").await.unwrap();
    let early = format!("koselfie/{}/upload/{}", "0".repeat(32), "0".repeat(32));
    app.sandbox.supabase.put("safelight", &early, "image/jpeg", b"late".to_vec().into()).await.unwrap();
    assert_eq!(compares_some(&app, Some(2)).await, (1, 1, Some(1)), "it begins anew at the first key");
    assert_eq!(app.count(missing).await, 1, "what is missing goes when the round has been everywhere");
    while app.count(missing).await == 1 {
        assert_eq!(compares_some(&app, Some(2)).await.1, 0);
    }
    assert_eq!(compares_store(&app).await, (0, 0, Some(0)), "and one large enough goes round by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_asked_leaves_the_residue_unknown_and_not_zero() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.uploads(&ann, 1).await;
    app.sandbox.supabase.take_down().await;
    assert_eq!(compares_store(&app).await, (0, 0, None));
    let said =
        "select count(*) from safelight.audit_entries where action = 'sweep.orphans' and outcome = 'could_not_check'";
    assert_eq!(app.count(said).await, 1);
    let metrics = app.http.get(format!("{}/metrics", app.url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("safelight_sweep_could_not_check{sweep=\"orphans\"} 1"), "{metrics}");
    assert!(!metrics.contains("safelight_sweep_residue{sweep=\"orphans\"}"), "no number where nothing was counted");
}

/// What is due: the same question, the same answer, for the sweep and for people.
#[tokio::test(flavor = "multi_thread")]
async fn k23_k27_n15_the_dry_run_counts_what_the_sweep_will_take_and_nothing_of_a_tenant_without_terms() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 3).await;
    let bob = app.person("haloprofile").await;
    app.uploads(&bob, 2).await;
    let due = || safelight_jobs::due::due(&app.worker, None, i32::MAX);
    assert_eq!(due().await.unwrap(), []);
    app.turn_clock(Duration::hours(720 - 3 * 24)).await;
    app.upload(&ann, batch, "image/jpeg", crate::app::photos()[3].bytes.clone()).await.unwrap();
    let [line] = &due().await.unwrap()[..] else { panic!("one class of one tenant") };
    assert_eq!(
        (line.tenant.as_str(), line.class.as_str(), line.now, line.days),
        ("koselfie", "upload", 0, [0, 0, 3, 0, 0, 0, 0])
    );
    app.turn_clock(Duration::hours(73)).await;
    let [line] = &due().await.unwrap()[..] else { panic!("one class of one tenant") };
    assert_eq!((line.now, line.days), (3, [0; 7]));
    assert_eq!(due().await.unwrap().len(), 1, "asking changes nothing");
    app.sweeps().await;
    assert_eq!(due().await.unwrap(), []);
    assert_eq!(app.stored_keys().len(), 3, "one of Ann's and both of Bob's");
}
