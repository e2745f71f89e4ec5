//! End the consents of checkouts that nobody paid.
//!
//! Life: enqueued by cron -> orders whose checkout window is over and that are not paid -> order `expired` and its consents
//! ended in one transaction each -> done.
//! Input: none.  Output: expired orders. A payment that comes all the same finds no consent and goes to refund review.
//! Source: policy row K16: the consent to train is given immediately before payment, for that order.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    audit::Entry,
    id::{Id, Sweep},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    run::Run,
    stop::{Done, Stop},
};

/// A checkout session of Stripe lives at most a day; <https://docs.stripe.com/api/checkout/sessions/create#expires_at>
/// (read 2026-11). An hour is added for news on its way.
const WINDOW_HOURS: i32 = 25;

/// One look over all unpaid checkouts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExpireConsents {
    /// Which tick of the schedule, or who asks.
    pub because: String,
}

impl Job for ExpireConsents {
    const NAME: &'static str = "expire_consents";
    const QUEUE: Queue = Queue::Sweeps;
    const RETRY: Retry = Retry { attempts: 5, first: Duration::from_secs(5), most: Duration::from_secs(300) };
    const EFFECT: Effect = Effect::Repeatable;
    type Pass = ();

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.because])
    }

    fn scope(&self) -> Scope {
        Scope::System
    }

    async fn gate(&self, _run: &Run) -> Result<(), Stop> {
        Ok(())
    }

    async fn run(&self, (): (), run: &Run) -> Result<Done, Stop> {
        let due = sqlx::query!(
            r#"select id, tenant, subject_id from safelight.orders
            where state = 'placed' and checkout_at <= safelight.now() - make_interval(hours => $1) order by checkout_at limit 500"#,
            WINDOW_HOURS
        )
        .fetch_all(&mut *run.reads().await?)
        .await?;
        let mut expired = 0;
        for order in &due {
            // A job of the house has no subject of its own: the expiry may own this one's lock exclusively.
            let mut tx = run.begin().await?;
            let done = sqlx::query_scalar!(r#"select safelight.expire_order($1) as "done!""#, order.id)
                .fetch_one(&mut *tx)
                .await?;
            if done {
                Entry::new("worker", "consent.expired", "unpaid")
                    .tenant(&order.tenant)
                    .subject(order.subject_id.into())
                    .order(order.id.into())
                    .write(&mut tx)
                    .await?;
                expired += 1;
            }
            tx.commit().await?;
        }
        let mut tx = run.begin().await?;
        sqlx::query!(
            "insert into safelight.sweeps (id, kind, asked_by, finished_at, found, acted, residue) values ($1, 'consents', $2, safelight.now(), $3, $4, $5)",
            Id::<Sweep>::new().uuid(),
            self.because,
            i32::try_from(due.len()).unwrap_or(i32::MAX),
            expired,
            i32::try_from(due.len()).unwrap_or(i32::MAX) - expired
        )
        .execute(&mut *tx)
        .await?;
        run.finish(tx).await
    }
}
