//! Money that goes back by a form of the console: of an order, and of one that is erased. Once however often the form is sent, never
//! another tenant's, and no id of Stripe's is shown.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id, Order};

use crate::{
    browser::Browser,
    house::{Answer, House},
};

/// A paid order of HaloProfile in refund review, with 49 euros.
async fn in_review(house: &House) -> Id<Order> {
    let backend = house.backend("haloprofile").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_back").await;
    house
        .run(&format!(
            "update safelight.orders set state = 'refund_review', problem = 'work_died', paid_at = safelight.now() where id = '{0}';
            insert into safelight_fiscal.sales (tenant, order_id, stripe_session, payment_intent, status, amount_cents, currency, sold_at)
                values ('haloprofile', '{0}', 'cs_test_back', 'pi_back', 'paid', 4900, 'eur', safelight.now())",
            order.uuid()
        ))
        .await;
    order
}

#[tokio::test]
async fn money_goes_back_once_however_often_and_however_fast_its_form_is_sent() {
    let house = House::build().await;
    let order = in_review(&house).await;
    let operator = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await;
    let (page, address) = (format!("/console/orders/{order}"), format!("/console/orders/{order}/refund"));
    let shown = operator.opens(&page).await.text;
    assert!(shown.contains("Give back 49.00 EUR") && shown.contains("49.00 EUR is left"), "{shown}");

    let refund = Id::<id::Refund>::new();
    let part = format!("&refund={refund}&amount_cents=1000&sure=yes&why=goodwill");
    for (more, says) in [
        (format!("&refund={refund}&amount_cents=1000&why=goodwill"), "tick that this is meant"),
        (format!("&refund={refund}&amount_cents=1000&sure=yes&why=He+asked"), "not_a_code"),
        (format!("&refund={refund}&amount_cents=4901&sure=yes&why=goodwill"), "refund_too_large"),
        (format!("&refund={refund}&amount_cents=ten&sure=yes&why=goodwill"), "amount_cents"),
    ] {
        let refused = operator.presses(&page, &address, &more).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{more}");
        assert!(refused.text.contains(says), "{more}: {}", refused.text);
    }
    assert_eq!(house.count("from safelight_fiscal.refunds").await, 0);

    let sent = futures::future::join_all((0..8).map(|_| operator.presses(&page, &address, &part))).await;
    for answer in sent {
        let done = format!("{page}?done=refund_asked_for");
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::SEE_OTHER, done.as_str()),
            "{}",
            answer.text
        );
    }
    let on_the_books =
        "from safelight_fiscal.refunds where amount_cents = 1000 and why = 'goodwill' and asked_by like 'token\\_%'";
    assert_eq!((house.count(on_the_books).await, house.count("from safelight_fiscal.refunds").await), (1, 1));
    assert_eq!(house.count("from safelight.jobs where kind = 'refund_payment'").await, 1);
    let kept = format!(
        "from safelight.operator_acts where action = 'refund.asked' and about = '{order}' and why = 'goodwill'"
    );
    assert_eq!(house.count(&kept).await, 1, "with who and why, once");
    let after = operator.opens(&format!("{page}?done=refund_asked_for")).await.text;
    assert!(after.contains("Give back 39.00 EUR") && after.contains("Done: refund asked for"), "{after}");

    // Who goes back to that form and fills in another amount is not told that it was done.
    let other = operator.presses(&page, &address, &part.replace("=1000", "=1001")).await;
    assert_eq!(other.status, StatusCode::CONFLICT, "{}", other.text);
    assert!(other.text.contains("idempotency_key_reused"), "{}", other.text);
    assert_eq!(house.count("from safelight_fiscal.refunds").await, 1);

    // An amount that a page of before showed is not there any more.
    let late = format!("&refund={}&amount_cents=4900&sure=yes&why=goodwill", Id::<id::Refund>::new());
    let refused = operator.presses(&page, &address, &late).await;
    assert!(refused.text.contains("refund_too_large"), "{}", refused.text);
}

