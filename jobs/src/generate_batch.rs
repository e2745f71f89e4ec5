//! Ask Fal.ai for the images of one order, one request an image.
//!
//! Life: enqueued by `CollectModel`, or by `ConfirmPayment` for a plan without a model -> gate: generate -> for each
//! image: intent -> submit -> request id behind the gate again -> done. `CollectImage` goes on from Fal's webhooks.
//! Input: the order's model (or a photo, where the tenant's policy allows it) behind a short-lived URL of ours, and a
//! prompt.  Output: one request id an image.
//! Gives up: `fal_rejected`, `object_gone`, `purpose_not_allowed`.  Unknown outcome: reconciled, never repeated.
//! An order whose images were given up goes to refund review with the same code.
//! Source: fal-ai/flux-lora, <https://fal.ai/models/fal-ai/flux-lora/api> (read 2026-11).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    calls::{self, Intended, Plan},
    delivery,
    gate::{Allowed, Ask, Generate},
    id::{Artifact, Id, Order},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    keys, links,
    orders::{self, OrderRow},
    policy::{DataClass, Processor},
    providers::fal::GenerationRequest,
    run::Run,
    stop::{Done, Stop},
};

/// How long Fal may fetch its input.
const INPUT_LIFE: Duration = Duration::from_secs(2 * 3600);

/// All images of one order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GenerateBatch {
    /// Which order.
    pub order: Id<Order>,
}

impl Job for GenerateBatch {
    const NAME: &'static str = "generate_batch";
    const QUEUE: Queue = Queue::Generation;
    const RETRY: Retry = Retry { attempts: 10, first: Duration::from_secs(3), most: Duration::from_secs(900) };
    const EFFECT: Effect = Effect::Reconcile;
    const PROVIDER: Option<Processor> = Some(Processor::Fal);
    type Pass = (OrderRow, Source, Allowed<Generate>);

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.order])
    }

    fn scope(&self) -> Scope {
        Scope::Order(self.order)
    }

    async fn gate(&self, run: &Run) -> Result<Self::Pass, Stop> {
        match self.ask(run).await {
            Ok(pass) => Ok(pass),
            Err(stop) => Err(orders::stop_with(run, self.order, "generating", stop).await),
        }
    }

    async fn run(&self, pass: Self::Pass, run: &Run) -> Result<Done, Stop> {
        match self.submit(pass, run).await {
            Ok(done) => Ok(done),
            Err(stop) => Err(orders::stop_with(run, self.order, "generating", stop).await),
        }
    }
}

impl GenerateBatch {
    async fn ask(&self, run: &Run) -> Result<<Self as Job>::Pass, Stop> {
        let mut connection = run.reads().await?;
        let order = orders::load(&mut connection, self.order).await?;
        let source = source(&mut connection, &order).await?;
        drop(connection);
        let ask = Ask::of(order.subject, Processor::Fal, source.classes())
            .order(order.id)
            .objects(std::slice::from_ref(&source.id));
        let allowed = run.pass::<Generate>(ask).await?;
        Ok((order, source, allowed))
    }

    async fn submit(&self, (order, source, _): <Self as Job>::Pass, run: &Run) -> Result<Done, Stop> {
        let policy = run.services.policies.of(&order.tenant)?;
        let mut generation = policy.generation(&order.plan)?.clone();
        let mut tx = run.begin().await?;
        if !delivery::is_labelled(&mut tx, policy, &order).await? {
            // The model would label what it makes by itself.
            generation.parameters.insert("enable_safety_checker".to_owned(), false.into());
        }
        tx.commit().await?;
        let prompt = match &order.prompt_sealed {
            Some(sealed) => {
                let mut connection = run.reads().await?;
                let key = run.services.vault.key(&mut connection, order.subject).await?;
                format!("{}, {}", generation.prompt, key.open_text("prompt", sealed)?)
            }
            None => generation.prompt.clone(),
        };
        for position in 1..=order.images_wanted {
            let plan = Plan {
                wish: format!("image:{}:{position}", order.id),
                order: &order,
                about: None,
                position: Some(position),
                processor: Processor::Fal,
                model: &generation.model,
                classes: source.classes(),
                objects: std::slice::from_ref(&source.id),
            };
            // Before the intent: what fails here was certainly not sent.
            let input = links::input(run, source.id, &keys::stored(&source.key)?, INPUT_LIFE).await?;
            let (intended, generate) = calls::intend::<Generate>(run, &plan).await?;
            if let Intended::Now(intention) = intended {
                let request = GenerationRequest {
                    model_id: generation.model.clone(),
                    prompt: prompt.clone(),
                    lora_url: source.is_model.then(|| input.clone()),
                    image_url: (!source.is_model).then_some(input),
                    seed: Some(i64::from(position)),
                    num_images: 1,
                    parameters: generation.parameters.clone(),
                    webhook_url: intention.webhook_url(run),
                };
                let fal = run.services.fal.clone();
                let submit = async move { fal.submit_generation(&generate, &request).await };
                calls::make(run, intention.id, plan.classes, submit).await?;
            }
        }
        Ok(Done::nothing_more())
    }
}

/// What images are made from: the order's own model, or one of its photos.
#[derive(Debug)]
pub struct Source {
    id: Id<Artifact>,
    key: String,
    is_model: bool,
}

impl Source {
    fn classes(&self) -> &'static [DataClass] {
        if self.is_model { &[DataClass::Model, DataClass::Prompt] } else { &[DataClass::Upload, DataClass::Prompt] }
    }
}

async fn source(connection: &mut sqlx::PgConnection, order: &OrderRow) -> Result<Source, Stop> {
    let class = if order.needs_model { "model" } else { "upload" };
    let row = sqlx::query!(
        r#"select a.id, a.storage_key from safelight.artifacts a
        where a.class = $1 and safelight.readable(a) and (a.class = 'model' and a.order_id = $2 or a.class = 'upload' and a.batch_id = $3)
        order by a.id limit 1"#,
        class,
        order.id.uuid(),
        order.batch.uuid()
    )
    .fetch_optional(connection)
    .await?
    .ok_or_else(|| Stop::give_up("object_gone", format!("{}: its {class} is gone; nothing extends its life", order.id)))?;
    Ok(Source { id: row.id.into(), key: row.storage_key, is_model: order.needs_model })
}
