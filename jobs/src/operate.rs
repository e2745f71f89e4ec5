//! What an operator may do to jobs, dead letters, controls and schedules: one function for the console, the HTTP routes and
//! the command line, so that each asks the same questions and leaves the same trace.
//!
//! Every act names who and why, and is written down in the transaction that does it. Never: reads or shows a payload, acts
//! for a tenant on another's rows, or ends a job that must be seen to its end (a deletion, a purge, the retention sweep).

use sqlx::PgConnection;

use crate::{
    audit::Entry,
    id::{self, Id},
    job::{Effect, Queue},
    queue::{self, By, Change, Filter, FleetError, Scope, search::BadSearch},
    registry, schedule,
};

/// The code of what an operator does to a job, stored with it.
pub const BY_OPERATOR: &str = "by_operator";
/// The most dead letters that one act takes.
pub const AT_ONCE: i64 = 1000;
/// The longest reason, in characters: a word with umlauts is no longer than another.
pub const LONGEST_WHY: usize = 300;

/// Who acts, why, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct Operator<'a> {
    /// Who and why.
    pub by: By<'a>,
    /// The only tenant whose rows may be touched; none: the house.
    pub tenant: Option<&'a str>,
}

/// What may be done to one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Take it out of the queue. A running attempt is cut at its worker's next heartbeat and writes nothing.
    Cancel,
    /// Keep it from running until it is released; its attempts are frozen.
    Hold,
    /// Let a held job run.
    Release,
    /// Do not wait any longer: a job that waits for its time is due now, a dead letter rises with all its attempts.
    Retry,
    /// Give a dead letter up for good: it goes to the archive.
    Discard,
}

impl Act {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cancel, Self::Hold, Self::Release, Self::Retry, Self::Discard];

    /// The verb, as addresses and commands spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Retry => "retry",
            Self::Discard => "discard",
        }
    }

    /// By its verb.
    pub fn named(verb: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.as_str() == verb)
    }

    /// What the job is afterwards, as the audit log says it.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Hold => "held",
            Self::Release => "released",
            Self::Retry => "retried",
            Self::Discard => "discarded",
        }
    }
}

