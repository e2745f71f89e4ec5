//! Many orders in bad weather: thirty percent of what providers answer and tell is lost, doubled, late or out of order, and
//! attempts are cut in the middle. However it goes: every paid order ends delivered or in refund review, once; nobody is
//! trained twice; and the books agree with Stripe to the cent.
//!
//! `SAFELIGHT_ORDERS` sets how many orders, `SAFELIGHT_SEED` repeats the dice of a run (not the scheduler's).

use std::collections::{BTreeMap, BTreeSet};

use chrono::Duration;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use safelight_jobs::{
    calls::{
        resolve::{self, Resolution, Said},
        token_sha256,
    },
    expire_consents::ExpireConsents,
    id::{Id, Order},
    job::Queue,
    queue,
    reconcile_calls::ReconcileCalls,
    reconcile_money::ReconcileMoney,
};
use safelight_sandbox::Fault;
use uuid::Uuid;

use crate::app::App;

/// Orders when nobody says how many: of three persons, in some fifty rounds.
const ORDERS: usize = 15;
/// Of one person: photos are uploaded once for all of them.
const A_PERSON: usize = 5;
const PERCENT: u32 = 30;
/// Rounds in which customers ask for their money back.
const LIVELY: usize = 40;
/// More than the worst run that was seen needs, several times over.
const ROUNDS: usize = 400;

const WEBHOOKS: [Fault; 4] =
    [Fault::DropWebhook, Fault::DoubleWebhook, Fault::DelayWebhook { millis: 15 }, Fault::SwapWebhooks];
const ANSWERS: [Fault; 4] = [
    Fault::LostAnswer,
    Fault::Unreachable,
    Fault::ServerError { status: 503 },
    Fault::TooManyRequests { retry_after_seconds: Some(1) },
];

