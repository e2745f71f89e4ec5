//! A person of the house wants money given back. Written down before Stripe is asked; `RefundPayment` asks.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    audit::Entry,
    id::{self, Id, Order},
    place::{self, Place},
    purge_call::PurgeCall,
    refund_payment::RefundPayment,
    run::Tx,
};

use super::IntakeError;

/// Whose money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paid {
    /// An order's.
    Order(Id<Order>),
    /// Of a checkout session whose order was erased: `cs_…`
    Session(String),
}

impl std::str::FromStr for Paid {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("cs_") && text.len() <= 255 {
            return Ok(Self::Session(text.to_owned()));
        }
        text.parse().map(Self::Order).map_err(|_| "an order (order_…) or a checkout session (cs_…)".to_owned())
    }
}

/// A wish to give money back.
#[derive(Debug, Clone)]
pub struct RefundWish<'a> {
    /// Of whose tenant only; none: of any.
    pub tenant: Option<&'a str>,
    /// Whose money.
    pub paid: &'a Paid,
    /// In minor units; none: all that is left.
    pub amount_cents: Option<i64>,
    /// Why, as a code. Never a name, never a sentence.
    pub why: &'a str,
    /// Who asks, as a code: a token's id, or an operator's short name.
    pub by: &'a str,
}

/// A refund that is on its way.
#[derive(Debug, Clone)]
pub struct RefundAsked {
    /// Its id.
    pub refund: Id<id::Refund>,
    /// In minor units.
    pub amount_cents: i64,
    /// Lower-case code.
    pub currency: String,
}

/// Is it a code, as books and audit log keep it? Free text would hold names sooner or later.
pub fn is_code(text: &str) -> bool {
    (3..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

pub(super) fn code<'a>(what: &str, text: &'a str) -> Result<&'a str, IntakeError> {
    if is_code(text) {
        Ok(text)
    } else {
        Err(IntakeError::invalid(
            "not_a_code",
            format!("`{what}` is a code of 3 to 64 small letters, digits and underscores, without names"),
        ))
    }
}

/// Write a refund down and have it made. All of it: an order that is still under way is stopped in the same commit.
pub async fn ask_refund(tx: &mut Tx, wish: &RefundWish<'_>) -> Result<RefundAsked, IntakeError> {
    ask_as(tx, wish, Id::new()).await
}

/// The same under an id that the caller made, for a wish that may be sent twice: is it new? One that is on the books already changes
/// nothing.
///
/// # Errors
/// As [`ask_refund`]; a refund of this id on the books that is of another session or another amount: it is typed into a form, and
/// typed anew by who goes back to it.
pub async fn ask_refund_once(tx: &mut Tx, wish: &RefundWish<'_>, refund: Id<id::Refund>) -> Result<bool, IntakeError> {
    let known = match wish.paid {
        Paid::Order(order) => order_refunded(tx, wish, *order, refund).await?,
        Paid::Session(session) => session_refunded(tx, wish, session, refund).await?,
    };
    if known {
        return Ok(false);
    }
    ask_as(tx, wish, refund).await?;
    Ok(true)
}

/// Is this refund of the order on the books?
async fn order_refunded(
    tx: &mut Tx,
    wish: &RefundWish<'_>,
    order: Id<Order>,
    refund: Id<id::Refund>,
) -> Result<bool, IntakeError> {
    let subject = sqlx::query_scalar!(
        "select subject_id from safelight.orders where id = $1 and ($2::text is null or tenant = $2)",
        order.uuid(),
        wish.tenant
    )
    .fetch_optional(&mut **tx)
    .await?
    .ok_or_else(|| IntakeError::not_found(order))?;
    // The lock under which it is written: who sent it first has it on the books when the second one has the lock.
    sqlx::query!("select safelight.own_subject($1)", subject).fetch_one(&mut **tx).await?;
    let known = sqlx::query_scalar!(
        r#"select r.amount_cents from safelight_fiscal.refunds r join safelight_fiscal.sales s on s.stripe_session = r.stripe_session
            where r.id = $1 and s.order_id = $2"#,
        refund.uuid(),
        order.uuid()
    )
    .fetch_optional(&mut **tx)
    .await?;
    match (known, wish.amount_cents) {
        (Some(cents), Some(asked)) if cents != asked => Err(super::sent_before()),
        (known, _) => Ok(known.is_some()),
    }
}

/// Is this refund of the session on the books?
async fn session_refunded(
    tx: &mut Tx,
    wish: &RefundWish<'_>,
    session: &str,
    refund: Id<id::Refund>,
) -> Result<bool, IntakeError> {
    // Nobody's lock is there any more; this one holds back whoever sent the same form.
    super::lock_session(tx, session).await?;
    let known = sqlx::query!(
        r#"select r.stripe_session, r.amount_cents, s.amount_cents = (select sum(all_of_it.amount_cents) from safelight_fiscal.refunds all_of_it
                where all_of_it.stripe_session = s.stripe_session and all_of_it.state not in ('refused', 'failed', 'canceled')) as "nothing_left!"
        from safelight_fiscal.refunds r join safelight_fiscal.sales s on s.stripe_session = r.stripe_session
        where r.id = $1 and ($2::text is null or r.tenant = $2)"#,
        refund.uuid(),
        wish.tenant
    )
    .fetch_optional(&mut **tx)
    .await?;
    let Some(known) = known else { return Ok(false) };
    // Without an amount all that was left was meant: then nothing is.
    let asked = wish.amount_cents.map_or(known.nothing_left, |cents| cents == known.amount_cents);
    let same = known.stripe_session == session && asked;
    if same { Ok(true) } else { Err(super::sent_before()) }
}

