//! Ask Fal.ai whether one generated image is safe for work, for tenants whose policy names that purpose.
//!
//! Life: enqueued by `CollectImage` -> gate: nsfw -> intent -> submit -> done. Enqueued once more by Fal's webhook or by
//! the reconcile sweep (a job of its own: a wake-up could come while the first one still runs) -> verdict, and the next
//! look or the delivery in the same commit.
//! Input: one stored image behind a short-lived URL of ours.  Output: a verdict; a flagged image is withheld and goes at once.
//! Where Fal gave no verdict the image is withheld, too, and lost for its order, which ends in refund review.
//! Where the person's objection to it was upheld nothing is labelled, and the image is delivered all the same: it was paid for.
//! Gives up: `object_gone`, `fal_rejected`.  Unknown outcome: reconciled, never repeated.
//! Source: fal-ai/imageutils/nsfw, <https://fal.ai/models/fal-ai/imageutils/nsfw/api> (read 2026-11).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    calls::{self, Intended, Plan},
    collect, delivery,
    gate::{Allowed, Ask, Closed, Nsfw, Refusal},
    id::{Artifact, Id, Intent},
    images::{self, Image},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    keys, links, orders,
    policy::{DataClass, Processor},
    providers::fal::{self, NsfwRequest},
    purge_call::PurgeCall,
    queue::Wish,
    run::Run,
    stop::{Done, Stop},
};

const INPUT_LIFE: Duration = Duration::from_secs(3600);

/// One look at one image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckImage {
    /// Which image.
    pub image: Id<Artifact>,
}

impl Job for CheckImage {
    const NAME: &'static str = "check_image";
    const QUEUE: Queue = Queue::Generation;
    const RETRY: Retry = Retry { attempts: 10, first: Duration::from_secs(2), most: Duration::from_secs(600) };
    const EFFECT: Effect = Effect::Reconcile;
    const PROVIDER: Option<Processor> = Some(Processor::Fal);
    type Pass = (Image, Result<Allowed<Nsfw>, Refusal>);

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.image])
    }

    fn scope(&self) -> Scope {
        Scope::Artifact(self.image)
    }

    async fn gate(&self, run: &Run) -> Result<Self::Pass, Stop> {
        let image = images::read(run, self.image).await?;
        let ask = Ask::of(image.subject, Processor::Fal, &[DataClass::Image])
            .order(image.order)
            .objects(std::slice::from_ref(&self.image))
            .generation(image.generation);
        match run.pass::<Nsfw>(ask).await {
            Ok(allowed) => Ok((image, Ok(allowed))),
            Err(Closed::Refused(refusal)) if refusal.is_an_objection() => Ok((image, Err(refusal))),
            Err(closed) => Err(closed.into()),
        }
    }

    async fn run(&self, (image, gate): Self::Pass, run: &Run) -> Result<Done, Stop> {
        let order = orders::read(run, image.order).await?;
        if let Err(refusal) = gate {
            return self.leave_unlabelled(run, &order, &refusal).await;
        }
        let model = run.services.policies.of(&order.tenant)?.nsfw()?.clone();
        let plan = Plan {
            wish: format!("nsfw:{}", self.image),
            order: &order,
            about: Some(self.image),
            position: None,
            processor: Processor::Fal,
            model: &model.model,
            classes: &[DataClass::Image],
            objects: std::slice::from_ref(&self.image),
        };
        // Before the intent: what fails here was certainly not sent.
        let url = links::input(run, self.image, &keys::stored(&image.key)?, INPUT_LIFE).await?;
        let (intended, nsfw) = calls::intend::<Nsfw>(run, &plan).await?;
        let call = match intended {
            Intended::Now(intention) => {
                let request = NsfwRequest {
                    model_id: model.model.clone(),
                    image_url: url,
                    webhook_url: intention.webhook_url(run),
                };
                let fal = run.services.fal.clone();
                calls::make(run, intention.id, plan.classes, async move { fal.check_nsfw(&nsfw, &request).await })
                    .await?;
                return Ok(Done::nothing_more());
            }
            Intended::Already(call) => call,
            Intended::Unknown(_) => return Ok(Done::nothing_more()),
        };
        self.judge(run, &order, call, model.threshold).await
    }
}

impl CheckImage {
    /// The look at Fal's answer: another wish than the look itself, and one however often Fal tells.
    pub(crate) fn answered(image: Id<Artifact>) -> Result<Wish, serde_json::Error> {
        let mut wish = Wish::of(&Self { image })?;
        wish.key.push_str(":answered");
        Ok(wish)
    }

    /// What was asked of Fal before the objection is purged by the deletion that began with its decision.
    async fn leave_unlabelled(&self, run: &Run, order: &orders::OrderRow, refusal: &Refusal) -> Result<Done, Stop> {
        let mut tx = run.begin().await?;
        run.note("image.not_checked", refusal.code).write(&mut tx).await?;
        delivery::next_look(run, &mut tx, order, self.image).await?;
        delivery::deliver(run, &mut tx, order).await?;
        run.finish(tx).await
    }

    async fn judge(&self, run: &Run, order: &orders::OrderRow, call: Id<Intent>, threshold: f32) -> Result<Done, Stop> {
        let call = calls::read(run, call).await?;
        // Judged before: by the look that Fal's answer asked for, or by the first one after a crash. Fal's copy is gone.
        if matches!(call.state.as_str(), "succeeded" | "failed") {
            return Ok(Done::nothing_more());
        }
        let probability = match collect::result(run, &call).await? {
            Ok(result) => Ok(fal::nsfw_probability(&result).ok().map(|probability| probability as f32)),
            Err(code) => Err(code),
        };
        let (probability, code) = match probability {
            Ok(probability) => (probability, None),
            Err(code) => (None, Some(code)),
        };
        let mut tx = run.begin().await?;
        orders::lock(&mut tx, order.id).await?;
        // No answer is no clearance: an image that could not be checked is withheld.
        let flagged = probability.is_none_or(|probability| probability >= threshold);
        sqlx::query!(
            r#"insert into safelight.image_checks (image_id, flagged, probability, checked_by) values ($1, $2, $3, $4)
            on conflict (image_id) do nothing"#,
            self.image.uuid(),
            flagged,
            probability,
            call.model
        )
        .execute(&mut *tx)
        .await?;
        let state = if probability.is_some() { "succeeded" } else { "failed" };
        calls::end(&mut tx, &call, state, code.as_deref()).await?;
        tx.enqueue(&PurgeCall { call: call.id }).await?;
        if flagged {
            images::withhold(&mut tx, self.image, if probability.is_some() { "nsfw" } else { "unchecked" }).await?;
            run.note("image.withheld", if probability.is_some() { "nsfw" } else { "unchecked" }).write(&mut tx).await?;
        } else {
            run.note("image.checked", "clear").write(&mut tx).await?;
            delivery::next_look(run, &mut tx, order, self.image).await?;
        }
        delivery::deliver(run, &mut tx, order).await?;
        run.finish(tx).await
    }
}
