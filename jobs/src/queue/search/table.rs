//! The three tables that hold jobs, and the statements that look into them. Only what narrows stands in a statement: each
//! shape gets a plan of its own.

use sqlx::{PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Job, Search, State, earliest};
use crate::id::Id;

/// How many of the newest jobs of each table one window holds.
const WINDOW: i64 = 10_000;

/// A table that holds jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Hot,
    Dead,
    Archive,
}

impl Table {
    /// Those that may hold what is looked for.
    pub(super) fn of(search: &Search<'_>) -> Vec<Self> {
        let may_hold = |table: &Self| table.states().iter().any(|state| search.may_be(*state));
        [Self::Hot, Self::Dead, Self::Archive].into_iter().filter(may_hold).collect()
    }

    const fn states(self) -> &'static [State] {
        match self {
            Self::Hot => &[State::Ready, State::Running, State::Held, State::Scheduled, State::SetAside],
            Self::Dead => &[State::Dead],
            Self::Archive => &[State::Done, State::Cancelled],
        }
    }

    const fn columns(self) -> &'static str {
        match self {
            Self::Hot => {
                "select id, kind, queue, tenant, order_id, subject_id, case state when 0 then 'ready' when 1 then 'running' when 2 then 'held'
                when 3 then 'scheduled' else 'set_aside' end as state, why as code, attempt, waits, created_at, null::timestamptz as ended_at
                from safelight.jobs"
            }
            Self::Dead => {
                "select id, kind, queue, tenant, order_id, subject_id, 'dead' as state, code, attempt, waits, created_at, died_at as ended_at
                from safelight.dead_letters"
            }
            Self::Archive => {
                "select id, kind, queue, tenant, order_id, subject_id, outcome as state, code, attempt, waits, created_at, finished_at as ended_at
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
}

/// The lowest id that a window over these tables reaches; none: it reaches to the end of all. A page may begin there, so it is
/// nobody's: the job that is the window's last may be another tenant's. What is held stands in an index of its own, so a window over
/// that alone holds as many of it.
pub(super) async fn floor(
    pool: &PgPool,
    tables: &[Table],
    search: &Search<'_>,
    before: Option<Uuid>,
) -> Result<Option<Uuid>, sqlx::Error> {
    let mut highest = None;
    for table in tables {
        let mut query = QueryBuilder::<Postgres>::new(format!("select id from {} where true", table.name()));
        if *table == Table::Hot && search.states() == [State::Held] {
            query.push(" and state = 2");
        }
        if let Some(before) = before {
            query.push(" and id < ").push_bind(before);
        }
        query.push(" order by id desc offset ").push_bind(WINDOW - 1).push(" limit 1");
        let floor: Option<Uuid> = query.build_query_scalar().fetch_optional(pool).await?;
        highest = highest.max(floor);
    }
    Ok(highest.map(foot))
}

/// The lowest of the ids that share this one's time and count; few do.
fn foot(id: Uuid) -> Uuid {
    Uuid::from_u128(id.as_u128() & !u128::from(u64::MAX))
}

/// What of one window matches, newest first.
pub(super) async fn page(
    pool: &PgPool,
    table: Table,
    search: &Search<'_>,
    (before, floor): (Option<Uuid>, Option<Uuid>),
    most: usize,
) -> Result<Vec<Job>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("select * ");
    narrow(&mut query, table, search, before, floor);
    query.push(" order by id desc limit ").push_bind(i64::try_from(most).unwrap_or(i64::MAX));
    query.build_query_as().fetch_all(pool).await
}

/// How many of one window match.
pub(super) async fn number(
    pool: &PgPool,
    table: Table,
    search: &Search<'_>,
    before: Option<Uuid>,
    floor: Option<Uuid>,
) -> Result<i64, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("select count(*) ");
    narrow(&mut query, table, search, before, floor);
    query.build_query_scalar().fetch_one(pool).await
}

fn narrow(
    query: &mut QueryBuilder<Postgres>,
    table: Table,
    search: &Search<'_>,
    before: Option<Uuid>,
    floor: Option<Uuid>,
) {
    query.push("from (").push(table.columns()).push(" where true");
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
    let all = table.states();
    let wanted: Vec<State> = all.iter().copied().filter(|state| search.may_be(*state)).collect();
    if table == Table::Hot && wanted.len() < all.len() {
        // In the text: a partial index is found only so. They are numbers of ours.
        let numbers: Vec<String> = wanted.iter().filter_map(|state| state.hot()).map(|n| n.to_string()).collect();
        match &numbers[..] {
            [one] => query.push(format!(" and state = {one}")),
            some => query.push(format!(" and state in ({})", some.join(", "))),
        };
    }
    query.push(") j where true");
    if table == Table::Archive && wanted.len() == 1 {
        query.push(" and state = ").push_bind(wanted[0].as_str());
    }
    for (condition, word) in
        [(" and kind = ", search.kind), (" and queue = ", search.queue), (" and tenant = ", search.tenant)]
    {
        if let Some(word) = word {
            query.push(condition).push_bind(word.to_owned());
        }
    }
    if let Some(code) = search.code {
        // What is waited for stands behind the code: `consent_missing: train at checkout`, `provider:fal`.
        query.push(" and (code = ").push_bind(code.to_owned());
        query.push(" or starts_with(code, ").push_bind(format!("{code}:")).push("))");
    }
    if !search.without.is_empty() {
        query.push(" and kind <> all (").push_bind(search.without.to_vec()).push(")");
    }
}
