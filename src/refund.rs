//! `safelight refund`: give money back, or list what waits for that decision. Workers ask Stripe. Who gave it back and why is kept,
//! of an erased order under the refund's id: an id of Stripe's stays in the books.

use clap::Args;
use safelight_jobs::{
    db::{self, Role},
    intake::{self, InReview, Paid, RefundWish},
    place::Place,
    queue::{self, Bell},
    run::Tx,
};
use serde_json::json;

use crate::{
    config,
    lists::{self, Most},
    operator::{coded, confirm, said},
    process::say,
};

#[derive(Debug, Args)]
pub(crate) struct Refund {
    /// The order (order_…), or the checkout session (cs_…) of an order that was erased
    #[arg(required_unless_present = "review")]
    paid: Option<Paid>,
    /// Why, as a code of small letters, digits and underscores; never a name
    #[arg(long, required_unless_present = "review")]
    why: Option<String>,
    /// Who you are, as a short code; stands in the audit log
    #[arg(long, env = "SAFELIGHT_OPERATOR", required_unless_present = "review")]
    by: Option<String>,
    /// How much, in the smallest unit of the currency; without it all that is left
    #[arg(long)]
    amount_cents: Option<i64>,
    /// List what is in refund review instead
    #[arg(long, conflicts_with_all = ["paid", "why", "amount_cents"])]
    review: bool,
    // What the next two require is beside what conflicts with it, and is not asked for then: they conflict themselves.
    /// With --review: later than this place, the `next` of the page before
    #[arg(long, requires = "review", conflicts_with = "paid")]
    after: Option<Place>,
    /// With --review: how many [default: 100]
    #[arg(long, requires = "review", conflicts_with = "paid", value_parser = lists::number())]
    most: Option<u16>,
    /// Say yes beforehand: the money is given back
    #[arg(long)]
    yes: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: config::Database,
}

impl Refund {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Owner, 2).await?;
        let (Some(paid), Some(why), Some(by)) = (&self.paid, &self.why, &self.by) else {
            return self.list(&pool).await;
        };
        let much = self.amount_cents.map_or_else(
            || "all that is left".to_owned(),
            |cents| format!("{}.{:02} of what was paid", cents / 100, cents.abs() % 100),
        );
        let paid_for = match paid {
            Paid::Order(order) => order.to_string(),
            Paid::Session(session) => session.clone(),
        };
        confirm(self.yes, &format!("Give {much} for {paid_for} back?"))?;
        let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
        let wish = RefundWish { tenant: None, paid, amount_cents: self.amount_cents, why, by };
        let asked = intake::ask_refund(&mut tx, &wish).await?;
        let about = match paid {
            Paid::Order(order) => order.to_string(),
            Paid::Session(_) => asked.refund.to_string(),
        };
        queue::keep_act(&mut tx, "refund.asked", "asked", &about, said(&coded(by), why)?).await?;
        tx.commit().await?;
        if self.json {
            say(json!({ "refund": asked.refund, "amount_cents": asked.amount_cents, "currency": asked.currency }));
        } else {
            let money = money(asked.amount_cents, &asked.currency);
            say(format_args!("{}  {money}  is asked for; a worker has Stripe make it", asked.refund));
        }
        Ok(())
    }

    async fn list(&self, pool: &sqlx::PgPool) -> anyhow::Result<()> {
        let most = Most::from(self.most);
        let (rows, next) = most.page(intake::in_review(pool, self.after, most.and_one()).await?, InReview::place);
        if self.json {
            let rows: Vec<_> = rows
                .iter()
                .map(|row| {
                    json!({ "about": row.about, "tenant": row.tenant, "problem": row.problem, "kept_cents": row.kept_cents,
                        "asked_cents": row.asked_cents, "currency": row.currency, "status": row.status, "can_be_repaired": row.can_be_repaired })
                })
                .collect();
            say(json!({ "review": rows, "next": lists::document(next) }));
            return Ok(());
        }
        if rows.is_empty() {
            say("Nothing is in refund review.");
        }
        for row in rows {
            say(line(&row));
        }
        lists::go_on(next, "there are more: --review --after");
        Ok(())
    }
}

fn line(row: &InReview) -> String {
    let asked = match row.asked_cents {
        0 => String::new(),
        cents => format!(", {} asked to go back", money(cents, &row.currency)),
    };
    let repair = if row.can_be_repaired { "  can be redriven" } else { "" };
    format!(
        "{}  {:<12} {:<24} {:<15} {} kept{asked}{repair}",
        row.about,
        row.tenant,
        row.problem,
        row.status,
        money(row.kept_cents, &row.currency)
    )
}

fn money(cents: i64, currency: &str) -> String {
    format!("{}.{:02} {}", cents / 100, cents.abs() % 100, currency.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_reviews_says_what_is_asked_to_go_back_already() {
        let row = |asked_cents| InReview {
            about: "cs_test_1".to_owned(),
            tenant: "koselfie".to_owned(),
            problem: "paid_after_erasure".to_owned(),
            kept_cents: 1900,
            asked_cents,
            currency: "eur".to_owned(),
            status: "paid".to_owned(),
            can_be_repaired: false,
            sold_at: chrono::Utc::now(),
            sale: uuid::Uuid::nil(),
        };
        assert!(line(&row(1900)).ends_with("19.00 EUR kept, 19.00 EUR asked to go back"), "{}", line(&row(1900)));
        assert!(line(&row(0)).ends_with("19.00 EUR kept"), "{}", line(&row(0)));
    }
}
