//! Stripe's sessions, refunds and disputes, and our orders and books, both ways.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::{Look, differences::Seen};
use crate::{
    book_money::BookMoney,
    close_checkout::{self, Checkout, Due},
    confirm_payment::ConfirmPayment,
    id::{Id, Order},
    job::Job,
    money,
    providers::stripe::{Session, Span, StripeError},
    stop::Stop,
};

/// No bank is as slow.
const SLOWEST_BANK_HOURS: i64 = 720;
/// A refund that Stripe has not taken within a day needs a person.
const SLOWEST_REFUND_HOURS: i64 = 24;

/// Everything was read: an error ends the comparison, and nothing is resolved.
pub(super) async fn compare(look: &mut Look<'_>) -> Result<bool, Stop> {
    let span = Span { from: look.from.timestamp(), until: look.until.timestamp() + 1 };
    let mut seen = BTreeSet::new();
    let mut after = None;
    loop {
        let page = look.run.services.stripe.sessions_in(span, after.as_deref()).await?;
        sessions(look, &page.data).await?;
        after = page.data.last().map(|last| last.id.clone());
        seen.extend(page.data.into_iter().map(|session| session.id));
        if !page.has_more || after.is_none() {
            break;
        }
    }
    refunds(look, span).await?;
    disputes(look, span).await?;
    sales(look, &seen).await?;
    refunds_on_their_way(look).await?;
    slow_banks(look).await?;
    erased(look).await?;
    Ok(true)
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

struct Ours {
    session: String,
    order: Option<Uuid>,
    tenant: Option<String>,
    is_erased: bool,
    waits_for_bank: bool,
    booked_cents: Option<i64>,
    refunded_cents: i64,
    has_dispute: bool,
}

async fn sessions(look: &mut Look<'_>, sessions: &[Session]) -> Result<(), Stop> {
    let ids: Vec<String> = sessions.iter().map(|session| session.id.clone()).collect();
    let ours = sqlx::query_as!(
        Ours,
        r#"select q.session as "session!", o.id as "order?", coalesce(o.tenant, b.tenant, e.tenant) as tenant,
            e.stripe_session is not null as "is_erased!", coalesce(o.payment_pending_at is not null, false) as "waits_for_bank!",
            b.amount_cents as "booked_cents?", coalesce(b.refunded_cents, 0) as "refunded_cents!",
            exists (select from safelight_fiscal.disputes d where d.stripe_session = q.session) as "has_dispute!"
        from unnest($1::text[]) q(session)
        left join safelight.orders o on o.checkout_session = q.session
        left join safelight_fiscal.balance b on b.stripe_session = q.session
        left join safelight_fiscal.erased_checkouts e on e.stripe_session = q.session"#,
        &ids
    )
    .fetch_all(&mut *look.run.reads().await?)
    .await?;
    for session in sessions {
        match ours.iter().find(|ours| ours.session == session.id) {
            _ if session.livemode != look.run.services.livemode => other_mode(look, session, &ours).await?,
            Some(ours) if ours.booked_cents.is_some() => booked(look, session, ours).await?,
            Some(ours) if ours.order.is_some() || ours.is_erased => unbooked(look, session, ours).await?,
            _ => strange(look, session).await?,
        }
    }
    Ok(())
}

fn about<'a>(code: &'static str, session: &'a Session, tenant: Option<&'a str>) -> Seen<'a> {
    Seen {
        code,
        object: &session.id,
        provider: "stripe",
        tenant,
        amount_cents: session.amount_total_cents,
        about_at: at(session.created),
    }
}

/// Of Stripe's other mode, which buys nothing here: where an order of ours was paid with it, a person hears of it.
async fn other_mode(look: &mut Look<'_>, session: &Session, ours: &[Ours]) -> Result<(), Stop> {
    match ours.iter().find(|ours| ours.session == session.id && ours.order.is_some()) {
        Some(ours) if session.is_settled() => {
            look.differs(about("paid_in_other_mode", session, ours.tenant.as_deref())).await
        }
        _ => Ok(()),
    }
}

/// On the books: then Stripe has the money, as much of it, and as much of it went back.
async fn booked(look: &mut Look<'_>, session: &Session, ours: &Ours) -> Result<(), Stop> {
    let tenant = ours.tenant.as_deref();
    if !session.is_settled() {
        look.differs(about("booked_not_paid", session, tenant)).await?;
    } else if session.amount_total_cents != ours.booked_cents {
        look.differs(about("amount_differs", session, tenant)).await?;
    }
    if session.refunded_cents != ours.refunded_cents || session.disputed != ours.has_dispute {
        look.differs(about("returns_not_booked", session, tenant)).await?;
        let (id, event) = (Some(session.id.clone()), look.event());
        look.mend(&BookMoney { session: id, payment: None, event }).await?;
    }
    Ok(())
}

