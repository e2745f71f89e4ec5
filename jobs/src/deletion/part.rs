//! Plans of a part: one photo or image, and an order that failed; and what is dropped because it was made from what goes.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{DeletionRow, Targets, plan::Steps};
use crate::{
    compare_faces::CompareFaces,
    job::{Job, JobKey},
    run::Tx,
    stop::Stop,
};

/// Which photo or image it is about; none: an erasure has taken it on meanwhile.
pub(super) async fn photo(tx: &mut PgConnection, deletion: &DeletionRow) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from safelight.artifacts where deletion_id = $1 and class in ('upload', 'image')",
        deletion.id.uuid()
    )
    .fetch_optional(tx)
    .await
}

/// What Fal may have of it: of an image the call that made it and those that looked at it; of a photo the trainings of its order
/// and, where images are made from photos themselves, these. A training that runs is waited for: the copy that it was given goes
/// with its end, and the model that was paid for has its own term.
pub(super) async fn calls_of_a_photo(
    tx: &mut PgConnection,
    deletion: &DeletionRow,
    steps: &mut Steps<'_>,
) -> Result<(), sqlx::Error> {
    let calls = sqlx::query!(
        r#"select distinct c.id, a.class = 'upload' as "let_run!" from safelight.artifacts a
        join safelight.provider_calls c on c.subject_id = a.subject_id and (c.state <> 'refused' or c.request_id is not null)
        left join safelight.orders o on o.id = c.order_id
        where a.deletion_id = $1 and a.class in ('upload', 'image') and case a.class
            when 'image' then c.artifact_id = a.id or c.order_id = a.order_id and c.position = a.position
            else o.batch_id = a.batch_id and (c.purpose = 'train' or c.purpose = 'generate' and not o.needs_model) end"#,
        deletion.id.uuid()
    )
    .fetch_all(tx)
    .await?;
    let let_run = calls.iter().any(|call| call.let_run);
    let ids: Vec<Uuid> = calls.into_iter().map(|call| call.id).collect();
    let count = ids.len();
    steps.push(("processor_copy", "fal", Targets::Calls { ids, let_run }, count));
    Ok(())
}

/// Vectors and row of an order that failed.
pub(super) async fn rows_of_an_order(
    tx: &mut PgConnection,
    order: Uuid,
    steps: &mut Steps<'_>,
) -> Result<(), sqlx::Error> {
    let vectors: i64 =
        sqlx::query_scalar!(r#"select count(*) as "n!" from safelight.embeddings where order_id = $1"#, order)
            .fetch_one(tx)
            .await?;
    steps.push(("embedding", "self", Targets::OrderVectors { order }, usize::try_from(vectors).unwrap_or(0)));
    steps.push(("order", "self", Targets::FailedOrder { order }, 1));
    Ok(())
}

/// Photos go: so do the vectors that were measured on them, and each score that counted one of them (K26, K49, D4). Where a
/// person took one photo of several away, what is left is compared again. Answers how many scores went.
pub(super) async fn drop_what_rests_on(tx: &mut Tx, deletion: &DeletionRow, photos: &[Uuid]) -> Result<u64, Stop> {
    let orders =
        sqlx::query_scalar!("delete from safelight.embeddings where upload_id = any ($1) returning order_id", photos)
            .fetch_all(&mut **tx)
            .await?;
    let images =
        sqlx::query_scalar!("delete from safelight.similarities where order_id = any ($1) returning image_id", &orders)
            .fetch_all(&mut **tx)
            .await?;
    if deletion.trigger == "one_photo" {
        let again = sqlx::query_scalar!(
            r#"select a.id from safelight.artifacts a where a.id = any ($1) and a.deletion_id is null
                and exists (select from safelight.embeddings e join safelight.artifacts u on u.id = e.upload_id
                    where e.order_id = a.order_id and safelight.readable(u))"#,
            &images
        )
        .fetch_all(&mut **tx)
        .await?;
        for image in again {
            let compare = CompareFaces { image: image.into() };
            let key = JobKey::new(CompareFaces::NAME, &[&compare.image, &deletion.id]);
            compare.again(tx, key.as_str().to_owned()).await?;
        }
    }
    Ok(images.len() as u64)
}

/// An order's words describe its images and go with the last of them, where the tenant's policy says so (K25, K50).
pub(super) async fn drop_words(tx: &mut Tx, deletion: &DeletionRow) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"update safelight.orders o set prompt_sealed = null
        where o.subject_id = $1 and o.prompt_sealed is not null and o.repair_until is null
            and o.state in ('delivered', 'refused', 'expired', 'refund_review')
            and not exists (select from safelight.artifacts a where a.order_id = o.id and a.class = 'image')
            and exists (select from safelight.policy_retention r where r.tenant = o.tenant
                and r.version = safelight.policy_in_force(o.tenant) and r.class = 'prompt' and r.rule = 'with_source')"#,
        deletion.subject.uuid()
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
