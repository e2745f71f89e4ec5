//! Delivery: which look an image still needs, what the buyer may have now, and when an order is complete.
//!
//! Which looks there are follows from the tenant's policy, the person's consent and an objection of theirs that was upheld, never
//! from the tenant's name.

use sqlx::PgConnection;

use crate::{
    check_image::CheckImage,
    collect,
    compare_faces::CompareFaces,
    gate::{self, Allowed, Ask, Closed, Compare, For, Nsfw, Refusal},
    id::{Artifact, Id, Notice, Subject},
    orders::{self, OrderRow},
    policy::{DataClass, Policy, Processor, Purpose},
    run::{Run, Tx},
    send_notice::SendNotice,
    stop::Stop,
    sweep_retention::SweepRetention,
};

/// The looks that an order's images need before they are delivered.
struct Looks {
    nsfw: bool,
    compare: bool,
}

async fn looks(tx: &mut PgConnection, policy: &Policy, order: &OrderRow) -> Result<Looks, Stop> {
    let nsfw = is_labelled(tx, policy, order).await?;
    let compare = policy.allows(Purpose::Compare, Processor::SelfHosted, DataClass::Image) && {
        let ask = Ask::of(order.subject, Processor::SelfHosted, &[DataClass::Upload, DataClass::Image]).order(order.id);
        match asked::<Compare>(tx, ask).await? {
            Ok(_) => true,
            // While a restriction lasts an image that is to be compared waits; it is not delivered without.
            Err(refusal) => refusal.code == "subject_restricted",
        }
    };
    Ok(Looks { nsfw, compare })
}

/// Are the images of this order labelled? Where the tenant's policy has that purpose, unless the person's objection to it was
/// upheld. Any other closed gate is no answer: no label is no clearance.
pub(crate) async fn is_labelled(tx: &mut PgConnection, policy: &Policy, order: &OrderRow) -> Result<bool, Stop> {
    if !policy.allows(Purpose::Nsfw, Processor::Fal, DataClass::Image) {
        return Ok(false);
    }
    let ask = Ask::of(order.subject, Processor::Fal, &[DataClass::Image]).order(order.id);
    Ok(!asked::<Nsfw>(tx, ask).await?.is_err_and(|refusal| refusal.is_an_objection()))
}

async fn asked<P: For>(tx: &mut PgConnection, ask: Ask<'_>) -> Result<Result<Allowed<P>, Refusal>, Stop> {
    match gate::pass::<P>(tx, ask).await {
        Ok(allowed) => Ok(Ok(allowed)),
        Err(Closed::Refused(refusal)) => Ok(Err(refusal)),
        Err(closed) => Err(closed.into()),
    }
}

/// Enqueue the next look at a stored image, if it needs one.
pub(crate) async fn next_look(run: &Run, tx: &mut Tx, order: &OrderRow, image: Id<Artifact>) -> Result<(), Stop> {
    let looks = looks(tx, run.services.policies.of(&order.tenant)?, order).await?;
    let seen = sqlx::query!(
        r#"select exists (select from safelight.image_checks where image_id = $1) as "nsfw!",
            exists (select from safelight.similarities where image_id = $1) as "compare!""#,
        image.uuid()
    )
    .fetch_one(&mut **tx)
    .await?;
    if looks.nsfw && !seen.nsfw {
        tx.enqueue(&CheckImage { image }).await?;
    } else if looks.compare && !seen.compare {
        tx.enqueue(&CompareFaces { image }).await?;
    }
    Ok(())
}

/// Enqueue whatever look is missing for the images that are not delivered yet.
pub(crate) async fn look_again(run: &Run, tx: &mut Tx, order: &OrderRow) -> Result<(), Stop> {
    let waiting = sqlx::query_scalar!(
        "select id from safelight.artifacts where order_id = $1 and class = 'image' and state = 'stored' and delivered_at is null and deletion_id is null",
        order.id.uuid()
    )
    .fetch_all(&mut **tx)
    .await?;
    for image in waiting {
        next_look(run, tx, order, image.into()).await?;
    }
    Ok(())
}

