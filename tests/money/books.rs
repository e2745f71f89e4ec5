//! The books compared with what Stripe and Fal say, both ways, and what is driven again.

use chrono::Duration;
use safelight_jobs::policy::Purpose;
use safelight_sandbox::{Fault, stripe::NewSession};
use serde_json::json;

use crate::app::App;

fn nothing() -> Vec<String> {
    Vec::new()
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_nobody_told_us_of_is_found_booked_and_served() {
    let app = App::spawn().await;
    app.sandbox.stripe.faults().always(Fault::DropWebhook);
    let (_ann, order) = app.basic_order(false).await;
    let session = app.session(order).await;
    app.pays(order).await;
    app.run_due_jobs().await;
    app.stands(order, "placed", None).await;
    assert_eq!(app.compares_money().await, nothing(), "seen, looked at again, and mended");
    app.stands(order, "delivered", None).await;
    assert_eq!(
        app.count(
            "select count(*) from safelight.differences where code = 'paid_not_booked' and resolved_at is not null"
        )
        .await,
        1
    );

    // Money that went back, with no news of it either.
    app.sandbox.stripe.refund_part(&app.payment(order).await, 300).unwrap();
    assert_eq!(app.compares_money().await, nothing());
    assert_eq!(app.sale(&session).await.unwrap().refunded_cents, 300);
    let dispute = app.sandbox.stripe.dispute(&app.payment(order).await).unwrap();
    assert_eq!(app.compares_money().await, nothing());
    assert_eq!(app.sale_status(&session).await, "disputed");
    app.sandbox.stripe.close_dispute(dispute["id"].as_str().unwrap(), true).unwrap();
    assert_eq!(app.compares_money().await, nothing());
    assert_eq!(app.sale(&session).await.unwrap().kept_cents, 1600);
    assert_eq!(app.compares_money().await, nothing(), "a second look finds nothing new");
}

/// Somebody who is restricted pays: it is confirmed when they are released, and until then one job waits, however often it is looked.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_waits_to_be_confirmed_is_not_driven_again_by_each_comparison() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    let mut tx = app.tx().await;
    safelight_jobs::intake::restrict(&mut tx, ann.tenant, ann.id, safelight_jobs::intake::Ground::Accuracy, None)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    app.pays(order).await;
    app.run_due_jobs().await;
    let waiting = "select count(*) from safelight.jobs where kind = 'confirm_payment'";
    assert_eq!(app.count(waiting).await, 1);
    for _ in 0..3 {
        app.compares_money().await;
    }
    assert_eq!(app.count(waiting).await, 1);
    app.stands(order, "placed", None).await;
}

/// A refund of a sale that is older than any session of the span: the list of refunds finds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_an_old_sale_is_found_by_its_own_time() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let (session, payment) = (app.session(order).await, app.payment(order).await);
    app.turn_clock(Duration::days(60)).await;
    app.sandbox.stripe.faults().always(Fault::DropWebhook);
    app.sandbox.stripe.refund(&payment).unwrap();
    assert_eq!(app.compares_money().await, nothing());
    assert_eq!(app.sale_status(&session).await, "refunded");
}

