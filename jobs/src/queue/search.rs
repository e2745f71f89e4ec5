//! Finding jobs in whatever state, newest first, among any number of them. Reads only, and never a payload.
//!
//! An id, an order or a person is found by its index. Everything else is looked for in windows of the newest jobs, so that no
//! question, however rare its answer, reads a whole history: what was not looked at yet is said with the answer.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::id::{self, Id, Order, Subject};

/// How many of the newest jobs of each table one window holds.
const WINDOW: i64 = 10_000;
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

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
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

/// A page.
#[derive(Debug, Clone)]
pub struct Found {
    /// Newest first.
    pub jobs: Vec<Job>,
    /// Where the next page begins; none: that was all.
    pub next: Option<Uuid>,
}

/// A table that holds jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Hot,
    Dead,
    Archive,
}

impl Table {
    const fn columns(self) -> &'static str {
        match self {
            Self::Hot => {
                "select id, kind, queue, tenant, order_id, case state when 0 then 'ready' when 1 then 'running' when 2 then 'held'
                when 3 then 'scheduled' else 'set_aside' end as state, why as code, attempt, waits, created_at, null::timestamptz as ended_at
                from safelight.jobs"
            }
            Self::Dead => {
                "select id, kind, queue, tenant, order_id, 'dead' as state, code, attempt, waits, created_at, died_at as ended_at
                from safelight.dead_letters"
            }
            Self::Archive => {
                "select id, kind, queue, tenant, order_id, outcome as state, code, attempt, waits, created_at, finished_at as ended_at
                from safelight.jobs_archive"
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Hot => "safelight.jobs",
            Self::Dead => "safelight.dead_letters",
            Self::Archive => "safelight.jobs_archive",
        }
    }

    fn may_hold(self, state: Option<State>) -> bool {
        match state {
            None => true,
            Some(State::Dead) => self == Self::Dead,
            Some(State::Done | State::Cancelled) => self == Self::Archive,
            Some(_) => self == Self::Hot,
        }
    }
}

/// The jobs that match, newest first, at most `most`.
pub async fn search(pool: &PgPool, search: Search<'_>, most: usize) -> Result<Found, sqlx::Error> {
    let began = Instant::now();
    let tables: Vec<Table> =
        [Table::Hot, Table::Dead, Table::Archive].into_iter().filter(|table| table.may_hold(search.state)).collect();
    // Few, and found by an index of their own.
    let by_index = search.job.is_some()
        || search.order.is_some()
        || search.subject.is_some()
        || matches!(search.state, Some(State::Running | State::Held));
    let first = search.until.map(|at| earliest(at.timestamp_millis()));
    let mut before = [search.before, first].into_iter().flatten().min();
    let mut jobs = Vec::new();
    loop {
        let floor = if by_index { None } else { floor(pool, &tables, before).await? };
        for table in &tables {
            jobs.extend(page(pool, *table, &search, before, floor, most + 1).await?);
        }
        jobs.sort_by_key(|job: &Job| std::cmp::Reverse(job.id));
        jobs.dedup_by_key(|job| job.id);
        if jobs.len() > most {
            jobs.truncate(most);
            return Ok(Found { next: jobs.last().map(|job| job.id), jobs });
        }
        let over =
            search.from.is_some_and(|from| floor.is_some_and(|floor| floor <= earliest(from.timestamp_millis())));
        if floor.is_none() || over {
            return Ok(Found { jobs, next: None });
        }
        before = floor;
        if jobs.len() == most || began.elapsed() > PATIENCE {
            return Ok(Found { jobs, next: before });
        }
    }
}

/// The oldest id that a window over these tables reaches; none: it reaches to the end of all.
async fn floor(pool: &PgPool, tables: &[Table], before: Option<Uuid>) -> Result<Option<Uuid>, sqlx::Error> {
    let mut highest = None;
    for table in tables {
        let mut query = QueryBuilder::<Postgres>::new(format!("select id from {}", table.name()));
        if let Some(before) = before {
            query.push(" where id < ").push_bind(before);
        }
        query.push(" order by id desc offset ").push_bind(WINDOW - 1).push(" limit 1");
        let floor: Option<Uuid> = query.build_query_scalar().fetch_optional(pool).await?;
        highest = highest.max(floor);
    }
    Ok(highest)
}

async fn page(
    pool: &PgPool,
    table: Table,
    search: &Search<'_>,
    before: Option<Uuid>,
    floor: Option<Uuid>,
    most: usize,
) -> Result<Vec<Job>, sqlx::Error> {
    // Only what narrows is in the statement: each shape gets a plan of its own.
    let mut query = QueryBuilder::<Postgres>::new("select * from (");
    query.push(table.columns());
    query.push(" where true");
    let from = search.from.map(|at| earliest(at.timestamp_millis()));
    for (condition, id) in [
        (" and id = ", search.job.map(Id::uuid)),
        (" and order_id = ", search.order.map(Id::uuid)),
        (" and subject_id = ", search.subject.map(Id::uuid)),
        (" and id < ", before),
        (" and id >= ", floor.max(from)),
    ] {
        if let Some(id) = id {
            query.push(condition).push_bind(id);
        }
    }
    if let (Table::Hot, Some(number)) = (table, search.state.and_then(State::hot)) {
        // In the text: a partial index is found only so. It is one of five numbers of ours.
        query.push(format!(" and state = {number}"));
    }
    query.push(") j where true");
    let state = search.state.filter(|_| table == Table::Archive).map(State::as_str);
    for (condition, word) in [
        (" and kind = ", search.kind),
        (" and tenant = ", search.tenant),
        (" and code = ", search.code),
        (" and state = ", state),
    ] {
        if let Some(word) = word {
            query.push(condition).push_bind(word.to_owned());
        }
    }
    query.push(" order by id desc limit ").push_bind(i64::try_from(most).unwrap_or(i64::MAX));
    query.build_query_as().fetch_all(pool).await
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
