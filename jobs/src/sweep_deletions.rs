//! Look after every open deletion: one that lost its job gets one, one that does not come to its end is called stuck.
//!
//! Life: enqueued by cron, by the HTTP sweep endpoint or by the CLI -> open deletions -> no live job: its dead letter rises
//! again, or a new job is enqueued -> three quarters of its time gone: `stuck`, which alarms -> what is stuck or late is
//! counted -> done.
//! Input: none.  Output: jobs; states. Never deletes anything itself. A stuck deletion is tried on all the same and becomes
//! complete as any other. Overlapping runs are harmless: a job has one key, and a row that another run holds is skipped.
//! Source: erasure-notes 5: attempts never run out silently; N14 for the deadline.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    delete_data::DeleteData,
    id::{Deletion, Id},
    job::{Job, Retry},
    queue,
    run::{Run, Tx},
    stop::Stop,
    sweep::{Sweep, Swept},
};

/// Deletions that one run looks at, those with the nearest deadline first.
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
        let open = sqlx::query_scalar!(
            "select id from safelight.deletions where state <> 'complete' order by answer_due limit $1",
            AT_ONCE
        )
        .fetch_all(&mut *run.reads().await?)
        .await?;
        let found = i64::try_from(open.len()).unwrap_or(i64::MAX);
        let (mut driven, mut stuck) = (0_i64, 0_i64);
        for deletion in open {
            let mut tx = run.begin().await?;
            driven += i64::from(drive(&mut tx, deletion.into()).await?);
            if call_stuck(&mut tx, deletion.into()).await? {
                stuck += 1;
                run.note("deletion.stuck", "alarmed").deletion(deletion.into()).write(&mut tx).await?;
            }
            tx.commit().await?;
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
            select id from safelight.deletions where id = $1 and state in ('planned', 'deleting')
                and requested_at + (answer_due - requested_at) * 0.75 <= safelight.now()
            for update skip locked)
        returning id"#,
        deletion.uuid()
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(called.is_some())
}