fn number(name: &str, otherwise: impl FnOnce() -> u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or_else(otherwise)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_storm_every_paid_order_ends_delivered_or_in_refund_review_and_every_euro_is_accounted_for() {
    let seed = number("SAFELIGHT_SEED", || rand::thread_rng().r#gen());
    let count = usize::try_from(number("SAFELIGHT_ORDERS", || ORDERS as u64)).unwrap();
    say(&format!("{count} orders in a storm, SAFELIGHT_SEED={seed}"));
    let mut dice = StdRng::seed_from_u64(seed);
    let app = App::spawn().await;
    let orders = placed(&app, count).await;
    storm(&app, seed);

    let mut unpaid = orders.clone();
    unpaid.shuffle(&mut dice);
    let mut rounds = 0;
    while !(unpaid.is_empty() && is_over(&app).await) {
        rounds += 1;
        assert!(rounds < ROUNDS, "seed {seed}: {:?} after {rounds} rounds", left(&app).await);
        for _ in 0..dice.gen_range(1..8) {
            if let Some(order) = unpaid.pop() {
                pays(&app, order, &mut dice).await;
            }
        }
        customers_and_banks(&app, &orders, rounds < LIVELY, &mut dice).await;
        works(&app, &mut dice).await;
        app.sandbox.idle().await;
        app.turn_clock(Duration::minutes(if rounds < LIVELY { dice.gen_range(1..5) } else { 20 })).await;
        sweeps(&app, rounds).await;
        if rounds.is_multiple_of(5) {
            an_operator_looks(&app, 0.5, &mut dice).await;
        }
    }

    // The weather is over: what was said to nobody is found.
    for faults in [app.sandbox.stripe.faults(), app.sandbox.fal.faults(), app.sandbox.resend.faults()] {
        faults.clear();
    }
    // More than a day: so long Stripe replays a fault under a refund's key. And what died in it rises: a call whose collecting died has
    // no end before a person says so.
    for _ in 0..5 {
        an_operator_looks(&app, 1.0, &mut dice).await;
        app.lives_on(2, Duration::hours(4)).await;
        app.reconciles().await;
        app.compares_money().await;
    }
    let told = format!("seed {seed}, {count} orders, {rounds} rounds");
    assert_eq!(app.count("select count(*) from safelight_fiscal.refunds where state = 'asked'").await, 0, "{told}");
    everybody_is_served_or_looked_at(&app, &orders, &told).await;
    nothing_was_made_twice(&app, &told).await;
    every_euro_is_accounted_for(&app, &orders, &told).await;
    let open: Vec<String> = sqlx::query_scalar(
        "select c.purpose || ' ' || c.state || ' of ' || c.created_at || coalesce(', ' || j.kind || ' died of ' || j.code, '')
        from safelight.provider_calls c left join safelight.dead_letters j on j.payload ->> 'call' = c.id::text
        where c.state in ('intended', 'unknown', 'submitted')",
    )
    .fetch_all(&app.db)
    .await
    .unwrap();
    assert_eq!(app.differences().await, Vec::<String>::new(), "{told}: the books agree; {open:?}");
    let states: Vec<(String, Option<String>, i64)> =
        sqlx::query_as("select state, problem, count(*) from safelight.orders group by 1, 2 order by 1, 2")
            .fetch_all(&app.db)
            .await
            .unwrap();
    say(&format!("{told}: {states:?}"));
}

#[expect(clippy::print_stderr, reason = "the seed of a run belongs to its output")]
fn say(line: &str) {
    eprintln!("{line}");
}

async fn placed(app: &App, count: usize) -> Vec<Id<Order>> {
    let mut orders = Vec::new();
    for person in 0..count.div_ceil(A_PERSON) {
        // Two of three have a model trained.
        let (tenant, photos) = if person % 3 == 2 { ("koselfie", 3) } else { ("haloprofile", 6) };
        let ann = app.person(tenant).await;
        let (batch, _) = app.uploads(&ann, photos).await;
        for _ in 0..A_PERSON.min(count - orders.len()) {
            orders.push(app.orders(&ann, batch, "basic", true).await);
        }
    }
    orders
}

fn storm(app: &App, seed: u64) {
    let both = |more: &[Fault]| [&WEBHOOKS[..], &ANSWERS[..], more].concat();
    app.sandbox.stripe.faults().weather(seed, PERCENT, &both(&[Fault::StoredServerError]));
    let fal = both(&[Fault::CancelIgnored, Fault::PurgeRemovesNothing, Fault::PurgeFailsOneFile]);
    app.sandbox.fal.faults().weather(seed.wrapping_add(1), PERCENT, &fal);
    app.sandbox.resend.faults().weather(seed.wrapping_add(2), PERCENT, &ANSWERS);
}

/// At once, or by a slow bank.
async fn pays(app: &App, order: Id<Order>, dice: &mut StdRng) {
    let session = app.session(order).await;
    if dice.gen_bool(0.2) {
        app.sandbox.stripe.pay_unpaid(&session).unwrap();
    } else {
        app.sandbox.stripe.pay(&session).unwrap();
    }
}

/// Slow banks decide, some money is asked back at the dashboard, some by an operator, some by a bank.
async fn customers_and_banks(app: &App, orders: &[Id<Order>], lively: bool, dice: &mut StdRng) {
    for session in app.sandbox.stripe.sessions() {
        let id = session["id"].as_str().unwrap();
        if session["status"] == "complete" && session["payment_status"] == "unpaid" && dice.gen_bool(0.2) {
            app.sandbox.stripe.settle(id, true).unwrap();
        }
    }
    if lively && dice.gen_bool(0.25) {
        let order = *orders.choose(dice).unwrap();
        let session = app.sandbox.stripe.session(&app.session(order).await).unwrap();
        let payment = session["payment_intent"].as_str().filter(|_| session["payment_status"] == "paid");
        match (dice.gen_range(0..4), payment) {
            (0, Some(payment)) => drop(app.sandbox.stripe.refund_part(payment, 100)),
            (1, Some(payment)) => drop(app.sandbox.stripe.dispute(payment)),
            (2, _) => drop(app.asks_refund(order, Some(200)).await),
            _ => drop(app.asks_refund(order, None).await),
        }
    }
    for dispute in app.sandbox.stripe.disputes() {
        if dispute["status"] == "needs_response" && dice.gen_bool(0.1) {
            app.sandbox.stripe.close_dispute(dispute["id"].as_str().unwrap(), dice.gen_bool(0.5)).unwrap();
        }
    }
}

/// Four workers until nothing is due; one attempt of six is cut somewhere in the middle, and its lease runs out.
async fn works(app: &App, dice: &mut StdRng) {
    let workers = (0..4).map(|_| worker(app, StdRng::seed_from_u64(dice.r#gen())));
    futures::future::join_all(workers).await;
    sqlx::query("update safelight.jobs set lease_until = clock_timestamp() - interval '1 second' where state = 1")
        .execute(&app.db)
        .await
        .unwrap();
    queue::rescue(&app.worker, i16::MAX).await.unwrap();
}

async fn worker(app: &App, mut dice: StdRng) {
    loop {
        let mut idle = true;
        for queue in Queue::ALL {
            for job in queue::claim(&app.worker, queue, "test", 1, 60.0).await.unwrap() {
                idle = false;
                let attempt = safelight_worker::perform(&app.worker, &app.services, &job);
                if dice.gen_ratio(1, 6) {
                    let _ =
                        tokio::time::timeout(std::time::Duration::from_millis(dice.gen_range(0..40)), attempt).await;
                } else {
                    attempt.await.unwrap();
                }
            }
        }
        if idle {
            return;
        }
    }
}

async fn sweeps(app: &App, round: usize) {
    let because = format!("storm_{round}");
    app.wants(&ReconcileCalls { because: because.clone(), grace_seconds: None }).await;
    if round.is_multiple_of(6) {
        app.wants(&ReconcileMoney { because: because.clone(), hours: None }).await;
        app.wants(&ExpireConsents { because }).await;
    }
}

/// What is unknown for half an hour is looked up at Fal by hand; some dead letters are redriven.
/// `redrives`: which share of what died.
async fn an_operator_looks(app: &App, redrives: f64, dice: &mut StdRng) {
    let taken: BTreeMap<Vec<u8>, String> = requests_by_token(app);
    for call in resolve::unknown(&app.db, None, 1000).await.unwrap() {
        if call.age_seconds < 1800 {
            continue;
        }
        let token: Vec<u8> =
            app.of("select token_sha256 from safelight.provider_calls where id = $1", call.id.uuid()).await;
        let resolution = match taken.get(&token) {
            Some(request) => Resolution::Accepted(request.clone()),
            None => Resolution::NotMade,
        };
        let mut tx = app.tx().await;
        // A webhook may have been quicker.
        if resolve::resolve(&mut tx, call.id, &resolution, Said { by: "ops_1", why: "looked_at_fal" }).await.is_ok() {
            tx.commit().await.unwrap();
        }
    }
    let dead: Vec<Uuid> =
        sqlx::query_scalar("select id from safelight.dead_letters order by id").fetch_all(&app.db).await.unwrap();
    for job in dead {
        if dice.gen_bool(redrives) {
            app.redrives(job).await;
        }
    }
}

fn requests_by_token(app: &App) -> BTreeMap<Vec<u8>, String> {
    let of = |request: safelight_sandbox::fal::Request| {
        let url = request.webhook_url?;
        Some((token_sha256(url.rsplit('/').next()?), request.id.to_string()))
    };
    app.sandbox.fal.requests().into_iter().filter_map(of).collect()
}

async fn is_over(app: &App) -> bool {
    app.count(
        "select (select count(*) from safelight.orders where state not in ('delivered', 'refund_review'))
            + (select count(*) from safelight.provider_calls where state in ('intended', 'unknown'))",
    )
    .await
        == 0
}

async fn left(app: &App) -> Vec<(String, Option<String>, i64)> {
    sqlx::query_as(
        "select state, problem, count(*) from safelight.orders group by 1, 2 union all
        select 'job ' || kind, why, count(*) from safelight.jobs group by 1, 2 union all
        select 'call ' || purpose, state, count(*) from safelight.provider_calls group by 1, 2 union all
        select 'dead ' || kind, code, count(*) from safelight.dead_letters group by 1, 2",
    )
    .fetch_all(&app.db)
    .await
    .unwrap()
}

async fn everybody_is_served_or_looked_at(app: &App, orders: &[Id<Order>], told: &str) {
    for &order in orders {
        let (state, problem) = app.order_state(order).await;
        let images: i64 = app
            .of("select count(*) from safelight.artifacts where order_id = $1 and class = 'image' and delivered_at is not null", order.uuid())
            .await;
        match state.as_str() {
            "delivered" => assert!(images > 0 && problem.is_none(), "{told}: {order} {problem:?}"),
            "refund_review" => assert!(problem.is_some(), "{told}: {order}"),
            other => panic!("{told}: {order} is {other}"),
        }
        let delivered: i64 = app
            .of(
                "select count(*) from safelight.audit_entries where order_id = $1 and action = 'order.delivered'",
                order.uuid(),
            )
            .await;
        assert_eq!(delivered, i64::from(state == "delivered"), "{told}: {order} {state} {problem:?}");
    }
    let mails = app.sandbox.resend.mails().iter().filter(|mail| mail.subject != "Your data is deleted").count();
    let notices = app.count("select count(*) from safelight.notices where channel = 'mail'").await;
    assert!(i64::try_from(mails).unwrap() <= notices, "{told}: {mails} mails for {notices} deliveries");
}

/// What Fal's stand-in was asked, by the wish that asked: each at most once. And no call has taken another one's request for its own.
async fn nothing_was_made_twice(app: &App, told: &str) {
    let wishes: Vec<(Vec<u8>, String)> =
        sqlx::query_as("select token_sha256, wish from safelight.provider_calls").fetch_all(&app.db).await.unwrap();
    let wishes: BTreeMap<Vec<u8>, String> = wishes.into_iter().collect();
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    let asked = requests_by_token(app);
    let held: Vec<(Vec<u8>, String)> =
        sqlx::query_as("select token_sha256, request_id from safelight.provider_calls where request_id is not null")
            .fetch_all(&app.db)
            .await
            .unwrap();
    for (token, request) in &held {
        assert_eq!(asked.get(token), Some(request), "{told}: {} holds another call's request", wishes[token]);
    }
    for token in asked.keys() {
        let wish =
            wishes.get(token).unwrap_or_else(|| panic!("{told}: Fal was asked something that was not written down"));
        *made.entry(wish).or_default() += 1;
    }
    let twice: Vec<_> = made.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{told}: made more than once: {twice:?}");
    let trained = made.keys().filter(|wish| wish.starts_with("train:")).count();
    assert_eq!(app.sandbox.fal.trainings(), trained, "{told}: no double training");
}

/// Session by session: what Stripe has, the books have.
async fn every_euro_is_accounted_for(app: &App, orders: &[Id<Order>], told: &str) {
    let cents = |objects: Vec<serde_json::Value>, payment: &str, counts: &dyn Fn(&str) -> bool| -> i64 {
        let of = |o: &&serde_json::Value| o["payment_intent"] == payment && counts(o["status"].as_str().unwrap());
        objects.iter().filter(of).map(|o| o["amount"].as_i64().unwrap()).sum()
    };
    let mut total = 0;
    for &order in orders {
        let session = app.sandbox.stripe.session(&app.session(order).await).unwrap();
        let (id, payment) = (session["id"].as_str().unwrap(), session["payment_intent"].as_str().unwrap());
        let sale = app.sale(id).await.unwrap_or_else(|| panic!("{told}: {order} is paid and not on the books"));
        let refunded = cents(app.sandbox.stripe.refunds(), payment, &|status| status != "failed");
        let disputed = cents(app.sandbox.stripe.disputes(), payment, &|status| status != "won");
        assert_eq!(Some(sale.amount_cents), session["amount_total"].as_i64(), "{told}: {order}");
        assert_eq!((sale.refunded_cents, sale.disputed_cents), (refunded, disputed), "{told}: {order}");
        assert_eq!(sale.kept_cents, sale.amount_cents - refunded - disputed, "{told}: {order}");
        assert!(sale.kept_cents >= 0, "{told}: {order} gave back more than it got");
        total += sale.amount_cents;
    }
    assert_eq!(app.count("select sum(amount_cents)::bigint from safelight_fiscal.sales").await, total, "{told}");
    let ours: Vec<String> = app
        .sandbox
        .stripe
        .refunds()
        .iter()
        .filter_map(|refund| refund["metadata"]["refund_id"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(ours.iter().collect::<BTreeSet<_>>().len(), ours.len(), "{told}: one refund of ours was made twice");
}
