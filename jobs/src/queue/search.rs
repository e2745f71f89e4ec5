//! Finding jobs in whatever state, newest first, among any number of them. Reads only, and never a payload.
//!
//! An id, an order or a person is found by its index. Everything else is looked for in windows of the newest jobs, so that no
//! question, however rare its answer, reads a whole history: what was not looked at yet is said with the answer.

mod aside;
mod table;
mod wanted;

use std::time::{Duration, Instant};

pub use aside::why_aside;
use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool};
use table::Table;
use uuid::Uuid;
pub use wanted::{BadSearch, Wanted};

use crate::id::{self, Id, Order, Subject};

/// For how long further windows are opened while the page is not full.
const PATIENCE: Duration = Duration::from_millis(80);

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Due.
    Ready,
    /// Under a lease.
    Running,
    /// By a person.
    Held,
    /// Due later.
    Scheduled,
    /// Due, and there is no room.
    SetAside,
    /// A dead letter.
    Dead,
    /// In the archive.
    Done,
    /// In the archive, and did not run to its end.
    Cancelled,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Ready,
        Self::Running,
        Self::Held,
        Self::Scheduled,
        Self::SetAside,
        Self::Dead,
        Self::Done,
        Self::Cancelled,
    ];

    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Held => "held",
            Self::Scheduled => "scheduled",
            Self::SetAside => "set_aside",
            Self::Dead => "dead",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// The number in the hot table.
    const fn hot(self) -> Option<i16> {
        match self {
            Self::Ready => Some(0),
            Self::Running => Some(1),
            Self::Held => Some(2),
            Self::Scheduled => Some(3),
            Self::SetAside => Some(4),
            Self::Dead | Self::Done | Self::Cancelled => None,
        }
    }
}

/// What is looked for; what is `None` does not narrow.
#[derive(Debug, Clone, Copy, Default)]
pub struct Search<'a> {
    /// One job.
    pub job: Option<Id<id::Job>>,
    /// Of one kind.
    pub kind: Option<&'a str>,
    /// In one state.
    pub state: Option<State>,
    /// Of one queue.
    pub queue: Option<&'a str>,
    /// Of one tenant.
    pub tenant: Option<&'a str>,
    /// Of one order.
    pub order: Option<Id<Order>>,
    /// Of one person.
    pub subject: Option<Id<Subject>>,
    /// What it waits for, is held for, or ended with.
    pub code: Option<&'a str>,
    /// Made at this instant or later.
    pub from: Option<DateTime<Utc>>,
    /// Made before this instant.
    pub until: Option<DateTime<Utc>>,
    /// Where the page before ended.
    pub before: Option<Uuid>,
    /// In one of these states only: what an act can be done to.
    pub within: Option<&'static [State]>,
    /// Not of these kinds.
    pub without: &'a [String],
}

impl Search<'_> {
    fn may_be(&self, state: State) -> bool {
        self.state.is_none_or(|wanted| wanted == state) && self.within.is_none_or(|within| within.contains(&state))
    }

    /// Those in which it may be.
    fn states(&self) -> Vec<State> {
        State::ALL.into_iter().filter(|state| self.may_be(*state)).collect()
    }

    /// Few, and found by an index of their own.
    fn has_an_index(&self) -> bool {
        self.job.is_some() || self.order.is_some() || self.subject.is_some() || self.states() == [State::Running]
    }

    /// Where it begins, newest first.
    fn start(&self) -> Option<Uuid> {
        let first = self.until.map(|at| earliest(at.timestamp_millis()));
        [self.before, first].into_iter().flatten().min()
    }

    /// Was everything looked at, when a window has reached down to here?
    fn is_over(&self, floor: Option<Uuid>) -> bool {
        let reached = |floor| self.from.is_some_and(|from| floor <= earliest(from.timestamp_millis()));
        floor.is_none_or(reached)
    }
}

/// One job, without its payload.
#[derive(Debug, Clone, FromRow)]
pub struct Job {
    /// Which.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Of which tenant.
    pub tenant: Option<String>,
    /// Of which order.
    pub order_id: Option<Uuid>,
    /// Of which person.
    pub subject_id: Option<Uuid>,
    /// As [`State::as_str`].
    pub state: String,
    /// What it waits for, is held for, or ended with.
    pub code: Option<String>,
    /// Attempts spent.
    pub attempt: i32,
    /// How often it waited.
    pub waits: i32,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

impl Job {
    /// The code of what it waits for, is held for, or ended with, and what stands behind it: a sentence, or which queue or provider.
    #[must_use]
    pub fn said(&self) -> (Option<&str>, Option<&str>) {
        match self.code.as_deref().map(|said| said.split_once(':').ok_or(said)) {
            Some(Ok((code, behind))) => (Some(code), Some(behind.trim_start())),
            Some(Err(code)) => (Some(code), None),
            None => (None, None),
        }
    }
}

/// A page.
#[derive(Debug, Clone)]
pub struct Found {
    /// Newest first.
    pub jobs: Vec<Job>,
    /// Where the next page begins; none: that was all.
    pub next: Option<Uuid>,
}

/// The jobs that match, newest first, at most `most`.
pub async fn search(pool: &PgPool, search: Search<'_>, most: usize) -> Result<Found, sqlx::Error> {
    let began = Instant::now();
    let tables = Table::of(&search);
    let mut before = search.start();
    let mut jobs = Vec::new();
    loop {
        let floor = if search.has_an_index() { None } else { table::floor(pool, &tables, &search, before).await? };
        for table in &tables {
            jobs.extend(table::page(pool, *table, &search, (before, floor), most + 1).await?);
        }
        jobs.sort_by_key(|job: &Job| std::cmp::Reverse(job.id));
        jobs.dedup_by_key(|job| job.id);
        if jobs.len() > most {
            jobs.truncate(most);
            return Ok(Found { next: jobs.last().map(|job| job.id), jobs });
        }
        if search.is_over(floor) {
            return Ok(Found { jobs, next: None });
        }
        before = floor;
        if jobs.len() == most || began.elapsed() > PATIENCE {
            return Ok(Found { jobs, next: before });
        }
    }
}

/// How many match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// So many were found.
    pub jobs: i64,
    /// Everything was looked at; else there may be more.
    pub whole: bool,
}

/// Count what matches, for as long as `patience` says.
pub async fn count(pool: &PgPool, search: Search<'_>, patience: Duration) -> Result<Counted, sqlx::Error> {
    let began = Instant::now();
    let tables = Table::of(&search);
    let mut before = search.start();
    let mut jobs = 0;
    loop {
        let floor = if search.has_an_index() { None } else { table::floor(pool, &tables, &search, before).await? };
        for table in &tables {
            jobs += table::number(pool, *table, &search, before, floor).await?;
        }
        if search.is_over(floor) {
            return Ok(Counted { jobs, whole: true });
        }
        if began.elapsed() > patience {
            return Ok(Counted { jobs, whole: false });
        }
        before = floor;
    }
}

/// The smallest id of this millisecond: ids grow with time.
fn earliest(milliseconds: i64) -> Uuid {
    let milliseconds = u128::try_from(milliseconds).unwrap_or(0) & 0xffff_ffff_ffff;
    Uuid::from_u128(milliseconds << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_id_of_an_instant_is_before_every_id_of_it_and_after_those_before() {
        let id = Id::<id::Job>::new().uuid();
        let milliseconds = i64::try_from(id.as_u128() >> 80).expect("a time");
        assert!(earliest(milliseconds) <= id && earliest(milliseconds + 1) > id);
    }
}
