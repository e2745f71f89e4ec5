//! Measure how alike one generated image is to the photos of its order, where the person consented.
//!
//! Life: enqueued by `CheckImage` (or `CollectImage`) -> gate: consent to compare -> reference vectors opened -> the image's
//! face measured in memory -> score stored, image delivered, in one commit. Waits while `MeasureSelfies` still runs.
//! Input: one stored image and the sealed vectors of its own order; never of another.  Output: a score from -1 to 1, or
//! a verdict that says why there is none. The image's own vector is never stored (D5).
//! Without consent nothing is measured and the image is delivered all the same: it was paid for (N31).
//! Gives up: `object_gone`; `selfies_unmeasured`, when measuring the photos gave up.
//! Source: `faces` crate; threshold and model are data of the tenant's policy.

use std::time::Duration;

use safelight_faces::{Embedding, score};
use serde::{Deserialize, Serialize};

use crate::{
    delivery,
    gate::{Allowed, Ask, Closed, Compare, Refusal},
    id::{Artifact, Id, Order},
    images::{self, Image},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    keys,
    measure_selfies::MeasureSelfies,
    orders::{self, OrderRow},
    policy::{DataClass, Processor},
    queue::{EnqueueError, Enqueued, Wish},
    run::{Run, Tx},
    stop::{Done, Stop},
};

/// One comparison.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CompareFaces {
    /// Which image.
    pub image: Id<Artifact>,
}

impl Job for CompareFaces {
    const NAME: &'static str = "compare_faces";
    const QUEUE: Queue = Queue::Faces;
    const RETRY: Retry = Retry { attempts: 6, first: Duration::from_secs(5), most: Duration::from_secs(600) };
    const EFFECT: Effect = Effect::Repeatable;
    type Pass = (Image, Result<Allowed<Compare>, Refusal>);

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.image])
    }

    fn scope(&self) -> Scope {
        Scope::Artifact(self.image)
    }

    async fn gate(&self, run: &Run) -> Result<Self::Pass, Stop> {
        let image = images::read(run, self.image).await?;
        let classes = &[DataClass::Upload, DataClass::Embedding, DataClass::Image];
        let ask = Ask::of(image.subject, Processor::SelfHosted, classes)
            .order(image.order)
            .objects(std::slice::from_ref(&self.image))
            .generation(image.generation);
        match run.pass::<Compare>(ask).await {
            Ok(allowed) => Ok((image, Ok(allowed))),
            Err(Closed::Refused(refusal)) if refusal.is_about_consent() => Ok((image, Err(refusal))),
            Err(closed) => Err(closed.into()),
        }
    }

    async fn run(&self, (image, gate): Self::Pass, run: &Run) -> Result<Done, Stop> {
        let order = orders::read(run, image.order).await?;
        let compare = match gate {
            Ok(compare) => compare,
            Err(refusal) => {
                let mut tx = run.begin().await?;
                run.note("image.not_compared", refusal.code).write(&mut tx).await?;
                delivery::deliver(run, &mut tx, &order).await?;
                return run.finish(tx).await;
            }
        };
        if order.selfies_measured_at.is_none() {
            self.have_selfies_measured(run, &order).await?;
            return Err(Stop::wait(
                Duration::from_secs(30),
                "selfies_unmeasured: the order's photos are being measured",
            ));
        }
        let selfies = references(run, &order).await?;
        let bytes = run.services.storage.get(&keys::stored(&image.key)?, keys::MOST_BYTES).await?;
        let threshold = run.services.policies.of(&order.tenant)?.similarity_threshold(&order.plan)?;
        let result = match run.services.faces.measure(bytes).await? {
            Err(code) => Measured { verdict: code, score: None },
            Ok(_) if selfies.is_empty() => Measured { verdict: "no_reference", score: None },
            Ok(embedding) => {
                let score = score(&embedding, &selfies).map_err(|error| Stop::retry("other_model", error))?;
                let verdict = if score.mean_best3 >= threshold { "alike" } else { "not_alike" };
                Measured { verdict, score: Some(score) }
            }
        };

        let mut tx = run.begin().await?;
        orders::lock(&mut tx, order.id).await?;
        self.record(run, &mut tx, &order, &result).await?;
        run.note("image.compared", result.verdict).allowed(&compare).write(&mut tx).await?;
        delivery::deliver(run, &mut tx, &order).await?;
        run.finish(tx).await
    }
}

