//! What differs between two versions of a policy, as lines that a person reads before the new one is announced.

use std::{collections::BTreeMap, fmt};

use super::{DataClass, Policy};

/// One line: what is said now, what was said before, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about, for example `retention upload`.
    pub about: String,
    /// What the older version says; none: nothing.
    pub before: Option<String>,
    /// What the newer version says; none: nothing.
    pub after: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "~ {}: {before} -> {after}", self.about),
            (Some(before), None) => write!(f, "- {}: {before}", self.about),
            (None, Some(after)) => write!(f, "+ {}: {after}", self.about),
            (None, None) => Ok(()),
        }
    }
}

/// Everything that differs, sorted by what it is about. Empty: they say the same.
#[must_use]
pub fn diff(older: &Policy, newer: &Policy) -> Vec<Change> {
    let (mut before, mut after) = (statements(older), statements(newer));
    let mut changes = Vec::new();
    for (about, said) in std::mem::take(&mut before) {
        let now = after.remove(&about);
        if now.as_ref() != Some(&said) {
            changes.push(Change { about, before: Some(said), after: now });
        }
    }
    changes.extend(after.into_iter().map(|(about, said)| Change { about, before: None, after: Some(said) }));
    changes.sort_by(|one, other| one.about.cmp(&other.about));
    changes
}

/// What a policy says, one statement a line.
fn statements(policy: &Policy) -> BTreeMap<String, String> {
    let mut said = BTreeMap::from([
        ("controller".to_owned(), policy.controller().to_owned()),
        ("contact".to_owned(), policy.contact().to_owned()),
        ("version".to_owned(), policy.version().to_owned()),
        ("effective_at".to_owned(), policy.effective_at().to_string()),
        ("text_sha256".to_owned(), policy.text_sha256().to_owned()),
        ("notice on display, hours".to_owned(), policy.display_hours().to_string()),
    ]);
    for (purpose, entry) in policy.purposes() {
        let points: Vec<_> = entry.capture_points.iter().map(|point| point.as_str()).collect();
        let basis = entry.basis.map_or("no basis", |basis| basis.as_str());
        said.insert(format!("purpose {purpose}"), [&[basis][..], &points].concat().join(", "));
    }
    for (processor, entry) in policy.processors() {
        said.insert(
            format!("processor {processor}"),
            format!("{}, {}, {}, {}", entry.name, entry.agreement, entry.region, entry.safeguards),
        );
    }
    for rule in policy.rules() {
        let gap = rule.accepted_gap.map_or("as the text lists it".to_owned(), |gap| format!("accepted gap {gap}"));
        said.insert(format!("rule {} of {} by {}", rule.purpose, rule.class, rule.processor), gap);
    }
    for class in DataClass::ALL {
        if let Some(rule) = policy.retention(*class) {
            said.insert(format!("retention {class}"), format!("{rule:?}"));
        }
    }
    for plan in policy.plans() {
        said.insert(
            format!("plan {}", plan.id),
            format!(
                "{}.{:02} {}, {} images, photos {} to {}",
                plan.price_cents / 100,
                plan.price_cents % 100,
                plan.currency,
                plan.images,
                plan.photos_min,
                plan.photos_max
            ),
        );
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    const KOSELFIE: &str = include_str!("../../../policies/koselfie.toml");

    #[test]
    fn a_diff_names_what_was_added_taken_away_and_changed_and_nothing_else() {
        let older = Policy::parse(KOSELFIE).unwrap();
        assert_eq!(diff(&older, &older), []);
        let newer = KOSELFIE
            .replacen("version = \"2026-05-25\"", "version = \"2027-01-01\"", 1)
            .replacen("upload = { term = { hours = 720", "upload = { term = { hours = 240", 1)
            .replacen("price_cents = 1900", "price_cents = 2100", 1);
        let newer = newer.split("[[accepted_gap]]").next().unwrap().to_owned()
            + "\n[nsfw]\n"
            + newer.split("\n[nsfw]\n").nth(1).unwrap();
        let changes: Vec<String> =
            diff(&older, &Policy::parse(&newer).unwrap()).iter().map(ToString::to_string).collect();
        assert_eq!(changes.len(), 5, "{changes:#?}");
        assert!(
            changes[0].starts_with("~ plan basic: 19.00 eur") && changes[0].contains("-> 21.00 eur"),
            "{changes:?}"
        );
        assert!(
            changes[1].starts_with("~ retention upload: Term { hours: 720") && changes[1].contains("240"),
            "{changes:?}"
        );
        assert!(changes[2].starts_with("- rule train of model by fal: accepted gap D7"), "{changes:?}");
        assert!(changes[3].starts_with("- rule train of upload by fal"), "{changes:?}");
        assert_eq!(changes[4], "~ version: 2026-05-25 -> 2027-01-01");
    }
}
