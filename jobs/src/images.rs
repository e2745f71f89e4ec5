//! Generated images as the jobs that look at them read them.

use sqlx::PgConnection;

use crate::{
    id::{Artifact, Id, Order, Subject},
    run::Run,
    stop::Stop,
};

/// One generated image.
#[derive(Debug)]
pub struct Image {
    /// Whose.
    pub subject: Id<Subject>,
    /// Of which order.
    pub order: Id<Order>,
    /// Made under which generation of the subject.
    pub generation: i32,
    /// Where its bytes are.
    pub key: String,
}

/// The same as [`load`], outside a transaction.
pub async fn read(run: &Run, image: Id<Artifact>) -> Result<Image, Stop> {
    let mut connection = run.reads().await?;
    load(&mut connection, image).await
}

/// Read an image's row. One that is gone ends the job.
pub async fn load(connection: &mut PgConnection, image: Id<Artifact>) -> Result<Image, Stop> {
    let row = sqlx::query!(
        r#"select subject_id, order_id as "order_id!", generation, storage_key from safelight.artifacts
        where id = $1 and class = 'image' and order_id is not null"#,
        image.uuid()
    )
    .fetch_optional(connection)
    .await?
    .ok_or_else(|| Stop::give_up("object_gone", format!("{image} does not exist any more")))?;
    Ok(Image {
        subject: row.subject_id.into(),
        order: row.order_id.into(),
        generation: row.generation,
        key: row.storage_key,
    })
}

/// Keep an image from the buyer; it has no term and goes at once.
pub async fn withhold(tx: &mut PgConnection, image: Id<Artifact>, verdict: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update safelight.artifacts set state = 'withheld', verdict = $2 where id = $1 and state = 'stored' and delivered_at is null",
        image.uuid(),
        verdict
    )
    .execute(tx)
    .await?;
    Ok(())
}
