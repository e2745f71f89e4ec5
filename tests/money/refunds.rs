//! Money that goes back: asked for by us, made at Stripe's dashboard, or asked back by a bank; before, during and after the
//! work, once, in any order of the news.

use chrono::Duration;
use safelight_api::tokens::{self, Scope};
use safelight_jobs::intake::IntakeError;
use safelight_sandbox::{Fault, Rule, fal::Hold};
use serde_json::{Value, json};

use crate::app::App;

fn code_of(refused: &IntakeError) -> &'static str {
    match refused {
        IntakeError::Conflict { code, .. } | IntakeError::Invalid { code, .. } => code,
        other => panic!("{other}"),
    }
}

fn at_refunds(fault: Fault) -> Rule {
    Rule { fault, times: Some(1), on: Some("POST /v1/refunds".to_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gives_an_orders_money_back_once() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let (session, backend) = (app.session(order).await, app.token("koselfie").await);
    let operator = tokens::create(&app.db, Some("koselfie"), "operator", &[Scope::Operate]).await.unwrap();
    let stranger = tokens::create(&app.db, Some("haloprofile"), "operator", &[Scope::Operate]).await.unwrap();
    let path = format!("/v1/orders/{order}/refund");
    let wish = json!({ "why": "goodwill" });

    assert_eq!(app.post(&backend, &path, wish.clone()).await.0, 403, "a backend does not decide about money");
    assert_eq!(app.post(stranger.expose(), &path, wish.clone()).await.0, 404, "and no other tenant");
    let (status, answer) = app.post(operator.expose(), &path, json!({ "why": "Ann was unhappy" })).await;
    assert_eq!((status, &answer["code"]), (422, &json!("not_a_code")), "no free text is kept");

    let (status, answer) = app.post(operator.expose(), &path, wish.clone()).await;
    assert_eq!((status, &answer["amount_cents"], &answer["currency"]), (202, &json!(1900), &json!("eur")), "{answer}");
    let (status, answer) = app.post(operator.expose(), &path, wish).await;
    assert_eq!((status, &answer["code"]), (409, &json!("nothing_to_refund")), "what is on its way counts as given");
    app.run_due_jobs().await;

    let refunds = app.sandbox.stripe.refunds();
    assert_eq!(refunds.len(), 1);
    assert_eq!((&refunds[0]["amount"], &refunds[0]["status"]), (&json!(1900), &json!("succeeded")));
    let sale = app.sale(&session).await.unwrap();
    assert_eq!((sale.status.as_str(), sale.refunded_cents, sale.kept_cents), ("refunded", 1900, 0));
    app.stands(order, "delivered", None).await;
    let said = app.count("select count(*) from safelight.audit_entries where action = 'refund.asked' and codes ->> 'why' = 'goodwill'").await;
    assert_eq!(said, 1, "the audit log says who and why");
    let kept: Vec<(String, String, String)> =
        sqlx::query_as("select actor, why, about from safelight.operator_acts where action = 'refund.asked'")
            .fetch_all(&app.db)
            .await
            .unwrap();
    let expected = ("operator".to_owned(), "goodwill".to_owned(), order.to_string());
    assert_eq!(kept, [expected], "and so does the trail, once: what was refused is no act");
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_who_want_one_refund_at_the_same_moment_get_one() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let asked = futures::future::join_all((0..10).map(|_| app.asks_refund(order, None))).await;
    assert_eq!(asked.iter().filter(|asked| asked.is_ok()).count(), 1);
    for refused in asked.iter().filter_map(|asked| asked.as_ref().err()) {
        assert_eq!(code_of(refused), "nothing_to_refund");
    }
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.stripe.refunds().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_in_parts_ends_with_all_of_it_and_never_with_more() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    let session = app.session(order).await;
    assert_eq!(code_of(&app.asks_refund(order, None).await.unwrap_err()), "order_unpaid");
    app.fulfils(order).await;
    for amount in [0, -5, 1901] {
        assert_eq!(code_of(&app.asks_refund(order, Some(amount)).await.unwrap_err()), "refund_too_large");
    }
    app.asks_refund(order, Some(500)).await.unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.sale_status(&session).await, "partly_refunded");
    assert_eq!(code_of(&app.asks_refund(order, Some(1401)).await.unwrap_err()), "refund_too_large");
    // Somebody at the dashboard is quicker with the next part.
    app.sandbox.stripe.refund_part(&app.payment(order).await, 400).unwrap();
    app.run_due_jobs().await;
    let rest = app.asks_refund(order, None).await.unwrap();
    assert_eq!(rest.amount_cents, 1000);
    app.run_due_jobs().await;
    let sale = app.sale(&session).await.unwrap();
    assert_eq!((sale.status.as_str(), sale.refunded_cents), ("refunded", 1900));
    let at_stripe: i64 = app.sandbox.stripe.refunds().iter().map(|refund| refund["amount"].as_i64().unwrap()).sum();
    assert_eq!(at_stripe, 1900);
}

/// The answer is lost after Stripe took it, twice; then the same key, and our id in the list, find it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_whose_answer_is_lost_is_found_again_and_not_made_twice() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    app.sandbox.stripe.set_webhook_url(None);
    app.sandbox.stripe.faults().add(Rule { times: Some(2), ..at_refunds(Fault::LostAnswer) });
    app.asks_refund(order, Some(700)).await.unwrap();
    app.run_due_jobs().await;
    app.lives_on(6, Duration::hours(1)).await;
    assert_eq!(app.sandbox.stripe.refunds().len(), 1);
    assert_eq!(app.sale(&app.session(order).await).await.unwrap().refunded_cents, 700);
    // Also when Stripe has forgotten the key meanwhile.
    app.sandbox.stripe.faults().add(at_refunds(Fault::LostAnswer));
    app.asks_refund(order, Some(300)).await.unwrap();
    app.run_due_jobs().await;
    app.lives_on(1, Duration::hours(30)).await;
    assert_eq!(app.sandbox.stripe.refunds().len(), 2);
    assert_eq!(app.sale(&app.session(order).await).await.unwrap().refunded_cents, 1000);
}