/// Not on the books, and known: paid means that nobody told us, or that nobody heard.
async fn unbooked(look: &mut Look<'_>, session: &Session, ours: &Ours) -> Result<(), Stop> {
    let news = session.is_settled() || session.is_at_a_slow_bank() && !ours.waits_for_bank;
    if session.is_settled() {
        look.differs(about("paid_not_booked", session, ours.tenant.as_deref())).await?;
    }
    if !news {
        return Ok(());
    }
    let event = look.event();
    match ours.order {
        // One that waits already, for its worker or for the end of a restriction, will look by itself.
        Some(order) if is_being_confirmed(look, order).await? => Ok(()),
        Some(order) => look.mend(&ConfirmPayment { order: order.into(), event }).await,
        None => look.mend(&BookMoney { session: Some(session.id.clone()), payment: None, event }).await,
    }
}

async fn is_being_confirmed(look: &mut Look<'_>, order: Uuid) -> Result<bool, Stop> {
    let waits = sqlx::query_scalar!(
        r#"select exists (select from safelight.jobs where order_id = $1 and kind = $2) as "waits!""#,
        order,
        ConfirmPayment::NAME
    );
    Ok(waits.fetch_one(&mut *look.run.reads().await?).await?)
}

/// A paid session that names an order of ours, and that we know nothing of.
async fn strange(look: &mut Look<'_>, session: &Session) -> Result<(), Stop> {
    let named = session.client_reference_id.as_deref().or(session.order_id.as_deref());
    let Some(order) = named.and_then(|id| id.parse::<Id<Order>>().ok()).filter(|_| session.is_settled()) else {
        return Ok(());
    };
    let tenant = sqlx::query_scalar!("select tenant from safelight.orders where id = $1", order.uuid())
        .fetch_optional(&mut *look.run.reads().await?)
        .await?;
    let code = if tenant.is_some() { "session_not_noted" } else { "session_without_order" };
    look.differs(about(code, session, tenant.as_deref())).await
}

async fn refunds(look: &mut Look<'_>, span: Span) -> Result<(), Stop> {
    let mut after = None;
    loop {
        let page = look.run.services.stripe.refunds_in(span, after.as_deref()).await?;
        for refund in &page.data {
            let Some(payment) = refund.payment_intent.as_deref() else { continue };
            let state = money::word(refund.status.as_deref());
            compare_return(look, "refund_not_booked", &refund.id, payment, &state, refund.amount_cents, refund.created)
                .await?;
        }
        after = page.data.last().map(|last| last.id.clone());
        if !page.has_more || after.is_none() {
            return Ok(());
        }
    }
}

async fn disputes(look: &mut Look<'_>, span: Span) -> Result<(), Stop> {
    let mut after = None;
    loop {
        let page = look.run.services.stripe.disputes_in(span, after.as_deref()).await?;
        for dispute in &page.data {
            let Some(payment) = dispute.payment_intent.as_deref() else { continue };
            let state = money::word(dispute.status.as_deref());
            compare_return(
                look,
                "dispute_not_booked",
                &dispute.id,
                payment,
                &state,
                dispute.amount_cents,
                dispute.created,
            )
            .await?;
        }
        after = page.data.last().map(|last| last.id.clone());
        if !page.has_more || after.is_none() {
            return Ok(());
        }
    }
}

/// A refund or dispute at Stripe: on the books with the same word? Of a payment that is not ours: nothing to us.
async fn compare_return(
    look: &mut Look<'_>,
    code: &'static str,
    id: &str,
    payment: &str,
    state: &str,
    amount_cents: i64,
    created: i64,
) -> Result<(), Stop> {
    let known = sqlx::query!(
        r#"select s.tenant,
            exists (select from safelight_fiscal.refunds r where r.stripe_refund = $2 and r.state = $3)
            or exists (select from safelight_fiscal.disputes d where d.stripe_dispute = $2 and d.state = $3) as "same!"
        from safelight_fiscal.sales s where s.payment_intent = $1"#,
        payment,
        id,
        state
    )
    .fetch_optional(&mut *look.run.reads().await?)
    .await?;
    let Some(known) = known.filter(|known| !known.same) else { return Ok(()) };
    look.differs(Seen {
        code,
        object: id,
        provider: "stripe",
        tenant: Some(&known.tenant),
        amount_cents: Some(amount_cents),
        about_at: at(created),
    })
    .await?;
    let event = look.event();
    look.mend(&BookMoney { session: None, payment: Some(payment.to_owned()), event }).await
}

