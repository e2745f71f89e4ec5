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
    job::Retry,
    run::{Run, Tx},
    stop::Stop,
    sweep::{Sweep, Swept},
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

impl Sweep for ExpireConsents {
    const NAME: &'static str = "expire_consents";
    const KIND: &'static str = "consents";
    const RETRY: Retry = Retry { attempts: 5, first: Duration::from_secs(5), most: Duration::from_secs(300) };

    fn because(&self) -> &str {
        &self.because
    }

    async fn sweep(&self, run: &Run) -> Result<(Tx, Swept), Stop> {
        let due: Vec<Due> = sqlx::query_as!(
            Due,
            r#"select id, tenant, subject_id as subject, checkout_session as "session!" from safelight.orders
            where state = 'placed' and payment_pending_at is null
                and checkout_at <= safelight.now() - make_interval(hours => $1) order by checkout_at limit 500"#,
            WINDOW_HOURS
        )
        .fetch_all(&mut *run.reads().await?)
        .await?;
        let mut expired = 0_i64;
        for order in &due {
            // A page that still seems open after that long is not waited for.
            let checkout = match look(run, &order.session).await? {
                Checkout::Open => Checkout::Over,
                other => other,
            };
            expired += i64::from(close(run, order, &checkout).await?);
        }
        let found = i64::try_from(due.len()).unwrap_or(i64::MAX);
        Ok((run.begin().await?, Swept { found, acted: expired, residue: Some(found - expired), began: None }))
    }
}
