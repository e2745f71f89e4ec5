//! Where something stands in a list that is shown a page at a time: its time, then its id, where two share a time.
//!
//! It travels in the link to the next page and is whole by itself: the list goes on from there although the row that it was made of
//! has changed or is gone.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A place in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// When, to the microsecond, as the database keeps it.
    pub at: DateTime<Utc>,
    /// Which of those at that time.
    pub id: Uuid,
}

impl Place {
    /// Of something with an id of its own.
    pub const fn of(at: DateTime<Utc>, id: Uuid) -> Self {
        Self { at, id }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.at.timestamp_micros(), self.id.simple())
    }
}

/// These words are no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no place in a list")]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;
    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (at, id) = text.split_once('.').ok_or(NoPlace)?;
        let at = at.parse().ok().and_then(DateTime::from_timestamp_micros).filter(|at| KEPT.contains(&at.timestamp()));
        Ok(Self { at: at.ok_or(NoPlace)?, id: id.parse().map_err(|_| NoPlace)? })
    }
}

/// Times that the database can keep, as far as a list of ours may reach: the years 1970 to 9999, in seconds.
const KEPT: std::ops::Range<i64> = 0..253_402_300_800;

/// The two halves, for a query that takes none as the beginning.
pub fn halves(place: Option<Place>) -> (Option<DateTime<Utc>>, Option<Uuid>) {
    place.map(|place| (place.at, place.id)).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_other_words_are_none() {
        let place = Place::of("2026-11-27T12:00:00.123456Z".parse::<DateTime<Utc>>().expect("a time"), Uuid::now_v7());
        assert_eq!(place.to_string().parse(), Ok(place));
        let id = Uuid::now_v7();
        for other in ["", ".", "1", &format!("x.{id}"), "1.x", &format!("{}.{id}", i64::MAX), &format!("-1.{id}")] {
            assert_eq!(other.parse::<Place>(), Err(NoPlace), "{other}");
        }
    }
}
