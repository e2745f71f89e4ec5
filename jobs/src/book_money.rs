//! Write down what Stripe says of one payment after the order had its money, or without an order: refunds, disputes, and
//! money that comes for a person who is erased.
//!
//! Life: enqueued by Stripe's webhook (refund, dispute, a session whose order was erased), by an erasure, by the money
//! sweep -> which session -> session, refunds and disputes read at Stripe -> rows of the books; an order under way whose
//! money is gone is stopped in the same commit, its calls are cancelled and purged -> done.
//! Input: a session or a payment, and the event that asks.  Output: rows of the books.
//! Nothing of a person is processed: an erased order's money is booked, marked for review, and that is all (N21). A payment
//! page of theirs that is still open is closed, so that nobody pays for what is gone.
//! A payment that no order, sale or erased checkout of ours names is somebody else's, and left alone.
//! No gate: it sends Stripe's own ids to Stripe. The house's own work: a fence does not take it away.
//! Source: <https://docs.stripe.com/api/refunds>, <https://docs.stripe.com/disputes> (read 2026-11); policy rows N21, D17.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    confirm_payment::ConfirmPayment,
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    money::{self, Truth},
    orders,
    policy::Processor,
    providers::stripe::{Session, SessionStatus, StripeError},
    run::{Run, Tx},
    stop::{Done, Stop},
};

/// One look at one payment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BookMoney {
    /// The checkout session, where it is known: `cs_…`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Else the payment: `pi_…`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<String>,
    /// The event that asks.
    pub event: String,
}

/// Whose a session is.
struct Known {
    tenant: String,
    order: Option<Uuid>,
    subject: Option<Uuid>,
    is_booked: bool,
}

impl Job for BookMoney {
    const NAME: &'static str = "book_money";
    const QUEUE: Queue = Queue::Payments;
    const RETRY: Retry = Retry { attempts: 30, first: Duration::from_secs(5), most: Duration::from_secs(3600) };
    const EFFECT: Effect = Effect::Repeatable;
    const PROVIDER: Option<Processor> = Some(Processor::Stripe);
    type Pass = ();

    fn key(&self) -> JobKey {
        let about = self.session.as_deref().or(self.payment.as_deref()).unwrap_or_default();
        JobKey::new(Self::NAME, &[&about, &self.event])
    }

    fn scope(&self) -> Scope {
        Scope::System
    }

    async fn gate(&self, _run: &Run) -> Result<(), Stop> {
        Ok(())
    }

    async fn run(&self, (): (), run: &Run) -> Result<Done, Stop> {
        let Some(session) = self.which(run).await? else { return foreign(run).await };
        let Some(known) = whose(&mut *run.reads().await?, &session).await? else { return foreign(run).await };
        let active = is_active(run, known.subject).await?;
        if let Some(order) = known.order
            && !known.is_booked
            && active
        {
            // The payment itself has not been confirmed yet: that look reads refunds and disputes as well.
            let mut tx = run.begin().await?;
            let event = self.event.clone();
            tx.enqueue(&ConfirmPayment { order: order.into(), event }).await?;
            return run.finish(tx).await;
        }
        let mut truth = money::ask(run, &session, true).await?;
        if !active && truth.session.status == SessionStatus::Open {
            truth.session = close(run, &session).await?;
        }
        book(run, &session, &truth).await
    }
}

impl BookMoney {
    async fn which(&self, run: &Run) -> Result<Option<String>, Stop> {
        if let Some(session) = &self.session {
            return Ok(Some(session.clone()));
        }
        let Some(payment) = &self.payment else { return Ok(None) };
        let booked =
            sqlx::query_scalar!("select stripe_session from safelight_fiscal.sales where payment_intent = $1", payment)
                .fetch_optional(&mut *run.reads().await?)
                .await?;
        if booked.is_some() {
            return Ok(booked);
        }
        Ok(run.services.stripe.sessions_of(payment).await?.into_iter().next().map(|session| session.id))
    }
}

/// Nobody pays for an order that is erased. Refused by Stripe: the customer was quicker, so look again.
async fn close(run: &Run, session: &str) -> Result<Session, Stop> {
    match run.services.stripe.expire_session(session).await {
        Err(error @ StripeError::Refused { .. }) => Err(Stop::retry("session_moved", error)),
        closed => Ok(closed?),
    }
}

