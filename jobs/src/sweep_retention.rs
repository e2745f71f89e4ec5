//! Ask the rows what is due, and start its deletion.
//!
//! Life: enqueued by cron, by the HTTP sweep endpoint, by the CLI, or with a delivery -> due artifacts, person by person:
//! one deletion takes them on and `DeleteData` is enqueued, in one transaction -> what is still due is counted -> done.
//! Input: none.  Output: deletions. Overlapping sweeps are harmless: rows that another one holds are skipped.
//! The promise is not in this job: `delete_after` stands on the row, and the read gate uses it too. What is due is asked by
//! `safelight.due_artifacts`, which the dry run and the console ask too ([`crate::due`]).
//! Source: policy rows K23 to K27, erasure-notes 7 (measured: hours, not days; no promise inside a delayed job).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    delete_data::DeleteData,
    id::{Deletion, Id, Subject},
    job::{Effect, Retry},
    run::{Run, Tx},
    stop::Stop,
    sweep::{Sweep, Swept},
};

/// Persons that one run takes on; what is left starts the next run.
const AT_ONCE: i64 = 500;

/// One look over all clocks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SweepRetention {
    /// Which tick of the schedule, or who asks.
    pub because: String,
}

impl Sweep for SweepRetention {
    const NAME: &'static str = "sweep_retention";
    const KIND: &'static str = "retention";
    const RETRY: Retry = Retry { attempts: 10, first: Duration::from_secs(2), most: Duration::from_secs(300) };
    const EFFECT: Effect = Effect::UntilVerified;

    fn because(&self) -> &str {
        &self.because
    }

    async fn sweep(&self, run: &Run) -> Result<(Tx, Swept), Stop> {
        let due = sqlx::query!(
            r#"select subject_id as "subject_id!", tenant as "tenant!" from safelight.due_artifacts(safelight.now())
            group by subject_id, tenant order by min(due_at) limit $1"#,
            AT_ONCE
        )
        .fetch_all(&mut *run.reads().await?)
        .await?;
        let (mut found, mut acted) = (0_i64, 0_i64);
        for person in due {
            let mut tx = run.begin().await?;
            found += 1;
            // One person's trouble is shown by the residue; it does not keep the others waiting.
            match take_on(&mut tx, person.subject_id.into(), &person.tenant).await {
                Ok(taken) => {
                    tx.commit().await?;
                    acted += i64::from(taken > 0);
                }
                Err(stop) => {
                    tracing::error!(subject.id = %Id::<Subject>::from(person.subject_id), ?stop, "a due deletion could not begin")
                }
            }
        }

        let mut tx = run.begin().await?;
        let residue = residue(&mut tx).await?;
        if found > 0 || residue > 0 {
            run.note("sweep.retention", "looked")
                .count("people", found)
                .count("deletions", acted)
                .count("residue", residue)
                .write(&mut tx)
                .await?;
        }
        // Not where nothing could be begun: the next minute tries that again, not the next moment.
        if found == AT_ONCE && acted > 0 {
            tx.enqueue(&Self { because: format!("after:{}", run.job()) }).await?;
        }
        Ok((tx, Swept { found, acted, residue: Some(residue), began: None }))
    }
}

/// Due, and taken on by no deletion yet.
async fn residue(tx: &mut Tx) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select count(*) as "n!" from safelight.due_artifacts(safelight.now())"#)
        .fetch_one(&mut **tx)
        .await
}

async fn take_on(tx: &mut Tx, subject: Id<Subject>, tenant: &str) -> Result<usize, Stop> {
    let ids: Vec<Uuid> = sqlx::query_scalar!(
        r#"select id from safelight.artifacts
        where deletion_id is null and id in (select d.id from safelight.due_artifacts(safelight.now()) d where d.subject_id = $1)
        for no key update skip locked"#,
        subject.uuid()
    )
    .fetch_all(&mut **tx)
    .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    let deletion = Id::<Deletion>::new();
    sqlx::query!(
        r#"insert into safelight.deletions (id, tenant, subject_id, trigger, answer_due)
        values ($1, $2, $3, 'retention', safelight.now() + interval '24 hours')"#,
        deletion.uuid(),
        tenant,
        subject.uuid()
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("update safelight.artifacts set deletion_id = $2 where id = any ($1)", &ids, deletion.uuid())
        .execute(&mut **tx)
        .await?;
    tx.enqueue(&DeleteData { deletion }).await?;
    Ok(ids.len())
}