/// Every sale of the span is a session of Stripe's.
async fn sales(look: &mut Look<'_>, seen: &BTreeSet<String>) -> Result<(), Stop> {
    let sales = sqlx::query!(
        "select stripe_session, tenant, amount_cents, sold_at from safelight_fiscal.sales where sold_at >= $1 and sold_at < $2",
        look.from,
        look.until
    )
    .fetch_all(&mut *look.run.reads().await?)
    .await?;
    for sale in sales.iter().filter(|sale| !seen.contains(&sale.stripe_session)) {
        // Made before the span and paid in it, or made for nothing: Stripe says which.
        match look.run.services.stripe.retrieve_session(&sale.stripe_session).await {
            Ok(_) => {}
            Err(StripeError::NotFound { .. }) => {
                look.differs(Seen {
                    code: "sale_unknown_at_stripe",
                    object: &sale.stripe_session,
                    provider: "stripe",
                    tenant: Some(&sale.tenant),
                    amount_cents: Some(sale.amount_cents),
                    about_at: sale.sold_at,
                })
                .await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn refunds_on_their_way(look: &mut Look<'_>) -> Result<(), Stop> {
    let late = sqlx::query!(
        "select id, tenant, amount_cents, asked_at from safelight_fiscal.refunds where state = 'asked' and asked_at <= $1",
        look.until - Duration::hours(SLOWEST_REFUND_HOURS)
    )
    .fetch_all(&mut *look.run.reads().await?)
    .await?;
    for refund in late {
        let object = Id::<crate::id::Refund>::from(refund.id).to_string();
        look.differs(Seen {
            code: "refund_not_made",
            object: &object,
            provider: "stripe",
            tenant: Some(&refund.tenant),
            amount_cents: Some(refund.amount_cents),
            about_at: refund.asked_at,
        })
        .await?;
    }
    Ok(())
}

/// Orders whose bank has not decided: asked one by one, since their sessions may be older than any span.
async fn slow_banks(look: &mut Look<'_>) -> Result<(), Stop> {
    let waiting = sqlx::query!(
        r#"select id, tenant, subject_id, checkout_session as "session!", amount_cents, payment_pending_at as "since!" from safelight.orders
        where state = 'placed' and payment_pending_at is not null and checkout_session is not null order by id"#
    )
    .fetch_all(&mut *look.run.reads().await?)
    .await?;
    for order in waiting {
        let due = Due { id: order.id, tenant: order.tenant, subject: order.subject_id, session: order.session };
        match close_checkout::look(look.run, &due.session).await? {
            Checkout::Paid => {
                let event = look.event();
                look.mend(&ConfirmPayment { order: due.id.into(), event }).await?;
            }
            Checkout::Unseen(error) => return Err(error.into()),
            Checkout::AtTheBank if order.since <= look.until - Duration::hours(SLOWEST_BANK_HOURS) => {
                look.differs(Seen {
                    code: "bank_too_slow",
                    object: &due.session,
                    provider: "stripe",
                    tenant: Some(&due.tenant),
                    amount_cents: Some(order.amount_cents),
                    about_at: order.since,
                })
                .await?;
            }
            Checkout::AtTheBank | Checkout::Open => {}
            over @ Checkout::Over => look.mended += i64::from(close_checkout::close(look.run, &due, &over).await?),
        }
    }
    Ok(())
}

/// Checkouts of erased orders: money may still come for them, until it cannot any more.
async fn erased(look: &mut Look<'_>) -> Result<(), Stop> {
    let mut tx = look.run.begin().await?;
    sqlx::query!("delete from safelight_fiscal.erased_checkouts where forget_after <= safelight.now()")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    let left =
        sqlx::query_scalar!("select stripe_session from safelight_fiscal.erased_checkouts order by stripe_session")
            .fetch_all(&mut *look.run.reads().await?)
            .await?;
    for session in left {
        let event = look.event();
        look.mend(&BookMoney { session: Some(session), payment: None, event }).await?;
    }
    Ok(())
}