/// Stripe replays a 500 under a key for a day; nothing was made, and the key of the next day makes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_stripe_failed_at_and_remembers_is_made_the_next_day() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    app.sandbox.stripe.faults().add(at_refunds(Fault::StoredServerError));
    app.asks_refund(order, None).await.unwrap();
    app.run_due_jobs().await;
    app.lives_on(20, Duration::hours(1)).await;
    assert_eq!(app.sandbox.stripe.refunds().len(), 0, "the first answer is replayed");
    app.lives_on(8, Duration::hours(1)).await;
    assert_eq!(app.sandbox.stripe.refunds().len(), 1);
    assert_eq!(app.sale_status(&app.session(order).await).await, "refunded");
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
}

/// What left just before the key ends may be taken and not listed yet when the next key begins.
#[tokio::test(flavor = "multi_thread")]
async fn in_the_hour_before_its_key_ends_no_refund_is_asked_for() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    app.sandbox.stripe.faults().add(at_refunds(Fault::StoredServerError));
    app.asks_refund(order, Some(700)).await.unwrap();
    app.run_due_jobs().await;
    let asked = |app: &App| {
        app.sandbox.stripe.calls().iter().filter(|call| call.method == "POST" && call.path == "/v1/refunds").count()
    };
    app.lives_on(1, Duration::hours(22)).await;
    let before = asked(&app);
    assert!(before >= 2);
    app.lives_on(1, Duration::minutes(90)).await;
    assert_eq!(asked(&app), before, "half an hour before the end");
    app.lives_on(1, Duration::hours(1)).await;
    assert_eq!(asked(&app), before + 1);
    assert_eq!(app.sale(&app.session(order).await).await.unwrap().refunded_cents, 700);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_waits_for_stripe_to_come_back() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    app.sandbox.stripe.take_down().await;
    app.asks_refund(order, None).await.unwrap();
    app.run_due_jobs().await;
    app.lives_on(3, Duration::hours(1)).await;
    app.sandbox.stripe.bring_up().await.unwrap();
    app.lives_on(2, Duration::hours(1)).await;
    assert_eq!(app.sandbox.stripe.refunds().len(), 1);
    assert_eq!(app.sale_status(&app.session(order).await).await, "refunded");
}

/// An order whose work is under way and whose training is running at Fal.
async fn in_training(app: &App) -> safelight_jobs::id::Id<safelight_jobs::id::Order> {
    app.sandbox.fal.hold(Hold::InProgress);
    let (_bob, order) = app.small_halo_order().await;
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    app.stands(order, "training", None).await;
    order
}

async fn fal_lets_go(app: &App) {
    // Stripe's news first: nobody waits for Fal here.
    app.sandbox.stripe.idle().await;
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    app.sandbox.fal.hold(Hold::Nowhere);
    app.run_due_jobs().await;
    app.lives_on(3, Duration::minutes(5)).await;
}

