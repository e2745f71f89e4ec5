//! Look again at what an order may deliver, after something other than one of its images changed.
//!
//! Life: enqueued by a withdrawal of `compare` or an upheld objection (the looks of that purpose left the queue, the images were
//! paid for), and by the release of a restricted person -> deliver what needs no further look -> done.
//! Input: an order.  Output: delivered images, and the order if that was the last thing missing.
//! Gives up: `order_gone`.
//! Source: policy rows K43 and N31.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    delivery,
    id::{Id, Order, Subject},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    orders,
    queue::EnqueueError,
    run::{Run, Tx},
    stop::{Done, Stop},
};

/// One look at one order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliverOrder {
    /// Which order.
    pub order: Id<Order>,
    /// What asks: an id, so that the same cause asks once.
    pub because: String,
}

impl DeliverOrder {
    /// Every order of this person whose images may wait for a look.
    pub(crate) async fn all_of(tx: &mut Tx, subject: Id<Subject>, because: &str) -> Result<(), EnqueueError> {
        let open = sqlx::query_scalar!(
            "select id from safelight.orders where subject_id = $1 and state = 'generating' order by id",
            subject.uuid()
        )
        .fetch_all(&mut **tx)
        .await?;
        for order in open {
            tx.enqueue(&Self { order: order.into(), because: because.to_owned() }).await?;
        }
        Ok(())
    }
}

impl Job for DeliverOrder {
    const NAME: &'static str = "deliver_order";
    const QUEUE: Queue = Queue::Generation;
    const RETRY: Retry = Retry { attempts: 10, first: Duration::from_secs(1), most: Duration::from_secs(300) };
    const EFFECT: Effect = Effect::Repeatable;
    type Pass = ();

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.order, &self.because])
    }

    fn scope(&self) -> Scope {
        Scope::Order(self.order)
    }

    /// Delivers what was made behind its own gates; an erased person's order is gone.
    async fn gate(&self, _run: &Run) -> Result<(), Stop> {
        Ok(())
    }

    async fn run(&self, (): (), run: &Run) -> Result<Done, Stop> {
        let mut tx = run.begin().await?;
        let order = orders::load(&mut tx, self.order).await?;
        delivery::look_again(run, &mut tx, &order).await?;
        delivery::deliver(run, &mut tx, &order).await?;
        run.finish(tx).await
    }
}
