//! Bring one generated image home and let its copy at Fal.ai be purged.
//!
//! Life: enqueued by Fal's webhook or by the reconcile sweep -> gate: generate, same generation -> result read at Fal ->
//! object row -> bytes to our store -> the next look at the image, or its delivery, in the same commit.
//! Input: a provider call.  Output: a stored image. A picture that the model itself flagged is not stored.
//! A closed gate collects nothing: the result is purged where it lies (N4).
//! A result that Fal does not have any more, or that its model never made, is lost: the order goes on, and to refund review with
//! its last image.
//! Gives up: `call_gone`.
//! Source: <https://fal.ai/docs/model-apis/inference/queue> (read 2026-11).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    calls::{self, Call},
    collect, delivery,
    gate::{Allowed, Generate, Refusal},
    id::{Id, Intent},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    orders,
    policy::{DataClass, Processor, Purpose},
    providers::fal,
    purge_call::PurgeCall,
    run::Run,
    stop::{Done, Stop},
};

/// One image's way home.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CollectImage {
    /// The call that made it.
    pub call: Id<Intent>,
}

impl Job for CollectImage {
    const NAME: &'static str = "collect_image";
    const QUEUE: Queue = Queue::Generation;
    const RETRY: Retry = Retry { attempts: 10, first: Duration::from_secs(1), most: Duration::from_secs(120) };
    const EFFECT: Effect = Effect::Repeatable;
    const PROVIDER: Option<Processor> = Some(Processor::Fal);
    type Pass = (Call, Result<Allowed<Generate>, Refusal>);

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.call])
    }

    fn scope(&self) -> Scope {
        Scope::Call(self.call)
    }

    async fn gate(&self, run: &Run) -> Result<Self::Pass, Stop> {
        collect::gate::<Generate>(run, self.call, DataClass::Image).await
    }

    async fn run(&self, (call, gate): Self::Pass, run: &Run) -> Result<Done, Stop> {
        let (generate, order) = match (gate, call.order) {
            (Ok(generate), Some(order)) => (generate, order),
            (Err(refusal), _) => return collect::leave_it_there(run, &call, refusal.code).await,
            (Ok(_), None) => return collect::leave_it_there(run, &call, "order_gone").await,
        };
        // Collected before: Fal's copy may be purged by now, and asking for it again would look like a loss.
        if matches!(call.state.as_str(), "succeeded" | "failed") {
            return Ok(Done::nothing_more());
        }
        let order = orders::read(run, order).await?;
        let looks_for_nsfw =
            run.services.policies.of(&order.tenant)?.allows(Purpose::Nsfw, Processor::Fal, DataClass::Image);

        let image = match collect::result(run, &call).await? {
            Ok(result) => match fal::images(&result)?.into_iter().next() {
                Some(image) if image.flagged && looks_for_nsfw => Err("nsfw".to_owned()),
                Some(image) => Ok(image.file),
                None => Err("no_image".to_owned()),
            },
            Err(code) => Err(code),
        };
        let stored = match image {
            Ok(file) => {
                let image = collect::expect(run, &call, order.id, "image", call.position).await?;
                let fetched = if image.is_stored() { None } else { Some(collect::fetch(run, &file, &image).await?) };
                Ok((image, fetched))
            }
            Err(code) => Err(code),
        };

        let mut tx = run.begin().await?;
        match stored {
            Ok((image, fetched)) => {
                if let Some(fetched) = fetched {
                    collect::arrived(&mut tx, &image, &fetched, false).await?;
                }
                calls::end(&mut tx, &call, "succeeded", None).await?;
                let target = collect::target(run, &mut tx, &call, &image).await?;
                run.note("image.stored", "stored")
                    .allowed(&generate)
                    .data("image", "supabase")
                    .target(target)
                    .write(&mut tx)
                    .await?;
                delivery::next_look(run, &mut tx, &order, image.id).await?;
            }
            Err(code) => {
                let state = if code == "nsfw" { "succeeded" } else { "failed" };
                calls::end(&mut tx, &call, state, Some(&code)).await?;
                run.note("image.withheld", if code == "nsfw" { "nsfw" } else { "failed" }).write(&mut tx).await?;
            }
        }
        tx.enqueue(&PurgeCall { call: call.id }).await?;
        delivery::deliver(run, &mut tx, &order).await?;
        run.finish(tx).await
    }
}
