//! Give money back through Stripe, once.
//!
//! Life: enqueued when a person of the house asks for it, with the refund's row in one commit -> session and refunds read at
//! Stripe -> ours is there already: booked -> else asked for under our idempotency key, with our id in its metadata ->
//! booked -> done.
//! Input: a refund of the books; amount and currency are written there, under the sale's lock.  Output: Stripe's refund, on
//! the books. What Stripe refuses for good is `refused` with Stripe's code, and is looked at again by a person.
//! Unknown outcome: looked for by our id before every attempt, and repeated under the same key, which Stripe answers from
//! its book for a day. In the last hour of that day nothing is asked; then the list, which has every attempt by now, has the
//! last word, and the key of the next day is used.
//! No gate: it sends Stripe's own ids to Stripe. The house's own work: a fence does not take it away.
//! Source: <https://docs.stripe.com/api/refunds/create>, /api/idempotent_requests (read 2026-11).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::{self, Id},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    money::{self, Truth},
    policy::Processor,
    providers::stripe::{RefundRequest, StripeError},
    run::Run,
    stop::{Done, Stop},
};

/// Stripe answers from its book for so long.
const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);
/// So long before a key's end nothing is asked under it: an attempt of which nobody heard is in Stripe's list by then.
const KEY_REST: Duration = Duration::from_secs(3600);

/// One refund.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefundPayment {
    /// Which.
    pub refund: Id<id::Refund>,
}

struct Asked {
    session: String,
    amount_cents: i64,
    state: String,
    /// Since it was asked for.
    age: Duration,
}

impl Job for RefundPayment {
    const NAME: &'static str = "refund_payment";
    const QUEUE: Queue = Queue::Payments;
    const RETRY: Retry = Retry { attempts: 40, first: Duration::from_secs(5), most: Duration::from_secs(3600) };
    const EFFECT: Effect = Effect::Reconcile;
    const PROVIDER: Option<Processor> = Some(Processor::Stripe);
    type Pass = ();

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.refund])
    }

    fn scope(&self) -> Scope {
        Scope::System
    }

    async fn gate(&self, _run: &Run) -> Result<(), Stop> {
        Ok(())
    }

    async fn run(&self, (): (), run: &Run) -> Result<Done, Stop> {
        let asked = self.read(run).await?;
        if asked.state != "asked" {
            return Ok(Done::nothing_more());
        }
        let mut truth = money::ask(run, &asked.session, true).await?;
        if truth.refunds.iter().any(|refund| refund.ours == Some(self.refund)) {
            return self.book(run, &truth, None).await;
        }
        let Some(payment_intent) = truth.session.payment_intent.clone() else {
            return self.book(run, &truth, Some("no_payment")).await;
        };
        let Some(day) = key_of(asked.age) else {
            return Err(Stop::wait(
                KEY_REST,
                "key_ends: Stripe may still have taken the last attempt; the list says it later",
            ));
        };
        let request = RefundRequest { payment_intent, amount_cents: asked.amount_cents, refund: self.refund };
        match run.services.stripe.refund(&request, &format!("{}:{day}", self.refund)).await {
            Ok(refund) => {
                truth.refunds.push(refund);
                self.book(run, &truth, None).await
            }
            Err(StripeError::Refused { code, .. }) => self.book(run, &truth, Some(&code)).await,
            Err(StripeError::NotFound { .. }) => self.book(run, &truth, Some("payment_not_found")).await,
            Err(error) => Err(error.into()),
        }
    }
}

/// Which key a refund of this age is asked for under: one a day. None: the day's key is about to end.
fn key_of(age: Duration) -> Option<u64> {
    let (day, into_it) = (age.as_secs() / KEY_LIFE.as_secs(), age.as_secs() % KEY_LIFE.as_secs());
    (into_it < KEY_LIFE.as_secs() - KEY_REST.as_secs()).then_some(day)
}

impl RefundPayment {
    async fn read(&self, run: &Run) -> Result<Asked, Stop> {
        let row = sqlx::query!(
            r#"select stripe_session, amount_cents, state, greatest(extract(epoch from safelight.now() - asked_at), 0)::bigint as "age!"
            from safelight_fiscal.refunds where id = $1"#,
            self.refund.uuid()
        )
        .fetch_optional(&mut *run.reads().await?)
        .await?
        .ok_or_else(|| Stop::give_up("refund_gone", format!("{} is not on the books", self.refund)))?;
        let age = Duration::from_secs(row.age.unsigned_abs());
        Ok(Asked { session: row.stripe_session, amount_cents: row.amount_cents, state: row.state, age })
    }

    /// What Stripe said goes to the books with the job's end. Refused: nothing went back, and the row says why.
    async fn book(&self, run: &Run, truth: &Truth, refused: Option<&str>) -> Result<Done, Stop> {
        let mut tx = run.begin().await?;
        if let Some(code) = refused {
            sqlx::query!(
                "update safelight_fiscal.refunds set state = 'refused', code = $2 where id = $1 and state = 'asked'",
                self.refund.uuid(),
                code.chars().filter(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')).take(64).collect::<String>()
            )
            .execute(&mut *tx)
            .await?;
        }
        let status = money::book_returns(&mut tx, truth).await?;
        let row =
            sqlx::query!("select tenant, amount_cents from safelight_fiscal.refunds where id = $1", self.refund.uuid())
                .fetch_one(&mut *tx)
                .await?;
        run.note("money.refunded", if refused.is_some() { "refused" } else { "accepted" })
            .tenant(row.tenant)
            .count("amount_cents", row.amount_cents)
            .code("sale", status)
            .write(&mut tx)
            .await?;
        run.finish(tx).await
    }
}
