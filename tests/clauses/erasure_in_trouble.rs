//! Erasure while things go wrong: webhooks, workers and uploads that come late, a store and a processor that fail or lie.

use safelight_jobs::{job::Queue, stop::Stop, train_model::TrainModel};
use safelight_sandbox::{Fault, Rule, fal::Hold};

use super::erasure::{later, nothing_of, steps};
use crate::app::App;

/// N4: the webhook of a generation comes after the erasure, and once more two hours later.
#[tokio::test(flavor = "multi_thread")]
async fn n4_h15_a_webhook_after_the_erasure_is_taken_stores_nothing_and_has_the_result_purged() {
    let app = App::spawn().await;
    app.sandbox.fal.hold(Hold::InProgress);
    app.sandbox.fal.faults().always(Fault::CancelIgnored);
    let (ann, order) = app.basic_order(false).await;
    app.begins(order).await;
    let deletion = app.erases(&ann).await;
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    app.sandbox.fal.hold(Hold::Nowhere);
    app.sandbox.fal.idle().await;
    let deliveries = app.sandbox.fal.deliveries();
    assert_eq!(deliveries.len(), 4);
    assert!(deliveries.iter().all(|delivery| delivery.status == Some(200)), "{deliveries:?}");
    assert_eq!(
        app.count("select count(*) from safelight.webhook_inbox where provider = 'fal' and outcome = 'subject_gone'")
            .await,
        4
    );
    later(&app, 2).await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    nothing_of(&app, &ann).await;
    let address = url::Url::parse(&app.sandbox.description().fal.files_url).unwrap();
    assert!(app.lines_with(address.authority()).await.is_empty(), "no address of a result was kept");
    // Two hours later, once more.
    let (events, audited) = (
        app.count("select count(*) from safelight.webhook_inbox").await,
        app.count("select count(*) from safelight.audit_entries").await,
    );
    app.sandbox.fal.deliver_again(app.sandbox.fal.requests()[0].id).unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.fal.deliveries().last().unwrap().status, Some(200));
    assert_eq!(app.count("select count(*) from safelight.webhook_inbox").await, events);
    assert_eq!(app.count("select count(*) from safelight.audit_entries").await, audited);
}

/// N8: some are gone, then the store is down: no row that names a surviving object goes, nothing says done.
#[tokio::test(flavor = "multi_thread")]
async fn n8_h16_a_store_that_fails_in_the_middle_leaves_the_deletion_open_until_all_is_gone() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    let before = app.stored_keys().len();
    // Every delete is refused, and what is looked for is found.
    for on in ["DELETE /storage/", "POST /storage/"] {
        app.sandbox.supabase.faults().add(Rule {
            fault: Fault::ServerError { status: 503 },
            times: None,
            on: Some(on.to_owned()),
        });
    }
    let deletion = app.erases(&bob).await;
    app.run_due_jobs().await;
    assert_eq!(app.stored_keys().len(), before);
    assert_eq!(app.deletion_state(deletion).await, "planned");
    let rows: i64 = app.of("select count(*) from safelight.artifacts where subject_id = $1", bob.id.uuid()).await;
    assert_eq!(rows as usize, before, "rows that name surviving objects stay");
    let open = steps(&app, deletion).await.into_iter().filter(|step| step.2 == "doing").count();
    assert!(open >= 3, "uploads, model and images are open");
    app.sandbox.supabase.faults().clear();
    later(&app, 2).await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.stored_keys().len(), 0);
    nothing_of(&app, &bob).await;
}

/// N8: the whole project is down: the deletion waits, and ends when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn n8_h19_an_erasure_during_an_outage_is_fenced_at_once_and_completes_afterwards() {
    let app = App::spawn().await;
    let (bob, _) = app.small_halo_order().await;
    app.sandbox.supabase.take_down().await;
    let deletion = app.erases(&bob).await;
    app.run_due_jobs().await;
    assert_ne!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.of::<String>("select state from safelight.subjects where id = $1", bob.id.uuid()).await, "erasing");
    app.sandbox.supabase.bring_up().await.unwrap();
    later(&app, 2).await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    nothing_of(&app, &bob).await;
}

