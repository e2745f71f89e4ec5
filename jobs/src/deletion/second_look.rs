//! The second look of an erasure: when the last upload link and the last webhook can be used no more, everything is looked
//! at again, and what was written late is deleted.
//!
//! Who may write late: a browser that holds an upload link, a worker or browser in the middle of a request to the store (both
//! known when the plan is made), and Fal, which repeats a webhook for two hours. Fal's callbacks store nothing of a fenced
//! person, but they may name a request that has to be purged. Stripe repeats for three days and only the books hear it.
//! Never: takes an answer that did not come for nothing found.
//! Source: <https://fal.ai/docs/model-endpoints/webhooks> (read November 2026): ten tries within two hours.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    DeletionRow,
    carry_out::{Carried, carry_out, clear_prefix},
    steps,
};
use crate::{data_map::DataMap, run::Run, stop::Stop};

/// How long Fal repeats a webhook, in minutes.
const FAL_REPEATS_MINUTES: i32 = 120;

pub(super) async fn second_look(run: &Run, deletion: &DeletionRow, until: DateTime<Utc>) -> Result<Carried, Stop> {
    let subject = deletion.subject;
    let mut reads = run.reads().await?;
    let calls = sqlx::query!(
        r#"select extract(epoch from greatest($2, max(coalesce(finished_at, submitted_at, created_at)) + make_interval(mins => $3))
                - safelight.now())::float8 as "seconds!",
            count(*) as "all!", count(*) filter (where purge <> 'purged') as "open!"
        from safelight.provider_calls where subject_id = $1 and state <> 'refused'"#,
        subject.uuid(),
        until,
        FAL_REPEATS_MINUTES
    )
    .fetch_one(&mut *reads)
    .await?;
    drop(reads);
    if calls.seconds > 0.0 {
        return Err(Stop::wait(
            Duration::from_secs_f64(calls.seconds.ceil()),
            "late_writers: an upload link or a webhook may still be used",
        ));
    }
    if calls.open > 0 {
        return Err(Stop::retry("requests_left", anyhow::anyhow!("{} requests at Fal are not purged", calls.open)));
    }
    let strays = clear_prefix(run, deletion).await?;
    let map = DataMap::bundled().map_err(|error| Stop::retry("data_map", error))?;
    let late = map.left(&mut *run.reads().await?, subject).await?;
    let mut rows = 0;
    if !late.is_empty() {
        for step in steps(&mut *run.reads().await?, deletion.id).await? {
            if late.iter().any(|found| step.targets.taken_by() == Some(found.taken_by)) {
                rows += Box::pin(carry_out(run, deletion, &step)).await?.deleted;
            }
        }
        let left = map.left(&mut *run.reads().await?, subject).await?;
        if let Some(found) = left.first() {
            return Err(Stop::retry(
                "rows_left",
                anyhow::anyhow!("{} rows of {} are still in {}", found.rows, subject, found.table),
            ));
        }
    }
    Ok(Carried::verified(
        strays as u64 + rows,
        format!(
            "looked again when no upload link and no webhook could be used any more: {strays} objects had come late and are gone; \
            counted: nothing of the person in {} tables; {} requests are purged at Fal",
            map.taken_tables(),
            calls.all
        ),
    ))
}
