//! The schedule: which jobs run at set times.
//!
//! Life: any process ticks -> each schedule's row is taken by one of them -> the ticks since the last look become jobs, as
//! its catch-up says -> the look and the jobs are one commit. So a tick is one job over any number of processes, and a tick
//! that nobody made is made up for. Times follow the system's clock, in UTC.
//! Never: promises anything. What must happen by a time stands on rows; a sweep only asks them.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use cron::Schedule;
use sqlx::{PgConnection, PgPool};

use crate::{
    audit::Entry,
    expire_consents::ExpireConsents,
    prune_history::PruneHistory,
    queue::{self, Bell, By, EnqueueError, Wish},
    reconcile_calls::ReconcileCalls,
    reconcile_money::ReconcileMoney,
    run::Tx,
    sweep_deletions::SweepDeletions,
    sweep_fiscal::SweepFiscal,
    sweep_orphans::SweepOrphans,
    sweep_retention::SweepRetention,
    tell_policies::TellPolicies,
};

/// The most ticks that one look makes up for, one by one; older ones are left out.
const MOST: usize = 100;

/// How far back the books are compared once a day, in hours: longer than any bank takes.
const FORTY_DAYS: u32 = 960;

/// What becomes of ticks that an outage swallowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// One job for all of them: it asks the rows, so it finds everything.
    Once,
    /// A job for each.
    Each,
}

/// One schedule as the program declares it. The row keeps its pause and its last look.
#[derive(Debug, Clone, Copy)]
pub struct Scheduled {
    /// Its name: the kind of job, where one kind has one schedule.
    pub name: &'static str,
    /// sec min hour day month weekday, in UTC.
    pub cron: &'static str,
    /// After an outage.
    pub catch_up: CatchUp,
    /// The job of one tick.
    pub wish: fn(because: String) -> Result<Wish, serde_json::Error>,
}

/// All of them.
pub const ALL: &[Scheduled] = &[
    Scheduled {
        name: "sweep_retention",
        cron: "0 * * * * *",
        catch_up: CatchUp::Once,
        wish: |because| Wish::of(&SweepRetention { because }),
    },
    Scheduled {
        name: "sweep_deletions",
        cron: "0 12 * * * *",
        catch_up: CatchUp::Once,
        wish: |because| Wish::of(&SweepDeletions { because }),
    },
    Scheduled {
        name: "sweep_orphans",
        cron: "0 42 */6 * * *",
        catch_up: CatchUp::Once,
        wish: |because| Wish::of(&SweepOrphans { because, most: None }),
    },
    Scheduled {
        name: "reconcile_calls",
        cron: "0 * * * * *",
        catch_up: CatchUp::Once,
        wish: |because| Wish::of(&ReconcileCalls { because, grace_seconds: None }),
    },
    Scheduled {
        name: "expire_consents",
        cron: "0 * * * * *",
        catch_up: CatchUp::Once,
        wish: |because| Wish::of(&ExpireConsents { because }),
    },
    Scheduled {
        name: "reconcile_money_hourly",
        cron: "0 7 * * * *",
        catch_up: CatchUp::Once,
        wish: |because| Wish::of(&ReconcileMoney { because: format!("hour:{because}"), hours: None }),
    },
    Scheduled {
        name: "reconcile_money_daily",
        cron: "0 37 4 * * *",
        catch_up: CatchUp::Once,
        wish: |because| Wish::of(&ReconcileMoney { because: format!("day:{because}"), hours: Some(FORTY_DAYS) }),
    },
    Scheduled {
        name: "sweep_fiscal",
        cron: "0 47 3 * * *",
        catch_up: CatchUp::Once,
        wish: |because| Wish::of(&SweepFiscal { because }),
    },
    Scheduled {
        name: "tell_policies",
        cron: "0 22 * * * *",
        catch_up: CatchUp::Once,
        wish: |because| Wish::of(&TellPolicies { because }),
    },
    Scheduled {
        name: "prune_history",
        cron: "0 17 3 * * *",
        catch_up: CatchUp::Once,
        wish: |because| Wish::of(&PruneHistory { because }),
    },
];

/// A schedule as it stands.
#[derive(Debug, Clone)]
pub struct Row {
    /// The kind of job.
    pub name: String,
    /// sec min hour day month weekday, in UTC.
    pub cron: String,
    /// `once` or `each`.
    pub catch_up: String,
    /// Do its ticks make no jobs?
    pub paused: bool,
    /// Looked at until here.
    pub last_tick: DateTime<Utc>,
    /// Who paused or resumed it last.
    pub actor: String,
    /// And why.
    pub why: Option<String>,
    /// When it was read.
    pub now: DateTime<Utc>,
}

impl Row {
    /// When its next tick is; none while it is paused.
    #[must_use]
    pub fn next(&self) -> Option<DateTime<Utc>> {
        Schedule::from_str(&self.cron).ok().filter(|_| !self.paused)?.after(&self.now).next()
    }
}

