//! What needs a person now, as cards that lead there: one for each alarm of `ops/alerts.yml` that a state of the database raises, and
//! for what is wrong before an alarm is. What is not wrong is only named.

use maud::{Markup, html};

use super::{Page, words};
use crate::{house::House, numbers::Numbers};

/// A call that is unknown for longer than this needs a person, in seconds: webhook and listing have had their time. As `CallUnknown`.
const UNKNOWN_TOO_LONG: i64 = 3600;
/// As `ScheduleBehind`, in seconds.
pub(super) const BEHIND: i64 = 300;
/// As `SealerBehind`, in seconds.
const UNSEALED: i64 = 600;
/// As `CheckpointsStayInside`.
const INSIDE: i64 = 5;
/// As `BulkActStuck`, in seconds.
const BULK_TOO_LONG: i64 = 3600;
/// As `QueueOld`, in seconds.
pub(super) const OLD: i64 = 300;

struct Card {
    /// The alarm that it is the card of, which is its page in docs/runbook.md; empty: none is raised.
    alarm: &'static str,
    count: i64,
    what: String,
    page: &'static str,
}

/// The section; `house`: for people of the house, who see the machinery, too.
pub(super) fn section(numbers: &Numbers, house: Option<&House>) -> Markup {
    let opens = |page: &str| {
        house.is_some()
            || !Page::ALL.iter().any(|(_, address, _, of_the_house)| *of_the_house && page.starts_with(address))
    };
    let mut cards = of_everybody(numbers);
    if let Some(house) = house {
        cards.extend(of_the_house(numbers, house));
    }
    let (lit, quiet): (Vec<Card>, Vec<Card>) = cards.into_iter().partition(|card| card.count > 0);
    html! {
        section.needs aria-label="What needs a person" {
            p class={ "verdict" @if !lit.is_empty() { " lit" } } {
                @if lit.is_empty() { "Nothing needs a person now." } @else { "This needs a look." }
            }
            @if !lit.is_empty() { ul.cards { @for card in &lit {
                li.card.lit { strong { (words::many(card.count)) } @if opens(card.page) { a href=(card.page) { (card.what) } } @else { span { (card.what) } } @if !card.alarm.is_empty() { span.alarm { (card.alarm) } } }
            } } }
            @if !quiet.is_empty() { details.quiet-ones {
                summary { (quiet.len()) " other things are looked at and well" }
                p { "None: " @for (n, card) in quiet.iter().enumerate() { @if n > 0 { ", " } (card.what) } "." }
            } }
        }
    }
}

/// What people were promised, and money; of the tenant, where somebody sees only one.
fn of_everybody(numbers: &Numbers) -> Vec<Card> {
    let unknown = if numbers.oldest_unknown_seconds > UNKNOWN_TOO_LONG {
        "provider calls unknown for over an hour"
    } else {
        "provider calls unknown"
    };
    let old = numbers.queues.iter().filter(|queue| queue.oldest_seconds.is_some_and(|seconds| seconds > OLD)).count();
    let held: i64 = numbers.queues.iter().map(|queue| queue.held).sum();
    [
        ("DeletionLate", numbers.deletions_late, "deletions past their deadline", "/console/deletions"),
        ("CaseLate", numbers.cases_late, "cases past their deadline", "/console/cases"),
        ("DeletionStuck", numbers.deletions_stuck, "deletions stuck", "/console/deletions"),
        ("CallUnknown", numbers.unknown_calls, unknown, "/console/providers#calls"),
        ("ResultOfAnother", numbers.taken_home, "results that may be another person's", "/console/findings#another"),
        ("OrdersLate", numbers.orders_late, "orders paid two hours ago and not at an end", "/console/orders/late"),
        ("RefundReview", numbers.refund_reviews, "refund reviews", "/console/orders?state=refund_review"),
        ("BooksDiffer", numbers.differences, "differences in money", "/console/findings#money"),
        ("FiscalRuleMissing", numbers.sales_without_rule, "sales without a fiscal rule", "/console/findings#rules"),
        ("DeadLetters", numbers.dead_letters, "dead letters", "/console/dead"),
        ("TermOverdue", numbers.overdue_artifacts, "objects an hour past their term", "/console/sweeps"),
        ("ObjectsMissing", numbers.missing_objects, "rows without their object", "/console/findings#objects"),
        ("", numbers.objections_open, "objections to decide", "/console/cases"),
        (
            "QueueOld",
            i64::try_from(old).unwrap_or(i64::MAX),
            "queues with work due for five minutes",
            "/console/queues",
        ),
        ("", held, "jobs held", "/console/jobs?state=held"),
    ]
    .map(|(alarm, count, what, page)| Card { alarm, count, what: what.to_owned(), page })
    .into()
}

