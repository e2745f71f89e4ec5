//! The worker processes as they are seen: where each runs, what it serves and holds, and whether it is silent. Reads only.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// A worker that said nothing for longer than this is taken for dead, in seconds.
pub const SILENT_SECONDS: i32 = 60;

/// One process.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Worker {
    /// Its name, which no other process has.
    pub name: String,
    /// Said nothing for [`SILENT_SECONDS`].
    pub silent: bool,
    /// Jobs under its leases.
    pub running: i64,
    /// Seconds since it was seen.
    pub seen_seconds_ago: i64,
    /// Where it runs.
    pub host: String,
    /// The process there.
    pub pid: i32,
    /// Of the program.
    pub version: String,
    /// What it serves.
    pub queues: Vec<String>,
    /// Since when.
    pub started_at: DateTime<Utc>,
}

/// At most so many, the silent ones last and else by name, which stays while the times change; those behind `after`, of whom it is said
/// whether they were silent then.
///
/// # Errors
/// Those of the database.
pub async fn workers(pool: &PgPool, after: Option<(bool, &str)>, most: i64) -> Result<Vec<Worker>, sqlx::Error> {
    let (was_silent, name) = after.unzip();
    sqlx::query_as!(
        Worker,
        r#"select w.name, silent as "silent!",
            (select count(*) from safelight.jobs j where j.state = 1 and j.worker = w.name) as "running!",
            floor(extract(epoch from statement_timestamp() - seen_at))::bigint as "seen_seconds_ago!",
            host, pid, version, queues, w.started_at
        from safelight.workers w, lateral (select w.seen_at < statement_timestamp() - make_interval(secs => $1) as silent) s
        where $2::text is null or (silent, w.name) > ($3::boolean, $2) order by silent, w.name limit $4"#,
        f64::from(SILENT_SECONDS),
        name,
        was_silent,
        most
    )
    .fetch_all(pool)
    .await
}