async fn nothing_was_made(app: &App) {
    assert_eq!(app.count("select count(*) from safelight.artifacts where class in ('model', 'image')").await, 0);
    assert_eq!(app.sandbox.fal.generations(), 0);
    assert_eq!(app.sandbox.fal.files().len(), 0, "what Fal finished all the same is purged");
    assert_eq!(app.count("select count(*) from safelight.provider_calls where purge <> 'purged'").await, 0);
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0, "its work is over, not dead");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_refund_ends_the_work_that_is_under_way() {
    let app = App::spawn().await;
    let order = in_training(&app).await;
    app.asks_refund(order, None).await.unwrap();
    app.stands(order, "refund_review", Some("refunded")).await;
    fal_lets_go(&app).await;
    nothing_was_made(&app).await;
    assert_eq!(app.sale_status(&app.session(order).await).await, "refunded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_money_given_back_during_the_work_ends_nothing() {
    let app = App::spawn().await;
    let order = in_training(&app).await;
    app.asks_refund(order, Some(900)).await.unwrap();
    app.sandbox.stripe.refund_part(&app.payment(order).await, 100).unwrap();
    fal_lets_go(&app).await;
    app.stands(order, "delivered", None).await;
    let sale = app.sale(&app.session(order).await).await.unwrap();
    assert_eq!((sale.status.as_str(), sale.refunded_cents), ("partly_refunded", 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_at_the_dashboard_ends_the_work_and_one_after_delivery_is_booked() {
    let app = App::spawn().await;
    let order = in_training(&app).await;
    app.sandbox.stripe.refund(&app.payment(order).await).unwrap();
    fal_lets_go(&app).await;
    app.stands(order, "refund_review", Some("refunded")).await;
    nothing_was_made(&app).await;

    let (_ann, served) = app.basic_order(false).await;
    app.fulfils(served).await;
    app.sandbox.stripe.refund(&app.payment(served).await).unwrap();
    app.run_due_jobs().await;
    app.stands(served, "delivered", None).await;
    assert_eq!(app.sale_status(&app.session(served).await).await, "refunded");
}

#[tokio::test(flavor = "multi_thread")]
async fn d17_a_dispute_ends_the_work_and_the_books_follow_the_bank() {
    let app = App::spawn().await;
    let order = in_training(&app).await;
    let session = app.session(order).await;
    let dispute = app.sandbox.stripe.dispute(&app.payment(order).await).unwrap();
    fal_lets_go(&app).await;
    app.stands(order, "refund_review", Some("disputed")).await;
    nothing_was_made(&app).await;
    let sale = app.sale(&session).await.unwrap();
    assert_eq!((sale.status.as_str(), sale.disputed_cents, sale.kept_cents), ("disputed", 2900, 0));
    assert_eq!(code_of(&app.asks_refund(order, None).await.unwrap_err()), "sale_disputed");

    app.sandbox.stripe.close_dispute(dispute["id"].as_str().unwrap(), true).unwrap();
    app.run_due_jobs().await;
    let sale = app.sale(&session).await.unwrap();
    assert_eq!((sale.status.as_str(), sale.kept_cents), ("paid", 2900), "won: the money is here again");
    app.stands(order, "refund_review", Some("disputed")).await;
    app.asks_refund(order, None).await.unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.sale_status(&session).await, "refunded");

    let (_ann, served) = app.basic_order(false).await;
    app.fulfils(served).await;
    let lost = app.sandbox.stripe.dispute(&app.payment(served).await).unwrap();
    app.sandbox.stripe.close_dispute(lost["id"].as_str().unwrap(), false).unwrap();
    app.run_due_jobs().await;
    app.stands(served, "delivered", None).await;
    let sale = app.sale(&app.session(served).await).await.unwrap();
    assert_eq!((sale.status.as_str(), sale.kept_cents), ("disputed", 0));
    assert_eq!(code_of(&app.asks_refund(served, None).await.unwrap_err()), "nothing_to_refund");
}

/// A dispute that nobody told us of: Stripe refuses, the row says why, and the look has booked the dispute.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_stripe_refuses_says_so_and_is_looked_at() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    app.sandbox.stripe.faults().always(Fault::DropWebhook);
    app.sandbox.stripe.dispute(&app.payment(order).await).unwrap();
    app.asks_refund(order, None).await.unwrap();
    app.run_due_jobs().await;
    let (state, code): (String, Option<String>) =
        sqlx::query_as("select state, code from safelight_fiscal.refunds").fetch_one(&app.db).await.unwrap();
    assert_eq!((state.as_str(), code.as_deref()), ("refused", Some("charge_disputed")));
    let sale = app.sale(&app.session(order).await).await.unwrap();
    assert_eq!((sale.status.as_str(), sale.refunded_cents, sale.disputed_cents), ("disputed", 0, 1900));
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_fails_at_the_customers_bank_is_looked_at_and_can_be_made_again() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let session = app.session(order).await;
    app.asks_refund(order, None).await.unwrap();
    app.run_due_jobs().await;
    let refund = app.sandbox.stripe.refunds()[0]["id"].as_str().unwrap().to_owned();
    app.sandbox.stripe.fail_refund(&refund).unwrap();
    app.run_due_jobs().await;
    let sale = app.sale(&session).await.unwrap();
    assert_eq!((sale.status.as_str(), sale.kept_cents, sale.review.as_deref()), ("paid", 1900, Some("refund_failed")));
    app.asks_refund(order, None).await.unwrap();
    app.run_due_jobs().await;
    let sale = app.sale(&session).await.unwrap();
    assert_eq!((sale.status.as_str(), sale.kept_cents, sale.review), ("refunded", 0, None));
    assert_eq!(app.sandbox.stripe.refunds().len(), 2);
}

fn permutations(events: &[Value]) -> Vec<Vec<Value>> {
    if events.len() < 2 {
        return vec![events.to_vec()];
    }
    let mut all = Vec::new();
    for first in 0..events.len() {
        let mut rest = events.to_vec();
        let event = rest.remove(first);
        all.extend(permutations(&rest).into_iter().map(|mut order| {
            order.insert(0, event.clone());
            order
        }));
    }
    all
}

/// Paid, refunded in part, disputed, won: the news in every order, each twice, and work between them or not.
#[tokio::test(flavor = "multi_thread")]
async fn n21_the_books_are_the_same_in_whichever_order_the_news_come() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 3).await;
    app.sandbox.stripe.set_webhook_url(None);
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..24_usize {
        let order = app.orders(&ann, batch, "basic", true).await;
        let before = app.sandbox.stripe.events().len();
        app.pays(order).await;
        let payment = app.payment(order).await;
        app.sandbox.stripe.refund_part(&payment, 400).unwrap();
        let dispute = app.sandbox.stripe.dispute(&payment).unwrap();
        app.sandbox.stripe.close_dispute(dispute["id"].as_str().unwrap(), true).unwrap();
        let wanted =
            ["checkout.session.completed", "charge.refunded", "charge.dispute.created", "charge.dispute.closed"];
        let events: Vec<Value> = app.sandbox.stripe.events()[before..]
            .iter()
            .filter(|event| wanted.contains(&event["type"].as_str().unwrap()))
            .cloned()
            .collect();
        assert_eq!(events.len(), 4);
        for event in &permutations(&events)[round] {
            let body = event.to_string();
            for _ in 0..2 {
                let (status, _) = app.stripe_says(&body, &app.sandbox.stripe.sign_now(body.as_bytes())).await;
                assert_eq!(status, 200);
            }
            if round % 2 == 0 {
                app.run_due_jobs().await;
            }
        }
        app.run_due_jobs().await;
        let sale = app.sale(&app.session(order).await).await.unwrap();
        assert_eq!(
            (sale.amount_cents, sale.refunded_cents, sale.disputed_cents, sale.kept_cents),
            (1900, 400, 0, 1500),
            "round {round}"
        );
        assert_eq!(sale.status, "partly_refunded");
        // A charge that was ever disputed buys nothing before a person has looked.
        app.stands(order, "refund_review", Some("disputed")).await;
        seen.insert(app.session(order).await);
    }
    assert_eq!(app.count("select count(*) from safelight_fiscal.sales").await, 24, "one sale an order");
    assert_eq!(app.count("select count(*) from safelight_fiscal.refunds").await, 24);
    assert_eq!(app.count("select count(*) from safelight_fiscal.disputes").await, 24);
    assert_eq!(app.sandbox.fal.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_a_payment_that_is_not_ours_is_left_alone() {
    let app = App::spawn().await;
    let foreign = safelight_sandbox::stripe::NewSession { amount: 500, ..Default::default() };
    let session = app.sandbox.stripe.create_session(&foreign).unwrap();
    let paid = app.sandbox.stripe.pay(session["id"].as_str().unwrap()).unwrap();
    app.sandbox.stripe.refund(paid["payment_intent"].as_str().unwrap()).unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.count("select count(*) from safelight_fiscal.refunds").await, 0);
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
}
