//! The numbers that raise an alarm, each at a state that is ill and at one that only looks like it; and their cards on the first page.

use crate::house::House;

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
