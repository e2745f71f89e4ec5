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
mod purges;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    id::{Id, Sweep},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    run::Run,
    stop::{Done, Stop},
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

impl Job for ReconcileMoney {
    const NAME: &'static str = "reconcile_money";
    const QUEUE: Queue = Queue::Sweeps;
    const RETRY: Retry = Retry { attempts: 5, first: Duration::from_secs(30), most: Duration::from_secs(600) };
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
        sqlx::query!(
            "insert into safelight.sweeps (id, kind, asked_by, started_at, finished_at, found, acted, residue) values ($1, 'money', $2, $3, safelight.now(), $4, $5, $6)",
            Id::<Sweep>::new().uuid(),
            self.because,
            until,
            i32::try_from(found).unwrap_or(i32::MAX),
            i32::try_from(mended).unwrap_or(i32::MAX),
            (unseen == 0).then(|| i32::try_from(open).unwrap_or(i32::MAX))
        )
        .execute(&mut *tx)
        .await?;
        if found + mended + unseen > 0 {
            run.note("money.compared", if unseen == 0 { "looked" } else { "could_not_look" })
                .count("differences", found)
                .count("looked_at_again", mended)
                .count("open", open)
                .write(&mut tx)
                .await?;
        }
        run.finish(tx).await
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
