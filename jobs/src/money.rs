//! The books: what Stripe says of one payment, written down once, however often and in whichever order it is heard.
//!
//! Every amount is a row of `safelight_fiscal`: the sale, each refund, each dispute; a sale's word follows from its rows.
//! Nothing here believes an event, decides about an order, or names a person.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    id::{Id, Order},
    policy::Policy,
    providers::stripe::{Dispute, Refund, Session},
    run::Run,
    stop::Stop,
};

/// What Stripe said of one payment, and when it was asked.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) session: Session,
    pub(crate) refunds: Vec<Refund>,
    pub(crate) disputes: Vec<Dispute>,
    asked_at: DateTime<Utc>,
}

/// Ask Stripe. What went back is asked about where the session's charge says that something did; a `thorough` look asks in
/// any case, because a refund that failed leaves no trace on the charge.
pub(crate) async fn ask(run: &Run, session: &str, thorough: bool) -> Result<Truth, Stop> {
    let asked_at =
        sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&mut *run.reads().await?).await?;
    let stripe = &run.services.stripe;
    let session = stripe.retrieve_session(session).await?;
    let (mut refunds, mut disputes) = (Vec::new(), Vec::new());
    if let Some(payment) = session.payment_intent.as_deref()
        && (thorough || session.returned().is_some())
    {
        refunds = stripe.refunds_of(payment).await?;
        disputes = stripe.disputes_of(payment).await?;
    }
    Ok(Truth { session, refunds, disputes, asked_at })
}

/// Money came: the sale is on the books, once. `order`: none for an order that was erased; then `review` says why a person
/// looks at it.
pub(crate) async fn book_sale(
    tx: &mut PgConnection,
    policy: &Policy,
    order: Option<Id<Order>>,
    session: &Session,
    review: Option<&str>,
) -> Result<(), sqlx::Error> {
    // A country that no fiscal rule names leaves the end open: it is not guessed, it is looked up and set by a person.
    let fiscal = session.country.as_deref().and_then(|country| policy.fiscal(country));
    sqlx::query!(
        r#"insert into safelight_fiscal.sales (tenant, order_id, stripe_session, payment_intent, status, amount_cents, tax_cents, currency, country, sold_at,
            rule, keep_until, review)
        values ($1, $2, $3, $4, 'paid', $5, $6, $7, $8, safelight.now(), $9,
            date_trunc('year', safelight.now()) + make_interval(years => 1 + $10::integer), $11)
        on conflict do nothing"#,
        policy.tenant(),
        order.map(Id::uuid),
        session.id,
        session.payment_intent,
        session.amount_total_cents.unwrap_or_default(),
        session.tax_cents,
        session.currency.as_deref().unwrap_or("xxx"),
        session.country,
        fiscal.map(|rule| rule.legal.as_str()),
        fiscal.map(|rule| i32::try_from(rule.years).unwrap_or(i32::MAX)),
        review
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What went back, or is asked back: a row each. Answers the sale's word. The caller has locked nothing of the books yet:
/// the sale's row is locked here, so that of two who book one payment the second sees what the first did.
pub(crate) async fn book_returns(tx: &mut PgConnection, truth: &Truth) -> Result<String, sqlx::Error> {
    let session = truth.session.id.as_str();
    let tenant = sqlx::query_scalar!(
        "select tenant from safelight_fiscal.sales where stripe_session = $1 for no key update",
        session
    )
    .fetch_one(&mut *tx)
    .await?;
    // A sale of an older version does not know its payment yet; refunds and disputes name nothing else.
    sqlx::query!(
        "update safelight_fiscal.sales set payment_intent = $2 where stripe_session = $1 and payment_intent is null",
        session,
        truth.session.payment_intent
    )
    .execute(&mut *tx)
    .await?;
    for refund in &truth.refunds {
        book_refund(tx, &tenant, session, refund, truth.asked_at).await?;
    }
    for dispute in &truth.disputes {
        sqlx::query!(
            r#"insert into safelight_fiscal.disputes (stripe_dispute, tenant, stripe_session, amount_cents, currency, state, opened_at, seen_at)
            values ($1, $2, $3, $4, $5, $6, to_timestamp($7), $8)
            on conflict (stripe_dispute) do update set state = excluded.state, amount_cents = excluded.amount_cents, seen_at = excluded.seen_at
                where disputes.seen_at <= excluded.seen_at"#,
            dispute.id,
            tenant,
            session,
            dispute.amount_cents,
            dispute.currency.as_deref().unwrap_or("xxx"),
            word(dispute.status.as_deref()),
            dispute.created as f64,
            truth.asked_at
        )
        .execute(&mut *tx)
        .await?;
    }
    // What a sweep saw missing is there now.
    let mut objects = vec![session.to_owned()];
    objects.extend(truth.refunds.iter().map(|refund| refund.id.clone()));
    objects.extend(truth.disputes.iter().map(|dispute| dispute.id.clone()));
    sqlx::query!(
        r#"update safelight.differences set resolved_at = safelight.now() where resolved_at is null and object = any ($1)
            and code in ('paid_not_booked', 'returns_not_booked', 'refund_not_booked', 'dispute_not_booked')"#,
        &objects
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query_scalar!(r#"select safelight_fiscal.settle_sale($1) as "status!""#, session).fetch_one(tx).await
}

async fn book_refund(
    tx: &mut PgConnection,
    tenant: &str,
    session: &str,
    refund: &Refund,
    asked_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let state = word(refund.status.as_deref());
    if let Some(ours) = refund.ours {
        let known = sqlx::query!(
            r#"update safelight_fiscal.refunds set stripe_refund = $2, amount_cents = $5,
                state = case when seen_at is null or seen_at <= $6 then $3 else state end, seen_at = greatest(seen_at, $6)
            where id = $1 and stripe_session = $4 and (stripe_refund is null or stripe_refund = $2)"#,
            ours.uuid(),
            refund.id,
            state,
            session,
            refund.amount_cents,
            asked_at
        )
        .execute(&mut *tx)
        .await?;
        if known.rows_affected() == 1 {
            return Ok(());
        }
    }
    // Made at the dashboard, or by a part of the house whose books are lost.
    sqlx::query!(
        r#"insert into safelight_fiscal.refunds (id, tenant, stripe_session, stripe_refund, amount_cents, currency, state, seen_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (stripe_refund) do update set state = excluded.state, seen_at = excluded.seen_at
            where refunds.seen_at is null or refunds.seen_at <= excluded.seen_at"#,
        Id::<crate::id::Refund>::new().uuid(),
        tenant,
        session,
        refund.id,
        refund.amount_cents,
        refund.currency.as_deref().unwrap_or("xxx"),
        state,
        asked_at
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Stripe's word as it is stored: its enums are open, and a word that is none counts as not decided.
pub(crate) fn word(status: Option<&str>) -> String {
    let plain =
        |text: &&str| (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    status.filter(plain).unwrap_or("pending").to_owned()
}

/// Has all of a sale gone back, or is it asked back by a bank? Then nobody works for it any more.
pub(crate) fn is_gone(status: &str) -> Option<&'static str> {
    match status {
        "refunded" => Some("refunded"),
        "disputed" => Some("disputed"),
        _ => None,
    }
}
