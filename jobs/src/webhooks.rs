//! What provider news do: one row in the inbox and one job, in one short transaction. The sender was verified before;
//! nothing of the news is believed beyond "look again".

use serde_json::json;

use crate::{
    audit::Entry,
    calls::token_sha256,
    confirm_payment::ConfirmPayment,
    id::{Id, Intent},
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
    /// The person is gone: nothing was stored, the result is purged where it lies.
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

/// Events that say something about whether a session is paid.
const PAYMENT_EVENTS: &[&str] = &[
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
];

/// A verified event of Stripe. Ten deliveries of it are one row and one job.
pub async fn stripe(tx: &mut Tx, event: &StripeEvent) -> Result<Received, Stop> {
    let wanted = PAYMENT_EVENTS.contains(&event.kind.as_str());
    intake::lock_session(tx, &event.object_id).await?;
    let order = if wanted {
        sqlx::query_scalar!("select id from safelight.orders where checkout_session = $1", event.object_id)
            .fetch_optional(&mut **tx)
            .await?
    } else {
        None
    };
    let received = if order.is_some() { Received::Enqueued } else { Received::Ignored };
    if !first_time(tx, "stripe", &event.id, &event.kind, Some(&event.object_id), None, received).await? {
        return Ok(Received::Duplicate);
    }
    if let Some(order) = order {
        tx.enqueue(&ConfirmPayment { order: order.into(), event: event.id.clone() }).await?;
    }
    Entry::new("provider", "webhook.stripe", received.as_str()).write(tx).await?;
    Ok(received)
}

/// A verified callback of Fal with the token of one of our intents.
pub async fn fal(tx: &mut Tx, token: &str, event: &FalEvent) -> Result<Received, Stop> {
    // Where Fal tried again inside, the id that our submit got is the gateway's.
    let request = event.gateway_request_id.as_deref().unwrap_or(&event.request_id);
    let call = sqlx::query!(
        "select call_id, purpose from safelight.provider_called_back($1, $2)",
        token_sha256(token),
        request
    )
    .fetch_one(&mut **tx)
    .await?;
    let (Some(call), Some(purpose)) = (call.call_id, call.purpose) else {
        return Ok(Received::UnknownToken);
    };
    let id: Id<Intent> = call.into();
    let gone = sqlx::query_scalar!(
        r#"select s.state in ('erasing', 'erased') or s.generation <> c.generation as "gone!"
        from safelight.provider_calls c join safelight.subjects s on s.id = c.subject_id where c.id = $1"#,
        call
    )
    .fetch_one(&mut **tx)
    .await?;
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
