//! Numbers of the whole house, for its people and for the metrics: does the machinery itself go on? No tenant is shown them.

use safelight_jobs::{
    queue, schedule,
    sealer::{self, Lag},
};
use sqlx::PgPool;

use crate::numbers::{self, SweepNumbers};

/// How the house is.
#[derive(Debug, Clone, Default)]
pub(crate) struct House {
    /// Jobs that wait because a provider refuses the house itself, by code.
    pub(crate) refused_us: Vec<(String, i64)>,
    /// Acts on many jobs that are not over.
    pub(crate) bulk_under_way: i64,
    /// Those whose own job gave up in the middle.
    pub(crate) bulk_stuck: i64,
    /// How long ago the oldest of those under way was asked for, in seconds.
    pub(crate) bulk_oldest_seconds: i64,
    /// For how long nobody has looked at the schedule that was looked at last of all; since the installation, where nobody ever did.
    pub(crate) schedule_behind_seconds: i64,
    /// How often within a week another timeline of the database followed upon one that was known: a failover, or a backup that was
    /// restored.
    pub(crate) timeline_changes: i64,
    /// The last run of each sweep.
    pub(crate) sweeps: Vec<SweepNumbers>,
    /// The sealed log.
    pub(crate) lag: Lag,
    /// Dead rows of the hot table.
    pub(crate) dead_tuples: i64,
    /// Size of the hot table with its indexes.
    pub(crate) bytes: i64,
}

impl House {
    /// As it is now.
    pub(crate) async fn read(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let bulk = sqlx::query!(
            r#"select count(*) filter (where live) as "under_way!", count(*) filter (where dead) as "stuck!",
                coalesce(max(floor(extract(epoch from safelight.now() - asked_at))) filter (where live), 0)::bigint as "oldest!"
            from (select b.asked_at, exists (select from safelight.jobs j where j.id = b.job_id) as live,
                    exists (select from safelight.dead_letters d where d.id = b.job_id) as dead
                from safelight.bulk_acts b where b.finished_at is null order by b.asked_at desc limit 1000) o"#
        )
        .fetch_one(pool)
        .await?;
        let row = sqlx::query!(
            r#"select (select count(*) from (select seen_at from safelight.timelines order by seen_at, timeline offset 1) later
                    where seen_at > clock_timestamp() - interval '168 hours') as "timelines!",
                (select coalesce(sum(n_dead_tup), 0)::bigint from pg_stat_user_tables where schemaname = 'safelight' and relname = 'jobs') as "dead!",
                pg_total_relation_size('safelight.jobs') as "bytes!""#
        )
        .fetch_one(pool)
        .await?;
        Ok(Self {
            refused_us: queue::refused_us(pool, None).await?,
            bulk_under_way: bulk.under_way,
            bulk_stuck: bulk.stuck,
            bulk_oldest_seconds: bulk.oldest,
            schedule_behind_seconds: schedule::behind(pool).await?.seconds,
            timeline_changes: row.timelines,
            sweeps: numbers::sweeps(pool).await?,
            lag: sealer::lag(pool).await?,
            dead_tuples: row.dead,
            bytes: row.bytes,
        })
    }
}

/// Attempts of the last ten minutes that did not simply succeed, by verdict. For the metrics only: where jobs fail by the hundred
/// thousand it reads as many rows.
pub(crate) async fn attempts(pool: &PgPool) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let attempts = sqlx::query!(
        r#"select verdict as "verdict!", count(*) as "count!" from (
            select verdict from safelight.job_attempts where at > clock_timestamp() - interval '10 minutes' limit 100000) recent
        group by 1"#
    )
    .fetch_all(pool)
    .await?;
    Ok(attempts.into_iter().map(|row| (row.verdict, row.count)).collect())
}
