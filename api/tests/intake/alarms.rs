//! The numbers that raise an alarm, each at a state that is ill and at one that only looks like it; and their cards on the first page.

use safelight_api::tokens::Scope;
use safelight_jobs::schedule;

use crate::{browser::Browser, house::House};

impl House {
    /// What Prometheus reads under this name.
    async fn number(&self, name: &str) -> String {
        let text = self.get("", "/metrics").await.text;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not there:\n{text}")).to_owned()
    }
}

/// An export of somebody that reaches its term, seven days after it was made, at this time.
fn due(at: &str) -> String {
    format!(
        "with one as (insert into safelight.subjects (id, tenant) values (safelight.uuid_v7(), 'koselfie') returning id)
        insert into safelight.artifacts (id, tenant, subject_id, generation, class, state, storage_key, created_at)
        select one.id, 'koselfie', one.id, 1, 'export', 'expected', 'koselfie/' || replace(one.id::text, '-', '') || '/export/' || replace(one.id::text, '-', ''),
            {at} - interval '168 hours' from one"
    )
}

#[tokio::test]
async fn what_reached_its_term_this_minute_is_due_and_raises_no_alarm_before_the_hour_is_over() {
    let house = House::build().await;
    house.run(&due("now() - interval '59 minutes'")).await;
    assert_eq!(house.number("safelight_artifacts_due").await, "1");
    assert_eq!(house.number("safelight_artifacts_overdue").await, "0", "the next sweep takes it");
    house.run(&due("now() - interval '61 minutes'")).await;
    assert_eq!(house.number("safelight_artifacts_due").await, "2");
    assert_eq!(house.number("safelight_artifacts_overdue").await, "1", "no sweep came for an hour");
}

/// Somebody looks at all schedules now, but for these.
pub(crate) fn looked_at_but(left_out: &[&str]) -> String {
    let rows: Vec<String> = schedule::ALL
        .iter()
        .filter(|scheduled| !left_out.contains(&scheduled.name))
        .map(|scheduled| format!("('{}', '{}', 'once')", scheduled.name, scheduled.cron))
        .collect();
    format!("insert into safelight.schedules (name, cron, catch_up) values {}", rows.join(", "))
}

#[tokio::test]
async fn a_schedule_that_nobody_ever_looked_at_is_behind_since_the_installation() {
    let house = House::build().await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let behind = async || house.number("safelight_schedule_behind_seconds").await.parse::<i64>().expect("a number");
    let card = async || operator.opens("/console").await.text.contains("schedule that nobody looks at (");
    // The newest migration is a day old, the one before it two, and the first one many.
    house.run("update _sqlx_migrations set installed_on = now() - interval '1 day' * ((select max(version) from _sqlx_migrations) + 1 - version)").await;
    let first = house.count("from generate_series(1, (select max(version) from _sqlx_migrations))").await;

    // No process ever ticked: since the first of them.
    assert_eq!(behind().await / 86_400, first);
    assert!(card().await);
    let page = operator.opens("/console/schedules").await.text;
    assert!(page.contains("Nobody has ever looked at sweep retention, "), "{page}");

    // One of a new version that nobody of that version looked at: since the newest migration.
    house.run(&looked_at_but(&["tell_policies"])).await;
    assert_eq!(behind().await / 86_400, 1);
    assert!(card().await);
    assert!(operator.opens("/console/schedules").await.text.contains("Nobody has ever looked at tell policies."));

    // A pause is somebody's word; it is told as one.
    house.run(
        "insert into safelight.schedules (name, cron, catch_up, last_tick, paused) values ('tell_policies', '0 22 * * * *', 'once', now() - interval '3 days', true)",
    )
    .await;
    assert!(behind().await < 60 && !card().await);
    // What this version does not know any more keeps nobody waiting.
    house.run("insert into safelight.schedules (name, cron, catch_up, last_tick) values ('of_before', '0 22 * * * *', 'once', now() - interval '3 days')").await;
    assert!(behind().await < 60 && !card().await);
    house.run("update safelight.schedules set paused = false").await;
    assert_eq!(behind().await / 86_400, 3);
}

