//! What provider news do: one row in the inbox and one job, in one short transaction. The sender was verified before;
//! nothing of the news is believed beyond "look again".

use serde_json::json;

use crate::{
    audit::Entry,
    book_money::BookMoney,
    calls::token_sha256,
    close_checkout::CloseCheckout,
    confirm_payment::ConfirmPayment,
    id::{Id, Intent, Order},
    intake,
    providers::{
        fal_webhook::{FalEvent, FalOutcome},
        stripe_webhook::StripeEvent,
    },
    purge_call::PurgeCall,
    reconcile_calls,
    run::Tx,
    stop::Stop,
};

/// What became of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A job looks into it.
    Enqueued,
    /// Delivered before; nothing was done again.
    Duplicate,
    /// Nothing here depends on it.
    Ignored,
    /// No call of ours has this token; nothing was stored about it.
    UnknownToken,
    /// The person is gone, or the call was declared not made: nothing was stored, the result is purged where it lies.
    SubjectGone,
}

impl Received {
    /// For logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
            Self::UnknownToken => "unknown_token",
            Self::SubjectGone => "subject_gone",
        }
    }
}

/// What an event of Stripe asks for.
enum Asks {
    /// Is the order of this session paid?
    WhetherPaid(Id<Order>),
    /// Its payment page is closed: what hangs on it ends.
    WhetherOver(Id<Order>),
    /// What became of money that no order waits for.
    ForTheBooks(BookMoney),
}

/// Nothing is believed beyond "look again"; which look follows from the kind of event and from whom it is about.
async fn asks(tx: &mut Tx, event: &StripeEvent) -> Result<Option<Asks>, sqlx::Error> {
    let kind = event.kind.as_str();
    if kind.starts_with("charge.dispute.")
        || kind.starts_with("refund.")
        || matches!(kind, "charge.refunded" | "charge.refund.updated")
    {
        // They name the payment only. Whose it is, the job finds out: news of a refund may come before those of the payment.
        let payment = event.payment_intent.clone();
        let event = event.id.clone();
        return Ok(payment.map(|payment| Asks::ForTheBooks(BookMoney { session: None, payment: Some(payment), event })));
    }
    let over = kind == "checkout.session.expired";
    let paid = matches!(
        kind,
        "checkout.session.completed"
            | "checkout.session.async_payment_succeeded"
            | "checkout.session.async_payment_failed"
    );
    if !over && !paid {
        return Ok(None);
    }
    let Some(session) = event.object_id.as_deref() else { return Ok(None) };
    intake::lock_session(tx, session).await?;
    let order = sqlx::query_scalar!("select id from safelight.orders where checkout_session = $1", session)
        .fetch_optional(&mut **tx)
        .await?;
    if let Some(order) = order {
        return Ok(Some(if over { Asks::WhetherOver(order.into()) } else { Asks::WhetherPaid(order.into()) }));
    }
    let erased = sqlx::query_scalar!(
        r#"select exists (select from safelight_fiscal.erased_checkouts where stripe_session = $1) as "erased!""#,
        session
    )
    .fetch_one(&mut **tx)
    .await?;
    let session = Some(session.to_owned());
    Ok(erased.then(|| Asks::ForTheBooks(BookMoney { session, payment: None, event: event.id.clone() })))
}

/// A verified event of Stripe. Ten deliveries of it are one row and one job.
pub async fn stripe(tx: &mut Tx, event: &StripeEvent) -> Result<Received, Stop> {
    let asks = asks(tx, event).await?;
    let received = if asks.is_some() { Received::Enqueued } else { Received::Ignored };
    if !first_time(tx, "stripe", &event.id, &event.kind, event.object_id.as_deref(), None, received).await? {
        return Ok(Received::Duplicate);
    }
    match asks {
        Some(Asks::WhetherPaid(order)) => {
            tx.enqueue(&ConfirmPayment { order, event: event.id.clone() }).await?;
        }
        Some(Asks::WhetherOver(order)) => {
            tx.enqueue(&CloseCheckout { order, event: event.id.clone() }).await?;
        }
        Some(Asks::ForTheBooks(job)) => {
            tx.enqueue(&job).await?;
        }
        None => {}
    }
    Entry::new("provider", "webhook.stripe", received.as_str()).write(tx).await?;
    Ok(received)
}

/// A verified callback of Fal with the token of one of our intents.
pub async fn fal(tx: &mut Tx, token: &str, event: &FalEvent) -> Result<Received, Stop> {
    // Where Fal tried again inside, the id that our submit got is the gateway's.
    let request = event.gateway_request_id.as_deref().unwrap_or(&event.request_id);
    let call_back = sqlx::query!(
        "select call_id, purpose, differs from safelight.provider_called_back($1, $2)",
        token_sha256(token),
        request
    )
    .fetch_one(&mut **tx)
    .await?;
    let (Some(call), Some(purpose)) = (call_back.call_id, call_back.purpose) else {
        return Ok(Received::UnknownToken);
    };
    let id: Id<Intent> = call.into();
    // A call that a person declared not made, and that was made all the same, is not taken home: another one may stand in
    // its place by now.
    let now = sqlx::query!(
        r#"select s.state in ('erasing', 'erased') or s.generation <> c.generation as "gone!", c.state = 'refused' as "declared_not_made!"
        from safelight.provider_calls c join safelight.subjects s on s.id = c.subject_id where c.id = $1"#,
        call
    )
    .fetch_one(&mut **tx)
    .await?;
    let gone = now.gone || now.declared_not_made;
    let received = if gone { Received::SubjectGone } else { Received::Enqueued };
    let status = match event.status {
        FalOutcome::Ok => "ok",
        FalOutcome::Error => "error",
        FalOutcome::Other => "other",
    };
    // The same request may end twice in Fal's books; each word counts once.
    let event_id = format!("{request}:{status}");
    if !first_time(tx, "fal", &event_id, status, Some(request), Some(id), received).await? {
        return Ok(Received::Duplicate);
    }
    let differs = match call_back.differs.as_deref() {
        Some("replaced") => Some("replaced"),
        Some("taken_back") => Some("taken_back"),
        Some(_) => Some("taken_home"),
        None => None,
    };
    if let Some(differs) = differs {
        // Its token is the call's own, so its id is, too; the other one was a guess, by the listing or by a person.
        Entry::new("provider", "call.request_differs", differs).code("call", id.to_string()).write(tx).await?;
    }
    if gone {
        tx.enqueue(&PurgeCall { call: id }).await?;
    } else {
        reconcile_calls::collect(tx, id, &purpose).await?;
    }
    Entry::new("provider", "webhook.fal", received.as_str()).write(tx).await?;
    Ok(received)
}

async fn first_time(
    tx: &mut Tx,
    provider: &str,
    event_id: &str,
    kind: &str,
    object: Option<&str>,
    call: Option<Id<Intent>>,
    received: Received,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        r#"insert into safelight.webhook_inbox (provider, event_id, type, object_id, call_id, fields, outcome)
        values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing"#,
        provider,
        event_id,
        kind,
        object,
        call.map(Id::uuid),
        json!({}),
        received.as_str()
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