#[tokio::test]
async fn an_operator_of_another_tenant_gives_no_money_back() {
    let house = House::build().await;
    let order = in_review(&house).await;
    let operator = Browser::of(&house, Some("koselfie"), &[Scope::Operate]).await;
    let address = format!("/console/orders/{order}/refund");
    let more = format!("&refund={}&amount_cents=100&sure=yes&why=goodwill", Id::<id::Refund>::new());
    for asked in [0, 1] {
        let refused = operator.presses("/console/controls", &address, &more).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "not even that it was asked for: {}", refused.text);
        assert_eq!(house.count("from safelight_fiscal.refunds").await, asked);
        let own = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await;
        assert_eq!(
            own.presses(&format!("/console/orders/{order}"), &address, &more).await.status,
            StatusCode::SEE_OTHER
        );
    }
}

/// Money of HaloProfile whose order was erased: 19 euros that wait for a look, 29 that wait for none.
async fn of_erased(house: &House) {
    house
        .run(
            "insert into safelight_fiscal.sales (tenant, stripe_session, payment_intent, status, amount_cents, currency, sold_at, review) values
                ('haloprofile', 'cs_test_erased', 'pi_erased', 'paid', 1900, 'eur', safelight.now(), 'paid_after_erasure'),
                ('haloprofile', 'cs_test_quiet', 'pi_quiet', 'paid', 2900, 'eur', safelight.now(), null)",
        )
        .await;
}

#[tokio::test]
async fn money_of_an_erased_order_goes_back_once_and_no_id_of_stripe_is_shown() {
    let house = House::build().await;
    of_erased(&house).await;
    let operator = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await;
    let (page, address) = ("/console/orders", "/console/orders/erased/refund");
    let shown = operator.opens(page).await.text;
    assert!(shown.contains("Give back 19.00 EUR") && shown.contains("Checkout session"), "{shown}");
    assert!(!shown.contains("cs_test") && !shown.contains("pi_erased"), "{shown}");
    let sale = shown.split("name=\"sale\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a sale");

    let refund = Id::<id::Refund>::new();
    let all = format!("&refund={refund}&sale={sale}&amount_cents=1900&sure=yes&why=paid_after_erasure");
    for (more, status, says) in [
        (all.replace("&sure=yes", ""), StatusCode::UNPROCESSABLE_ENTITY, "tick that this is meant"),
        (all.replace("paid_after", "Paid+after"), StatusCode::UNPROCESSABLE_ENTITY, "not_a_code"),
        (all.replace("=1900", "=1901"), StatusCode::UNPROCESSABLE_ENTITY, "refund_too_large"),
        (all.replace("&sale=", "&sail="), StatusCode::UNPROCESSABLE_ENTITY, "`sale`"),
        (all.replace(sale, "019a8f2e-6c5d-7b12-90f3-a4b5c6d7e8f9"), StatusCode::NOT_FOUND, "does not exist"),
    ] {
        let refused = operator.presses(page, address, &more).await;
        assert_eq!(refused.status, status, "{more}: {}", refused.text);
        assert!(refused.text.contains(says), "{more}: {}", refused.text);
    }
    assert_eq!(house.count("from safelight_fiscal.refunds").await, 0);

    let done = |answer: &Answer| {
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::SEE_OTHER, "/console/orders?done=refund_asked_for"),
            "{}",
            answer.text
        );
    };
    futures::future::join_all((0..8).map(|_| operator.presses(page, address, &all))).await.iter().for_each(done);
    let on_the_books = "from safelight_fiscal.refunds where stripe_session = 'cs_test_erased' and amount_cents = 1900
        and why = 'paid_after_erasure' and asked_by like 'token\\_%'";
    assert_eq!((house.count(on_the_books).await, house.count("from safelight_fiscal.refunds").await), (1, 1));
    assert_eq!(house.count("from safelight.jobs where kind = 'refund_payment'").await, 1);
    let kept = format!(
        "from safelight.operator_acts where action = 'refund.asked' and about = '{refund}' and why = 'paid_after_erasure'"
    );
    assert_eq!(house.count(&kept).await, 1, "with who and why, once");
    // Settled meanwhile, it stands in no list any more; what was sent before is done all the same.
    house.run("update safelight_fiscal.sales set review = null").await;
    done(&operator.presses(page, address, &all).await);

    // One that waits for no look is named by its session, as Stripe's page has it.
    let second = Id::<id::Refund>::new();
    let typed = format!("&refund={second}&session=cs_test_quiet&sure=yes&why=goodwill");
    for (more, says) in [
        (typed.replace("cs_test_quiet", "pi_quiet"), "bad_session"),
        (typed.replace("cs_test_quiet", "cs_test_nothing"), "this session"),
        (typed.replace(&second.to_string(), &refund.to_string()), "idempotency_key_reused"),
        (format!("{typed}&amount_cents=all"), "amount_cents"),
    ] {
        let refused = operator.presses(page, address, &more).await;
        assert!(refused.status.is_client_error() && refused.text.contains(says), "{more}: {}", refused.text);
    }
    done(&operator.presses(page, address, &format!("{typed}&amount_cents=900")).await);
    let other = operator.presses(page, address, &format!("{typed}&amount_cents=901")).await;
    assert!(other.text.contains("idempotency_key_reused"), "{}", other.text);
    let emptied = operator.presses(page, address, &typed).await;
    assert!(
        emptied.text.contains("idempotency_key_reused"),
        "all that is left is not these nine euros: {}",
        emptied.text
    );
    done(
        &operator
            .presses(page, address, &typed.replace(&second.to_string(), &Id::<id::Refund>::new().to_string()))
            .await,
    );
    let sums = "from safelight_fiscal.refunds where stripe_session = 'cs_test_quiet' having sum(amount_cents) = 2900 and count(*) = 2";
    assert_eq!(house.count(sums).await, 2);
}