async fn ask_as(tx: &mut Tx, wish: &RefundWish<'_>, refund: Id<id::Refund>) -> Result<RefundAsked, IntakeError> {
    let (why, by) = (code("why", wish.why)?, code("by", wish.by)?);
    let (order, session) = match wish.paid {
        Paid::Order(order) => (Some(*order), None),
        Paid::Session(session) => (None, Some(session.as_str())),
    };
    let answer = sqlx::query!(
        r#"select code, refund_cents, refund_currency, refund_tenant, of_order, of_subject, calls as "calls!"
        from safelight.ask_refund($1, $2, $3, $4, $5, $6, $7)"#,
        refund.uuid(),
        wish.tenant,
        order.map(Id::uuid),
        session,
        wish.amount_cents,
        why,
        by
    )
    .fetch_one(&mut **tx)
    .await?;
    match answer.code.as_deref() {
        None => {}
        Some("order_unpaid") => {
            return Err(conflict("order_unpaid", "no money came for it, so none goes back"));
        }
        Some("nothing_to_refund") => {
            return Err(conflict("nothing_to_refund", "all of it has gone back, or is on its way"));
        }
        Some("sale_disputed") => {
            return Err(conflict(
                "sale_disputed",
                "the customer's bank decides about this money; Stripe refunds none of it meanwhile",
            ));
        }
        Some("refund_too_large") => {
            return Err(IntakeError::invalid(
                "refund_too_large",
                "the amount is not positive, or more than what is left",
            ));
        }
        Some(_) => {
            let what = order.map_or_else(|| "this session".to_owned(), |order| order.to_string());
            return Err(IntakeError::not_found(what));
        }
    }
    let amount_cents = answer.refund_cents.unwrap_or_default();
    tx.enqueue(&RefundPayment { refund }).await?;
    for call in answer.calls {
        tx.enqueue(&PurgeCall { call: call.into() }).await?;
    }
    let mut entry = Entry::new("operator", "refund.asked", "asked")
        .tenant(answer.refund_tenant.unwrap_or_default())
        .count("amount_cents", amount_cents)
        .code("why", why)
        .code("by", by);
    if let (Some(order), Some(subject)) = (answer.of_order, answer.of_subject) {
        entry = entry.order(order.into()).subject(subject.into());
    }
    entry.write(tx).await?;
    Ok(RefundAsked { refund, amount_cents, currency: answer.refund_currency.unwrap_or_default() })
}

fn conflict(code: &'static str, why: &str) -> IntakeError {
    IntakeError::Conflict { code, why: why.to_owned() }
}

/// Money that waits for a person's decision.
#[derive(Debug, Clone)]
pub struct InReview {
    /// The order, or the checkout session of one that was erased.
    pub about: String,
    /// Whose.
    pub tenant: String,
    /// Why, as a code.
    pub problem: String,
    /// What of it is still here, in minor units.
    pub kept_cents: i64,
    /// What is asked back already and not made yet.
    pub asked_cents: i64,
    /// Lower-case code.
    pub currency: String,
    /// The sale's word.
    pub status: String,
    /// A redrive of what died takes the order back.
    pub can_be_repaired: bool,
    /// When it came.
    pub sold_at: DateTime<Utc>,
    /// The row of the sale.
    pub sale: Uuid,
}

impl InReview {
    /// Where it stands among the others.
    pub fn place(&self) -> Place {
        Place::of(self.sold_at, self.sale)
    }
}

/// Orders in refund review, and money that no order holds any more or that did not go back, the oldest first, after a place of
/// [`InReview::place`], at most so many.
///
/// # Errors
/// Those of the database.
pub async fn in_review(pool: &sqlx::PgPool, after: Option<Place>, most: i64) -> Result<Vec<InReview>, sqlx::Error> {
    let (at, id) = place::halves(after);
    sqlx::query_as!(
        InReview,
        r#"select coalesce('order_' || replace(o.id::text, '-', ''), b.stripe_session) as "about!", b.tenant as "tenant!",
            coalesce(case when o.state = 'refund_review' then o.problem end, b.review, '') as "problem!", b.kept_cents as "kept_cents!",
            b.asked_cents as "asked_cents!", b.currency as "currency!", b.status as "status!",
            coalesce(o.repair_until > safelight.now(), false) as "can_be_repaired!", b.sold_at as "sold_at!", s.id as "sale!"
        from safelight_fiscal.balance b join (select id, stripe_session from safelight_fiscal.sales) s using (stripe_session)
            left join safelight.orders o on o.id = b.order_id
        where ((o.state = 'refund_review' and b.kept_cents > 0) or b.review is not null)
            and ($1::timestamptz is null or (b.sold_at, s.id) > ($1, $2::uuid))
        order by b.sold_at, s.id limit $3"#,
        at,
        id,
        most
    )
    .fetch_all(pool)
    .await
}