/// Deliver every image that needs no further look, and the order once nothing is missing any more. The order's row is
/// locked: of two jobs that end at the same time, the second sees what the first did.
pub(crate) async fn deliver(run: &Run, tx: &mut Tx, order: &OrderRow) -> Result<(), Stop> {
    orders::lock(tx, order.id).await?;
    let policy = run.services.policies.of(&order.tenant)?;
    let looks = looks(tx, policy, order).await?;
    let delivered = sqlx::query_scalar!(
        r#"update safelight.artifacts a set delivered_at = safelight.now()
        where a.order_id = $1 and a.class = 'image' and a.state = 'stored' and a.delivered_at is null and a.deletion_id is null
            and (not $2 or exists (select from safelight.image_checks c where c.image_id = a.id and not c.flagged))
            and (not $3 or exists (select from safelight.similarities s where s.image_id = a.id))
            and exists (select from safelight.orders o where o.id = $1 and o.state = 'generating')
        returning a.id"#,
        order.id.uuid(),
        looks.nsfw,
        looks.compare
    )
    .fetch_all(&mut **tx)
    .await?;
    if !delivered.is_empty() {
        run.note("image.delivered", "delivered").count("images", delivered.len()).write(tx).await?;
    }

    let left = sqlx::query!(
        r#"select
            (select count(*) from safelight.provider_calls c where c.order_id = $1 and c.position is not null
                and c.state in ('succeeded', 'failed', 'cancelled')) as "ended!",
            (select count(*) from safelight.artifacts a where a.order_id = $1 and a.class = 'image'
                and a.state in ('expected', 'stored') and a.delivered_at is null and a.deletion_id is null) as "undecided!",
            (select count(*) from safelight.artifacts a where a.order_id = $1 and a.class = 'image'
                and a.delivered_at is not null) as "delivered!",
            (select count(*) from safelight.provider_calls c where c.order_id = $1 and c.state = 'failed'
                and c.purpose in ('generate', 'nsfw')) as "lost!",
            exists (select from safelight.provider_calls c where c.order_id = $1 and c.code = $2) as "expired!""#,
        order.id.uuid(),
        collect::EXPIRED
    )
    .fetch_one(&mut **tx)
    .await?;
    if left.ended < i64::from(order.images_wanted) || left.undecided > 0 {
        return Ok(());
    }
    // Bought, and lost by us or at Fal: what was delivered stays, and a person looks at the money for the rest. An image that was
    // made and judged unfit is no loss: it is withheld as the policy says.
    let problem = match (left.expired, left.delivered, left.lost) {
        (true, ..) => Some(collect::EXPIRED),
        (false, 0, _) => Some("no_image_to_deliver"),
        (false, _, 1..) => Some("images_failed"),
        _ => None,
    };
    if let Some(problem) = problem {
        if orders::stop(tx, order.id, problem).await? {
            run.note("order.stopped", problem).count("lost", left.lost).write(tx).await?;
        }
    } else if orders::advance(tx, order.id, &["generating"], "delivered").await? {
        sqlx::query!("update safelight.orders set delivered_at = safelight.now() where id = $1", order.id.uuid())
            .execute(&mut **tx)
            .await?;
        run.note("order.delivered", "delivered")
            .count("images", left.delivered)
            .count("withheld", left.ended - left.delivered)
            .write(tx)
            .await?;
        tell(tx, policy, order.subject, order, "order_delivered").await?;
        tx.enqueue(&SweepRetention { because: format!("delivered:{}", order.id) }).await?;
    }
    Ok(())
}

/// A notice, by the channel that the tenant's policy names. In the product it is there with this commit.
async fn tell(
    tx: &mut Tx,
    policy: &Policy,
    subject: Id<Subject>,
    order: &OrderRow,
    template: &str,
) -> Result<(), Stop> {
    let by_mail = policy.allows(Purpose::Notify, Processor::Resend, DataClass::Account);
    let notice = Id::<Notice>::new();
    let new = sqlx::query!(
        r#"insert into safelight.notices (id, tenant, subject_id, order_id, template, channel, sent_at)
        values ($1, $2, $3, $4, $5, case when $6 then 'mail' else 'product' end, case when $6 then null else safelight.now() end)
        on conflict do nothing"#,
        notice.uuid(),
        order.tenant,
        subject.uuid(),
        order.id.uuid(),
        template,
        by_mail
    )
    .execute(&mut **tx)
    .await?
    .rows_affected();
    if new == 1 && by_mail {
        tx.enqueue(&SendNotice { notice }).await?;
    }
    Ok(())
}
