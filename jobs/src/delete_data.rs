//! Carry out one deletion until every part of it was seen to be gone.
//!
//! Life: enqueued with the fence of an erasure, by the retention sweep, or with a withdrawal -> plan persisted -> step by
//! step: delete, look, record how it was seen -> an erasure waits until nobody can write late any more and looks at all of it
//! again -> complete, in one commit with the job's end.
//! Input: a deletion.  Output: its steps, each `verified` or `retained_by_law`; an erased subject stays as a tombstone.
//! A failing step does not stop the others; the deletion is complete only when none is left. Tried until verified. What a term ended
//! is held while the person needs it for a claim.
//! No gate: taking data away needs no permission.
//! Source: erasure-notes 5 and 6; policy rows H13 to H17, K18, K23 to K27.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    deletion::{self, DeletionRow, Step, Targets},
    id::{Deletion, Id},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    run::{Run, Tx},
    stop::{Done, Stop},
};

/// One deletion.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteData {
    /// Which.
    pub deletion: Id<Deletion>,
}

impl Job for DeleteData {
    const NAME: &'static str = "delete_data";
    const QUEUE: Queue = Queue::Deletion;
    const RETRY: Retry = Retry { attempts: 20, first: Duration::from_secs(5), most: Duration::from_secs(3600) };
    const EFFECT: Effect = Effect::UntilVerified;
    type Pass = ();

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.deletion])
    }

    fn scope(&self) -> Scope {
        Scope::Deletion(self.deletion)
    }

    async fn gate(&self, _run: &Run) -> Result<(), Stop> {
        Ok(())
    }

    async fn run(&self, (): (), run: &Run) -> Result<Done, Stop> {
        let mut tx = run.begin().await?;
        let deletion = deletion::load(&mut tx, self.deletion)
            .await?
            .ok_or_else(|| Stop::give_up("no_such_deletion", format!("{} does not exist", self.deletion)))?;
        if deletion.state == "complete" {
            return run.finish(tx).await;
        }
        if deletion.state == "fenced" || !deletion::is_planned(&mut tx, deletion.id).await? {
            let steps = deletion::plan(&mut tx, &deletion, &run.services).await?;
            if deletion.state == "fenced" {
                set_state(&mut tx, &deletion, "planned").await?;
            }
            run.note("deletion.planned", "persisted")
                .deletion(deletion.id)
                .count("steps", steps)
                .write(&mut tx)
                .await?;
        }
        let mut unfinished = hold(&mut tx, run, &deletion).await?;
        tx.commit().await?;

        // A statement of its own: as part of the loop's head the connection would be held through every step.
        let steps = deletion::steps(&mut *run.reads().await?, deletion.id).await?;
        let mut open: Vec<&Targets> = Vec::new();
        for step in &steps {
            if matches!(step.state.as_str(), "verified" | "retained_by_law") {
                continue;
            }
            // The second look waits for hours; it must not keep a step waiting that is to be tried again in seconds.
            if step.state == "held" || open.iter().any(|before| step.targets.waits_for(before)) {
                open.push(&step.targets);
                continue;
            }
            if let Err(stop) = take(run, &deletion, step).await {
                tracing::warn!(deletion.id = %deletion.id, step = step.seq, class = %step.class, ?stop, "a step of a deletion is not verified yet");
                open.push(&step.targets);
                unfinished = Some(deletion::sooner(unfinished, stop));
            }
        }
        if let Some(stop) = unfinished {
            return Err(until_verified(stop));
        }

        let mut tx = run.begin().await?;
        if deletion.trigger == "erasure" {
            sqlx::query!(
                "update safelight.subjects set state = 'erased', erased_at = safelight.now() where id = $1 and state = 'erasing'",
                deletion.subject.uuid()
            )
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query!(
            "update safelight.deletions set state = 'complete', completed_at = safelight.now() where id = $1",
            deletion.id.uuid()
        )
        .execute(&mut *tx)
        .await?;
        // The exact targets were needed to finish after a crash; evidence and counts stay.
        sqlx::query!("update safelight.deletion_steps set targets = '{}' where deletion_id = $1", deletion.id.uuid())
            .execute(&mut *tx)
            .await?;
        let total: i64 = sqlx::query_scalar!(
            r#"select coalesce(sum(deleted), 0)::bigint as "n!" from safelight.deletion_steps where deletion_id = $1"#,
            deletion.id.uuid()
        )
        .fetch_one(&mut *tx)
        .await?;
        run.note("deletion.complete", "verified").deletion(deletion.id).count("deleted", total).write(&mut tx).await?;
        run.finish(tx).await
    }
}

