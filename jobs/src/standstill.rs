//! Paid orders on which nothing works any more: a job of theirs died, or was taken away. They go to refund review, where a
//! person looks, and a redrive of what died takes them back where they stood for as long as they can be repaired.
//!
//! The rows are asked, not the jobs: whatever died, and however, an order that stands still is found. What of it was
//! delivered stays delivered; what was made and not delivered is kept for the repair and no longer.

use uuid::Uuid;

use crate::{
    collect,
    id::{Id, Order},
    intake::begin_failed_order,
    orders,
    run::Run,
    stop::Stop,
};

/// How long an order whose work died can be taken back. Undelivered images wait for it no longer (K27, D2).
const REPAIR_HOURS: i32 = 72;
/// Orders of one page.
const AT_ONCE: i64 = 200;

/// Stop every order that stands still, and end the repairs whose time is over. Answers how many orders were stopped.
pub(crate) async fn stop_all(run: &Run) -> Result<u32, Stop> {
    let mut stopped = 0;
    let mut last = Uuid::nil();
    loop {
        let page = sqlx::query!(
            r#"select o.id, o.subject_id from safelight.orders o
            where o.state in ('paid', 'training', 'generating') and o.id > $1 and safelight.stands_still(o) order by o.id limit $2"#,
            last,
            AT_ONCE
        )
        .fetch_all(&mut *run.reads().await?)
        .await?;
        let Some(end) = page.last() else { break };
        last = end.id;
        for order in page {
            stopped += u32::from(stop(run, order.id, order.subject_id).await?);
        }
    }
    end_repairs(run).await?;
    Ok(stopped)
}

async fn stop(run: &Run, order: Uuid, subject: Uuid) -> Result<bool, Stop> {
    let mut tx = run.begin().await?;
    sqlx::query!("select safelight.own_subject($1)", subject).fetch_one(&mut *tx).await?;
    orders::lock(&mut tx, order.into()).await?;
    // Asked again: work may have begun, or ended well, while the lock was waited for.
    let died = sqlx::query!(
        r#"select o.state, (select d.code from safelight.dead_letters d where d.order_id = o.id order by d.died_at desc limit 1) as code
        from safelight.orders o where o.id = $1 and safelight.stands_still(o)"#,
        order
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(died) = died else { return Ok(false) };
    let problem = match died.code.as_deref() {
        Some(collect::EXPIRED) => collect::EXPIRED,
        Some(_) => "work_died",
        // No dead letter says why: its jobs were cancelled, or lost.
        None => "work_lost",
    };
    sqlx::query!(
        r#"update safelight.orders set state = 'refund_review', problem = $2, stopped_from = state,
            repair_until = safelight.now() + make_interval(hours => $3) where id = $1"#,
        order,
        problem,
        REPAIR_HOURS
    )
    .execute(&mut *tx)
    .await?;
    run.note("order.stopped", problem).order(order.into()).subject(subject.into()).write(&mut tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// Nobody repaired it: what it never delivered is deleted, here and at the provider, and certified like any other deletion. Of somebody
/// who needs the data for a claim it is held until the day that was set (D14).
async fn end_repairs(run: &Run) -> Result<(), Stop> {
    let over = sqlx::query!(
        r#"select o.id from safelight.orders o join safelight.subjects s on s.id = o.subject_id
        where o.repair_until <= safelight.now() and s.state in ('active', 'restricted')
            and o.subject_id <> all ((select safelight.held_persons())::uuid[]) order by o.id limit $1"#,
        AT_ONCE
    )
    .fetch_all(&mut *run.reads().await?)
    .await?;
    for order in over {
        let mut tx = run.begin().await?;
        let begun = begin_failed_order(&mut tx, None, order.id.into())
            .await
            .map_err(|error| Stop::retry("repair_not_ended", error))?;
        // None: a redrive has taken it back meanwhile.
        if let Some((subject, started)) = begun {
            run.note("order.repair_over", "not_repaired")
                .order(Id::<Order>::from(order.id))
                .subject(subject)
                .deletion(started.deletion)
                .write(&mut tx)
                .await?;
        }
        tx.commit().await?;
    }
    Ok(())
}
