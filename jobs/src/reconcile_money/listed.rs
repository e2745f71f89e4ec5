//! What Fal lists of one model in a span of time, and where that proves that a request never came.
//!
//! Fal lists a request by the instant at which it came. Our call knows two instants around that one: when it was written down, and
//! when the request's id was, which is much later where an answer was lost.

use chrono::{DateTime, Duration, Utc};

use crate::providers::fal::{Fal, FalError, ListedRequest};

/// Asked for at once. One listing reads two thousand rows at most: a busier span is read in halves.
const LONGEST_HOURS: i64 = 24;
/// And not in shorter ones than this: who always says that there is more is not asked for ever.
const SHORTEST_HOURS: i64 = 1;
/// Two clocks are never quite the same.
const CLOCKS_APART_MINUTES: i64 = 2;

pub(super) struct Listed {
    pub(super) requests: Vec<ListedRequest>,
    pub(super) from: DateTime<Utc>,
    pub(super) until: DateTime<Utc>,
    /// Spans that hold more than was read.
    pub(super) gaps: Vec<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Listed {
    /// Ask Fal, span by span.
    pub(super) async fn of(
        fal: &Fal,
        model: &str,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Self, FalError> {
        let mut listed = Self { requests: Vec::new(), from, until, gaps: Vec::new() };
        let mut spans: Vec<_> = (from < until).then_some((from, until)).into_iter().collect();
        while let Some((from, to)) = spans.pop() {
            let day = from + Duration::hours(LONGEST_HOURS);
            if day < to {
                spans.extend([(day, to), (from, day)]);
                continue;
            }
            let listing = fal.list_requests(model, from, to).await?;
            if listing.complete {
                listed.requests.extend(listing.requests);
            } else if to - from > Duration::hours(SHORTEST_HOURS) {
                let middle = from + (to - from) / 2;
                spans.extend([(middle, to), (from, middle)]);
            } else {
                listed.requests.extend(listing.requests);
                listed.gaps.push((from, to));
            }
        }
        Ok(listed)
    }

    /// Would it hold the request of a call that was written down and got its id at these two instants?
    pub(super) fn would_hold(&self, written: DateTime<Utc>, recorded: DateTime<Utc>) -> bool {
        let apart = Duration::minutes(CLOCKS_APART_MINUTES);
        let (first, last) = (written - apart, recorded + apart);
        self.from <= first && last < self.until && !self.gaps.iter().any(|(from, to)| first < *to && *from <= last)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::{
        Secret,
        fal::{FalConfig, FileAccess},
        testing::{Reply, StandIn},
    };

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::<Utc>::default() + Duration::minutes(minutes)
    }

    fn fal(url: &str) -> Fal {
        let patience = std::time::Duration::from_secs(20);
        Fal::new(&FalConfig {
            queue_url: url.to_owned(),
            platform_url: url.to_owned(),
            files_hosts: vec!["v3.fal.media".to_owned()],
            key: Secret::new("key"),
            admin_key: None,
            file_life: std::time::Duration::from_secs(60),
            file_access: FileAccess::Anyone,
            timeout: patience,
            download_timeout: patience,
        })
        .unwrap()
    }

    /// There is more, and no word of where.
    fn too_many() -> Reply {
        Reply::json(200, json!({ "items": [], "has_more": true, "next_cursor": null }))
    }

    fn all(id: &str) -> Reply {
        let row = json!({ "request_id": id, "endpoint_id": "fal-ai/x", "sent_at": "2026-11-01T10:00:00Z" });
        Reply::json(200, json!({ "items": [row], "has_more": false, "next_cursor": null }))
    }

    #[tokio::test]
    async fn a_busy_day_is_read_in_halves_and_a_busy_hour_is_a_gap() {
        let server = StandIn::start([too_many(), all("a"), all("b"), all("c")]).await;
        let listed = Listed::of(&fal(&server.url), "fal-ai/x", at(0), at(36 * 60)).await.unwrap();
        let ids: Vec<&str> = listed.requests.iter().map(|request| request.request_id.as_str()).collect();
        assert_eq!((ids, listed.gaps), (vec!["a", "b", "c"], vec![]));
        let hours: Vec<String> =
            server.asked().iter().map(|asked| format!("{} {}", asked.pairs()[1].1, asked.pairs()[2].1)).collect();
        assert_eq!(
            hours,
            [
                "1970-01-01T00:00:00Z 1970-01-02T00:00:00Z",
                "1970-01-01T00:00:00Z 1970-01-01T12:00:00Z",
                "1970-01-01T12:00:00Z 1970-01-02T00:00:00Z",
                "1970-01-02T00:00:00Z 1970-01-02T12:00:00Z"
            ]
        );

        let server = StandIn::start([too_many(), too_many(), all("a")]).await;
        let listed = Listed::of(&fal(&server.url), "fal-ai/x", at(0), at(120)).await.unwrap();
        assert_eq!((listed.requests.len(), listed.gaps), (1, vec![(at(0), at(60))]));
    }

    #[test]
    fn a_request_is_missed_only_where_fal_was_asked_for_all_the_time_in_which_it_may_have_come() {
        let mut listed = Listed { requests: Vec::new(), from: at(0), until: at(100), gaps: Vec::new() };
        assert!(listed.would_hold(at(10), at(90)));
        assert!(!listed.would_hold(at(1), at(10)), "it may have come before");
        assert!(!listed.would_hold(at(90), at(99)), "it may come");
        listed.gaps.push((at(40), at(60)));
        assert!(listed.would_hold(at(10), at(30)) && listed.would_hold(at(70), at(90)));
        for (written, recorded) in [(10, 50), (50, 55), (50, 90), (10, 90), (10, 39), (61, 90)] {
            assert!(!listed.would_hold(at(written), at(recorded)), "{written} to {recorded}");
        }
    }
}
