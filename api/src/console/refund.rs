//! Giving money back: all that is left of it or a part, by the function of `POST /v1/orders/{order}/refund` and `safelight refund`. Of an
//! order from its page; of one that was erased from the page of orders, where its sale stands, or by the checkout session that Stripe
//! names. Each form holds the id of the refund that it makes, so that it makes one however often it is sent; an amount that is not
//! there any more is refused. Never asks Stripe: a job does; and never shows an id of Stripe's.

use axum::{extract::State, response::Response};
use maud::{Markup, html};
use safelight_jobs::{
    id::{Id, Order, Refund},
    intake::{self, Paid, RefundWish},
    queue,
    run::Tx,
};
use uuid::Uuid;

use super::{
    Trouble,
    act::{self, Form},
    money::amount,
    sign_in::Viewer,
};
use crate::{error::Error, input::At, state::ApiState};

/// Where money goes back from whose order is not there any more.
const OF_ERASED: &str = "/console/orders/erased/refund";
const ORDERS: &str = "/console/orders";

/// What can be given back, and the forms for it; nothing for who may only look, or where nothing is left.
pub(super) async fn section(state: &ApiState, viewer: &Viewer, order: Id<Order>) -> Result<Markup, Error> {
    if !viewer.operates() {
        return Ok(html! {});
    }
    let sale = sqlx::query!(
        r#"select kept_cents - asked_cents as "left!", currency as "currency!", dispute_open as "disputed!"
        from safelight_fiscal.balance where order_id = $1"#,
        order.uuid()
    )
    .fetch_optional(&state.pool)
    .await?;
    let Some(sale) = sale.filter(|sale| sale.left > 0) else { return Ok(html! {}) };
    let of = Left {
        address: &format!("{ORDERS}/{order}/refund"),
        about: &order.to_string(),
        cents: sale.left,
        currency: &sale.currency,
        disputed: sale.disputed,
    };
    Ok(html! {
        section aria-label="Give money back" {
            h2 { "Give money back" span.aside { (amount(sale.left, &sale.currency)) " is left" } }
            (of.forms(viewer, " An order that is still under way is stopped.", &html! {}))
        }
    })
}

/// Money that can be given back.
struct Left<'a> {
    address: &'a str,
    about: &'a str,
    cents: i64,
    currency: &'a str,
    /// A bank decides about it.
    disputed: bool,
}

impl Left<'_> {
    fn forms(&self, viewer: &Viewer, all_of_it: &str, which: &Markup) -> Markup {
        if self.disputed {
            return html! { p.none { "The customer's bank decides about this money; Stripe refunds none of it meanwhile." } };
        }
        let all = amount(self.cents, self.currency);
        html! { div.acts {
            (act::coded(viewer, self.address, &format!("Give back {all}"), self.about, &html! {
                (once()) (which) input type="hidden" name="amount_cents" value=(self.cents);
                (act::sure(&format!("Give {all} back.{all_of_it}")))
            }))
            (act::coded(viewer, self.address, "Give back a part", self.about, &html! {
                (once()) (which)
                label { "How many cents, at most " (self.cents) input name="amount_cents" type="number" min="1" max=(self.cents) inputmode="numeric" required; }
                (act::sure(&format!("Give this part back.{}", if all_of_it.is_empty() { "" } else { " All that is left of it stops an order that is still under way." })))
            }))
        } }
    }
}

/// The refund that a form makes.
fn once() -> Markup {
    html! { input type="hidden" name="refund" value=(Id::<Refund>::new()); }
}

/// The forms of a sale whose order was erased, in its row. `sale` is the row's own id and none of Stripe's, `when` tells it from others.
pub(super) fn of_sale(viewer: &Viewer, sale: Uuid, when: &str, cents: i64, currency: &str, disputed: bool) -> Markup {
    if !viewer.operates() || cents <= 0 {
        return html! {};
    }
    let about = format!("that came {when}");
    Left { address: OF_ERASED, about: &about, cents, currency, disputed }.forms(
        viewer,
        "",
        &html! { input type="hidden" name="sale" value=(sale); },
    )
}

/// The form for a sale that stands in no list: its order was delivered, and erased later.
pub(super) fn by_session(viewer: &Viewer) -> Markup {
    if !viewer.operates() {
        return html! {};
    }
    let fields = html! {
        (once())
        p.small { "Its order is gone. What is left of it is the checkout session, which Stripe's page of the payment names." }
        label { "Checkout session" input name="session" type="text" required pattern="cs_[A-Za-z0-9_]{1,250}" placeholder="cs_…" autocapitalize="none" spellcheck="false"; }
        label { "How many cents; empty: all that is left" input name="amount_cents" type="number" min="1" inputmode="numeric"; }
        (act::sure("Give it back."))
    };
    html! { section aria-label="Money of an erased order" {
        h2 { "Money of an erased order" span.aside { "one that waits for a look stands above" } }
        div.acts { (act::coded(viewer, OF_ERASED, "Give money back", "of an erased order", &fields)) }
    } }
}

