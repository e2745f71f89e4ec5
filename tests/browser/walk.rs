//! An operator's walk through the console in a real browser, chapter by chapter: between two chapters the jobs run and the clock is
//! turned. Each page is looked at by axe-core, in dark and light and on a phone. `./dev console-walk` runs it; it needs Chromium and
//! Node (docs/proof.md).

use std::path::PathBuf;

use safelight_api::tokens::{self, Scope};
use safelight_evidence::Signer;
use safelight_jobs::{
    act_on_jobs::ActOnJobs,
    db,
    id::{self, Id},
    job::Queue,
    providers::witness::Witness,
    queue, schedule,
    sealer::{self, Sealer, Sign},
};
use safelight_sandbox::Fault;
use serde_json::{Value, json};

use crate::app::App;

/// Where `./dev console-walk` has put playwright-core, axe-core and the walk itself.
fn place() -> PathBuf {
    std::env::var_os("SAFELIGHT_CONSOLE_WALK").expect("run it by ./dev console-walk").into()
}

/// What a browser is told.
struct Walk {
    app: App,
    operator: String,
    reader: String,
}

impl Walk {
    async fn begin() -> Self {
        let app = App::spawn().await;
        let token =
            async |scopes: &[Scope]| tokens::create(&app.db, None, "ops_1", scopes).await.unwrap().expose().to_owned();
        let (operator, reader) = (token(&[Scope::Operate]).await, token(&[Scope::Read]).await);
        schedule::tick(&app.db, &app.bell()).await.unwrap();
        app.run_due_jobs().await;
        Self { app, operator, reader }
    }

    /// One chapter in a browser of its own; what it answers.
    async fn chapter(&self, name: &str, given: Value) -> Value {
        // Jobs run between the chapters, as by a worker that lives.
        queue::register_worker(&self.app.worker, "worker_1", "host-1", &Queue::ALL).await.unwrap();
        let output = tokio::process::Command::new("node")
            .arg(place().join("walk.mjs"))
            .arg(name)
            .env("CONSOLE", &self.app.url)
            .env("OPERATOR", &self.operator)
            .env("READER", &self.reader)
            .env("GIVEN", given.to_string())
            .kill_on_drop(true)
            .output()
            .await
            .expect("node");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{name}: {out}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(out.lines().last().unwrap_or("null")).unwrap_or(Value::Null)
    }
}

/// Dead letters of mails that were refused.
const DEAD: &str = "
    insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, priority, attempt, max_attempts, crashes, waits, code, created_at)
    select safelight.uuid_v7(), 'notices', 'send_notice', 1, '{}', 'koselfie', 0, 5, 5, 0, 0, 'mail_refused', safelight.now()
    from generate_series(1, 5000)";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium and Node: ./dev console-walk"]
async fn an_operator_repairs_pauses_retries_five_thousand_and_follows_a_deletion_in_a_browser() {
    let walk = Walk::begin().await;
    let app = &walk.app;

    // Fal has no money left: a paid order stands still.
    app.sandbox.fal.faults().always(Fault::PaymentRequired);
    let (ann, order) = app.pro_order().await;
    app.pays(order).await;
    app.sandbox.idle().await;
    app.run_due_jobs().await;
    walk.chapter("finds_the_stuck_order_and_sees_why", json!({ "order": order })).await;
    app.sandbox.fal.faults().clear();
    walk.chapter("repairs_it", json!({ "order": order })).await;
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await.0, "delivered");
    walk.chapter("watches_it_finish", json!({ "order": order })).await;

    walk.chapter("pauses_a_provider", json!({ "provider": "fal" })).await;
    let (bob, second) = app.pro_order().await;
    app.pays(second).await;
    app.sandbox.idle().await;
    app.run_due_jobs().await;
    assert_ne!(app.order_state(second).await.0, "delivered");
    walk.chapter("sees_what_waits_and_resumes", json!({ "provider": "fal", "order": second })).await;
    app.run_due_jobs().await;
    assert_eq!(app.order_state(second).await.0, "delivered");

    // A deletion to its certificate.
    let deletion = app.erases(&ann).await;
    app.run_due_jobs().await;
    walk.chapter("sees_what_a_deletion_waits_for", json!({ "deletion": deletion })).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    let outside = std::env::temp_dir().join(format!("safelight-walk-{}", uuid::Uuid::new_v4().simple()));
    let signer = Signer::new("photos.example/audit", &[6; 32]).unwrap();
    let sealer = Sealer::new(signer, None, vec![Witness::folder(&outside).unwrap()]).unwrap();
    let pool = db::connect_sealer(&app.database_url, 2).await.unwrap();
    sealer::pass(&pool, &sealer, Sign::Now).await.unwrap();
    sealer::pass(&pool, &sealer, Sign::Now).await.unwrap();
    walk.chapter("follows_it_to_its_certificate", json!({ "deletion": deletion })).await;
    std::fs::remove_dir_all(&outside).unwrap();

    // Five thousand dead letters.
    sqlx::query(DEAD).execute(&app.db).await.unwrap();
    let asked = walk.chapter("previews_and_asks_for_a_retry_of_all", json!({ "number": 5000 })).await;
    let mut steps = 40;
    while app.count("select max(done) from safelight.bulk_acts").await == 0 {
        steps += 40;
        assert!(app.crashes_after_step::<ActOnJobs>(steps).await, "5,000 are not done in {steps} steps");
    }
    walk.chapter("sees_its_progress", asked.clone()).await;
    walk.chapter("sees_a_page_show_itself_again", asked.clone()).await;
    app.performs_one::<ActOnJobs>().await;
    walk.chapter("sees_that_it_is_done", asked).await;
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);

    let job: uuid::Uuid = sqlx::query_scalar("select id from safelight.jobs where kind = 'send_notice' limit 1")
        .fetch_one(&app.db)
        .await
        .unwrap();
    let job = Id::<id::Job>::from(job);
    walk.chapter("holds_a_job_with_the_keyboard_alone", json!({ "job": job })).await;
    walk.chapter("is_refused_as_read_only", json!({ "job": job })).await;
    walk.chapter("keeps_a_link_through_the_sign_in_and_finds_the_way_back", json!({ "job": job })).await;

    // Each page, with something on it.
    walk.chapter("opens_a_case", json!({})).await;
    assert_eq!(app.count("select count(*) from safelight.cases where channel = 'letter'").await, 1);
    sqlx::query(
        "insert into safelight_fiscal.sales (tenant, stripe_session, payment_intent, status, amount_cents, currency, sold_at, review)
        values ('koselfie', 'cs_test_walk', 'pi_walk', 'paid', 1900, 'eur', safelight.now(), 'paid_after_erasure')",
    )
    .execute(&app.db)
    .await
    .unwrap();
    sqlx::query(
        "insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, priority, attempt, max_attempts, crashes, waits, code, created_at)
        select safelight.uuid_v7(), 'training', 'train_model', 1, '{}', 'koselfie', 0, 8, 8, 0, 0, 'fal_rejected', safelight.now() from generate_series(1, 3)",
    )
    .execute(&app.db)
    .await
    .unwrap();
    walk.chapter(
        "finds_nothing_serious_on_any_page",
        json!({ "order": second, "deletion": deletion, "job": job, "subject": bob.id }),
    )
    .await;
}
