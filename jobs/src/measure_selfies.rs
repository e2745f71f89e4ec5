//! Measure the faces on the photos of one order, where the person consented to comparing.
//!
//! Life: enqueued by `ConfirmPayment` -> gate: consent to compare, at sign-up and for this batch -> photo by photo: bytes
//! -> one reliable face -> embedding, sealed under the person's key, stored behind the gate again -> done.
//! Input: the order's live photos.  Output: one sealed vector a photo that shows one reliable face.
//! A photo with no face, several or a small one gets no vector; that is a verdict, not an error.
//! Gives up: nothing; without consent it measures nothing and says so.
//! Source: the registered face model (`models/README.md`); policy row K6, decision D6 (in-process, not at a provider).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    compare_faces::wake,
    gate::{Allowed, Ask, Closed, Compare, Refusal},
    id::{Id, Order},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    keys,
    orders::{self, OrderRow},
    policy::{DataClass, Processor},
    providers::storage::StorageError,
    run::Run,
    stop::{Done, Stop},
};

/// The reference faces of one order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MeasureSelfies {
    /// Which order.
    pub order: Id<Order>,
}

impl Job for MeasureSelfies {
    const NAME: &'static str = "measure_selfies";
    const QUEUE: Queue = Queue::Faces;
    const RETRY: Retry = Retry { attempts: 6, first: Duration::from_secs(5), most: Duration::from_secs(600) };
    const EFFECT: Effect = Effect::Repeatable;
    type Pass = (OrderRow, Result<Allowed<Compare>, Refusal>);

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.order])
    }

    fn scope(&self) -> Scope {
        Scope::Order(self.order)
    }

    async fn gate(&self, run: &Run) -> Result<Self::Pass, Stop> {
        let order = orders::read(run, self.order).await?;
        let ask =
            Ask::of(order.subject, Processor::SelfHosted, &[DataClass::Upload, DataClass::Embedding]).order(order.id);
        match run.pass::<Compare>(ask).await {
            Ok(allowed) => Ok((order, Ok(allowed))),
            Err(Closed::Refused(refusal)) if refusal.is_about_consent() => Ok((order, Err(refusal))),
            Err(closed) => Err(closed.into()),
        }
    }

    async fn run(&self, (order, gate): Self::Pass, run: &Run) -> Result<Done, Stop> {
        let compare = match gate {
            Ok(compare) => compare,
            Err(refusal) => {
                let mut tx = run.begin().await?;
                run.note("selfies.not_measured", refusal.code).write(&mut tx).await?;
                return run.finish(tx).await;
            }
        };
        let mut connection = run.reads().await?;
        let photos = orders::live_uploads(&mut connection, order.batch).await?;
        let key = run.services.vault.key(&mut connection, order.subject).await?;
        drop(connection);
        let model = run.services.faces.model().clone();
        let mut measured = 0_u32;
        for photo in &photos {
            let known = sqlx::query_scalar!(
                r#"select exists (select from safelight.embeddings where upload_id = $1 and order_id = $2 and model_sha256 = $3) as "known!""#,
                photo.id.uuid(),
                order.id.uuid(),
                model.sha256
            )
            .fetch_one(&mut *run.reads().await?)
            .await?;
            if known {
                measured += 1;
                continue;
            }
            let bytes = match run.services.storage.get(&keys::stored(&photo.key)?, keys::MOST_PHOTO_BYTES).await {
                // Taken away meanwhile. Where it was not, the sweep of the store shows a row without its object.
                Err(StorageError::NotFound) => continue,
                bytes => bytes?,
            };
            let Ok(embedding) = run.services.faces.measure(bytes).await? else { continue };
            let sealed = key.seal("vector", &embedding.to_bytes())?;
            let mut tx = run.begin().await?;
            let recorded = sqlx::query!(
                "select safelight.record_embedding($1, $2, $3, $4, $5, $6, $7, $8)",
                order.subject.uuid(),
                compare.generation(),
                order.id.uuid(),
                photo.id.uuid(),
                model.name,
                model.sha256,
                i32::try_from(embedding.dimensions()).unwrap_or(i32::MAX),
                sealed
            )
            .fetch_one(&mut *tx)
            .await;
            match recorded {
                Ok(_) => tx.commit().await?,
                // The person has taken this photo away meanwhile, or its time is over: the others are measured.
                Err(error) if Refusal::from_database(&error).is_some_and(|refusal| refusal.code == "object_gone") => {
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            measured += 1;
        }
        let mut tx = run.begin().await?;
        sqlx::query!("update safelight.orders set selfies_measured_at = safelight.now() where id = $1 and selfies_measured_at is null", order.id.uuid())
            .execute(&mut *tx)
            .await?;
        run.note("selfies.measured", "done")
            .allowed(&compare)
            .count("photos", photos.len())
            .count("measured", measured)
            .write(&mut tx)
            .await?;
        wake(&mut tx, order.id).await?;
        run.finish(tx).await
    }
}