/// A number, or the reason why there is none.
struct Measured {
    verdict: &'static str,
    score: Option<safelight_faces::Score>,
}

impl CompareFaces {
    /// The key of the comparison that a person asks for who contests the score.
    pub(crate) fn contested_key(&self) -> String {
        JobKey::new(Self::NAME, &[&self.image, &"contested"]).as_str().to_owned()
    }

    /// Compare once more: a wish of its own, under a key of its own, because the key of the first one outlives its job.
    pub(crate) async fn again(&self, tx: &mut Tx, key: String) -> Result<Enqueued, EnqueueError> {
        let mut wish = Wish::of(self)?;
        wish.key = key;
        let enqueued = wish.enqueue(tx).await?;
        tx.ring(enqueued.queue);
        Ok(enqueued)
    }

    /// The consent may have come after the photos were looked at: then nobody measures them now, and somebody has to.
    async fn have_selfies_measured(&self, run: &Run, order: &OrderRow) -> Result<(), Stop> {
        let mut tx = run.begin().await?;
        orders::lock(&mut tx, order.id).await?;
        let measuring = sqlx::query!(
            r#"select exists (select from safelight.jobs where order_id = $1 and kind = $2) as "underway!",
                exists (select from safelight.dead_letters where order_id = $1 and kind = $2) as "dead!""#,
            order.id.uuid(),
            MeasureSelfies::NAME
        )
        .fetch_one(&mut *tx)
        .await?;
        if measuring.dead && !measuring.underway {
            return Err(Stop::give_up("selfies_unmeasured", format!("{}: measuring its photos gave up", order.id)));
        }
        if !measuring.underway {
            let mut wish =
                Wish::of(&MeasureSelfies { order: order.id }).map_err(|error| Stop::retry("payload", error))?;
            // A wish of its own: the key of the first one outlives its job.
            wish.key = format!("{}:{}", wish.key, self.image);
            let enqueued = wish.enqueue(&mut tx).await?;
            tx.ring(enqueued.queue);
        }
        tx.commit().await?;
        Ok(())
    }

    async fn record(&self, run: &Run, tx: &mut Tx, order: &OrderRow, result: &Measured) -> Result<(), Stop> {
        sqlx::query!(
            r#"insert into safelight.similarities (image_id, order_id, best, mean_best3, compared, verdict, model_sha256)
            values ($1, $2, $3, $4, $5, $6, $7)
            on conflict (image_id) do update set best = excluded.best, mean_best3 = excluded.mean_best3, compared = excluded.compared,
                verdict = excluded.verdict, model_sha256 = excluded.model_sha256"#,
            self.image.uuid(),
            order.id.uuid(),
            result.score.as_ref().map(|score| score.best),
            result.score.as_ref().map(|score| score.mean_best3),
            result.score.as_ref().map_or(0, |score| i32::try_from(score.compared).unwrap_or(i32::MAX)),
            result.verdict,
            run.services.faces.model().sha256,
        )
        .execute(&mut **tx)
        .await?;
        // A portrait that shows nobody is no portrait.
        if result.verdict == "no_face" {
            images::withhold(tx, self.image, "no_face").await?;
        }
        Ok(())
    }
}

/// The vectors of this order's photos, opened. No query of ours reads a vector by anything but its own order (K20).
async fn references(run: &Run, order: &OrderRow) -> Result<Vec<Embedding>, Stop> {
    let mut connection = run.reads().await?;
    let key = run.services.vault.key(&mut connection, order.subject).await?;
    let rows = sqlx::query!(
        r#"select e.vector_sealed, e.model_sha256 from safelight.embeddings e
        join safelight.artifacts a on a.id = e.upload_id
        where e.order_id = $1 and e.subject_id = $2 and safelight.readable(a)"#,
        order.id.uuid(),
        order.subject.uuid()
    )
    .fetch_all(&mut *connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let opened = key.open("vector", &row.vector_sealed)?;
            Embedding::from_bytes(&row.model_sha256, &opened).map_err(|error| Stop::retry("vector_unreadable", error))
        })
        .collect()
}

/// The photos are measured: comparisons that waited for it look again.
pub(crate) async fn wake(tx: &mut Tx, order: Id<Order>) -> Result<(), sqlx::Error> {
    crate::queue::wake_order(tx, order).await?;
    tx.ring(Queue::Faces);
    Ok(())
}
