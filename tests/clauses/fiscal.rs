//! The end of order data: as long as tax law asks for it, and not a day longer. Nothing is guessed.

use std::sync::Arc;

use chrono::{DateTime, Datelike, Duration, TimeZone, Utc};
use safelight_jobs::{policy::Policy, services::Policies, sweep_fiscal::SweepFiscal};
use uuid::Uuid;

use crate::app::App;

impl App {
    async fn sweeps_books(&self) {
        self.wants(&SweepFiscal { because: Uuid::new_v4().simple().to_string() }).await;
        self.run_due_jobs().await;
    }

    /// Until when the books keep this sale.
    async fn kept_until(&self, session: &str) -> Option<DateTime<Utc>> {
        sqlx::query_scalar("select keep_until from safelight_fiscal.sales where stripe_session = $1")
            .bind(session)
            .fetch_one(&self.db)
            .await
            .unwrap()
    }
}

/// Where a checkout session of Stripe's is still named.
const NAMED: [&str; 5] = [
    "select count(*) from safelight_fiscal.sales",
    "select count(*) from safelight_fiscal.refunds",
    "select count(*) from safelight.orders",
    "select count(*) from safelight.webhook_inbox where object_id like 'cs\\_%' or object_id like 'pi\\_%'",
    "select count(*) from safelight_fiscal.erased_checkouts",
];

/// Both edges, ten years on, with a refund; for somebody who is still a customer.
#[tokio::test(flavor = "multi_thread")]
async fn k29_h30_d13_order_data_are_there_until_the_end_of_the_tenth_year_after_the_sale_and_then_gone() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    app.asks_refund(order, Some(100)).await.unwrap();
    app.run_due_jobs().await;
    let session = app.session(order).await;
    let sold: DateTime<Utc> =
        app.of("select sold_at from safelight_fiscal.sales where order_id = $1", order.uuid()).await;
    let end = Utc.with_ymd_and_hms(sold.year() + 11, 1, 1, 0, 0, 0).unwrap();
    assert_eq!(app.kept_until(&session).await, Some(end), "ten years from the end of the year of the sale");

    app.turn_clock_to(end - Duration::minutes(1)).await;
    app.sweeps().await;
    app.sweeps_books().await;
    for &sql in &NAMED[..3] {
        assert_eq!(app.count(sql).await, 1, "a minute earlier: {sql}");
    }
    app.turn_clock_to(end).await;
    app.sweeps_books().await;
    for sql in NAMED {
        assert_eq!(app.count(sql).await, 0, "{sql}");
    }
    assert_eq!(
        app.count(
            "select residue::bigint from safelight.sweeps where kind = 'fiscal' order by finished_at desc limit 1"
        )
        .await,
        0
    );
    let gone =
        "select sum((counts ->> 'sales')::bigint)::bigint from safelight.audit_entries where action = 'sweep.fiscal'";
    assert_eq!(app.count(gone).await, 1, "the log says so");
}

/// The sale of somebody who was erased meanwhile has nobody's link, and the same end.
#[tokio::test(flavor = "multi_thread")]
async fn k29_n11_the_sale_of_an_erased_person_ends_as_any_other() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let session = app.session(order).await;
    let deletion = app.erases(&ann).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    let end = app.kept_until(&session).await.unwrap();
    let said: String = sqlx::query_scalar("select evidence from safelight.deletion_steps where class = 'order'")
        .fetch_one(&app.db)
        .await
        .unwrap();
    let until = end.date_naive().to_string();
    assert!(said.contains(&format!("until {until} (Directive 2006/112/EC, Article 369k")), "{said}");
    app.turn_clock_to(end - Duration::minutes(1)).await;
    app.sweeps_books().await;
    assert_eq!(app.count("select count(*) from safelight_fiscal.sales").await, 1);
    app.turn_clock_to(end).await;
    app.sweeps_books().await;
    assert!(
        app.lines_with(&session).await.iter().all(|line| line.contains("book_money")),
        "only the day's finished jobs name it"
    );
    assert_eq!(app.count("select count(*) from safelight_fiscal.sales").await, 0);
}

