//! Place an order, and note its checkout.

use crate::{
    audit::Entry,
    confirm_payment::ConfirmPayment,
    id::{Batch, Id, Order, Subject},
    policy::Policy,
    run::Tx,
    vault::Vault,
};

use super::IntakeError;

/// The states of an order, as they are stored.
pub const ORDER_STATES: [&str; 8] =
    ["placed", "paid", "training", "generating", "delivered", "refused", "expired", "refund_review"];

/// An order as the web backend places it. No `Debug`: the prompt is the person's own words.
pub struct NewOrder {
    /// The buyer.
    pub subject: Id<Subject>,
    /// The photos it is made from.
    pub batch: Id<Batch>,
    /// A plan of the tenant's policy.
    pub plan: String,
    /// The buyer's wish in words.
    pub prompt: Option<String>,
}

/// The order's id, and what it costs by the tenant's policy.
#[derive(Debug, Clone)]
pub struct Checkout {
    /// The order.
    pub order: Id<Order>,
    /// In minor units.
    pub amount_cents: i64,
    /// Lower-case code.
    pub currency: String,
}

/// Place an order. Price and number of images come from the tenant's policy, never from the caller.
pub async fn place(tx: &mut Tx, vault: &Vault, policy: &Policy, new: &NewOrder) -> Result<Checkout, IntakeError> {
    super::active_subject_of(tx, policy.tenant(), new.subject).await?;
    let plan = policy.plan(&new.plan).map_err(|_| {
        IntakeError::invalid("no_such_plan", format!("`{}` is not a plan of {}", new.plan, policy.tenant()))
    })?;
    let photos: i64 = sqlx::query_scalar!(
        r#"select count(*) as "n!" from safelight.artifacts a join safelight.upload_batches b on b.id = a.batch_id
        where b.id = $1 and b.subject_id = $2 and a.deletion_id is null and safelight.readable(a)"#,
        new.batch.uuid(),
        new.subject.uuid()
    )
    .fetch_one(&mut **tx)
    .await?;
    let wanted =
        i64::try_from(plan.photos_min).unwrap_or(i64::MAX)..=i64::try_from(plan.photos_max).unwrap_or(i64::MAX);
    if !wanted.contains(&photos) {
        return Err(IntakeError::invalid(
            "photo_count",
            format!(
                "{} holds {photos} photos; plan `{}` takes {} to {}",
                new.batch,
                new.plan,
                wanted.start(),
                wanted.end()
            ),
        ));
    }
    let prompt = match &new.prompt {
        Some(prompt) if prompt.chars().count() > 500 => {
            return Err(IntakeError::invalid("prompt_too_long", "`prompt` is longer than 500 characters"));
        }
        Some(prompt) => Some(vault.key(tx, new.subject).await?.seal("prompt", prompt.as_bytes())?),
        None => None,
    };
    let order = Id::<Order>::new();
    sqlx::query!(
        r#"insert into safelight.orders (id, tenant, subject_id, batch_id, plan, needs_model, images_wanted, amount_cents, currency, prompt_sealed)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"#,
        order.uuid(),
        policy.tenant(),
        new.subject.uuid(),
        new.batch.uuid(),
        new.plan,
        plan.needs_model,
        i32::from(plan.images),
        i64::from(plan.price_cents),
        plan.currency,
        prompt
    )
    .execute(&mut **tx)
    .await?;
    Entry::new("intake", "order.placed", "placed").subject(new.subject).order(order).write(tx).await?;
    Ok(Checkout { order, amount_cents: plan.price_cents.into(), currency: plan.currency.clone() })
}

/// Taken before anybody looks whether the other side was there: news about a session and its checkout never miss each
/// other. A statement of its own, so that what follows sees what was committed meanwhile.
pub(crate) async fn lock_session(tx: &mut sqlx::PgConnection, session: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_advisory_xact_lock(7302, hashtext($1))", session).fetch_one(tx).await?;
    Ok(())
}

/// The web backend has opened a payment session for an order. Consents that training needs are given by now: those that
/// come later do not count. News about the session may have come earlier than this call (N5).
///
/// # Errors
/// No session's id, or one of Stripe's other mode, whose payment would never be heard here; an order that has another one, or has ended.
pub async fn start_checkout(
    tx: &mut Tx,
    tenant: &str,
    order: Id<Order>,
    session: &str,
    livemode: bool,
) -> Result<(), IntakeError> {
    let plain = session.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !session.starts_with("cs_") || session.len() > 255 || !plain {
        return Err(IntakeError::invalid("bad_session", "`session` is not an id of a Stripe Checkout Session (cs_…)"));
    }
    if session.starts_with(if livemode { "cs_test_" } else { "cs_live_" }) {
        let why = "`session` is one of Stripe's other mode: this intake hears live payments only where STRIPE_LIVEMODE is true, and test payments only where it is not";
        return Err(IntakeError::invalid("bad_session", why));
    }
    lock_session(tx, session).await?;
    // The person first, then rows: who ends an order or gives its money back asks for the same locks.
    let subject = sqlx::query_scalar!(
        "select subject_id from safelight.orders where id = $1 and tenant = $2",
        order.uuid(),
        tenant
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or_else(|| IntakeError::not_found(order))?;
    super::active_subject_of(tx, tenant, subject.into()).await?;
    let known = sqlx::query!(
        "select checkout_session, state from safelight.orders where id = $1 and tenant = $2 for update",
        order.uuid(),
        tenant
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or_else(|| IntakeError::not_found(order))?;
    match known.checkout_session.as_deref() {
        Some(known) if known == session => return Ok(()),
        Some(_) => {
            return Err(IntakeError::Conflict {
                code: "checkout_exists",
                why: format!("{order} has another payment session already"),
            });
        }
        None if known.state != "placed" => {
            return Err(IntakeError::Conflict {
                code: "order_closed",
                why: format!("{order} is {} and takes no payment", known.state),
            });
        }
        None => {}
    }
    let done = sqlx::query!(
        "update safelight.orders set checkout_session = $2, checkout_at = safelight.now() where id = $1",
        order.uuid(),
        session
    )
    .execute(&mut **tx)
    .await;
    if let Err(error) = done {
        return Err(match error.as_database_error().and_then(|error| error.constraint()) {
            Some("orders_checkout_session_key") => IntakeError::Conflict {
                code: "session_taken",
                why: "this payment session belongs to another order".to_owned(),
            },
            _ => error.into(),
        });
    }
    let early = sqlx::query_scalar!(
        "select event_id from safelight.webhook_inbox where provider = 'stripe' and object_id = $1",
        session
    )
    .fetch_all(&mut **tx)
    .await?;
    for event in early {
        tx.enqueue(&ConfirmPayment { order, event }).await?;
    }
    Entry::new("intake", "checkout.started", "started").subject(subject.into()).order(order).write(tx).await?;
    Ok(())
}
