//! The kinds of jobs as rows: what the program declares is written down when the schema is brought up to date, so that SQL
//! callers need only name a kind and the claim knows what limits it.

use sqlx::PgPool;

use crate::registry;

/// Write the declarations of all kinds. Kinds that this version does not know stay: an older process may still run them.
pub(crate) async fn install(pool: &PgPool) -> Result<(), sqlx::Error> {
    for kind in registry::ALL {
        sqlx::query!(
            r#"insert into safelight.job_kinds (kind, queue, provider, effect, version, max_attempts, timeout_seconds,
                deadline_seconds, lane_most, keep_days)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            on conflict (kind) do update set queue = excluded.queue, provider = excluded.provider, effect = excluded.effect,
                version = excluded.version, max_attempts = excluded.max_attempts, timeout_seconds = excluded.timeout_seconds,
                deadline_seconds = excluded.deadline_seconds, lane_most = excluded.lane_most, keep_days = excluded.keep_days"#,
            kind.name,
            kind.queue.as_str(),
            kind.provider.map(|provider| provider.as_str()),
            kind.effect.as_str(),
            kind.version,
            kind.max_attempts(),
            seconds(kind.timeout),
            kind.deadline.map(seconds),
            kind.lane_most,
            kind.keep_days,
        )
        .execute(pool)
        .await?;
    }
    Ok(())
}

fn seconds(time: std::time::Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}