/// An order of images that are there until the person goes stays with them, and goes with them.
#[tokio::test(flavor = "multi_thread")]
async fn k29_h27_an_order_outlives_its_sale_only_as_long_as_its_images() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    let end = app.kept_until(&app.session(order).await).await.unwrap();
    app.turn_clock_to(end).await;
    app.sweeps_books().await;
    assert_eq!(app.count("select count(*) from safelight_fiscal.sales").await, 0);
    assert_eq!(app.count("select count(*) from safelight.orders").await, 1, "its images are there");
    let token = app.token("haloprofile").await;
    for class in ["image", "model"] {
        for artifact in app.artifacts(class, order.uuid()).await {
            if class == "image" {
                app.post(&token, &format!("/v1/photos/{artifact}/delete"), serde_json::json!({})).await;
            } else {
                sqlx::query("update safelight.artifacts set delete_after = safelight.now() where id = $1")
                    .bind(artifact.uuid())
                    .execute(&app.db)
                    .await
                    .unwrap();
            }
        }
    }
    app.sweeps().await;
    app.sweeps_books().await;
    assert_eq!(app.count("select count(*) from safelight.orders").await, 0);
    assert_eq!(app.of::<String>("select state from safelight.subjects where id = $1", bob.id.uuid()).await, "active");
}

/// A country that no policy names: kept, counted, alarmed; and given its end when the policy names it.
#[tokio::test(flavor = "multi_thread")]
async fn k29_a_sale_of_a_country_that_no_policy_names_is_not_guessed_and_ends_when_its_rule_is_known() {
    let mut app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let session = app.session(order).await;
    sqlx::query("update safelight_fiscal.sales set country = 'US', rule = null, keep_until = null")
        .execute(&app.db)
        .await
        .unwrap();
    app.turn_clock(Duration::days(366 * 30)).await;
    app.sweeps_books().await;
    assert_eq!(app.kept_until(&session).await, None, "thirty years on: nobody has guessed");
    let metrics = app.http.get(format!("{}/metrics", app.url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("safelight_sales_without_rule 1"), "{metrics}");

    let text = include_str!("../../policies/koselfie.toml");
    let known = text.replacen("    \"AT\", \"BE\"", "    \"US\", \"AT\", \"BE\"", 1);
    assert_ne!(known, text);
    let mut policies: Vec<Policy> = Policy::bundled().unwrap();
    policies.retain(|policy| policy.tenant() != "koselfie");
    policies.push(Policy::parse(&known).unwrap());
    Arc::get_mut(&mut app.services).expect("nobody else has them").policies = Policies::new(policies);
    app.sweeps_books().await;
    assert_eq!(app.count("select count(*) from safelight_fiscal.sales").await, 0, "its years are over, too");
}

/// An order that nobody paid has no law that keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn k29_k16_an_order_that_nobody_paid_is_gone_after_forty_days() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.sandbox.stripe.expire(&app.session(order).await).unwrap();
    app.run_due_jobs().await;
    app.stands(order, "expired", None).await;
    let placed: DateTime<Utc> = app.of("select created_at from safelight.orders where id = $1", order.uuid()).await;
    app.turn_clock_to(placed + Duration::hours(960) - Duration::minutes(1)).await;
    app.sweeps_books().await;
    assert_eq!(app.count("select count(*) from safelight.orders").await, 1);
    app.turn_clock_to(placed + Duration::hours(960)).await;
    app.sweeps_books().await;
    assert_eq!(app.count("select count(*) from safelight.orders").await, 0);
    assert_eq!(
        app.count("select count(*) from safelight.deletions where trigger = 'failed_order' and state = 'complete'")
            .await,
        1
    );
}