#[tokio::test]
async fn a_session_of_an_order_that_is_there_is_no_erased_orders() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_alive").await;
    let paid = format!(
        "update safelight.orders set state = 'paid', paid_at = safelight.now() where id = '{0}';
        insert into safelight_fiscal.sales (tenant, order_id, stripe_session, payment_intent, status, amount_cents, currency, sold_at, keep_until)
        select tenant, id, checkout_session, 'pi_alive', 'paid', amount_cents, currency, now(), now() + interval '10 years'
        from safelight.orders where id = '{0}'",
        order.uuid()
    );
    house.run(&paid).await;
    let operator = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await;
    let typed = format!("&refund={}&session=cs_test_alive&sure=yes&why=goodwill", Id::<id::Refund>::new());
    let refused = operator.presses("/console/orders", "/console/orders/erased/refund", &typed).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    assert!(refused.text.contains("order_is_there") && refused.text.contains(&order.to_string()), "{}", refused.text);
    assert_eq!(house.count("from safelight_fiscal.refunds").await, 0);
    assert_eq!(house.count("from safelight.orders where state = 'paid'").await, 1, "it goes on");
}

#[tokio::test]
async fn nobody_gives_back_the_money_of_another_tenants_erased_order_and_who_looks_sees_no_form() {
    let house = House::build().await;
    of_erased(&house).await;
    let reader = Browser::of(&house, None, &[Scope::Read]).await;
    let shown = reader.opens("/console/orders").await.text;
    assert!(shown.contains("paid after erasure") && !shown.contains("name=\"csrf\""), "{shown}");
    let operator = Browser::of(&house, Some("koselfie"), &[Scope::Operate]).await;
    let sale: String =
        sqlx::query_scalar("select id::text from safelight_fiscal.sales where stripe_session = 'cs_test_erased'")
            .fetch_one(&house.owner)
            .await
            .expect("it");
    for which in [format!("sale={sale}"), "session=cs_test_erased".to_owned()] {
        let more = format!("&refund={}&{which}&amount_cents=100&sure=yes&why=goodwill", Id::<id::Refund>::new());
        let refused = operator.presses("/console/orders", "/console/orders/erased/refund", &more).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "{}", refused.text);
    }
    assert_eq!(house.count("from safelight_fiscal.refunds").await, 0);
}

/// The row of an order in the list of orders.
async fn row(operator: &Browser<'_>, order: Id<Order>) -> String {
    let list = operator.opens("/console/orders?state=refund_review").await.text;
    let found =
        list.split("aria-label=\"Found\"").nth(1).and_then(|found| found.split(&format!("/orders/{order}\"")).nth(1));
    found.and_then(|rest| rest.split("</tr>").next()).expect("its row").to_owned()
}

