//! Ask Stripe whether an order is paid, and set its work going.
//!
//! Life: enqueued by Stripe's webhook -> gate: payment -> read the session at Stripe (the event alone is never believed)
//! -> compare session, amount and currency -> order paid, sale recorded, `TrainModel` or `GenerateBatch` enqueued, all
//! in one commit.
//! Input: an order and the event that asks.  Output: the order is paid, or says why not.
//! Gives up: `subject_erased`, `order_gone`.  A session that does not fit the order refuses the order with a problem:
//! `session_foreign`, `wrong_mode`. Money that came and does not buy what was ordered is on the books and goes to refund
//! review: `wrong_amount`, `wrong_currency`, `refunded`, `disputed`, `paid_too_late`.
//! Source: <https://docs.stripe.com/checkout/fulfillment> (read 2026-11): retrieve the session, act only if it is paid,
//! run as often as asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    gate::{self, Allowed, Ask, Closed, Pay, Train},
    generate_batch::GenerateBatch,
    id::{Id, Order},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    measure_selfies::MeasureSelfies,
    orders::{self, OrderRow},
    policy::{DataClass, Policy, Processor, Purpose},
    providers::stripe::{Returned, Session},
    run::{Run, Tx},
    stop::{Done, Stop},
    train_model::TrainModel,
};

/// One look at Stripe for one order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfirmPayment {
    /// Which order.
    pub order: Id<Order>,
    /// The event that asks; two events about one session are two looks, and one effect.
    pub event: String,
}

impl Job for ConfirmPayment {
    const NAME: &'static str = "confirm_payment";
    const QUEUE: Queue = Queue::Payments;
    const RETRY: Retry = Retry { attempts: 12, first: Duration::from_secs(2), most: Duration::from_secs(900) };
    const EFFECT: Effect = Effect::Repeatable;
    type Pass = Allowed<Pay>;

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.order, &self.event])
    }

    fn scope(&self) -> Scope {
        Scope::Order(self.order)
    }

    async fn gate(&self, run: &Run) -> Result<Self::Pass, Stop> {
        let order = orders::read(run, self.order).await?;
        let ask = Ask::of(order.subject, Processor::Stripe, &[DataClass::Order]).order(order.id);
        Ok(run.pass::<Pay>(ask).await?)
    }

    async fn run(&self, _pay: Self::Pass, run: &Run) -> Result<Done, Stop> {
        let order = orders::read(run, self.order).await?;
        let Some(session_id) = order.checkout_session.clone() else {
            return Err(Stop::wait(Duration::from_secs(30), "no_checkout: the order has no payment session yet"));
        };
        let session = run.services.stripe.retrieve_session(&session_id).await?;

        let mut tx = run.begin().await?;
        orders::lock(&mut tx, order.id).await?;
        let order = orders::load(&mut tx, order.id).await?;
        let policy = run.services.policies.of(&order.tenant)?;
        if order.paid_at.is_some() {
            run.note("payment.confirmed", "already").write(&mut tx).await?;
        } else if let Some(problem) = not_ours(&order, &session, run.services.livemode) {
            orders::stop(&mut tx, order.id, problem).await?;
            run.note("payment.refused", problem).write(&mut tx).await?;
        } else if !session.is_settled() {
            if let Some(problem) = mismatch(&order, &session) {
                orders::stop(&mut tx, order.id, problem).await?;
            }
            run.note("payment.pending", "unpaid").write(&mut tx).await?;
        } else if let Some(problem) = mismatch(&order, &session) {
            // Money came that buys nothing as it is: it is on the books, and a person looks at it.
            pay(&mut tx, policy, &order, &session).await?;
            orders::stop(&mut tx, order.id, problem).await?;
            run.note("payment.refused", problem).write(&mut tx).await?;
        } else {
            pay(&mut tx, policy, &order, &session).await?;
            run.note("payment.confirmed", "paid").count("amount_cents", order.amount_cents).write(&mut tx).await?;
            go_on(run, &mut tx, &order).await?;
        }
        run.finish(tx).await
    }
}

/// Another order's money, or play money.
fn not_ours(order: &OrderRow, session: &Session, livemode: bool) -> Option<&'static str> {
    let ours = order.id.to_string();
    let named = session.client_reference_id.as_deref().or(session.order_id.as_deref());
    if named != Some(ours.as_str()) {
        Some("session_foreign")
    } else if session.livemode != livemode {
        Some("wrong_mode")
    } else {
        None
    }
}

/// Why this money does not buy what was ordered.
fn mismatch(order: &OrderRow, session: &Session) -> Option<&'static str> {
    if order.state != "placed" {
        // The checkout had expired, or the order was refused before the money came.
        Some("paid_too_late")
    } else if session.amount_total_cents != Some(order.amount_cents) {
        Some("wrong_amount")
    } else if session.currency.as_deref() != Some(order.currency.as_str()) {
        Some("wrong_currency")
    } else {
        session.returned.map(|returned| match returned {
            Returned::Refunded => "refunded",
            Returned::Disputed => "disputed",
        })
    }
}

async fn pay(tx: &mut PgConnection, policy: &Policy, order: &OrderRow, session: &Session) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update safelight.orders set state = 'paid', paid_at = safelight.now() where id = $1",
        order.id.uuid()
    )
    .execute(&mut *tx)
    .await?;
    // A country that no fiscal rule names leaves the end open: it is not guessed, it is looked up and set by a person.
    let fiscal = session.country.as_deref().and_then(|country| policy.fiscal(country));
    sqlx::query!(
        r#"insert into safelight_fiscal.sales (tenant, order_id, stripe_session, status, amount_cents, currency, country, sold_at, rule, keep_until)
        values ($1, $2, $3, 'paid', $4, $5, $6, safelight.now(), $7,
            date_trunc('year', safelight.now()) + make_interval(years => 1 + $8::integer))
        on conflict do nothing"#,
        order.tenant,
        order.id.uuid(),
        session.id,
        session.amount_total_cents.unwrap_or(order.amount_cents),
        session.currency.as_deref().unwrap_or(&order.currency),
        session.country,
        fiscal.map(|rule| rule.legal.as_str()),
        fiscal.map(|rule| i32::try_from(rule.years).unwrap_or(i32::MAX))
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The next work, in the same commit. A Pro order whose training is not consented to goes to refund review: a consent
/// that comes later than the checkout does not count (K16).
async fn go_on(run: &Run, tx: &mut Tx, order: &OrderRow) -> Result<(), Stop> {
    if order.needs_model {
        let ask = Ask::of(order.subject, Processor::Fal, &[DataClass::Upload]).order(order.id);
        match gate::pass::<Train>(tx, ask).await {
            Ok(_) => {
                orders::advance(tx, order.id, &["paid"], "training").await?;
                tx.enqueue(&TrainModel { order: order.id }).await?;
            }
            Err(Closed::Refused(refusal)) => {
                orders::stop(tx, order.id, refusal.code).await?;
                run.note("training.refused", refusal.code).write(tx).await?;
                return Ok(());
            }
            Err(closed) => return Err(closed.into()),
        }
    } else {
        orders::advance(tx, order.id, &["paid"], "generating").await?;
        tx.enqueue(&GenerateBatch { order: order.id }).await?;
    }
    if run.services.policies.of(&order.tenant)?.allows(Purpose::Compare, Processor::SelfHosted, DataClass::Upload) {
        tx.enqueue(&MeasureSelfies { order: order.id }).await?;
    }
    Ok(())
}