#[tokio::test]
async fn a_certificate_that_does_not_come_is_late_a_quarter_of_an_hour_after_the_end_and_not_before() {
    let house = House::build().await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let late = async || {
        let card = operator.opens("/console").await.text.contains("deletions that get no certificate</a>");
        (
            house.number("safelight_audit_certificates_due").await,
            house.number("safelight_audit_certificates_late").await,
            card,
        )
    };
    for (ended, numbers) in [("14 minutes", ("1", "0", false)), ("16 minutes", ("2", "1", true))] {
        house
            .run(&format!(
                "with one as (insert into safelight.subjects (id, tenant) values (safelight.uuid_v7(), 'koselfie') returning id),
                over as (insert into safelight.deletions (id, tenant, subject_id, trigger, state, answer_due, completed_at)
                    select safelight.uuid_v7(), 'koselfie', one.id, 'retention', 'complete', now() + interval '30 days', now() - interval '{ended}' from one returning id)
                insert into safelight.deletion_certificates (deletion_id) select id from over"
            ))
            .await;
        let (due, not_come, card) = late().await;
        assert_eq!((due.as_str(), not_come.as_str(), card), numbers, "{ended}");
    }
    house.run("update safelight.deletion_certificates set document = '{}', issued_at = now()").await;
    assert_eq!(late().await, ("0".to_owned(), "0".to_owned(), false));
}

#[tokio::test]
async fn a_paused_schedule_is_seen_with_who_and_why_where_its_card_leads() {
    let house = House::build().await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    house.run(&looked_at_but(&[])).await;
    let controls = async || operator.opens("/console/controls").await.text;
    assert!(controls().await.contains("Nothing is set."));
    house.run("update safelight.schedules set paused = true, actor = 'ops_7', why = 'a restore' where name = 'sweep_retention'").await;
    assert_eq!(house.number("safelight_paused{scope=\"schedule\",name=\"sweep_retention\"}").await, "1");
    let overview = operator.opens("/console").await.text;
    assert!(overview.contains("<a href=\"/console/controls\">pauses and open breakers</a>"), "{overview}");
    let page = controls().await;
    for said in ["sweep retention", "by ops_7: a restore", "href=\"/console/schedules\">Schedules<span"] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(!page.contains("Nothing is set."), "{page}");
}

#[tokio::test]
async fn an_order_of_a_restricted_person_waits_by_design_and_is_not_late() {
    let house = House::build().await;
    let backend = house.backend("koselfie").await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let (ann, eve) = (house.person(&backend).await, house.person(&backend).await);
    for (person, checkout) in [(ann, "cs_test_ann"), (eve, "cs_test_eve")] {
        let order = house.order(&backend, person, checkout).await;
        house
            .run(&format!("update safelight.orders set state = 'training', checkout_at = now() - interval '4 hours', paid_at = now() - interval '3 hours' where id = '{}'", order.uuid()))
            .await;
    }
    let late = async || {
        let card = operator.opens("/console").await.text.contains("orders paid two hours ago and not at an end</a>");
        (house.number("safelight_orders_late").await, house.number("safelight_orders_restricted").await, card)
    };
    let says = |late: &str, restricted: &str, card| (late.to_owned(), restricted.to_owned(), card);
    assert_eq!(late().await, says("2", "0", true));
    house
        .run(&format!(
            "insert into safelight.restrictions (tenant, subject_id, ground) values ('koselfie', '{}', 'accuracy')",
            ann.uuid()
        ))
        .await;
    assert_eq!(late().await, says("1", "1", true));
    house
        .run(&format!(
            "insert into safelight.restrictions (tenant, subject_id, ground) values ('koselfie', '{}', 'accuracy')",
            eve.uuid()
        ))
        .await;
    assert_eq!(late().await, says("0", "2", false));
    house.run("update safelight.restrictions set lifted_at = now()").await;
    assert_eq!(late().await, says("2", "0", true), "released, and late");
}

#[tokio::test]
async fn a_failover_is_told_for_a_week_and_the_first_timeline_of_a_database_is_none() {
    let house = House::build().await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let told = async || {
        let card =
            operator.opens("/console").await.text.contains("failovers or restores of the database within a week</a>");
        (house.number("safelight_timeline_changes").await, card)
    };
    house.run("delete from safelight.timelines").await;
    assert_eq!(told().await, ("0".to_owned(), false), "no worker has looked yet");
    house.run("insert into safelight.timelines (timeline) values (1)").await;
    assert_eq!(told().await, ("0".to_owned(), false), "it is the first that is known");
    house.run("update safelight.timelines set seen_at = now() - interval '30 days'; insert into safelight.timelines (timeline) values (2)").await;
    assert_eq!(told().await, ("1".to_owned(), true));
    house.run("update safelight.timelines set seen_at = now() - interval '169 hours' where timeline = 2").await;
    assert_eq!(told().await, ("0".to_owned(), false), "a week later");
}