async fn set_state(tx: &mut sqlx::PgConnection, deletion: &DeletionRow, state: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("update safelight.deletions set state = $2 where id = $1", deletion.id.uuid(), state)
        .execute(tx)
        .await?;
    Ok(())
}

async fn take(run: &Run, deletion: &DeletionRow, step: &Step) -> Result<(), Stop> {
    let mut tx = run.begin().await?;
    sqlx::query!(
        "update safelight.deletion_steps set state = 'doing', tries = tries + 1, updated_at = safelight.now() where deletion_id = $1 and seq = $2",
        deletion.id.uuid(),
        step.seq
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    let carried = match deletion::carry_out(run, deletion, step).await {
        Ok(carried) => carried,
        Err(stop) => {
            let (state, code) = match &stop {
                Stop::Wait { why, .. } => ("waiting_provider", why.split(':').next().unwrap_or_default().to_owned()),
                Stop::Retry { code, .. } | Stop::GiveUp { code, .. } => ("doing", (*code).to_owned()),
            };
            // Of a deletion that is stuck each step that keeps it says so, whatever it waits for.
            let state = if deletion.state == "stuck" { "stuck" } else { state };
            let mut tx = run.begin().await?;
            sqlx::query!(
                "update safelight.deletion_steps set state = $3, code = $4, updated_at = safelight.now() where deletion_id = $1 and seq = $2",
                deletion.id.uuid(),
                step.seq,
                state,
                code
            )
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            return Err(stop);
        }
    };
    let mut tx = match carried.within {
        Some(tx) => tx,
        None => run.begin().await?,
    };
    sqlx::query!(
        r#"update safelight.deletion_steps set state = $3, deleted = deleted + $4, planned = greatest(planned, deleted + $4), evidence = $5, code = null,
            verified_at = safelight.now(), updated_at = safelight.now()
        where deletion_id = $1 and seq = $2"#,
        deletion.id.uuid(),
        step.seq,
        carried.state,
        i32::try_from(carried.deleted).unwrap_or(i32::MAX),
        carried.evidence
    )
    .execute(&mut *tx)
    .await?;
    run.note("deletion.step", carried.state)
        .deletion(deletion.id)
        .data(&step.class, &step.processor)
        .count("step", step.seq)
        .count("deleted", carried.deleted)
        .write(&mut tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// A term that has run out while nobody deleted, and then the person needs the data for a claim: what is still there is held until
/// the day that was set, or until the release (D14), but no copy that was made to be taken away. Any other deletion the person has asked for, or the service owes.
async fn hold(tx: &mut Tx, run: &Run, deletion: &DeletionRow) -> Result<Option<Stop>, Stop> {
    if deletion.trigger != "retention" {
        return Ok(None);
    }
    let held = sqlx::query!(
        r#"update safelight.deletions d set answer_due = greatest(d.answer_due, r.keep_until + interval '24 hours')
        from safelight.restrictions r where d.id = $1 and r.subject_id = d.subject_id and r.lifted_at is null
            and r.keep_until > safelight.now()
        returning extract(epoch from r.keep_until - safelight.now())::float8 as "seconds!""#,
        deletion.id.uuid()
    )
    .fetch_optional(&mut **tx)
    .await?;
    let newly = match &held {
        None => {
            sqlx::query!(
                "update safelight.deletion_steps set state = 'todo', code = null where deletion_id = $1 and state = 'held'",
                deletion.id.uuid()
            )
            .execute(&mut **tx)
            .await?;
            0
        }
        Some(_) => sqlx::query!(
            r#"update safelight.deletion_steps set state = 'held', code = 'clock_held', updated_at = safelight.now()
            where deletion_id = $1 and class <> 'export' and state not in ('verified', 'retained_by_law', 'held')"#,
            deletion.id.uuid()
        )
        .execute(&mut **tx)
        .await?
        .rows_affected(),
    };
    if newly > 0 {
        run.note("deletion.held", "clock_held").deletion(deletion.id).count("steps", newly).write(tx).await?;
    }
    let waits: bool = sqlx::query_scalar!(
        r#"select exists (select from safelight.deletion_steps where deletion_id = $1 and state = 'held') as "it!""#,
        deletion.id.uuid()
    )
    .fetch_one(&mut **tx)
    .await?;
    // Its first word is that of a restriction: a release wakes what waits for one.
    Ok(held.filter(|_| waits).map(|held| {
        Stop::wait(Duration::from_secs_f64(held.seconds.clamp(1.0, 86_400.0)), "subject_restricted: the clock is held")
    }))
}

/// A deletion never gives up: what no later try seems to help is tried later all the same, and shown.
fn until_verified(stop: Stop) -> Stop {
    match stop {
        Stop::GiveUp { code, why } => Stop::retry(code, anyhow::anyhow!(why)),
        other => other,
    }
}
