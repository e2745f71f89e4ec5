//! Look after every open deletion: one that lost its job gets one, one that does not come to its end is called stuck.
//!
//! Life: enqueued by cron, by the HTTP sweep endpoint or by the CLI -> open deletions -> no live job: its dead letter rises
//! again, or a new job is enqueued -> three quarters of its time gone: `stuck`, which alarms -> what is stuck or late is
//! counted -> done. One that has no plan yet, because it cannot be made, is called stuck like any other.
//! Input: none.  Output: jobs; states. Never deletes anything itself. A stuck deletion is tried on all the same and becomes
//! complete as any other. Overlapping runs are harmless: a job has one key, and a row that another run holds is skipped.
//! Source: erasure-notes 5: attempts never run out silently; N14 for the deadline.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    delete_data::DeleteData,
    id::{Deletion, Id},
    job::{Job, Retry},
    queue,
    run::{Run, Tx},
    stop::Stop,
    sweep::{Sweep, Swept},
};

/// Deletions of one page, those with the nearest deadline first.
const AT_ONCE: i64 = 1000;

/// One look over all open deletions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SweepDeletions {
    /// Which tick of the schedule, or who asks.
    pub because: String,
}

impl Sweep for SweepDeletions {
    const NAME: &'static str = "sweep_deletions";
    const KIND: &'static str = "deletions";
    const RETRY: Retry = Retry { attempts: 10, first: Duration::from_secs(2), most: Duration::from_secs(300) };

    fn because(&self) -> &str {
        &self.because
    }

    async fn sweep(&self, run: &Run) -> Result<(Tx, Swept), Stop> {
        let found: i64 =
            sqlx::query_scalar!(r#"select count(*) as "n!" from safelight.deletions where state <> 'complete'"#)
                .fetch_one(&mut *run.reads().await?)
                .await?;
        let (mut driven, mut stuck) = (0_i64, 0_i64);
        let mut after = None;
        // Page by page: however many wait for a store that is down, none is left out.
        loop {
            let page = page(run, after).await?;
            let Some((due, last)) = page.last().copied() else { break };
            after = Some((due, last));
            for (_, deletion) in page {
                // One that cannot be looked after keeps no other one waiting.
                match look_after(run, deletion.into()).await {
                    Ok((one_driven, one_stuck)) => {
                        driven += i64::from(one_driven);
                        stuck += i64::from(one_stuck);
                    }
                    Err(stop @ Stop::Retry { code: "lease_lost", .. }) => return Err(stop),
                    Err(stop) => {
                        let deletion = Id::<Deletion>::from(deletion);
                        tracing::error!(deletion.id = %deletion, ?stop, "a deletion could not be looked after");
                    }
                }
            }
        }
        let mut tx = run.begin().await?;
        let residue: i64 = sqlx::query_scalar!(
            r#"select count(*) as "n!" from safelight.deletions
            where state = 'stuck' or state <> 'complete' and answer_due <= safelight.now()"#
        )
        .fetch_one(&mut *tx)
        .await?;
        if driven + stuck + residue > 0 {
            run.note("sweep.deletions", "looked")
                .count("open", found)
                .count("driven", driven)
                .count("stuck", stuck)
                .count("residue", residue)
                .write(&mut tx)
                .await?;
        }
        Ok((tx, Swept { found, acted: driven + stuck, residue: Some(residue), began: None }))
    }
}

/// The next open deletions after this one, by their deadline, that nobody works on or whose time is nearly over.
async fn page(run: &Run, after: Option<(DateTime<Utc>, Uuid)>) -> Result<Vec<(DateTime<Utc>, Uuid)>, sqlx::Error> {
    let (due, id) = after.unzip();
    let rows = sqlx::query!(
        r#"select d.answer_due, d.id from safelight.deletions d
        where d.state <> 'complete' and ($1::timestamptz is null or (d.answer_due, d.id) > ($1, $2))
            and (d.state <> 'stuck' and d.requested_at + (d.answer_due - d.requested_at) * 0.75 <= safelight.now()
                or not exists (select from safelight.job_keys k join safelight.jobs j on j.id = k.job_id
                    where k.key = 'delete_data:deletion_' || replace(d.id::text, '-', '')))
        order by d.answer_due, d.id limit $3"#,
        due,
        id,
        AT_ONCE
    )
    .fetch_all(&mut *run.reads().await?)
    .await?;
    Ok(rows.into_iter().map(|row| (row.answer_due, row.id)).collect())
}

/// Was it given a job, and is it called stuck from now on?
async fn look_after(run: &Run, deletion: Id<Deletion>) -> Result<(bool, bool), Stop> {
    let mut tx = run.begin().await?;
    let driven = drive(&mut tx, deletion).await?;
    let stuck = call_stuck(&mut tx, deletion).await?;
    if stuck {
        run.note("deletion.stuck", "alarmed").deletion(deletion).write(&mut tx).await?;
    }
    tx.commit().await?;
    Ok((driven, stuck))
}

/// Does anybody work on it? If not, somebody does from now on.
async fn drive(tx: &mut Tx, deletion: Id<Deletion>) -> Result<bool, Stop> {
    let job = DeleteData { deletion };
    let key = job.key();
    let known = sqlx::query!(
        r#"select k.job_id, exists (select from safelight.jobs j where j.id = k.job_id) as "lives!"
        from safelight.job_keys k where k.key = $1"#,
        key.as_str()
    )
    .fetch_optional(&mut **tx)
    .await?;
    match known {
        Some(known) if known.lives => return Ok(false),
        Some(known) if queue::redrive(tx, known.job_id).await? => return Ok(true),
        // It ended or was cancelled, and its deletion did not: the key must not keep the next one out.
        Some(_) => queue::forget_key(tx, key.as_str()).await?,
        None => {}
    }
    Ok(!tx.enqueue(&job).await?.already)
}

async fn call_stuck(tx: &mut Tx, deletion: Id<Deletion>) -> Result<bool, sqlx::Error> {
    let called = sqlx::query_scalar!(
        r#"update safelight.deletions set state = 'stuck' where id = (
            select id from safelight.deletions where id = $1 and state in ('fenced', 'planned', 'deleting')
                and requested_at + (answer_due - requested_at) * 0.75 <= safelight.now()
            for update skip locked)
        returning id"#,
        deletion.uuid()
    )
    .fetch_optional(&mut **tx)
    .await?;
    if called.is_some() {
        sqlx::query!(
            "update safelight.deletion_steps set state = 'stuck' where deletion_id = $1 and state in ('todo', 'doing', 'waiting_provider')",
            deletion.uuid()
        )
        .execute(&mut **tx)
        .await?;
    }
    Ok(called.is_some())
}
