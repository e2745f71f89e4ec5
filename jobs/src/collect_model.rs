//! Bring a trained model home and let its copy at Fal.ai be purged.
//!
//! Life: enqueued by Fal's webhook or by the reconcile sweep, whichever comes first -> gate: consent to train, same
//! generation -> result read at Fal -> object row -> bytes to our store -> `delivered_at`, once -> `GenerateBatch` and
//! `PurgeCall` enqueued in the same commit.
//! Input: a provider call.  Output: the order's model, or an order in refund review that says why.
//! A closed gate collects nothing: the result is purged where it lies (N1).
//! A result that Fal does not have any more is no model: the order goes to refund review with `result_expired`.
//! Gives up: `call_gone`.
//! Source: <https://fal.ai/docs/model-apis/inference/queue> (read 2026-11): large results live about six minutes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    bundle,
    calls::{self, Call},
    collect,
    gate::{Allowed, Refusal, Train},
    generate_batch::GenerateBatch,
    id::{Id, Intent, Order},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    orders,
    policy::{DataClass, Processor},
    providers::fal,
    purge_call::PurgeCall,
    run::Run,
    stop::{Done, Stop},
};

/// One model's way home.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CollectModel {
    /// The call that trained it.
    pub call: Id<Intent>,
}

impl Job for CollectModel {
    const NAME: &'static str = "collect_model";
    const QUEUE: Queue = Queue::Training;
    const RETRY: Retry = Retry { attempts: 10, first: Duration::from_secs(1), most: Duration::from_secs(120) };
    const EFFECT: Effect = Effect::Repeatable;
    const PROVIDER: Option<Processor> = Some(Processor::Fal);
    type Pass = (Call, Result<Allowed<Train>, Refusal>);

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.call])
    }

    fn scope(&self) -> Scope {
        Scope::Call(self.call)
    }

    async fn gate(&self, run: &Run) -> Result<Self::Pass, Stop> {
        collect::gate::<Train>(run, self.call, DataClass::Model).await
    }

    async fn run(&self, (call, gate): Self::Pass, run: &Run) -> Result<Done, Stop> {
        let (train, order) = match (gate, call.order) {
            (Ok(train), Some(order)) => (train, order),
            (Err(refusal), _) => return collect::leave_it_there(run, &call, refusal.code).await,
            (Ok(_), None) => return collect::leave_it_there(run, &call, "order_gone").await,
        };
        let model = collect::expect(run, &call, order, "model", None).await?;
        let fetched = if model.is_stored() {
            None
        } else {
            match collect::result(run, &call).await? {
                Ok(result) => Some(collect::fetch(run, &fal::trained_model(&result)?, &model).await?),
                Err(code) => return failed(run, &call, order, &code).await,
            }
        };

        let mut tx = run.begin().await?;
        if let Some(fetched) = fetched {
            // D2: a model is delivered by the commit that lets the buyer's images use it. Set once.
            collect::arrived(&mut tx, &model, &fetched, true).await?;
        }
        calls::end(&mut tx, &call, "succeeded", None).await?;
        bundle::has_served(&mut tx, order).await?;
        orders::advance(&mut tx, order, &["paid", "training"], "generating").await?;
        tx.enqueue(&GenerateBatch { order }).await?;
        tx.enqueue(&PurgeCall { call: call.id }).await?;
        let target = collect::target(run, &mut tx, &call, &model).await?;
        run.note("model.delivered", "stored")
            .allowed(&train)
            .data("model", "supabase")
            .target(target)
            .write(&mut tx)
            .await?;
        run.finish(tx).await
    }
}

/// Fal trained nothing: money is looked at by a person, the photos' copy goes.
async fn failed(run: &Run, call: &Call, order: Id<Order>, code: &str) -> Result<Done, Stop> {
    let mut tx = run.begin().await?;
    calls::end(&mut tx, call, "failed", Some(code)).await?;
    bundle::has_served(&mut tx, order).await?;
    let problem = if code == collect::EXPIRED { collect::EXPIRED } else { "training_failed" };
    orders::stop(&mut tx, order, problem).await?;
    tx.enqueue(&PurgeCall { call: call.id }).await?;
    run.note("model.failed", problem).write(&mut tx).await?;
    run.finish(tx).await
}
