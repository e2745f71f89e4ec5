//! Let order data go when tax law asks for them no longer, and find the law of sales that have none.
//!
//! Life: enqueued by cron every night, by the HTTP sweep endpoint or by the CLI -> sales without a rule get the one that the
//! tenant's policy has by now for their country -> sales whose years are over go, with refunds, disputes, what Stripe told of them,
//! and the order's own row -> orders that nobody paid within forty days are deleted as failed orders are -> words of orders that
//! ended and have no image, ids of old events, and proofs of consent whose years are over, go -> what is left is counted; where there was more than one
//! run takes, the next one follows.
//! Input: none.  Output: rows that go; deletions of orders that nobody paid. A country that no policy names is not guessed: its
//! sales stay, are counted by the metrics, and alarm.
//! An order of whose images some are still there goes with the last of them. Overlapping runs are harmless.
//! Source: policy rows K29, H30, K50; decisions D13, 0045; `[fiscal]` in `policies/`: years from the end of the year of the sale;
//! `consent` in `[retention]`: years from the erasure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    id::{Id, Order},
    intake::begin_failed_order,
    job::Retry,
    policy::Policy,
    run::{Run, Tx},
    stop::Stop,
    sweep::{Sweep, Swept},
};

/// Sales, orders or proofs of one run and kind. All sales of a year end in one instant: what is left starts the next run.
const AT_ONCE: i64 = 5000;
/// For how long an order that nobody paid is kept, and the id of an event: no bank is that slow. In hours.
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
        let words = let_words_go(&mut tx).await?;
        let news = let_news_go(&mut tx).await?;
        tx.commit().await?;
        let proofs = let_proofs_go(run).await?;
        let mut tx = run.begin().await?;
        let residue: i64 = sqlx::query_scalar!(
            r#"select (select count(*) from safelight_fiscal.sales where keep_until <= safelight.now())
                + (select count(*) from safelight.orders_over($1)) as "n!""#,
            UNPAID_HOURS
        )
        .fetch_one(&mut *tx)
        .await?;
        if [sales, orders, unpaid, words, news, proofs].iter().any(|acted| *acted >= AT_ONCE) {
            tx.enqueue(&Self { because: format!("after:{}", run.job()) }).await?;
        }
        let acted = ruled + sales + orders + unpaid + words + news + proofs;
        if acted + residue > 0 {
            run.note("sweep.fiscal", "looked")
                .count("rules_found", ruled)
                .count("sales", sales)
                .count("orders", orders)
                .count("orders_unpaid", unpaid)
                .count("orders_words", words)
                .count("news", news)
                .count("consents", proofs)
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

/// An order that never got a checkout runs out first, then it goes as one that nobody paid.
async fn delete_unpaid_orders(run: &Run) -> Result<i64, Stop> {
    let over = sqlx::query!(
        r#"select id as "id!", placed as "placed!" from safelight.orders_over($1) order by id limit $2"#,
        UNPAID_HOURS,
        AT_ONCE
    )
    .fetch_all(&mut *run.reads().await?)
    .await?;
    let mut begun = 0;
    for order in over {
        match delete_unpaid(run, order.id, order.placed).await {
            Ok(new) => begun += i64::from(new),
            Err(stop @ Stop::Retry { code: "lease_lost", .. }) => return Err(stop),
            // One that cannot be deleted is shown by the residue; it keeps no other one here.
            Err(stop) => {
                tracing::error!(order.id = %Id::<Order>::from(order.id), ?stop, "an order that nobody paid could not be deleted")
            }
        }
    }
    Ok(begun)
}

async fn delete_unpaid(run: &Run, order: Uuid, placed: bool) -> Result<bool, Stop> {
    let mut tx = run.begin().await?;
    if placed {
        sqlx::query!("select safelight.expire_order($1)", order).fetch_one(&mut *tx).await?;
    }
    let started = begin_failed_order(&mut tx, None, order.into())
        .await
        .map_err(|error| Stop::retry("order_not_deleted", error))?;
    tx.commit().await?;
    Ok(started.is_some_and(|(_, started)| !started.already))
}

/// Words of orders that have ended, of which no image is there or ever was: a deletion of images takes the others (K50).
async fn let_words_go(tx: &mut Tx) -> Result<i64, Stop> {
    let gone = sqlx::query!(
        r#"update safelight.orders set prompt_sealed = null where id in (select o.id from safelight.orders o
            where o.prompt_sealed is not null and o.repair_until is null
                and o.state in ('delivered', 'refused', 'expired', 'refund_review')
                and not exists (select from safelight.artifacts a where a.order_id = o.id and a.class = 'image')
                and exists (select from safelight.policy_retention r where r.tenant = o.tenant
                    and r.version = safelight.policy_in_force(o.tenant) and r.class = 'prompt' and r.rule = 'with_source')
            limit $1 for update skip locked)"#,
        AT_ONCE
    )
    .execute(&mut **tx)
    .await?;
    Ok(i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX))
}

/// Ids of events that no provider repeats any more. Those of a sale go with it.
async fn let_news_go(tx: &mut Tx) -> Result<i64, Stop> {
    let gone = sqlx::query!(
        r#"delete from safelight.webhook_inbox where (provider, event_id) in (select w.provider, w.event_id from safelight.webhook_inbox w
            where w.received_at <= safelight.now() - make_interval(hours => $1) and not (w.provider = 'stripe' and exists (
                select from safelight_fiscal.sales s where s.stripe_session = w.object_id or s.payment_intent = w.object_id))
            limit $2 for update skip locked)"#,
        UNPAID_HOURS,
        AT_ONCE
    )
    .execute(&mut **tx)
    .await?;
    Ok(i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX))
}

/// Proof of consent ends so many years after the processing did, which is when the person was erased (decision 0045).
async fn let_proofs_go(run: &Run) -> Result<i64, Stop> {
    let tenants =
        sqlx::query_scalar!("select id from safelight.tenants order by id").fetch_all(&mut *run.reads().await?).await?;
    let mut gone = 0;
    for tenant in tenants {
        // A tenant that this process has no policy of is another one's to look after.
        let Some(years) = run.services.policies.of(&tenant).ok().and_then(Policy::proof_years) else { continue };
        let mut tx = run.begin().await?;
        gone += sqlx::query_scalar!(
            r#"select safelight.end_proofs($1, $2, $3) as "n!""#,
            tenant,
            i32::try_from(years).unwrap_or(i32::MAX),
            AT_ONCE
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
    }
    Ok(gone)
}
