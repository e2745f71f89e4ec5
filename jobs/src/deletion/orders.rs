//! Rows of orders, and what tax law keeps of them: which law it is and until when, said before the link is cut.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{DeletionRow, carry_out::Carried, rows};
use crate::{
    book_money::BookMoney,
    data_map::TakenBy,
    run::{Run, Tx},
    stop::Stop,
};

/// The rows of orders and batches. The sale stays for tax law, without a link. Of a checkout that nobody paid yet only
/// Stripe's session is kept for a while: money that comes for it all the same is booked and looked at (N21).
pub(super) async fn all(run: &Run, deletion: &DeletionRow, ids: &[Uuid]) -> Result<Carried, Stop> {
    let subject = deletion.subject.uuid();
    let mut tx = run.begin().await?;
    own(&mut tx, ids).await?;
    let law = law(&mut tx, ids).await?;
    part_from_money(&mut tx, ids, "erasure").await?;
    sqlx::query!("delete from safelight.orders where subject_id = $1", subject).execute(&mut *tx).await?;
    sqlx::query!("delete from safelight.upload_batches where subject_id = $1", subject).execute(&mut *tx).await?;
    rows::none_left(&mut tx, deletion, TakenBy::Orders).await?;
    let carried = Carried::counted(tx, ids.len() as u64, "counted: no order left; nothing was sold");
    Ok(match law {
        None => carried,
        Some(law) => {
            Carried { state: "retained_by_law", evidence: format!("{law}; their link to the person is cut"), ..carried }
        }
    })
}

/// One order that failed: gone where nothing was sold, else its words only.
pub(super) async fn failed(run: &Run, order: Uuid) -> Result<Carried, Stop> {
    let mut tx = run.begin().await?;
    own(&mut tx, &[order]).await?;
    match law(&mut tx, &[order]).await? {
        Some(law) => {
            sqlx::query!("update safelight.orders set prompt_sealed = null where id = $1", order)
                .execute(&mut *tx)
                .await?;
            Ok(Carried {
                state: "retained_by_law",
                ..Carried::counted(tx, 0, format!("{law}; the order's words are gone"))
            })
        }
        None => {
            part_from_money(&mut tx, &[order], "failed_order").await?;
            sqlx::query!("delete from safelight.notices where order_id = $1", order).execute(&mut *tx).await?;
            let gone = sqlx::query!("delete from safelight.orders where id = $1", order).execute(&mut *tx).await?;
            Ok(Carried::counted(tx, gone.rows_affected(), "deleted by its id: the order is gone; nothing was sold"))
        }
    }
}

/// Whoever books money on one of them has done so, or finds it gone: what is certified of its sales is so when it goes.
async fn own(tx: &mut PgConnection, orders: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query!("select id from safelight.orders where id = any ($1) order by id for update", orders)
        .fetch_all(tx)
        .await?;
    Ok(())
}

/// By which law sales of these orders stay, and until when; none: nothing was sold.
async fn law(tx: &mut PgConnection, orders: &[Uuid]) -> Result<Option<String>, sqlx::Error> {
    let sales = sqlx::query!(
        r#"select count(*) as "count!", rule, to_char(keep_until at time zone 'UTC', 'YYYY-MM-DD') as until from safelight_fiscal.sales
        where order_id = any ($1) group by rule, keep_until order by keep_until nulls last"#,
        orders
    )
    .fetch_all(tx)
    .await?;
    if sales.is_empty() {
        return Ok(None);
    }
    let each: Vec<String> = sales
        .iter()
        .map(|sale| match (&sale.rule, &sale.until) {
            (Some(rule), Some(until)) => format!("{} until {until} ({rule})", sale.count),
            _ => format!("{} of a country whose rule nobody has looked up yet, until that is known", sale.count),
        })
        .collect();
    Ok(Some(format!("sales stay for tax law with amount, currency, date and Stripe's ids: {}", each.join("; "))))
}

async fn part_from_money(tx: &mut Tx, orders: &[Uuid], because: &str) -> Result<(), Stop> {
    let unpaid = sqlx::query_scalar!(r#"select safelight.part_from_money($1) as "sessions!""#, orders)
        .fetch_one(&mut **tx)
        .await?;
    for session in unpaid {
        tx.enqueue(&BookMoney { session: Some(session), payment: None, event: because.to_owned() }).await?;
    }
    Ok(())
}
