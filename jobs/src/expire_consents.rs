//! End the consents of checkouts that nobody paid.
//!
//! Life: enqueued by cron -> orders whose checkout window is over and that are not paid -> the session read at Stripe ->
//! order `expired` and its consents ended in one transaction each -> done.
//! Input: none.  Output: expired orders. A payment that comes all the same finds no consent and goes to refund
//! review.
//! A customer who is through while a slow bank decides is no customer who did not pay: such an order stays, and is served
//! when the money comes. One that is paid and was never confirmed is confirmed. While Stripe cannot be asked nothing expires.
//! Source: policy row K16: the consent to train is given immediately before payment, for that order.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    close_checkout::{Checkout, Due, close, look},
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
        let due: Vec<Due> = sqlx::query_as!(
            Due,
            r#"select id, tenant, subject_id as subject, checkout_session as "session!" from safelight.orders
            where state = 'placed' and payment_pending_at is null
                and checkout_at <= safelight.now() - make_interval(hours => $1) order by checkout_at limit 500"#,
            WINDOW_HOURS
        )
        .fetch_all(&mut *run.reads().await?)
        .await?;
        let mut expired = 0;
        for order in &due {
            // A page that still seems open after that long is not waited for.
            let checkout = match look(run, &order.session).await? {
                Checkout::Open => Checkout::Over,
                other => other,
            };
            expired += i32::from(close(run, order, &checkout).await?);
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