/// What looking again does not mend is said, by its code, until it is mended.
#[tokio::test(flavor = "multi_thread")]
async fn what_differs_between_the_books_and_stripe_is_said_until_it_differs_no_more() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    // Somebody else's payment at the same account is nothing to us; one that names an order that we do not have is.
    let foreign = app.sandbox.stripe.create_session(&NewSession { amount: 700, ..NewSession::default() }).unwrap();
    app.sandbox.stripe.pay(foreign["id"].as_str().unwrap()).unwrap();
    assert_eq!(app.compares_money().await, nothing());
    let strange = NewSession {
        amount: 700,
        client_reference_id: Some(safelight_jobs::id::Id::<safelight_jobs::id::Order>::new().to_string()),
        ..NewSession::default()
    };
    let strange = app.sandbox.stripe.create_session(&strange).unwrap();
    app.sandbox.stripe.pay(strange["id"].as_str().unwrap()).unwrap();
    // One that the web backend opened and never told us of.
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 3).await;
    let untold = app.orders(&ann, batch, "basic", true).await;
    app.pays(untold).await;
    app.sandbox.stripe.idle().await;
    sqlx::query("delete from safelight.jobs").execute(&app.db).await.unwrap();
    let told: (String, chrono::DateTime<chrono::Utc>) =
        sqlx::query_as("select checkout_session, checkout_at from safelight.orders where id = $1")
            .bind(untold.uuid())
            .fetch_one(&app.db)
            .await
            .unwrap();
    sqlx::query("update safelight.orders set checkout_session = null, checkout_at = null where id = $1")
        .bind(untold.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    // And books that say what Stripe does not.
    sqlx::query("update safelight_fiscal.sales set amount_cents = 1800").execute(&app.db).await.unwrap();
    sqlx::query("insert into safelight_fiscal.sales (tenant, stripe_session, status, amount_cents, currency, sold_at) values ('koselfie', 'cs_test_invented', 'paid', 5, 'eur', safelight.now())")
        .execute(&app.db).await.unwrap();
    let differs = ["amount_differs", "sale_unknown_at_stripe", "session_not_noted", "session_without_order"];
    assert_eq!(app.compares_money().await, differs);
    assert_eq!(app.compares_money().await, differs, "one row each, however often it is seen");
    let numbers = app.http.get(format!("{}/metrics", app.url)).send().await.unwrap().text().await.unwrap();
    assert!(numbers.contains("safelight_money_differences 4"), "{numbers}");

    sqlx::query("update safelight_fiscal.sales set amount_cents = 1900 where amount_cents = 1800")
        .execute(&app.db)
        .await
        .unwrap();
    sqlx::query("delete from safelight_fiscal.sales where stripe_session = 'cs_test_invented'")
        .execute(&app.db)
        .await
        .unwrap();
    sqlx::query("update safelight.orders set checkout_session = $2, checkout_at = $3 where id = $1")
        .bind(untold.uuid())
        .bind(told.0)
        .bind(told.1)
        .execute(&app.db)
        .await
        .unwrap();
    assert_eq!(app.compares_money().await, ["session_without_order"]);
    app.stands(untold, "delivered", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_fal_and_our_calls_are_compared_both_ways() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    // Somebody else with our key.
    let there = app.sandbox.description().fal;
    let stranger = app
        .http
        .post(format!("{}/fal-ai/flux-lora", there.queue_url))
        .header("authorization", format!("Key {}", there.key))
        .json(&json!({ "prompt": "a bicycle" }))
        .send()
        .await
        .unwrap();
    assert_eq!(stranger.status(), 200);
    app.sandbox.idle().await;
    assert_eq!(app.compares_money().await, nothing(), "what is young may be on its way");
    app.turn_clock(Duration::minutes(30)).await;
    assert_eq!(app.compares_money().await, ["request_without_call"]);
    sqlx::query("update safelight.provider_calls set request_id = 'nobody-knows-it' where purpose = 'train'")
        .execute(&app.db)
        .await
        .unwrap();
    assert_eq!(app.compares_money().await, ["call_unknown_at_fal", "request_without_call", "request_without_call"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_provider_cannot_be_asked_the_residue_is_unknown_and_nothing_is_called_resolved() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    sqlx::query("update safelight_fiscal.sales set amount_cents = 1800").execute(&app.db).await.unwrap();
    assert_eq!(app.compares_money().await, ["amount_differs"]);
    sqlx::query("update safelight_fiscal.sales set amount_cents = 1900").execute(&app.db).await.unwrap();
    app.sandbox.stripe.take_down().await;
    assert_eq!(app.compares_money().await, ["amount_differs"]);
    let unknown = "select count(*) from safelight.sweeps where kind = 'money' and residue is null";
    assert_eq!(app.count(unknown).await, 1);
    app.sandbox.stripe.bring_up().await.unwrap();
    assert_eq!(app.compares_money().await, nothing());
}

/// A purge whose job was taken away, or ended before there was anything to purge.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_at_fal_that_no_job_purges_any_more_is_purged_by_the_sweep() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.pays(order).await;
    let first = app.runs_up_to("purge_call").await;
    let mut tx = app.tx().await;
    assert!(safelight_jobs::queue::cancel(&mut tx, first.lease.job, "by_hand").await.unwrap());
    tx.commit().await.unwrap();
    app.run_due_jobs().await;
    app.stands(order, "delivered", None).await;
    let left = "select count(*) from safelight.provider_calls where purge <> 'purged'";
    assert_eq!(app.count(left).await, 1);
    app.compares_money().await;
    assert_eq!(app.count(left).await, 0);
    assert_eq!(app.sandbox.fal.files().len(), 0);
}

/// 200, as if all went well, and every file still there: each file of the answer is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn n9_a_purge_that_removed_nothing_is_not_believed() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.sandbox.fal.faults().times(2, Fault::PurgeRemovesNothing);
    app.pays(order).await;
    app.run_due_jobs().await;
    app.lives_on(3, Duration::hours(1)).await;
    let purges = app.sandbox.fal.calls().iter().filter(|call| call.method == "DELETE").count();
    let calls = app.count("select count(*) from safelight.provider_calls").await;
    assert_eq!(purges, usize::try_from(calls).unwrap() + 2, "two purges were not believed and made again");
    assert_eq!(app.count("select count(*) from safelight.provider_calls where purge <> 'purged'").await, 0);
    assert_eq!(app.sandbox.fal.files().len(), 0);
}

/// 200 and an empty list, as for a request that has no files: the result is looked for.
#[tokio::test(flavor = "multi_thread")]
async fn n9_a_purge_that_names_no_file_is_not_believed_while_the_result_is_there() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.sandbox.fal.faults().times(2, Fault::PurgeAnswersNothing);
    app.pays(order).await;
    app.run_due_jobs().await;
    app.lives_on(3, Duration::minutes(5)).await;
    let purges = app.sandbox.fal.calls().iter().filter(|call| call.method == "DELETE").count();
    let calls = app.count("select count(*) from safelight.provider_calls").await;
    assert_eq!(purges, usize::try_from(calls).unwrap() + 2, "two purges were not believed and made again");
    assert_eq!(app.count("select count(*) from safelight.provider_calls where purge <> 'purged'").await, 0);
    assert_eq!(app.sandbox.fal.files().len(), 0);
}