/// Why an act was not done. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// 404. No such thing, or another tenant's.
    #[error("there is no {0}")]
    NotFound(String),
    /// 409. The job stands where this act means nothing.
    #[error("{job} is {state}: {hint}")]
    Stands {
        /// Which.
        job: Id<id::Job>,
        /// `ready`, `running`, `held`, `scheduled`, `set_aside`, `dead` or `ended`.
        state: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// 409. It deletes or promises something and ends only when that was seen.
    #[error(
        "a job of the kind {0} ends only when what it promises was seen; hold it, or pause its kind, to keep it from running"
    )]
    MustEnd(String),
    /// 422. No reason, or one that is none.
    #[error("say why in at most {LONGEST_WHY} characters, without a mail address or anything else about a person")]
    Reason,
    /// 422. Nothing narrows the act.
    #[error("say which: a job, a kind, a code or a tenant, or that all are meant")]
    TooWide,
    /// 422. A search that cannot be asked.
    #[error(transparent)]
    Search(#[from] BadSearch),
    /// 403. Only the house may do what every tenant feels.
    #[error("this acts on every tenant: it takes a token of the house")]
    OfTheHouse,
    /// A control could not be changed.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The database did not take it.
    #[error("the act could not be stored")]
    Database(#[from] sqlx::Error),
}

/// A reason that may be stored: said, short, one line, and without a mail address.
pub fn said(operator: Operator<'_>) -> Result<By<'_>, OperateError> {
    let why = operator.by.why.trim();
    let fits = (1..=LONGEST_WHY).contains(&why.chars().count()) && !why.chars().any(|c| c.is_control() || c == '@');
    if fits { Ok(By { actor: operator.by.actor, why }) } else { Err(OperateError::Reason) }
}

/// A job's row, locked.
struct Stands {
    kind: String,
    queue: String,
    tenant: Option<String>,
    /// As [`OperateError::Stands`] spells it.
    state: &'static str,
}

/// Do it to one job. Answers the queue whose bell is to be rung after the commit, where the act let something run.
pub async fn on_job(
    tx: &mut PgConnection,
    act: Act,
    job: Id<id::Job>,
    operator: Operator<'_>,
) -> Result<Option<Queue>, OperateError> {
    let by = said(operator)?;
    if act == Act::Retry {
        // The person first, then rows: an order that is taken back asks for its person when this is committed.
        queue::share_subjects_of(tx, &[job.uuid()]).await?;
    }
    let stands = look(tx, job).await?;
    let foreign = operator.tenant.is_some_and(|tenant| stands.tenant.as_deref() != Some(tenant));
    if foreign {
        return Err(OperateError::NotFound(job.to_string()));
    }
    let must_end = registry::known(&stands.kind).is_some_and(|known| known.effect == Effect::UntilVerified);
    if must_end && matches!(act, Act::Cancel | Act::Discard) {
        return Err(OperateError::MustEnd(stands.kind));
    }
    let one = Filter { job: Some(job.uuid()), ..Filter::default() };
    let done = match act {
        Act::Cancel => queue::cancel(tx, job, BY_OPERATOR).await?,
        Act::Hold => queue::hold(tx, job, BY_OPERATOR).await?,
        Act::Release => queue::release(tx, job).await?,
        Act::Retry if stands.state == "dead" => queue::redrive_all(tx, one, 1).await? == 1,
        Act::Retry => queue::wake(tx, job).await?,
        Act::Discard => queue::discard_all(tx, one, 1).await? == 1,
    };
    if !done {
        return Err(OperateError::Stands { job, state: stands.state, hint: hint(stands.state) });
    }
    let mut entry = Entry::new("operator", "job.control", act.outcome()).job(&stands.kind, job);
    if let Some(tenant) = stands.tenant {
        entry = entry.tenant(tenant);
    }
    queue::note_act(tx, "job.control", act.outcome(), &job.to_string(), by, entry).await?;
    Ok(matches!(act, Act::Release | Act::Retry).then(|| Queue::named(&stands.queue)).flatten())
}

fn hint(state: &str) -> &'static str {
    match state {
        "ready" => "it runs as soon as a worker has room; its page says what it waits for",
        "running" => "hold or cancel cuts its attempt",
        "held" => "release lets it run",
        "scheduled" => "retry makes it due now",
        "set_aside" => "it waits for room: lift the pause or the limit that its page names",
        "dead" => "retry gives it another life, discard gives it up",
        _ => "nothing can be done to what has ended",
    }
}

async fn look(tx: &mut PgConnection, job: Id<id::Job>) -> Result<Stands, OperateError> {
    let row =
        sqlx::query!("select kind, queue, tenant, state from safelight.jobs where id = $1 for update", job.uuid())
            .fetch_optional(&mut *tx)
            .await?;
    if let Some(row) = row {
        let state = match row.state {
            0 => "ready",
            1 => "running",
            2 => "held",
            3 => "scheduled",
            _ => "set_aside",
        };
        return Ok(Stands { kind: row.kind, queue: row.queue, tenant: row.tenant, state });
    }
    let row = sqlx::query!(
        r#"select kind as "kind!", queue as "queue!", tenant, dead as "dead!" from (
            select kind, queue, tenant, true as dead from safelight.dead_letters where id = $1
            union all select kind, queue, tenant, false from safelight.jobs_archive where id = $1) ended
        order by dead desc limit 1"#,
        job.uuid()
    )
    .fetch_optional(tx)
    .await?
    .ok_or_else(|| OperateError::NotFound(job.to_string()))?;
    let state = if row.dead { "dead" } else { "ended" };
    Ok(Stands { kind: row.kind, queue: row.queue, tenant: row.tenant, state })
}

/// What becomes of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Another life under their old ids and keys, with all their attempts back.
    Redrive,
    /// The archive.
    Discard,
}

