//! Compare the books with what Stripe and Fal.ai say, both ways, say what differs, and have looked again what can be mended
//! by looking.
//!
//! Life: enqueued by cron (each hour three days back, each day forty), by the HTTP sweep endpoint, by the CLI -> sessions,
//! refunds and disputes of the span, page by page, against orders, sales, refunds and disputes; and the other way round ->
//! Fal's requests against our calls; and the other way round -> purges that nobody drives any more are driven again -> what
//! differs is a row in `differences`; what differs no more is resolved -> done.
//! Input: a span of time.  Output: differences, and jobs that look again: payments to confirm, money to book, copies to purge.
//! Never moves money, never submits anything, and believes no list further than to look again at the object itself.
//! A provider that cannot be asked leaves the residue unknown (null), which is never zero.
//! Source: <https://docs.stripe.com/api/pagination>, <https://fal.ai/docs/platform-apis/v1/models/requests/by-endpoint> (read 2026-11).

mod at_fal;
mod at_stripe;
mod differences;
mod listed;
mod purges;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    job::{Job, Retry},
    run::{Run, Tx},
    stop::Stop,
    sweep::{Sweep, Swept},
};

/// Three days: as long as Stripe tries to deliver an event.
const HOURS: u32 = 72;

/// One comparison.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReconcileMoney {
    /// Which tick of the schedule, or who asks.
    pub because: String,
    /// How far back, in hours; three days if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<u32>,
}

/// What one run has seen so far.
pub(crate) struct Look<'a> {
    run: &'a Run,
    because: &'a str,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    found: i64,
    mended: i64,
}

impl Sweep for ReconcileMoney {
    const NAME: &'static str = "reconcile_money";
    const KIND: &'static str = "money";
    const RETRY: Retry = Retry { attempts: 5, first: Duration::from_secs(30), most: Duration::from_secs(600) };

    fn because(&self) -> &str {
        &self.because
    }

    async fn sweep(&self, run: &Run) -> Result<(Tx, Swept), Stop> {
        let until: DateTime<Utc> =
            sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&mut *run.reads().await?).await?;
        let from = until - chrono::Duration::hours(i64::from(self.hours.unwrap_or(HOURS)));
        let mut look = Look { run, because: &self.because, from, until, found: 0, mended: 0 };
        let stripe = at_stripe::compare(&mut look).await;
        let fal = at_fal::compare(&mut look).await;
        purges::drive(&mut look).await?;

        let mut unseen = 0_i64;
        for (provider, looked) in [("stripe", stripe), ("fal", fal)] {
            match looked {
                Ok(true) => differences::resolve(&look, provider).await?,
                Ok(false) => unseen += 1,
                Err(stop) => {
                    tracing::error!(provider, ?stop, "the books could not be compared");
                    unseen += 1;
                }
            }
        }
        let (found, mended) = (look.found, look.mended);
        let mut tx = run.begin().await?;
        let open = differences::open(&mut tx).await?;
        if found + mended + unseen > 0 {
            run.note("money.compared", if unseen == 0 { "looked" } else { "could_not_look" })
                .count("differences", found)
                .count("looked_at_again", mended)
                .count("open", open)
                .write(&mut tx)
                .await?;
        }
        Ok((tx, Swept { found, acted: mended, residue: (unseen == 0).then_some(open), began: Some(until) }))
    }
}

impl Look<'_> {
    /// What asks, for the keys of jobs that look again: once for each run of the schedule.
    fn event(&self) -> String {
        format!("sweep:{}", self.because)
    }

    /// Have something looked at again.
    async fn mend<J: Job>(&mut self, job: &J) -> Result<(), Stop> {
        let mut tx = self.run.begin().await?;
        let enqueued = tx.enqueue(job).await?;
        tx.commit().await?;
        self.mended += i64::from(!enqueued.already);
        Ok(())
    }
}