/// Whether the machinery goes on.
fn of_the_house(numbers: &Numbers, house: &House) -> Vec<Card> {
    let card = |alarm, count, what: String, page| Card { alarm, count, what, page };
    let past = |number: i64, most: i64| if number > most { number } else { 0 };
    let refused: i64 = house.refused_us.iter().map(|(_, jobs)| jobs).sum();
    let codes: Vec<String> = house.refused_us.iter().map(|(code, _)| words::said(code)).collect();
    let because = if codes.is_empty() { String::new() } else { format!(" ({})", codes.join(", ")) };
    let behind = house.schedule_behind_seconds;
    let unsealed = house.lag.oldest_seconds as i64;
    let inside = house.lag.destinations.iter().map(|(_, undelivered, _)| past(*undelivered, INSIDE)).sum();
    let blind = house.sweeps.iter().filter(|sweep| sweep.age_seconds.is_some() && sweep.residue.is_none()).count();
    let stuck = house.bulk_stuck + i64::from(house.bulk_oldest_seconds > BULK_TOO_LONG);
    let age = |lit: bool, seconds: i64| if lit { format!(" ({})", words::age(seconds)) } else { String::new() };
    vec![
        card("NoWorker", i64::from(numbers.workers == 0), "house without a worker".to_owned(), "/console/workers"),
        card(
            "NothingIsClaimed",
            numbers.claims_refused,
            "database that must be compared with the erasure ledger".to_owned(),
            "/console/audit",
        ),
        card(
            "TimelineChanged",
            house.timeline_changes,
            "failovers or restores of the database within a week".to_owned(),
            "/console/audit",
        ),
        card(
            "ProviderRefusesUs",
            refused,
            format!("jobs that a provider refuses our key or account{because}"),
            "/console/providers",
        ),
        card("LeftPaused", numbers.controls_set, "pauses and open breakers".to_owned(), "/console/controls"),
        card("WorkerSilent", numbers.workers_silent, "workers silent".to_owned(), "/console/workers"),
        card(
            "ScheduleBehind",
            i64::from(behind > BEHIND),
            format!("schedule that nobody looks at{}", age(behind > BEHIND, behind)),
            "/console/schedules",
        ),
        card(
            "SweepCouldNotCheck",
            i64::try_from(blind).unwrap_or(i64::MAX),
            "sweeps that could not check what is left".to_owned(),
            "/console/sweeps#sweeps",
        ),
        card("BulkActStuck", stuck, "acts on many jobs that do not end".to_owned(), "/console/bulk"),
        card(
            "SealerBehind",
            i64::from(unsealed > UNSEALED),
            format!("audit log that is not sealed{}", age(unsealed > UNSEALED, unsealed)),
            "/console/audit",
        ),
        card(
            "CertificateLate",
            house.lag.certificates_late,
            "finished deletions that get no certificate".to_owned(),
            "/console/audit",
        ),
        card("CheckpointsStayInside", inside, "checkpoints that are not outside".to_owned(), "/console/audit"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no state of the database says, or what the charts show.
    const NO_CARDS: [&str; 6] =
        ["JobsCrash", "PickupSlow", "DeadTuples", "IntakeFails", "DatabaseAway", "NothingIsMeasured"];

    #[test]
    fn whatever_raises_an_alarm_has_a_card_on_the_first_page() {
        let numbers = Numbers::default();
        let house = House::default();
        let mut cards: Vec<&str> =
            of_everybody(&numbers).iter().chain(&of_the_house(&numbers, &house)).map(|card| card.alarm).collect();
        cards.retain(|alarm| !alarm.is_empty());
        let rules = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/alerts.yml")).unwrap();
        let alarms: Vec<&str> = rules
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- alert: "))
            // Its breaker is among the pauses and open breakers.
            .filter(|alarm| !NO_CARDS.contains(alarm) && *alarm != "ProviderInTrouble")
            .collect();
        assert!(alarms.len() > 20, "{alarms:?}");
        for alarm in &alarms {
            assert!(cards.contains(alarm), "{alarm} has no card");
        }
        for card in cards {
            assert!(alarms.contains(&card), "{card} is no alarm");
        }
    }
}