/// Do it to up to [`AT_ONCE`] dead letters that match, the oldest first; `all` says that nothing need narrow it. Answers how
/// many. Discarding leaves alone what must be seen to its end. Ring all bells after the commit.
pub async fn on_dead_letters(
    tx: &mut PgConnection,
    fate: Fate,
    filter: Filter<'_>,
    all: bool,
    operator: Operator<'_>,
) -> Result<u64, OperateError> {
    let by = said(operator)?;
    let narrowed = filter.job.is_some() || filter.kind.is_some() || filter.code.is_some() || filter.tenant.is_some();
    if !narrowed && !all {
        return Err(OperateError::TooWide);
    }
    if operator.tenant.is_some() && filter.tenant.is_some() && filter.tenant != operator.tenant {
        return Ok(0);
    }
    let filter = Filter { tenant: operator.tenant.or(filter.tenant), ..filter };
    let (done, action, outcome) = match fate {
        Fate::Redrive => (queue::redrive_all(tx, filter, AT_ONCE).await?, "dead_letters.redriven", "ready"),
        Fate::Discard => (queue::discard_all(tx, filter, AT_ONCE).await?, "dead_letters.discarded", "cancelled"),
    };
    let mut entry = Entry::new("operator", action, outcome).count("jobs", done);
    if let Some(tenant) = filter.tenant {
        entry = entry.tenant(tenant);
    }
    queue::note_act(tx, action, outcome, &filter.to_string(), by, entry).await?;
    Ok(done)
}

/// Change a control. A tenant's operator may pause and limit that tenant only. Ring all bells after the commit.
pub async fn on_control(
    tx: &mut PgConnection,
    scope: Scope,
    name: &str,
    change: Change,
    operator: Operator<'_>,
) -> Result<(), OperateError> {
    let by = said(operator)?;
    let own = scope == Scope::Tenant && operator.tenant == Some(name);
    if operator.tenant.is_some() && !own {
        return Err(OperateError::OfTheHouse);
    }
    Ok(queue::change(tx, scope, name, change, by).await?)
}

/// Close a provider's breaker by hand. Ring all bells after the commit.
pub async fn close_breaker(tx: &mut PgConnection, provider: &str, operator: Operator<'_>) -> Result<(), OperateError> {
    let by = said(operator)?;
    if operator.tenant.is_some() {
        return Err(OperateError::OfTheHouse);
    }
    let closed = queue::close_breaker(tx, provider, by).await?;
    if closed { Ok(()) } else { Err(OperateError::NotFound(format!("open breaker of `{provider}`"))) }
}

/// Pause or resume a schedule.
pub async fn on_schedule(
    tx: &mut PgConnection,
    name: &str,
    paused: bool,
    operator: Operator<'_>,
) -> Result<(), OperateError> {
    let by = said(operator)?;
    if operator.tenant.is_some() {
        return Err(OperateError::OfTheHouse);
    }
    let there = schedule::pause(tx, name, paused, by).await?;
    if there { Ok(()) } else { Err(OperateError::NotFound(format!("schedule `{name}`"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(why: &str) -> Result<By<'_>, OperateError> {
        said(Operator { by: By { actor: "test", why }, tenant: None })
    }

    #[test]
    fn a_reason_is_said_short_and_names_nobody() {
        assert_eq!(why("  fal is down ").expect("a reason").why, "fal is down");
        let umlauts = "ü".repeat(LONGEST_WHY);
        assert_eq!(why(&umlauts).expect("as long as it may be").why, umlauts);
        for bad in ["", "   ", "asked by ann@example.org", "two\nlines", &"x".repeat(301), &"ü".repeat(301)] {
            assert!(matches!(why(bad), Err(OperateError::Reason)), "{bad}");
        }
    }

    #[test]
    fn every_act_is_found_by_its_verb() {
        for act in Act::ALL {
            assert_eq!(Act::named(act.as_str()), Some(act));
        }
        assert_eq!(Act::named("delete"), None);
    }
}