/// N9: Fal answers 200 and a file is still there.
#[tokio::test(flavor = "multi_thread")]
async fn n9_h14_a_purge_that_left_a_file_is_not_believed() {
    let app = App::spawn().await;
    app.sandbox.fal.faults().once(Fault::PurgeFailsOneFile);
    let (_bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    later(&app, 1).await;
    let purges = app.sandbox.fal.calls().iter().filter(|call| call.method == "DELETE").count();
    let calls = app.count("select count(*) from safelight.provider_calls").await;
    assert_eq!(purges, usize::try_from(calls).unwrap() + 1, "one purge was not believed and made again");
    assert_eq!(app.sandbox.fal.files().len(), 0);
    assert_eq!(app.count("select count(*) from safelight.provider_calls where purge <> 'purged'").await, 0);
}

/// N10: an upload link that is used late puts an object where no row is; the listing finds it.
#[tokio::test(flavor = "multi_thread")]
async fn n10_k5_an_object_without_a_row_under_the_persons_prefix_is_deleted_too() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.uploads(&ann, 1).await;
    let stray = format!("koselfie/{}/upload/{}", ann.id.uuid().simple(), uuid::Uuid::new_v4().simple());
    app.sandbox.supabase.put("safelight", &stray, "image/jpeg", bytes_of_a_photo().into()).await.unwrap();
    let deletion = app.erases(&ann).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.stored_keys().len(), 0);
}

fn bytes_of_a_photo() -> Vec<u8> {
    crate::app::photos()[0].bytes.clone()
}

/// N16: a worker that was taken for dead wakes up and writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn n16_h13_a_worker_whose_job_the_fence_took_writes_nothing() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    sqlx::query("update safelight.orders set state = 'training', paid_at = safelight.now() where id = $1")
        .bind(order.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    app.wants(&TrainModel { order }).await;
    let claimed = app.dequeues(Queue::Training).await;
    let deletion = app.erases(&bob).await;
    let ended = app.performs(&claimed).await;
    assert!(
        matches!(ended, Err(Stop::GiveUp { code: "subject_erased", .. } | Stop::Retry { code: "lease_lost", .. })),
        "{ended:?}"
    );
    assert_eq!(app.sandbox.fal.requests().len(), 0);
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    nothing_of(&app, &bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n9_h16_a_store_that_says_it_deleted_and_did_not_or_lists_nothing_is_not_believed() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let objects = app.stored_keys().len();
    let faults = app.sandbox.supabase.faults();
    faults.always(Fault::DeleteRemovesNothing);
    let deletion = app.erases(&ann).await;
    later(&app, 2).await;
    assert_eq!(app.stored_keys().len(), objects, "the store lies");
    assert_ne!(app.deletion_state(deletion).await, "complete", "a success is a claim");
    assert!(app.count("select count(*) from safelight.deletion_steps where state = 'verified' and class = 'upload' and planned > 0").await == 0);
    faults.clear();
    later(&app, 8).await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    nothing_of(&app, &ann).await;
}

/// A delete that leaves rows and says nothing: no step calls that counted.
#[tokio::test(flavor = "multi_thread")]
async fn n9_rows_that_stay_under_a_delete_are_counted_and_no_step_is_verified_over_them() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    let (eve, other) = app.basic_order(true).await;
    app.fulfils(other).await;
    sqlx::raw_sql("create function safelight.keep() returns trigger language plpgsql as $$ begin return null; end $$")
        .execute(&app.db)
        .await
        .unwrap();
    let tables = ["accounts", "notices", "subject_keys", "jobs_archive", "similarities"];
    for table in tables {
        let sql = format!(
            "create trigger keep before delete on safelight.{table} for each row execute function safelight.keep()"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&app.db).await.unwrap();
    }
    let deletion = app.erases(&ann).await;
    let withdrawn = app.withdraws(&eve, safelight_jobs::policy::Purpose::Compare).await.deletion;
    app.waits_out_late_writers().await;
    let open = async |deletion: uuid::Uuid| -> Vec<String> {
        sqlx::query_scalar(
            "select targets ->> 'what' from safelight.deletion_steps where deletion_id = $1 and code = 'rows_left' order by seq",
        )
        .bind(deletion)
        .fetch_all(&app.db)
        .await
        .unwrap()
    };
    let expected = ["notices", "account", "jobs"];
    let left = open(deletion.uuid()).await;
    for what in expected {
        assert!(left.iter().any(|step| step == what), "{what} is called counted: {left:?}");
    }
    assert_eq!(open(withdrawn.uuid()).await, ["verdicts"]);
    // The key goes last: it is tried when nothing else is left.
    for table in tables {
        if table == "subject_keys" {
            continue;
        }
        let sql = format!("drop trigger keep on safelight.{table}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&app.db).await.unwrap();
    }
    app.waits_out_late_writers().await;
    assert_eq!(open(deletion.uuid()).await, ["key"]);
    sqlx::raw_sql("drop trigger keep on safelight.subject_keys").execute(&app.db).await.unwrap();
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.deletion_state(withdrawn).await, "complete");
}
