//! Bulk enqueue: many jobs in one statement, for callers that need no keys.
//!
//! Ids are made here and not by the database: they grow with time, so that rows which are written together lie together in
//! every index. Random ones cost a third more at enqueue and at settle.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::job::Queue;

/// A wish without key, scope or time.
#[derive(Debug)]
pub(super) struct Bare {
    pub(super) id: Uuid,
    pub(super) queue: Queue,
    pub(super) kind: String,
    pub(super) payload: serde_json::Value,
}

/// Store jobs of one kind without keys, in the caller's transaction: one statement however many there are. Ring the
/// queue's bell after the commit. Answers how many were stored.
pub async fn enqueue_bulk(
    tx: &mut PgConnection,
    queue: Queue,
    kind: &str,
    payloads: &[serde_json::Value],
) -> Result<u64, sqlx::Error> {
    let ids: Vec<Uuid> = payloads.iter().map(|_| Uuid::now_v7()).collect();
    let done = sqlx::query!(
        r#"insert into safelight.jobs (id, queue, kind, payload, run_at, max_attempts, created_at)
        select id, $1, $2, payload, now, 5, now
        from unnest($3::uuid[], $4::jsonb[]) as wish(id, payload), (select safelight.now() as now) clock"#,
        queue.as_str(),
        kind,
        &ids,
        payloads
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Store wishes of any queue and kind: all of them, or none.
pub(super) async fn store(database: impl PgExecutor<'_>, wishes: &[Bare]) -> Result<(), sqlx::Error> {
    let (mut ids, mut queues, mut kinds, mut payloads) = (vec![], vec![], vec![], vec![]);
    for wish in wishes {
        ids.push(wish.id);
        queues.push(wish.queue.as_str().to_owned());
        kinds.push(wish.kind.clone());
        payloads.push(wish.payload.clone());
    }
    sqlx::query!(
        r#"insert into safelight.jobs (id, queue, kind, payload, run_at, max_attempts, created_at)
        select id, queue, kind, payload, now, 5, now
        from unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[]) as wish(id, queue, kind, payload),
            (select safelight.now() as now) clock"#,
        &ids,
        &queues,
        &kinds,
        &payloads,
    )
    .execute(database)
    .await?;
    Ok(())
}
