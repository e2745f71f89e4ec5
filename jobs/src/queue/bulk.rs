//! Bulk enqueue: many jobs in one statement.
//!
//! Ids are made here and not by the database: they grow with time, so that rows which are written together lie together in
//! every index. Random ones cost a third more at enqueue and at settle.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::{
    id,
    id::Id,
    job::{Job, Queue},
    queue::{EnqueueError, Enqueued, Wish, own_keys},
};

/// Several at once, in one statement however many there are. One answer a wish, in order: a key that is known, or that the
/// batch itself repeats, is an answer for its item and fails none of the others.
pub async fn enqueue_all<J: Job>(
    tx: &mut PgConnection,
    jobs: &[J],
) -> Result<Vec<Result<Enqueued, EnqueueError>>, EnqueueError> {
    let wishes: Vec<Wish> = jobs.iter().map(Wish::of).collect::<Result<_, _>>()?;
    enqueue_wishes(tx, &wishes).await
}

/// The same for wishes that came from outside. All of them are of one kind and one priority.
pub async fn enqueue_wishes(
    tx: &mut PgConnection,
    wishes: &[Wish],
) -> Result<Vec<Result<Enqueued, EnqueueError>>, EnqueueError> {
    if wishes.is_empty() {
        return Ok(Vec::new());
    }
    let mut subjects = Vec::with_capacity(wishes.len());
    let mut orders = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let (order, subject) = wish.whose(tx).await?;
        orders.push(order);
        subjects.push(subject);
    }
    let ids: Vec<Uuid> = wishes.iter().map(|_| Id::<id::Job>::new().uuid()).collect();
    let taken = own_keys::take(tx, wishes, &ids, (&subjects, &orders)).await?;
    let may: Vec<usize> = (0..wishes.len()).filter(|item| taken.may(*item, ids[*item])).collect();
    let mut answers: Vec<Option<Result<Enqueued, EnqueueError>>> = wishes.iter().map(|_| None).collect();
    for (item, answer) in may.iter().zip(stored(tx, wishes, &may, &ids, (&subjects, &orders)).await?) {
        answers[*item] = Some(answer);
    }
    own_keys::settle(tx, wishes, &ids, &taken, answers).await
}

/// Store these items among the wishes: one answer each, in order.
async fn stored(
    tx: &mut PgConnection,
    wishes: &[Wish],
    items: &[usize],
    ids: &[Uuid],
    (subjects, orders): (&[Option<Uuid>], &[Option<Uuid>]),
) -> Result<Vec<Result<Enqueued, EnqueueError>>, EnqueueError> {
    fn these<T: Clone>(items: &[usize], all: &[T]) -> Vec<T> {
        items.iter().filter_map(|item| all.get(*item).cloned()).collect()
    }
    let wishes: Vec<&Wish> = items.iter().filter_map(|item| wishes.get(*item)).collect();
    let Some(first) = wishes.first() else { return Ok(Vec::new()) };
    let payloads: Vec<serde_json::Value> = wishes.iter().map(|wish| wish.payload.clone()).collect();
    let keys: Vec<String> = wishes.iter().map(|wish| wish.key.clone()).collect();
    let run_at: Vec<Option<chrono::DateTime<chrono::Utc>>> = wishes.iter().map(|wish| wish.run_at).collect();
    let lanes: Vec<Option<String>> = wishes.iter().map(|wish| wish.lane.clone()).collect();
    let rows = sqlx::query!(
        r#"select item as "item!", job_id, already as "already!" from safelight.enqueue_many(
            p_kind => $1, p_payloads => $2, p_queue => $3, p_keys => $4, p_run_at => $5, p_priority => $6, p_max_attempts => $7,
            p_subjects => $8, p_orders => $9, p_lanes => $10, p_traceparent => $11, p_ids => $12) order by item"#,
        first.kind,
        &payloads,
        first.queue.as_str(),
        &keys,
        &run_at as &[Option<chrono::DateTime<chrono::Utc>>],
        first.priority,
        first.max_attempts,
        &these(items, subjects) as &[Option<Uuid>],
        &these(items, orders) as &[Option<Uuid>],
        &lanes as &[Option<String>],
        first.traceparent,
        &these(items, ids),
    )
    .fetch_all(tx)
    .await?;
    // By its number, and not by its place: a key that an erasure took between the two looks has no row. What was under it is gone with
    // it; nothing of that item was stored.
    let mut answers: Vec<Result<Enqueued, EnqueueError>> =
        wishes.iter().map(|wish| Err(EnqueueError::Conflict { key: wish.key.clone() })).collect();
    for row in rows {
        let item = usize::try_from(row.item).unwrap_or(0).wrapping_sub(1);
        if let (Some(id), Some(wish), Some(answer)) = (row.job_id, wishes.get(item), answers.get_mut(item)) {
            *answer = Ok(Enqueued { id: id.into(), already: row.already, queue: wish.queue });
        }
    }
    Ok(answers)
}

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
    let ids: Vec<Uuid> = payloads.iter().map(|_| Id::<id::Job>::new().uuid()).collect();
    let done = sqlx::query!(
        r#"insert into safelight.jobs (id, queue, kind, payload, run_at, rank, max_attempts, created_at)
        select i, $1, $2, p, now, now, 5, now
        from unnest($3::uuid[], $4::jsonb[]) as w(i, p), (select safelight.now() as now offset 0) clock"#,
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
        r#"insert into safelight.jobs (id, queue, kind, payload, run_at, rank, max_attempts, created_at)
        select id, queue, kind, payload, now, now, 5, now
        from unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[]) as wish(id, queue, kind, payload),
            (select safelight.now() as now offset 0) clock"#,
        &ids,
        &queues,
        &kinds,
        &payloads,
    )
    .execute(database)
    .await?;
    Ok(())
}
