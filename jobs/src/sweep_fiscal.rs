//! Let order data go when tax law asks for them no longer, and find the law of sales that have none.
//!
//! Life: enqueued by cron every night, by the HTTP sweep endpoint or by the CLI -> sales without a rule get the one that the
//! tenant's policy has by now for their country -> sales whose years are over go, with refunds, disputes, what Stripe told of them,
//! and the order's own row -> orders that nobody paid within forty days are deleted as failed orders are -> what is left is counted.
//! Input: none.  Output: rows that go; deletions of orders that nobody paid. A country that no policy names is not guessed: its
//! sales stay, are counted by the metrics, and alarm.
//! An order of whose images some are still there goes with the last of them. Overlapping runs are harmless.
//! Source: policy rows K29, H30; decisions D13; `[fiscal]` in `policies/`: years from the end of the year of the sale.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    intake::begin_failed_order,
    job::Retry,
    run::{Run, Tx},
    stop::Stop,
    sweep::{Sweep, Swept},
};

/// Sales or orders of one run and kind; the next night goes on.
const AT_ONCE: i64 = 5000;
/// For how long an order that nobody paid is kept: no bank is that slow. In hours.
const UNPAID_HOURS: i32 = 960;

/// One night's look.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SweepFiscal {
    /// Which tick of the schedule, or who asks.
    pub because: String,
}

impl Sweep for SweepFiscal {
    const NAME: &'static str = "sweep_fiscal";
    const KIND: &'static str = "fiscal";
    const RETRY: Retry = Retry { attempts: 5, first: Duration::from_secs(60), most: Duration::from_secs(1800) };
    const TIMEOUT: Duration = Duration::from_secs(3600);

    fn because(&self) -> &str {
        &self.because
    }

    async fn sweep(&self, run: &Run) -> Result<(Tx, Swept), Stop> {
        let ruled = find_rules(run).await?;
        let sales = let_sales_go(run).await?;
        let orders = let_paid_orders_go(run).await?;
        let unpaid = delete_unpaid_orders(run).await?;
        let mut tx = run.begin().await?;
        let residue: i64 = sqlx::query_scalar!(
            r#"select count(*) as "n!" from safelight_fiscal.sales where keep_until <= safelight.now()"#
        )
        .fetch_one(&mut *tx)
        .await?;
        let acted = ruled + sales + orders + unpaid;
        if acted + residue > 0 {
            run.note("sweep.fiscal", "looked")
                .count("rules_found", ruled)
                .count("sales", sales)
                .count("orders", orders)
                .count("orders_unpaid", unpaid)
                .count("residue", residue)
                .write(&mut tx)
                .await?;
        }
        Ok((tx, Swept { found: acted + residue, acted, residue: Some(residue), began: None }))
    }
}

/// Sales of a country that the policy did not name when they were booked, and names by now.
async fn find_rules(run: &Run) -> Result<i64, Stop> {
    let open = sqlx::query!(
        r#"select distinct tenant, country as "country!" from safelight_fiscal.sales where keep_until is null and country is not null"#
    )
    .fetch_all(&mut *run.reads().await?)
    .await?;
    let mut found = 0;
    for sale in open {
        // A tenant that this process has no policy of is another one's to look after.
        let Some(rule) = run.services.policies.of(&sale.tenant).ok().and_then(|policy| policy.fiscal(&sale.country))
        else {
            continue;
        };
        let mut tx = run.begin().await?;
        let done = sqlx::query!(
            r#"update safelight_fiscal.sales set rule = $3, keep_until = date_trunc('year', sold_at) + make_interval(years => 1 + $4::integer)
            where tenant = $1 and country = $2 and keep_until is null"#,
            sale.tenant,
            sale.country,
            rule.legal,
            i32::try_from(rule.years).unwrap_or(i32::MAX)
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        found += i64::try_from(done.rows_affected()).unwrap_or(i64::MAX);
    }
    Ok(found)
}

/// Each in a commit of its own: a person is locked for the moment in which the row of their order goes.
async fn let_sales_go(run: &Run) -> Result<i64, Stop> {
    let due = sqlx::query_scalar!(
        "select stripe_session from safelight_fiscal.sales where keep_until <= safelight.now() order by keep_until limit $1",
        AT_ONCE
    )
    .fetch_all(&mut *run.reads().await?)
    .await?;
    let mut gone = 0;
    for session in due {
        let mut tx = run.begin().await?;
        // Refunds and disputes go with it.
        let sale = sqlx::query!(
            "delete from safelight_fiscal.sales where stripe_session = $1 and keep_until <= safelight.now() returning order_id, payment_intent",
            session
        )
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(sale) = sale {
            sqlx::query!(
                "delete from safelight.webhook_inbox where provider = 'stripe' and (object_id = $1 or object_id = $2)",
                session,
                sale.payment_intent
            )
            .execute(&mut *tx)
            .await?;
            sqlx::query!("delete from safelight.differences where object = $1", session).execute(&mut *tx).await?;
            if let Some(order) = sale.order_id {
                sqlx::query!("select safelight.forget_order($1)", order).fetch_one(&mut *tx).await?;
            }
            gone += 1;
        }
        tx.commit().await?;
    }
    Ok(gone)
}

/// Orders whose sale has gone before them, because something that was made for them was still there.
async fn let_paid_orders_go(run: &Run) -> Result<i64, Stop> {
    let over = sqlx::query_scalar!(
        r#"select o.id from safelight.orders o where o.paid_at is not null and o.state in ('delivered', 'refund_review')
            and not exists (select from safelight_fiscal.sales s where s.order_id = o.id)
            and not exists (select from safelight.artifacts a where a.order_id = o.id)
        order by o.id limit $1"#,
        AT_ONCE
    )
    .fetch_all(&mut *run.reads().await?)
    .await?;
    let mut gone = 0;
    for order in over {
        let mut tx = run.begin().await?;
        let forgotten =
            sqlx::query_scalar!(r#"select safelight.forget_order($1) as "it!""#, order).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        gone += i64::from(forgotten);
    }
    Ok(gone)
}

async fn delete_unpaid_orders(run: &Run) -> Result<i64, Stop> {
    let over = sqlx::query_scalar!(
        r#"select o.id from safelight.orders o join safelight.subjects s on s.id = o.subject_id
        where o.state in ('refused', 'expired') and o.created_at <= safelight.now() - make_interval(hours => $1)
            and s.state in ('active', 'restricted')
            and not exists (select from safelight_fiscal.sales x where x.order_id = o.id)
            and not exists (select from safelight.deletions d where d.order_id = o.id)
        order by o.id limit $2"#,
        UNPAID_HOURS,
        AT_ONCE
    )
    .fetch_all(&mut *run.reads().await?)
    .await?;
    let mut begun = 0;
    for order in over {
        let mut tx = run.begin().await?;
        let started = begin_failed_order(&mut tx, None, order.into())
            .await
            .map_err(|error| Stop::retry("order_not_deleted", error))?;
        tx.commit().await?;
        begun += i64::from(started.is_some_and(|(_, started)| !started.already));
    }
    Ok(begun)
}
