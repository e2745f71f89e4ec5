//! Ask Stripe whether an order is paid, and set its work going.
//!
//! Life: enqueued by Stripe's webhook -> gate: payment -> read the session at Stripe (the event alone is never believed)
//! -> compare session, amount and currency -> order paid, sale recorded, `TrainModel` or `GenerateBatch` enqueued, all
//! in one commit.
//! Input: an order and the event that asks.  Output: the order is paid, or says why not.
//! A session that does not fit the order refuses the order with a problem: `session_foreign`, `wrong_mode`. Money that came
//! and does not buy what was ordered is on the books and goes to refund review: `wrong_amount`, `wrong_currency`,
//! `refunded`, `disputed`, `paid_too_late`. A customer who is through while the bank has not decided is noted: that
//! checkout does not run out. For a person who is erased nothing is asked and nothing processed: `BookMoney` takes over.
//! Source: <https://docs.stripe.com/checkout/fulfillment> (read 2026-11): retrieve the session, act only if it is paid,
//! run as often as asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    book_money::BookMoney,
    gate::{self, Allowed, Ask, Closed, Pay, Refusal, Train},
    generate_batch::GenerateBatch,
    id::{Id, Order},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    measure_selfies::MeasureSelfies,
    money::{self, Truth},
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
    const PROVIDER: Option<Processor> = Some(Processor::Stripe);
    type Pass = Result<Allowed<Pay>, Erased>;

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.order, &self.event])
    }

    fn scope(&self) -> Scope {
        Scope::Order(self.order)
    }

    async fn gate(&self, run: &Run) -> Result<Self::Pass, Stop> {
        let order = match orders::read(run, self.order).await {
            Err(Stop::GiveUp { code: "order_gone", .. }) => return Ok(Err(Erased)),
            order => order?,
        };
        let ask = Ask::of(order.subject, Processor::Stripe, &[DataClass::Order]).order(order.id);
        match run.pass::<Pay>(ask).await {
            Err(Closed::Refused(refusal)) if refusal.code == "subject_erased" => Ok(Err(Erased)),
            pay => Ok(Ok(pay?)),
        }
    }

    async fn run(&self, pass: Self::Pass, run: &Run) -> Result<Done, Stop> {
        if let Err(Erased) = pass {
            return self.leave_to_the_books(run).await;
        }
        let order = orders::read(run, self.order).await?;
        let Some(session_id) = order.checkout_session.clone() else {
            return Err(Stop::wait(Duration::from_secs(30), "no_checkout: the order has no payment session yet"));
        };
        let truth = money::ask(run, &session_id, false).await?;
        let session = &truth.session;

        let mut tx = run.begin().await?;
        orders::lock(&mut tx, order.id).await?;
        let order = orders::load(&mut tx, order.id).await?;
        let policy = run.services.policies.of(&order.tenant)?;
        if order.paid_at.is_some() {
            run.note("payment.confirmed", "already").write(&mut tx).await?;
        } else if let Some(problem) = not_ours(&order, session, run.services.livemode) {
            orders::stop(&mut tx, order.id, problem).await?;
            run.note("payment.refused", problem).write(&mut tx).await?;
        } else if !session.is_settled() {
            // Also an order whose checkout ran out is not ended by looking: its money may still come, and is looked at then.
            if order.state == "placed"
                && let Some(problem) = mismatch(&order, session)
            {
                orders::stop(&mut tx, order.id, problem).await?;
            }
            let slow = session.is_at_a_slow_bank();
            orders::is_at_the_bank(&mut tx, order.id, slow).await?;
            run.note("payment.pending", if slow { "bank_decides" } else { "unpaid" }).write(&mut tx).await?;
        } else if let Some(problem) = mismatch(&order, session) {
            // Money came that buys nothing as it is: it is on the books, and a person looks at it.
            pay(&mut tx, policy, &order, &truth).await?;
            orders::stop(&mut tx, order.id, problem).await?;
            run.note("payment.refused", problem).write(&mut tx).await?;
        } else {
            pay(&mut tx, policy, &order, &truth).await?;
            run.note("payment.confirmed", "paid").count("amount_cents", order.amount_cents).write(&mut tx).await?;
            go_on(run, &mut tx, &order).await?;
        }
        run.finish(tx).await
    }
}

impl ConfirmPayment {
    /// The person is erased or being erased: their money is seen and booked, and nothing else.
    async fn leave_to_the_books(&self, run: &Run) -> Result<Done, Stop> {
        let mut tx = run.begin().await?;
        // Gone already: the erasure has asked about its checkout itself.
        let session =
            sqlx::query_scalar!("select checkout_session from safelight.orders where id = $1", self.order.uuid())
                .fetch_optional(&mut *tx)
                .await?
                .flatten();
        if session.is_some() {
            tx.enqueue(&BookMoney { session, payment: None, event: self.event.clone() }).await?;
        }
        run.note("payment.refused", "subject_erased").write(&mut tx).await?;
        run.finish(tx).await
    }
}

/// The order's person is erased or being erased.
#[derive(Debug)]
pub struct Erased;

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
        session.returned().map(|returned| match returned {
            Returned::Refunded => "refunded",
            Returned::Disputed => "disputed",
        })
    }
}

async fn pay(tx: &mut PgConnection, policy: &Policy, order: &OrderRow, truth: &Truth) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update safelight.orders set state = 'paid', paid_at = safelight.now(), payment_pending_at = null where id = $1",
        order.id.uuid()
    )
    .execute(&mut *tx)
    .await?;
    money::book_sale(tx, policy, Some(order.id), &truth.session, None).await?;
    money::book_returns(tx, truth).await?;
    // Whoever waits for the money looks again now.
    crate::queue::wake_order(tx, order.id).await?;
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
            // Restricted since the payment's own gate: as there, it waits for the release, and nothing of it is kept.
            Err(closed @ Closed::Refused(Refusal { code: "subject_restricted", .. })) => return Err(closed.into()),
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
