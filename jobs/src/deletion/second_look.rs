//! The second look: when the last upload link and the last webhook can be used no more, everything is looked at again, and what was
//! written late is deleted. Of a part, each object that it took is looked for by its own key.
//!
//! Who may write late: a browser that holds an upload link, a worker or browser in the middle of a request to the store (both
//! known when the plan is made), and Fal, which repeats a webhook for two hours. Fal's callbacks store nothing of a fenced
//! person, but they may name a request that has to be purged. Stripe repeats for three days and only the books hear it.
//! Never: takes an answer that did not come for nothing found.
//! Source: <https://fal.ai/docs/model-endpoints/webhooks> (read November 2026): ten tries within two hours.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    DeletionRow, Step, Targets,
    carry_out::{Carried, carry_out, clear_prefix},
    steps,
};
use crate::{data_map::DataMap, keys, run::Run, stop::Stop};

/// How long Fal repeats a webhook, in minutes.
const FAL_REPEATS_MINUTES: i32 = 120;

pub(super) async fn second_look(run: &Run, deletion: &DeletionRow, until: DateTime<Utc>) -> Result<Carried, Stop> {
    if deletion.trigger == "erasure" {
        of_a_person(run, deletion, until).await
    } else {
        of_a_part(run, deletion, until).await
    }
}

/// Only its own objects may come again: rows, vectors and requests of a part are closed by its gate, and Fal's copies by their purge.
async fn of_a_part(run: &Run, deletion: &DeletionRow, until: DateTime<Utc>) -> Result<Carried, Stop> {
    let seconds =
        sqlx::query_scalar!(r#"select extract(epoch from $1 - safelight.now())::float8 as "seconds!""#, until)
            .fetch_one(&mut *run.reads().await?)
            .await?;
    wait_out(seconds)?;
    let steps = steps(&mut *run.reads().await?, deletion.id).await?;
    let (objects, late) = look_for_objects(run, &steps).await?;
    Ok(Carried::verified(
        late,
        format!(
            "looked again when no upload link and no request under way could be used any more: of {objects} objects {late} had come \
            late and are gone"
        ),
    ))
}

fn wait_out(seconds: f64) -> Result<(), Stop> {
    if seconds > 0.0 {
        return Err(Stop::wait(
            Duration::from_secs_f64(seconds.ceil()),
            "late_writers: an upload link or a webhook may still be used",
        ));
    }
    Ok(())
}

/// Each object that the plan named, by its own key: a listing may lie, and a link writes where the photo lay. Answers how many were
/// looked for, and how many were there and are gone now.
async fn look_for_objects(run: &Run, steps: &[Step]) -> Result<(usize, u64), Stop> {
    let (mut objects, mut late) = (0, 0);
    for step in steps {
        let Targets::Objects { objects: named } = &step.targets else { continue };
        for object in named {
            objects += 1;
            let key = keys::stored(&object.key)?;
            if run.services.storage.absent(&key).await? {
                continue;
            }
            run.services.storage.delete(&key).await?;
            if !run.services.storage.absent(&key).await? {
                return Err(Stop::retry("objects_left", anyhow::anyhow!("an object that came late does not go")));
            }
            late += 1;
        }
    }
    Ok((objects, late))
}

async fn of_a_person(run: &Run, deletion: &DeletionRow, until: DateTime<Utc>) -> Result<Carried, Stop> {
    let subject = deletion.subject;
    let mut reads = run.reads().await?;
    let calls = sqlx::query!(
        r#"select extract(epoch from greatest($2, max(coalesce(finished_at, submitted_at, created_at)) + make_interval(mins => $3))
                - safelight.now())::float8 as "seconds!",
            count(*) filter (where state <> 'refused' or request_id is not null) as "all!",
            count(*) filter (where purge <> 'purged' and (state <> 'refused' or request_id is not null)) as "open!"
        from safelight.provider_calls where subject_id = $1"#,
        subject.uuid(),
        until,
        FAL_REPEATS_MINUTES
    )
    .fetch_one(&mut *reads)
    .await?;
    drop(reads);
    wait_out(calls.seconds)?;
    if calls.open > 0 {
        return Err(Stop::retry("requests_left", anyhow::anyhow!("{} requests at Fal are not purged", calls.open)));
    }
    let steps = steps(&mut *run.reads().await?, deletion.id).await?;
    let (objects, came_again) = look_for_objects(run, &steps).await?;
    let strays = clear_prefix(run, deletion).await? as u64 + came_again;
    let map = DataMap::bundled().map_err(|error| Stop::retry("data_map", error))?;
    let late = map.left(&mut *run.reads().await?, subject).await?;
    let mut rows = 0;
    if !late.is_empty() {
        for step in &steps {
            if late.iter().any(|found| step.targets.taken_by() == Some(found.taken_by)) {
                let carried = Box::pin(carry_out(run, deletion, step)).await?;
                rows += carried.deleted;
                if let Some(tx) = carried.within {
                    tx.commit().await?;
                }
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
        strays + rows,
        format!(
            "looked again when no upload link and no webhook could be used any more: none of {objects} objects is at its key and nothing \
            under the person's prefix, {strays} had come late and are gone; counted: nothing of the person in {} tables; {} requests are purged at Fal",
            map.taken_tables(),
            calls.all
        ),
    ))
}