/// What every form says: how much, if it says that, and as which refund.
fn said(form: &Form) -> Result<(Option<i64>, Id<Refund>), Error> {
    let unfit = || Error::BadBody { why: "`amount_cents` is missing, or is none".to_owned() };
    let cents = form.field("amount_cents").map(|cents| cents.parse().map_err(|_| unfit())).transpose()?;
    let refund = form.id("refund")?;
    form.confirmed()?;
    Ok((cents, refund))
}

/// Ask for it.
pub(super) async fn ask(
    State(state): State<ApiState>,
    order: Result<At<Order>, Error>,
    form: Form,
) -> Result<Response, Trouble> {
    let At(order) = order?;
    let why = form.code()?;
    let (amount_cents, refund) = said(&form)?;
    if amount_cents.is_none() {
        return Err(Error::BadBody { why: "`amount_cents` is missing, or is none".to_owned() }.into());
    }
    let by = form.viewer().code();
    let paid = Paid::Order(order);
    let wish = RefundWish { tenant: form.viewer().tenant(), paid: &paid, amount_cents, why, by: &by };
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    if intake::ask_refund_once(&mut tx, &wish, refund).await? {
        queue::keep_act(&mut tx, "refund.asked", "asked", &order.to_string(), form.operator().by).await?;
    }
    tx.commit().await?;
    Ok(act::done(&format!("{ORDERS}/{order}"), "refund_asked_for"))
}

/// The same of a sale whose order was erased. What is kept names the refund: an id of Stripe's stays in the books.
pub(super) async fn ask_erased(State(state): State<ApiState>, form: Form) -> Result<Response, Trouble> {
    let why = form.code()?;
    let (amount_cents, refund) = said(&form)?;
    let paid = Paid::Session(session(&state, &form, refund).await?);
    not_of_an_order(&state, &form, &paid).await?;
    let by = form.viewer().code();
    let wish = RefundWish { tenant: form.viewer().tenant(), paid: &paid, amount_cents, why, by: &by };
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    if intake::ask_refund_once(&mut tx, &wish, refund).await? {
        queue::keep_act(&mut tx, "refund.asked", "asked", &refund.to_string(), form.operator().by).await?;
    }
    tx.commit().await?;
    Ok(act::done(ORDERS, "refund_asked_for"))
}

/// A session of an order that is there belongs on that order's page: giving all of it back stops the order, which is said there.
async fn not_of_an_order(state: &ApiState, form: &Form, paid: &Paid) -> Result<(), Error> {
    let Paid::Session(session) = paid else { return Ok(()) };
    let order = sqlx::query_scalar!(
        r#"select o.id from safelight.orders o where o.checkout_session = $1 and ($2::text is null or o.tenant = $2)"#,
        session,
        form.viewer().tenant()
    )
    .fetch_optional(&state.pool)
    .await?;
    match order.map(Id::<Order>::from) {
        None => Ok(()),
        Some(order) => Err(Error::Conflict {
            code: "order_is_there",
            why: format!("the session is of {order}, which is not erased: give its money back on its page"),
        }),
    }
}

/// As it was typed, or of the row that the form stood in; also of one that stands there no more because this very form was sent before.
async fn session(state: &ApiState, form: &Form, refund: Id<Refund>) -> Result<String, Error> {
    if let Some(typed) = form.field("session") {
        let unfit =
            || Error::Invalid { code: "bad_session", why: "`session` is no checkout session (cs_…)".to_owned() };
        return match typed.parse() {
            Ok(Paid::Session(session)) => Ok(session),
            _ => Err(unfit()),
        };
    }
    let none = || Error::BadBody { why: "`sale` and `session` are missing, or are none".to_owned() };
    let sale: Uuid = form.field("sale").and_then(|id| id.parse().ok()).ok_or_else(none)?;
    sqlx::query_scalar!(
        r#"select stripe_session from safelight_fiscal.sales where id = $1 and order_id is null
            and ($2::text is null or tenant = $2)
            and (review is not null or stripe_session = (select r.stripe_session from safelight_fiscal.refunds r where r.id = $3))"#,
        sale,
        form.viewer().tenant(),
        refund.uuid()
    )
    .fetch_optional(&state.pool)
    .await?
    .ok_or_else(|| Error::not_found("a sale that waits for a look"))
}