/// All schedules that some process has looked at.
pub async fn list(pool: &PgPool) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select name, cron, catch_up, paused, last_tick, actor, why, safelight.now() as "now!" from safelight.schedules order by name"#
    )
    .fetch_all(pool)
    .await
}

/// How far behind the schedule is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behind {
    /// For how long nobody has looked at the schedule that was looked at last of all, in seconds; paused ones are left out.
    pub seconds: i64,
    /// Schedules of this program that nobody has ever looked at, by name.
    pub never: Vec<String>,
}

/// How far it is behind. A schedule that nobody ever looked at has been waiting since the schema was laid or, where others were looked
/// at, since it was brought up to date last: no version that knows the schedule is older. One that this program does not know any more
/// is nobody's.
pub async fn behind(pool: &PgPool) -> Result<Behind, sqlx::Error> {
    let known: Vec<String> = ALL.iter().map(|scheduled| scheduled.name.to_owned()).collect();
    let rows = sqlx::query!(
        r#"select k.name as "name!", s.name is null as "never!",
            coalesce(extract(epoch from safelight.now() - coalesce(s.last_tick, m.since)), 0)::bigint as "seconds!"
        from unnest($1::text[]) with ordinality k(name, place)
        cross join (select case when exists (select from safelight.schedules) then max(installed_on) else min(installed_on) end as since
            from _sqlx_migrations where success) m
        left join safelight.schedules s on s.name = k.name
        where s.paused is not true order by k.place"#,
        &known
    )
    .fetch_all(pool)
    .await?;
    Ok(Behind {
        seconds: rows.iter().map(|row| row.seconds).max().unwrap_or(0).max(0),
        never: rows.into_iter().filter(|row| row.never).map(|row| row.name).collect(),
    })
}

/// Pause or resume one, with its audit entry. Answers whether there is one of that name.
pub async fn pause(tx: &mut PgConnection, name: &str, paused: bool, by: By<'_>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update safelight.schedules set paused = $2, why = $3, actor = $4 where name = $1",
        name,
        paused,
        by.why,
        by.actor
    )
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 1 {
        let outcome = if paused { "paused" } else { "resumed" };
        let entry = Entry::new("operator", "schedule.control", outcome).code("schedule", name);
        queue::note_act(tx, "schedule.control", outcome, name, by, entry).await?;
    }
    Ok(done.rows_affected() == 1)
}

/// Why a look at the schedule did not come to its end; the next look makes up for it.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The database did not answer.
    #[error("the schedule could not be read or written: {0}")]
    Database(#[from] sqlx::Error),
    /// A job was not taken.
    #[error("a scheduled job could not be enqueued: {0}")]
    Enqueue(#[from] EnqueueError),
    /// A declared time is none.
    #[error("`{0}` is no time of a schedule")]
    Time(&'static str),
}

/// Make the jobs of all ticks that came since the last look of whatever process. Answers how many are new.
pub async fn tick(pool: &PgPool, bell: &Bell) -> Result<usize, ScheduleError> {
    let mut new = 0;
    for scheduled in ALL {
        new += tick_one(pool, bell, scheduled).await?;
    }
    Ok(new)
}

/// The same for one schedule.
pub async fn tick_one(pool: &PgPool, bell: &Bell, scheduled: &Scheduled) -> Result<usize, ScheduleError> {
    let times = Schedule::from_str(scheduled.cron).map_err(|_| ScheduleError::Time(scheduled.cron))?;
    let catch_up = match scheduled.catch_up {
        CatchUp::Once => "once",
        CatchUp::Each => "each",
    };
    let mut tx = Tx::begin(pool, bell).await?;
    // Nothing on a conflict: an update would wait for whoever has the row.
    sqlx::query!(
        "insert into safelight.schedules (name, cron, catch_up) values ($1, $2, $3) on conflict do nothing",
        scheduled.name,
        scheduled.cron,
        catch_up
    )
    .execute(&mut *tx)
    .await?;
    // Whoever has the row makes its ticks; the others have nothing to do.
    let row = sqlx::query!(
        r#"select last_tick, paused, safelight.now() as "now!" from safelight.schedules where name = $1 for update skip locked"#,
        scheduled.name
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(0) };
    let mut due: Vec<DateTime<Utc>> = times.after(&row.last_tick).take_while(|at| *at <= row.now).take(MOST).collect();
    if scheduled.catch_up == CatchUp::Once {
        due = due.split_off(due.len().saturating_sub(1));
    }
    if row.paused {
        due.clear();
    }
    let mut new = 0;
    for at in due {
        let wish = (scheduled.wish)(format!("tick:{}", at.timestamp())).map_err(EnqueueError::from)?;
        let enqueued = wish.enqueue(&mut tx).await?;
        tx.ring(enqueued.queue);
        new += usize::from(!enqueued.already);
    }
    // With the time by which it was looked at: another version of the program may have declared another one.
    sqlx::query!(
        "update safelight.schedules set last_tick = greatest(last_tick, $2), cron = $3, catch_up = $4 where name = $1",
        scheduled.name,
        row.now,
        scheduled.cron,
        catch_up
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(new)
}
