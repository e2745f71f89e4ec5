//! What Stripe and Fal say that nobody asked about before: the tax, the other mode, a new word, work of others.

use std::sync::Arc;

use chrono::Duration;
use serde_json::{Value, json};

use crate::app::App;

#[tokio::test(flavor = "multi_thread")]
async fn the_tax_that_stripe_worked_out_is_booked_with_the_sale() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let booked: (i64, i64) =
        sqlx::query_as("select amount_cents, tax_cents from safelight_fiscal.sales").fetch_one(&app.db).await.unwrap();
    assert_eq!(booked, (1900, 303), "19 percent, in the price");
}

/// It buys nothing, and it is not silent: somebody may have paid with real money.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_paid_in_stripes_other_mode_is_refused_and_seen() {
    let mut app = App::spawn().await;
    Arc::get_mut(&mut app.services).expect("nobody else has them yet").livemode = true;
    let (_ann, order) = app.basic_order(false).await;
    assert_eq!(app.compares_money().await, Vec::<String>::new(), "an open payment page is nothing to see");
    app.pays(order).await;
    app.run_due_jobs().await;
    app.stands(order, "refused", Some("wrong_mode")).await;
    assert_eq!(app.compares_money().await, ["paid_in_other_mode"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_with_a_word_of_stripes_that_nobody_knows_differs_no_more_when_it_is_booked() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let refund = app.sandbox.stripe.refund_part(&app.payment(order).await, 300).unwrap();
    app.run_due_jobs().await;
    let looks = "select count(*) from safelight.jobs_archive where kind = 'book_money'";
    let told = app.count(looks).await;
    for word in [Value::Null, json!("Sent by Post")] {
        app.sandbox.stripe.refund_says(refund["id"].as_str().unwrap(), word.clone()).unwrap();
        for _ in 0..2 {
            assert_eq!(app.compares_money().await, Vec::<String>::new(), "{word}");
        }
    }
    assert_eq!(app.count(looks).await, told + 1, "booked again when it was not known any more, and at no later look");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_of_a_stranger_with_our_key_is_seen_also_at_a_model_that_we_did_not_call_lately() {
    let app = App::spawn().await;
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
    app.turn_clock(Duration::minutes(30)).await;
    assert_eq!(app.compares_money().await, ["request_without_call"]);
}
