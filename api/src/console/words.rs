//! How times, ages and states are written on every page.

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};
use safelight_jobs::queue::COUNTED;

/// An instant, to the second.
pub(super) fn time(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339_opts(SecondsFormat::Secs, true)) { (at.format("%Y-%m-%d %H:%M:%S")) } }
}

/// An instant that may not have come.
pub(super) fn maybe_time(at: Option<DateTime<Utc>>) -> Markup {
    match at {
        Some(at) => time(at),
        None => html! { span.none { "–" } },
    }
}

/// A number of seconds as a person says it.
pub(super) fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

/// A count that stops at its bound, as a person says it.
pub(super) fn many(count: i64) -> String {
    if count >= i64::from(COUNTED) { format!("{COUNTED} or more") } else { count.to_string() }
}

/// A number of milliseconds as a person says it.
pub(super) fn pause(milliseconds: i64) -> String {
    match milliseconds.max(0) {
        ms @ 0..1000 => format!("{ms} ms"),
        ms => age(ms / 1000),
    }
}

/// How far away an instant is.
pub(super) fn distance(now: DateTime<Utc>, at: DateTime<Utc>) -> String {
    let seconds = (at - now).num_seconds();
    if seconds == 0 {
        "now".to_owned()
    } else if seconds > 0 {
        format!("in {}", age(seconds))
    } else {
        format!("{} ago", age(-seconds))
    }
}

/// A state as a small label; the colour says whether a person is needed.
pub(super) fn state(word: &str) -> Markup {
    let tone = match word {
        "delivered" | "complete" | "verified" | "succeeded" | "done" | "retained_by_law" | "alive" | "valid"
        | "money_is_back" => "tag good",
        "stuck" | "dead" | "unknown" | "failed" | "refund_review" | "late" | "paused" | "in_trouble" | "silent"
        | "crashed" | "gave_up" | "stopped" => "tag bad",
        "refused" | "expired" | "withheld" | "cancelled" | "held" | "gone" | "revoked" => "tag dim",
        _ => "tag",
    };
    html! { span class=(tone) { (said(word)) } }
}

/// A code as words.
pub(super) fn said(code: &str) -> String {
    code.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_said_in_the_unit_that_fits() {
        assert_eq!(age(59), "59 s");
        assert_eq!(age(3599), "59 min");
        assert_eq!(age(7200), "2 h");
        assert_eq!(age(2_592_000), "30 d");
        assert_eq!((pause(999), pause(61_000)), ("999 ms".to_owned(), "1 min".to_owned()));
    }
}
