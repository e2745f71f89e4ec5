//! Bulk enqueue: many jobs of one kind in one statement, for callers that need no keys.

use sqlx::PgConnection;

use crate::job::Queue;

/// Store jobs of one kind without keys, in the caller's transaction: one statement however many there are. Ring the
/// queue's bell after the commit. Answers how many were stored.
pub async fn enqueue_bulk(
    tx: &mut PgConnection,
    queue: Queue,
    kind: &str,
    payloads: &[serde_json::Value],
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        r#"insert into safelight.jobs (id, queue, kind, payload, run_at, max_attempts, created_at)
        select gen_random_uuid(), $1, $2, p, now, 5, now
        from unnest($3::jsonb[]) p, (select safelight.now() as now) clock"#,
        queue.as_str(),
        kind,
        payloads
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}