/// K52: withdrawn while Stripe, Fal, the store and the mail are down; the money goes back when they are up again.
#[tokio::test(flavor = "multi_thread")]
async fn k52_money_of_a_withdrawn_order_goes_back_after_an_outage_that_the_withdrawal_did_not_wait_for() {
    let app = App::spawn().await;
    app.sandbox.fal.hold(safelight_sandbox::fal::Hold::InProgress);
    let (ann, order) = app.model_order().await;
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    app.stands(order, "training", None).await;
    app.providers_go_down().await;
    app.withdraws(&ann, Purpose::Train).await;
    app.stands(order, "refund_review", Some("consent_withdrawn")).await;
    // The refund is asked for during the outage as well.
    app.asks_refund(order, None).await.unwrap();
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    assert_eq!(app.sandbox.stripe.refunds().len(), 0);
    app.sandbox.fal.hold(safelight_sandbox::fal::Hold::Nowhere);
    for up in [
        app.sandbox.stripe.bring_up().await,
        app.sandbox.fal.bring_up().await,
        app.sandbox.supabase.bring_up().await,
        app.sandbox.resend.bring_up().await,
    ] {
        up.unwrap();
    }
    app.lives_on(8, Duration::hours(1)).await;
    assert_eq!(app.sandbox.stripe.refunds().len(), 1);
    assert_eq!(app.sale_status(&app.session(order).await).await, "refunded");
    assert_eq!(app.count("select count(*) from safelight.deletions where state <> 'complete'").await, 0);
    assert_eq!(app.sandbox.fal.files().len(), 0);
    assert_eq!(app.count("select count(*) from safelight.artifacts where class in ('model', 'bundle')").await, 0);
}
