//! End one unpaid checkout that Stripe says is over, and the consents that were given for it.
//!
//! Life: enqueued by Stripe's word that a payment page is closed -> session read at Stripe (events come in any order: it
//! may be paid by now) -> order `expired` and its consents ended in one transaction -> done.
//! Input: an order and the event that asks.  Output: an expired order, or one that waits for a slow bank, or the look at a
//! payment.
//! A customer who is through while a slow bank decides is no customer who did not pay: such an order stays, and is served
//! when the money comes. `ExpireConsents` does the same for checkouts of which no event told.
//! No gate: it sends Stripe's own id to Stripe, and takes permissions away.
//! Source: policy row K16; <https://docs.stripe.com/api/checkout/sessions/object> (read 2026-11).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    audit::Entry,
    confirm_payment::ConfirmPayment,
    id::{Id, Order},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    orders,
    policy::Processor,
    providers::stripe::{SessionStatus, StripeError},
    run::Run,
    stop::{Done, Stop},
};

/// One checkout that may be over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CloseCheckout {
    /// Whose.
    pub order: Id<Order>,
    /// The event that asks.
    pub event: String,
}

/// An order whose checkout nobody has paid.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) id: Uuid,
    pub(crate) tenant: String,
    pub(crate) subject: Uuid,
    pub(crate) session: String,
}

/// What Stripe says of one unpaid checkout.
#[derive(Debug)]
pub(crate) enum Checkout {
    /// Nobody paid, and nobody will.
    Over,
    /// The page still works.
    Open,
    /// The customer is through, the bank has not decided.
    AtTheBank,
    /// It is paid.
    Paid,
    /// Stripe could not be asked.
    Unseen(StripeError),
}

impl Job for CloseCheckout {
    const NAME: &'static str = "close_checkout";
    const QUEUE: Queue = Queue::Payments;
    const RETRY: Retry = Retry { attempts: 12, first: Duration::from_secs(5), most: Duration::from_secs(900) };
    const EFFECT: Effect = Effect::Repeatable;
    const PROVIDER: Option<Processor> = Some(Processor::Stripe);
    type Pass = ();

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.order, &self.event])
    }

    /// The house's own work: the expiry owns the person's lock, which a job of that person would share already.
    fn scope(&self) -> Scope {
        Scope::System
    }

    async fn gate(&self, _run: &Run) -> Result<(), Stop> {
        Ok(())
    }

    async fn run(&self, (): (), run: &Run) -> Result<Done, Stop> {
        let due = sqlx::query_as!(
            Due,
            r#"select id, tenant, subject_id as subject, checkout_session as "session!" from safelight.orders
            where state = 'placed' and checkout_session is not null and id = $1"#,
            self.order.uuid()
        )
        .fetch_optional(&mut *run.reads().await?)
        .await?;
        if let Some(due) = due {
            match look(run, &due.session).await? {
                Checkout::Unseen(error) => return Err(error.into()),
                checkout => close(run, &due, &checkout).await?,
            };
        }
        Ok(Done::nothing_more())
    }
}

/// Ask Stripe about an unpaid checkout.
pub(crate) async fn look(run: &Run, session: &str) -> Result<Checkout, Stop> {
    let session = match run.services.stripe.retrieve_session(session).await {
        Ok(session) => session,
        // No such session, so nobody pays it.
        Err(StripeError::NotFound { .. }) => return Ok(Checkout::Over),
        Err(error) => return Ok(Checkout::Unseen(error)),
    };
    Ok(if session.is_settled() {
        Checkout::Paid
    } else if session.is_at_a_slow_bank() {
        Checkout::AtTheBank
    } else if session.status == SessionStatus::Open {
        Checkout::Open
    } else {
        Checkout::Over
    })
}

/// Do what follows from what Stripe said. Answers whether the order has expired now.
pub(crate) async fn close(run: &Run, order: &Due, checkout: &Checkout) -> Result<bool, Stop> {
    let mut tx = run.begin().await?;
    let mut expired = false;
    match checkout {
        Checkout::Over => {
            expired = sqlx::query_scalar!(r#"select safelight.expire_order($1) as "done!""#, order.id)
                .fetch_one(&mut *tx)
                .await?;
            if expired {
                Entry::new("worker", "consent.expired", "unpaid")
                    .tenant(&order.tenant)
                    .subject(order.subject.into())
                    .order(order.id.into())
                    .write(&mut tx)
                    .await?;
            }
        }
        Checkout::AtTheBank => orders::is_at_the_bank(&mut tx, order.id.into(), true).await?,
        Checkout::Paid => {
            tx.enqueue(&ConfirmPayment { order: order.id.into(), event: "expiry".to_owned() }).await?;
        }
        Checkout::Open => {}
        Checkout::Unseen(error) => {
            tracing::warn!(order.id = %Id::<Order>::from(order.id), %error, "an unpaid checkout could not be looked at; it stays for now");
        }
    }
    tx.commit().await?;
    Ok(expired)
}
