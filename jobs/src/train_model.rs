//! Ask Fal.ai to train one person's image model for one order.
//!
//! Life: enqueued by `ConfirmPayment` -> gate: consent to train, paid order, live photos -> photos bundled under our own
//! key -> intent -> submit -> request id behind the gate again -> done. `CollectModel` goes on from Fal's webhook or from
//! the reconcile sweep, so no slot waits for Fal.
//! Input: the order's photos (JPEG, PNG or WebP) as a zip behind a short-lived URL of ours.  Output: a request id on the
//! provider call's row.
//! Gives up: `fal_rejected`, `consent_withdrawn`, `consent_after_checkout`, `object_gone`, `too_few_photos`.  Unknown outcome: reconciled,
//! never repeated. An order whose training was given up goes to refund review with the same code.
//! Source: fal-ai/flux-lora-portrait-trainer, <https://fal.ai/models/fal-ai/flux-lora-portrait-trainer/api> (read 2026-11);
//! decision 0004 (why a job does not wait).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    bundle,
    calls::{self, Intended, Plan},
    gate::{Allowed, Ask, Train},
    id::{Artifact, Id, Order},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    links, orders,
    policy::{DataClass, Processor},
    providers::fal::TrainingRequest,
    run::Run,
    stop::{Done, Stop},
};

/// How long Fal may fetch the photos.
const INPUT_LIFE: Duration = Duration::from_secs(2 * 3600);

/// One training of one order's model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrainModel {
    /// Which order.
    pub order: Id<Order>,
}

impl Job for TrainModel {
    const NAME: &'static str = "train_model";
    const QUEUE: Queue = Queue::Training;
    const RETRY: Retry = Retry { attempts: 8, first: Duration::from_secs(5), most: Duration::from_secs(1800) };
    const EFFECT: Effect = Effect::Reconcile;
    const PROVIDER: Option<Processor> = Some(Processor::Fal);
    type Pass = Allowed<Train>;

    /// Two clicks, one training.
    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.order])
    }

    fn scope(&self) -> Scope {
        Scope::Order(self.order)
    }

    async fn gate(&self, run: &Run) -> Result<Self::Pass, Stop> {
        match self.ask(run).await {
            Ok(train) => Ok(train),
            Err(stop) => Err(orders::stop_with(run, self.order, "training", stop).await),
        }
    }

    async fn run(&self, train: Self::Pass, run: &Run) -> Result<Done, Stop> {
        match self.submit(train, run).await {
            Ok(done) => Ok(done),
            Err(stop) => Err(orders::stop_with(run, self.order, "training", stop).await),
        }
    }
}

impl TrainModel {
    async fn ask(&self, run: &Run) -> Result<Allowed<Train>, Stop> {
        let order = orders::read(run, self.order).await?;
        let ask = Ask::of(order.subject, Processor::Fal, &[DataClass::Upload]).order(order.id);
        Ok(run.pass::<Train>(ask).await?)
    }

    async fn submit(&self, train: Allowed<Train>, run: &Run) -> Result<Done, Stop> {
        let mut connection = run.reads().await?;
        let order = orders::load(&mut connection, self.order).await?;
        let photos = orders::live_uploads(&mut connection, order.batch).await?;
        drop(connection);
        let wish = format!("train:{}", order.id);
        if calls::is_accepted(run, &wish).await? {
            return Ok(Done::nothing_more());
        }
        let policy = run.services.policies.of(&order.tenant)?;
        let training = policy.training(&order.plan)?;
        if photos.len() < training.photos_min {
            return Err(Stop::give_up(
                "too_few_photos",
                format!("{}: {} photos are live, the plan needs {}", order.id, photos.len(), training.photos_min),
            ));
        }
        let mut objects: Vec<Id<Artifact>> = photos.iter().map(|photo| photo.id).collect();
        let bundle = bundle::make(run, &train, &order, &photos).await?;
        // The copy is asked about like the photos: one that outlived its own does not leave.
        objects.push(bundle.id);
        // Before the intent: what fails here was certainly not sent.
        let photos = links::input(run, bundle.id, &bundle.key, INPUT_LIFE).await?;

        let plan = Plan {
            wish,
            order: &order,
            about: Some(bundle.id),
            position: None,
            processor: Processor::Fal,
            model: &training.model,
            classes: &[DataClass::Upload],
            objects: &objects,
        };
        let (intended, train) = calls::intend::<Train>(run, &plan).await?;
        if let Intended::Now(intention) = intended {
            let request = TrainingRequest {
                model_id: training.model.clone(),
                images_data_url: photos,
                trigger_word: training.trigger.clone(),
                parameters: training.parameters.clone(),
                webhook_url: intention.webhook_url(run),
            };
            let fal = run.services.fal.clone();
            calls::make(run, intention.id, plan.classes, async move { fal.submit_training(&train, &request).await })
                .await?;
        }
        Ok(Done::nothing_more())
    }
}