#[tokio::test]
async fn an_order_in_refund_review_waits_for_a_person_only_until_its_money_is_decided() {
    let house = House::build().await;
    let order = in_review(&house).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let (page, address) = (format!("/console/orders/{order}"), format!("/console/orders/{order}/refund"));
    let lit = "<span class=\"tag bad\">refund review</span>";
    let person = "It waits for a person";
    let card = async || {
        let first = operator.opens("/console").await.text;
        first.contains("<a href=\"/console/orders?state=refund_review\">refund reviews</a>")
    };
    let give = async |cents: i64| {
        let more = format!("&refund={}&amount_cents={cents}&sure=yes&why=goodwill", Id::<id::Refund>::new());
        let done = operator.presses(&page, &address, &more).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    };
    assert!(operator.opens(&page).await.text.contains(person) && row(&operator, order).await.contains(lit));
    give(900).await;
    assert!(operator.opens(&page).await.text.contains(person), "a part is not all of it");
    assert!(!row(&operator, order).await.contains("refund under way"));

    give(4000).await;
    let shown = operator.opens(&page).await.text;
    assert!(shown.contains("A refund is under way.") && !shown.contains(person), "{shown}");
    // Each says what it waits for itself: its job is no job of the order.
    let waits = "no worker<span class=\"small\"> no live worker serves the queue payments, ";
    assert_eq!(shown.matches(waits).count(), 2, "{shown}");
    let listed = row(&operator, order).await;
    assert!(listed.contains(lit) && listed.contains("refund under way"), "counted until the money is back: {listed}");
    assert!(card().await);

    house.run("update safelight_fiscal.refunds set state = 'succeeded', stripe_refund = 're_' || id").await;
    let shown = operator.opens(&page).await.text;
    assert!(shown.contains("The money is back; nothing is left to do.") && !shown.contains(person), "{shown}");
    assert!(!shown.contains(waits), "{shown}");
    for listed in [row(&operator, order).await, shown, operator.opens("/console").await.text] {
        assert!(listed.contains("<span class=\"tag good\">money is back</span>"), "{listed}");
    }
    assert!(!row(&operator, order).await.contains(lit), "what is not counted is not lit");
    assert!(!card().await, "nobody is called about it");

    house
        .run(
            "delete from safelight_fiscal.refunds;
            insert into safelight_fiscal.disputes (stripe_dispute, tenant, stripe_session, amount_cents, currency, state, opened_at, seen_at)
                values ('dp_back', 'haloprofile', 'cs_test_back', 4900, 'eur', 'needs_response', safelight.now(), safelight.now())",
        )
        .await;
    let shown = operator.opens(&page).await.text;
    assert!(
        shown.contains("It waits for the customer&#39;s bank") || shown.contains("It waits for the customer's bank"),
        "{shown}"
    );
    assert!(row(&operator, order).await.contains("at the bank"));
}

#[tokio::test]
async fn money_to_look_at_says_what_is_asked_to_go_back_and_what_that_waits_for() {
    let house = House::build().await;
    of_erased(&house).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let sale: uuid::Uuid =
        sqlx::query_scalar("select id from safelight_fiscal.sales where stripe_session = 'cs_test_erased'")
            .fetch_one(&house.owner)
            .await
            .expect("the sale");
    assert!(!operator.opens("/console/orders").await.text.contains("asked to go back"));
    let more = format!("&refund={}&sale={sale}&amount_cents=1900&sure=yes&why=erased", Id::<id::Refund>::new());
    let done = operator.presses("/console/orders", "/console/orders/erased/refund", &more).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    operator.presses("/console/controls", "/console/controls/queue/payments", "&act=pause").await;
    let shown = operator.opens("/console/orders").await.text;
    let says = "19.00 EUR asked to go back: queue paused<span class=\"small\"> payments is paused by test: asked for, ";
    assert!(shown.contains(says), "{shown}");
    // A tenant is not told who of the house paused it.
    let theirs = Browser::of(&house, Some("haloprofile"), &[Scope::Read]).await.opens("/console/orders").await.text;
    assert!(theirs.contains("payments is paused, ") && !theirs.contains("by test"), "{theirs}");
    house.run("update safelight.job_keys set key = 'gone' where key like 'refund_payment%'").await;
    assert!(operator.opens("/console/orders").await.text.contains("no job asks Stripe for it any more"));
}
