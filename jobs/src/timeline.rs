//! Notices that the database lives another life: that a standby took over, or that a backup was restored.
//!
//! Life: a worker asks which timeline it writes to -> known: nothing -> new: one row and one audit entry, in one commit.
//! With asynchronous replication a failover may lose what was committed last. What was lost cannot be known from inside;
//! that it may have been lost must not go unseen.

use sqlx::PgPool;

use crate::{audit::Entry, db};

/// Look once. Answers the new timeline when it followed upon another one.
///
/// # Errors
/// Those of the database.
pub async fn note(pool: &PgPool) -> Result<Option<i64>, sqlx::Error> {
    // The name of a log file begins with the timeline, in eight hexadecimal digits.
    let unknown = sqlx::query_scalar!(
        r#"select current as "current!" from (
            select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint as current) c
        where not exists (select from safelight.timelines where timeline = current)"#
    )
    .fetch_optional(pool)
    .await?;
    let Some(current) = unknown else { return Ok(None) };
    let mut tx = db::begin(pool).await?;
    let first = sqlx::query_scalar!(
        r#"with known as (select count(*) as n from safelight.timelines),
        noted as (insert into safelight.timelines (timeline) values ($1) on conflict do nothing returning timeline)
        select known.n = 0 as "first!" from known, noted"#,
        current
    )
    .fetch_optional(&mut *tx)
    .await?;
    let follows = first == Some(false);
    if follows {
        Entry::new("worker", "database.timeline", "changed").count("timeline", current).write(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(follows.then_some(current))
}
