//! What ends although nobody asks for it, and what is not said to be due while it is held.

use chrono::{Datelike, Duration, TimeZone, Utc};
use safelight_jobs::{due, intake, sweep_fiscal::SweepFiscal};
use uuid::Uuid;

use crate::app::{App, term};

impl App {
    async fn closes_the_day(&self) {
        self.wants(&SweepFiscal { because: Uuid::new_v4().simple().to_string() }).await;
        self.run_due_jobs().await;
    }
}

/// The policy keeps proof of consent for three years after the processing ended: three calendar years after the erasure, and not a day
/// longer. A living person's proofs stay.
#[tokio::test(flavor = "multi_thread")]
async fn k17_h10_proof_of_consent_is_kept_for_its_years_after_the_erasure_and_then_goes() {
    let app = App::spawn().await;
    let (eve, _) = app.basic_order(true).await;
    let (ann, _) = app.basic_order(true).await;
    let deletion = app.erases(&ann).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    let said: String = app
        .of(
            "select evidence from safelight.deletion_steps where deletion_id = $1 and class = 'consent'",
            deletion.uuid(),
        )
        .await;
    assert!(said.contains("GDPR Art. 7(1)") && said.contains("until 3 years after the erasure"), "{said}");
    let erased: chrono::DateTime<Utc> =
        app.of("select erased_at from safelight.subjects where id = $1", ann.id.uuid()).await;
    let over = Utc.with_ymd_and_hms(erased.year() + 3, erased.month(), erased.day(), 0, 0, 0).unwrap()
        + (erased.time() - chrono::NaiveTime::MIN);
    let proofs = "select count(*) from safelight.consents where subject_id = $1";
    let there = app.of::<i64>(proofs, ann.id.uuid()).await;
    app.turn_clock_to(over - Duration::minutes(1)).await;
    app.closes_the_day().await;
    assert_eq!(app.of::<i64>(proofs, ann.id.uuid()).await, there, "a minute before");
    app.turn_clock_to(over).await;
    app.closes_the_day().await;
    assert_eq!(app.of::<i64>(proofs, ann.id.uuid()).await, 0);
    assert!(app.of::<i64>(proofs, eve.id.uuid()).await > 0, "she is a customer still");
}

/// K50: words describe images. An order that came to nothing before any image was made has none they could outlive.
#[tokio::test(flavor = "multi_thread")]
async fn k50_the_words_of_an_order_that_came_to_nothing_go_although_no_image_takes_them_along() {
    let app = App::spawn().await;
    let (_ann, order) = app.model_order().await;
    app.sandbox.fal.faults().add(safelight_sandbox::Rule {
        fault: safelight_sandbox::Fault::ModelBreaks,
        times: Some(1),
        on: None,
    });
    app.pays(order).await;
    app.run_due_jobs().await;
    app.stands(order, "refund_review", Some("training_failed")).await;
    let words = "select count(*) from safelight.orders where prompt_sealed is not null";
    assert_eq!(app.count(words).await, 1);
    let (_eve, other) = app.basic_order(false).await;
    app.fulfils(other).await;
    app.closes_the_day().await;
    assert_eq!(app.count(words).await, 1, "those of the order whose images are there");
    assert_eq!(
        app.of::<i64>("select count(*) from safelight.orders where id = $1 and prompt_sealed is null", order.uuid())
            .await,
        1
    );
}

/// An order whose payment page was never opened runs out by nothing: after forty days it goes as one that nobody paid.
#[tokio::test(flavor = "multi_thread")]
async fn k50_an_order_that_never_got_a_payment_page_is_gone_after_forty_days() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 3).await;
    let policy = app.services.policies.of(ann.tenant).unwrap();
    let mut tx = app.tx().await;
    let new =
        intake::NewOrder { subject: ann.id, batch, plan: "basic".to_owned(), prompt: Some("in a garden".to_owned()) };
    intake::place(&mut tx, &app.services.vault, policy, &new).await.unwrap();
    tx.commit().await.unwrap();
    app.turn_clock(Duration::hours(959)).await;
    app.closes_the_day().await;
    assert_eq!(app.count("select count(*) from safelight.orders").await, 1);
    app.turn_clock(Duration::hours(1)).await;
    app.closes_the_day().await;
    assert_eq!(app.count("select count(*) from safelight.orders").await, 0);
}

/// All sales of a year end in one instant: what one run does not take, the next one does in the same night.
#[tokio::test(flavor = "multi_thread")]
async fn k29_more_sales_than_one_run_takes_are_gone_in_the_same_night() {
    let app = App::spawn().await;
    sqlx::query(
        "insert into safelight_fiscal.sales (tenant, stripe_session, amount_cents, currency, country, status, sold_at, rule, keep_until)
        select 'koselfie', 'cs_test_' || n, 1900, 'eur', 'DE', 'paid', safelight.now() - interval '11 years', 'a law', safelight.now() - interval '1 hour'
        from generate_series(1, 5003) n",
    )
    .execute(&app.db)
    .await
    .unwrap();
    app.closes_the_day().await;
    assert_eq!(app.count("select count(*) from safelight_fiscal.sales").await, 0);
}

/// D14: what is held for a claim is not due, and nobody is called out of bed for it.
#[tokio::test(flavor = "multi_thread")]
async fn k41_d14_what_is_held_for_a_claim_is_due_on_no_page_and_in_no_number_before_its_day() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.uploads(&ann, 2).await;
    let until = app.now().await + term() + Duration::days(10);
    let mut tx = app.tx().await;
    intake::restrict(&mut tx, ann.tenant, ann.id, intake::Ground::Claims(until), None).await.unwrap();
    tx.commit().await.unwrap();
    let shown = async || {
        let numbers = app.http.get(format!("{}/metrics", app.url)).send().await.unwrap().text().await.unwrap();
        let due = numbers.lines().find_map(|line| line.strip_prefix("safelight_artifacts_due ")).unwrap().to_owned();
        let ahead = due::due(&app.worker, None, i32::MAX).await.unwrap();
        (due, ahead.iter().map(|line| (line.now, line.days)).collect::<Vec<_>>())
    };
    app.turn_clock_to(until - Duration::days(9)).await;
    assert_eq!(shown().await, ("0".to_owned(), vec![]), "past its term, held for nine more days");
    app.turn_clock_to(until - Duration::days(2) + Duration::minutes(1)).await;
    assert_eq!(shown().await, ("0".to_owned(), vec![(0, [0, 2, 0, 0, 0, 0, 0])]), "due when the hold ends");
    app.turn_clock_to(until).await;
    assert_eq!(shown().await, ("2".to_owned(), vec![(2, [0; 7])]));
    app.sweeps().await;
    assert_eq!(app.stored_keys().len(), 0);
}

/// Ids of events are there so that an event that comes again has no second effect. After forty days none comes; those of a sale stay.
#[tokio::test(flavor = "multi_thread")]
async fn k50_ids_of_old_events_go_and_those_of_a_sale_stay_with_it() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let news = "select count(*) from safelight.webhook_inbox where provider = 'fal'";
    assert!(app.count(news).await > 0);
    app.turn_clock(Duration::hours(959)).await;
    app.closes_the_day().await;
    assert!(app.count(news).await > 0);
    app.turn_clock(Duration::hours(1)).await;
    app.closes_the_day().await;
    assert_eq!(app.count(news).await, 0);
    assert!(app.count("select count(*) from safelight.webhook_inbox where provider = 'stripe'").await > 0);
}