async fn foreign(run: &Run) -> Result<Done, Stop> {
    let mut tx = run.begin().await?;
    run.note("money.looked", "not_ours").write(&mut tx).await?;
    run.finish(tx).await
}

async fn whose<'a, E>(executor: E, session: &str) -> Result<Option<Known>, sqlx::Error>
where
    E: sqlx::PgExecutor<'a>,
{
    let row = sqlx::query!(
        r#"select coalesce(o.tenant, s.tenant, e.tenant) as tenant, o.id as "order?", o.subject_id as "subject?", s.id is not null as "is_booked!"
        from (select $1::text as session) q
        left join safelight.orders o on o.checkout_session = q.session
        left join safelight_fiscal.sales s on s.stripe_session = q.session
        left join safelight_fiscal.erased_checkouts e on e.stripe_session = q.session"#,
        session
    )
    .fetch_one(executor)
    .await?;
    Ok(row.tenant.map(|tenant| Known { tenant, order: row.order, subject: row.subject, is_booked: row.is_booked }))
}

async fn is_active(run: &Run, subject: Option<Uuid>) -> Result<bool, sqlx::Error> {
    let state = sqlx::query_scalar!("select state from safelight.subjects where id = $1", subject)
        .fetch_optional(&mut *run.reads().await?)
        .await?;
    Ok(matches!(state.as_deref(), Some("active" | "restricted")))
}

async fn book(run: &Run, session: &str, truth: &Truth) -> Result<Done, Stop> {
    let mut tx = run.begin().await?;
    // The person before their order, and alone: no job of theirs holds anything that this waits for. This job's own row is
    // the house's: nobody who holds a person waits for it.
    let before = whose(&mut *tx, session).await?;
    let subject = before.as_ref().and_then(|known| known.subject);
    let mut active = false;
    if let Some(subject) = subject {
        sqlx::query!("select safelight.own_subject($1)", subject).fetch_one(&mut *tx).await?;
        let state = sqlx::query_scalar!("select state from safelight.subjects where id = $1", subject)
            .fetch_one(&mut *tx)
            .await?;
        active = matches!(state.as_str(), "active" | "restricted");
    }
    if let Some(order) = before.as_ref().and_then(|known| known.order) {
        orders::lock(&mut tx, order.into()).await?;
    }
    // Read again: an erasure may have taken the order while the lock was waited for.
    let Some(known) = whose(&mut *tx, session).await? else { return run.finish(tx).await };
    let mut outcome = "nothing_yet";
    if !known.is_booked && (active && known.order.is_some() || !is_ours(run, truth)) {
        // A person who is there after all has their payment confirmed by its own job; play money is nobody's.
        return run.finish(tx).await;
    }
    if !known.is_booked && truth.session.is_settled() {
        let policy = run.services.policies.of(&known.tenant)?;
        money::book_sale(&mut tx, policy, None, &truth.session, Some("paid_after_erasure")).await?;
    }
    if known.is_booked || truth.session.is_settled() {
        let status = money::book_returns(&mut tx, truth).await?;
        forget_checkout(&mut tx, session).await?;
        outcome = match status.as_str() {
            "refunded" => "refunded",
            "partly_refunded" => "partly_refunded",
            "disputed" => "disputed",
            _ => "paid",
        };
        if let (true, Some(order), Some(problem)) = (active, known.order, money::is_gone(&status)) {
            orders::halt(&mut tx, order.into(), problem).await?;
        }
    } else if truth.session.status == SessionStatus::Expired {
        forget_checkout(&mut tx, session).await?;
        outcome = "never_paid";
    }
    let mut entry = run.note("money.booked", outcome).tenant(known.tenant.as_str());
    if let Some(order) = known.order {
        entry = entry.order(order.into());
    }
    entry.count("amount_cents", truth.session.amount_total_cents.unwrap_or_default()).write(&mut tx).await?;
    run.finish(tx).await
}

fn is_ours(run: &Run, truth: &Truth) -> bool {
    truth.session.livemode == run.services.livemode
}

async fn forget_checkout(tx: &mut Tx, session: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from safelight_fiscal.erased_checkouts where stripe_session = $1", session)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
