//! The first page: what stands still is lit there and leads to where it is seen; and the findings of each tenant are their own.

use safelight_api::tokens::Scope;
use safelight_jobs::{
    providers::fal::{NotAccepted, SubmitError},
    stop::Stop,
};

use crate::{alarms::looked_at_but, browser::Browser, house::House};

/// The cards that are lit, as their words.
async fn lit(operator: &Browser<'_>) -> Vec<String> {
    let page = operator.opens("/console").await.text;
    let cards = page.split("<li class=\"card lit\">").skip(1);
    let words = |card: &str| {
        let inside = card.split_once("</strong>")?.1.split_once('>')?.1;
        Some(inside.split('<').next()?.to_owned())
    };
    let lit: Vec<String> = cards.map(|card| words(card).unwrap_or_else(|| panic!("{card}"))).collect();
    assert_eq!(page.contains("Nothing needs a person now."), lit.is_empty(), "{lit:?}");
    lit
}

#[tokio::test]
async fn whatever_stands_still_is_lit_on_the_first_page() {
    let house = House::build().await;
    let backend = house.backend("koselfie").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_needs").await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    // The schema of a test was laid when the tests were built.
    house.run("update _sqlx_migrations set installed_on = now() - interval '1 hour'").await;
    assert_eq!(lit(&operator).await, ["house without a worker", "schedule that nobody looks at (1 h)"]);
    house
        .run(
            "insert into safelight.workers (name, host, pid, queues, version, seen_at) values ('w', 'h', 1, '{training}', '1', clock_timestamp())",
        )
        .await;
    house.run(&looked_at_but(&["sweep_retention", "expire_consents"])).await;
    house.run("update _sqlx_migrations set installed_on = now()").await;
    assert_eq!(lit(&operator).await, Vec::<String>::new());

    let Stop::Wait { why: no_money, .. } = Stop::from(SubmitError::NotAccepted(NotAccepted::NoMoney)) else {
        panic!("it waits for a person")
    };
    let wrong = [
        (
            format!("insert into safelight.jobs (id, queue, kind, payload, tenant, state, why, run_at, rank, max_attempts, created_at)
            select safelight.uuid_v7(), 'training', 'train_model', '{{}}', 'koselfie', 3, '{}', now() + interval '10 minutes', now(), 5, now()",
                no_money.replace('\'', "''")),
            "jobs that a provider refuses our key or account (fal without money)",
        ),
        (
            format!("update safelight.orders set state = 'training', checkout_at = now() - interval '4 hours', paid_at = now() - interval '3 hours' where id = '{}'", order.uuid()),
            "orders paid two hours ago and not at an end",
        ),
        (
            "insert into safelight.schedules (name, cron, catch_up, paused) values ('sweep_retention', '0 * * * * *', 'once', true)".to_owned(),
            "pauses and open breakers",
        ),
        (
            "insert into safelight.schedules (name, cron, catch_up, last_tick) values ('expire_consents', '0 * * * * *', 'once', now() - interval '3 hours')"
                .to_owned(),
            "schedule that nobody looks at (3 h)",
        ),
        (
            "insert into safelight.sweeps (id, kind, asked_by, finished_at, found, acted) values (safelight.uuid_v7(), 'orphans', 'x', now(), 0, 0)".to_owned(),
            "sweeps that could not check what is left",
        ),
        (
            "insert into safelight.jobs (id, queue, kind, payload, tenant, state, why, run_at, rank, max_attempts, created_at)
            select safelight.uuid_v7(), 'training', 'train_model', '{}', 'koselfie', 2, 'undecodable', now(), now(), 5, now()"
                .to_owned(),
            "jobs held",
        ),
        (
            format!("insert into safelight.objections (tenant, subject_id, purpose, policy_version, received_at) values ('koselfie', '{}', 'observe', '{}', now())",
                subject.uuid(), crate::house::POLICY),
            "objections to decide",
        ),
    ];
    for (what, words) in wrong {
        house.run(&what).await;
        let cards = lit(&operator).await;
        assert!(cards.iter().any(|card| card == words), "{words} is not lit: {cards:?}");
    }
    // A tenant is shown what is theirs, and nothing of the house.
    let theirs = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await;
    assert_eq!(lit(&theirs).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_tenant_sees_the_findings_of_that_tenant_and_no_others() {
    let house = House::build().await;
    for (tenant, code) in [("koselfie", "of_koselfie"), ("haloprofile", "of_haloprofile")] {
        house
            .run(&format!(
                "insert into safelight.differences (code, object, provider, tenant, about_at) values ('{code}', 'pi_{code}', 'stripe', '{tenant}', now());
                insert into safelight.subjects (id, tenant) values (safelight.uuid_v7(), '{tenant}');
                insert into safelight.artifacts (id, tenant, subject_id, generation, class, state, storage_key, created_at, delete_after)
                select id, '{tenant}', subject, 1, 'export', 'expected', '{tenant}/' || replace(subject::text, '-', '') || '/export/' || replace(id::text, '-', ''), now(),
                    now() + interval '50 hours' from (select safelight.uuid_v7() as id, s.id as subject from safelight.subjects s where tenant = '{tenant}') x;
                insert into safelight.missing_objects (artifact_id, tenant) select id, tenant from safelight.artifacts where tenant = '{tenant}';
                insert into safelight_fiscal.sales (tenant, stripe_session, status, amount_cents, currency, country, sold_at)
                values ('{tenant}', 'cs_{tenant}', 'paid', {cents}, 'eur', 'XX', now());
                insert into safelight.audit_entries (tenant, actor, action, outcome) values ('{tenant}', 'provider', 'call.request_differs', 'taken_home')",
                cents = if tenant == "koselfie" { 4711 } else { 1234 },
            ))
            .await;
    }
    let rows = |page: &str| page.matches("<tr><td>").count();
    let all = Browser::of(&house, None, &[Scope::Read]).await.opens("/console/findings").await.text;
    assert_eq!(rows(&all), 8, "{all}");
    assert!(!all.contains("pi_of_koselfie") && !all.contains("cs_koselfie"), "Stripe's ids stay in the books: {all}");
    for (tenant, code, amount, not) in [
        ("koselfie", "of_koselfie", "47.11 EUR", "haloprofile"),
        ("haloprofile", "of_haloprofile", "12.34 EUR", "koselfie"),
    ] {
        let page = Browser::of(&house, Some(tenant), &[Scope::Read]).await.opens("/console/findings").await.text;
        assert_eq!(rows(&page), 4, "{page}");
        assert!(page.contains(code) && page.contains(amount) && !page.contains(not), "{tenant}: {page}");
    }
}
