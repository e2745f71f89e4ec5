//! The training zip: a copy of the photos of one order under our own key, for the time of one training.
//!
//! Its row is written before its bytes and ends, at the latest, with the first of the photos in it.

use std::io::{Cursor, Write};

use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    gate::{Allowed, Train},
    id::{Artifact, Id, Order},
    keys,
    orders::{OrderRow, Upload},
    providers::storage::Key,
    run::Run,
    stop::Stop,
};

/// A stored bundle.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) id: Id<Artifact>,
    pub(crate) key: Key,
}

/// Make it, or find the one that an earlier attempt made.
pub(crate) async fn make(
    run: &Run,
    train: &Allowed<Train>,
    order: &OrderRow,
    photos: &[Upload],
) -> Result<Bundle, Stop> {
    let wanted = Id::<Artifact>::new();
    let sources: Vec<Uuid> = photos.iter().map(|photo| photo.id.uuid()).collect();
    let wanted_key = keys::of(&order.tenant, order.subject, "bundle", wanted)?;
    let mut tx = run.begin().await?;
    let id = sqlx::query_scalar!(
        r#"select safelight.record_bundle($1, $2, $3, $4, $5, $6) as "id!""#,
        wanted.uuid(),
        order.subject.uuid(),
        train.generation(),
        order.id.uuid(),
        wanted_key.as_str(),
        &sources
    )
    .fetch_one(&mut *tx)
    .await?;
    let row = sqlx::query!("select storage_key, state from safelight.artifacts where id = $1", id)
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    let key = keys::stored(&row.storage_key)?;
    if row.state == "stored" {
        return Ok(Bundle { id: id.into(), key });
    }

    let mut files = Vec::with_capacity(photos.len());
    for (number, photo) in photos.iter().enumerate() {
        let bytes = run.services.storage.get(&keys::stored(&photo.key)?, keys::MOST_BYTES).await?;
        files.push((format!("{:02}.{}", number + 1, extension(&photo.content_type)), bytes));
    }
    let zip = zip(files).map_err(|error| Stop::retry("zip", error))?;
    let (bytes, sha256) = (zip.len() as i64, hex::encode(Sha256::digest(&zip)));
    run.services.storage.put(&key, zip.into(), "application/zip").await?;

    let mut tx = run.begin().await?;
    sqlx::query!("select safelight.artifact_arrived($1, 'application/zip', $2, $3, false)", id, bytes, sha256)
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Bundle { id: id.into(), key })
}

/// The training is over: the copy ends now, and the retention sweep takes it away.
pub(crate) async fn has_served(tx: &mut PgConnection, order: Id<Order>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update safelight.artifacts set delete_after = least(delete_after, safelight.now()) where order_id = $1 and class = 'bundle'",
        order.uuid()
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Photos are compressed already: they are stored, not deflated. Names are numbers; a customer's file name may name a person.
fn zip(files: Vec<(String, bytes::Bytes)>) -> Result<Vec<u8>, zip::result::ZipError> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in files {
        zip.start_file(name, options)?;
        zip.write_all(&bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

fn extension(content_type: &str) -> &'static str {
    match content_type {
        "image/png" => "png",
        "image/webp" => "webp",
        _ => "jpg",
    }
}
