//! Money in the console: what came, went back and is asked back stands on the order's page; what no order holds any more, on the
//! page of orders.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;

use crate::{browser::Browser, house::House};

#[tokio::test]
async fn refunds_disputes_and_money_without_an_order_are_seen_and_no_id_of_stripe_is_shown() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_money").await;
    let reader = Browser::of(&house, None, &[Scope::Read]).await;
    let page = format!("/console/orders/{order}");
    assert!(reader.opens(&page).await.text.contains("None has come."));
    assert!(!reader.opens("/console/orders").await.text.contains("Money to look at"));

    house
        .run(
            "insert into safelight_fiscal.sales (tenant, order_id, stripe_session, payment_intent, status, amount_cents, currency, sold_at, review)
                select 'haloprofile', id, 'cs_test_money', 'pi_money', 'disputed', 4900, 'eur', safelight.now(), 'refund_failed' from safelight.orders;
            insert into safelight_fiscal.sales (tenant, stripe_session, payment_intent, status, amount_cents, currency, sold_at, review)
                values ('koselfie', 'cs_test_erased', 'pi_erased', 'paid', 1900, 'eur', safelight.now(), 'paid_after_erasure');
            insert into safelight_fiscal.refunds (id, tenant, stripe_session, stripe_refund, amount_cents, currency, state, why, asked_by) values
                (gen_random_uuid(), 'haloprofile', 'cs_test_money', 're_1', 1200, 'eur', 'succeeded', 'goodwill', 'ops_1'),
                (gen_random_uuid(), 'haloprofile', 'cs_test_money', 're_2', 700, 'eur', 'failed', 'consent_withdrawn', 'ops_1');
            insert into safelight_fiscal.disputes (stripe_dispute, tenant, stripe_session, amount_cents, currency, state, opened_at, seen_at)
                values ('dp_1', 'haloprofile', 'cs_test_money', 3700, 'eur', 'needs_response', safelight.now(), safelight.now())",
        )
        .await;
    let shown = reader.opens(&page).await;
    for part in ["49.00 EUR", "12.00 EUR", "7.00 EUR", "37.00 EUR", "0.00 EUR", "dispute", "goodwill", "refund failed"]
    {
        assert!(shown.text.contains(part), "the order's page does not say {part}");
    }
    let list = reader.opens("/console/orders").await;
    for part in ["Money to look at", "paid after erasure", "19.00 EUR", "erased", &order.to_string()] {
        assert!(list.text.contains(part), "the page of orders does not say {part}");
    }
    for never in ["cs_test", "pi_money", "pi_erased", "re_1", "dp_1"] {
        assert!(!shown.text.contains(never) && !list.text.contains(never), "{never} is shown");
    }
    // A tenant sees its own money.
    let theirs = Browser::of(&house, Some("koselfie"), &[Scope::Read]).await;
    assert_eq!(theirs.opens(&page).await.status, StatusCode::NOT_FOUND);
    let list = theirs.opens("/console/orders").await.text;
    assert!(list.contains("paid after erasure") && !list.contains("refund failed"));
}
