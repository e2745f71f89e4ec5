//! Uploads: an act of uploading, a place for each photo, and the arrival of its bytes, which starts the clock.

use std::time::Duration;

use safelight_faces::Limits;
use sha2::{Digest, Sha256};

use crate::{
    audit::Entry,
    id::{Artifact, Batch, Id, Subject},
    keys,
    providers::{
        Secret,
        storage::{Key, Storage, StorageError},
    },
    run::Tx,
    vault::Vault,
};

use super::IntakeError;

/// How long a place may be filled.
pub(crate) const UPLOAD_LINK_LIFE: Duration = Duration::from_secs(3600);

/// For how long the store may be asked while a look is kept: shorter than the database lets a transaction idle.
const LONGEST_LOOK: Duration = Duration::from_secs(3);

/// Open an act of uploading: the scope of one consent at the upload.
pub async fn open_batch(tx: &mut Tx, tenant: &str, subject: Id<Subject>) -> Result<Id<Batch>, IntakeError> {
    super::active_subject_of(tx, tenant, subject).await?;
    let batch = Id::<Batch>::new();
    sqlx::query!(
        "insert into safelight.upload_batches (id, tenant, subject_id) values ($1, $2, $3)",
        batch.uuid(),
        tenant,
        subject.uuid()
    )
    .execute(&mut **tx)
    .await?;
    Ok(batch)
}

/// A place for one photo. No `Debug`: the link lets anybody write there.
pub struct UploadSlot {
    /// The photo's id.
    pub artifact: Id<Artifact>,
    /// Where it will lie: under the person's own prefix (K5).
    pub key: String,
    /// PUT the bytes here.
    pub put_url: Secret,
}

/// Make a place: the row first, behind the gate, then a short-lived link to write to.
pub async fn slot(
    tx: &mut Tx,
    storage: &Storage,
    tenant: &str,
    subject: Id<Subject>,
    batch: Id<Batch>,
) -> Result<UploadSlot, IntakeError> {
    super::subject_of(tx, tenant, subject).await?;
    let known = sqlx::query_scalar!(
        r#"select exists (select from safelight.upload_batches where id = $1 and subject_id = $2) as "known!""#,
        batch.uuid(),
        subject.uuid()
    )
    .fetch_one(&mut **tx)
    .await?;
    if !known {
        return Err(IntakeError::not_found(batch));
    }
    let artifact = Id::<Artifact>::new();
    let key = keys::of(tenant, subject, "upload", artifact)?;
    sqlx::query!(
        "select safelight.record_upload($1, $2, $3, $4)",
        artifact.uuid(),
        subject.uuid(),
        batch.uuid(),
        key.as_str()
    )
    .fetch_one(&mut **tx)
    .await?;
    let put_url = storage.signed_put(&key, UPLOAD_LINK_LIFE).await?;
    Ok(UploadSlot { artifact, key: key.as_str().to_owned(), put_url })
}

/// The link to a place that was made before, for what is left of its hour; none where the photo has arrived, the hour is over, or
/// nobody may write for this person any more.
///
/// # Errors
/// Those of the database and of the store.
pub async fn sign_slot_anew(
    pool: &sqlx::PgPool,
    storage: &Storage,
    tenant: &str,
    artifact: Id<Artifact>,
) -> Result<Option<Secret>, IntakeError> {
    let place = sqlx::query!(
        r#"select a.storage_key, extract(epoch from a.created_at + make_interval(secs => $3) - safelight.now())::float8 as "left!"
        from safelight.artifacts a join safelight.subjects s on s.id = a.subject_id
        where a.id = $1 and a.tenant = $2 and a.class = 'upload' and a.state = 'expected' and a.deletion_id is null
            and s.state = 'active' and s.generation = a.generation"#,
        artifact.uuid(),
        tenant,
        UPLOAD_LINK_LIFE.as_secs_f64()
    )
    .fetch_optional(pool)
    .await?;
    // In whole seconds, and never more than there were.
    let Some(place) = place.filter(|place| place.left >= 1.0) else { return Ok(None) };
    let left = Duration::from_secs_f64(place.left.floor()).min(UPLOAD_LINK_LIFE);
    let key = keys::stored(&place.storage_key).map_err(|_| StorageError::BadKey)?;
    Ok(Some(storage.signed_put(&key, left).await?))
}

/// What arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// `image/jpeg`, `image/png` or `image/webp`, read from the bytes.
    pub content_type: &'static str,
    /// How many.
    pub bytes: u64,
    /// It had arrived before; the clock did not move.
    pub already: bool,
}

/// The bytes are in the store. They are looked at before the photo counts: what is no photo is deleted again and refused
/// with its reason, and the rest of the batch goes on.
pub async fn arrived(
    pool: &sqlx::PgPool,
    bell: &crate::queue::Bell,
    vault: &Vault,
    storage: &Storage,
    tenant: &str,
    artifact: Id<Artifact>,
) -> Result<Arrival, IntakeError> {
    let row = sqlx::query!(
        "select subject_id, storage_key, state, bytes, content_type from safelight.artifacts where id = $1 and tenant = $2 and class = 'upload'",
        artifact.uuid(),
        tenant
    )
    .fetch_optional(pool)
    .await?
    .ok_or_else(|| IntakeError::not_found(artifact))?;
    if row.state == "stored" {
        let content_type = content_type_named(row.content_type.as_deref().unwrap_or_default());
        return Ok(Arrival { content_type, bytes: row.bytes.unwrap_or(0).unsigned_abs(), already: true });
    }
    let key = keys::stored(&row.storage_key).map_err(|_| StorageError::BadKey)?;
    let bytes = match storage.get(&key, keys::MOST_PHOTO_BYTES).await {
        Ok(bytes) => bytes,
        Err(StorageError::NotFound) => return Err(missing(artifact)),
        Err(StorageError::TooLarge { most }) => {
            take_away(pool, storage, artifact, &key).await?;
            return Err(IntakeError::invalid(
                "photo_too_large",
                format!("{artifact} is larger than {most} bytes; send a smaller photo"),
            ));
        }
        Err(error) => return Err(error.into()),
    };
    let size = bytes.len() as u64;
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let looked = tokio::task::spawn_blocking(move || {
        safelight_faces::decode(&bytes, &Limits::default()).map(|_| media_type(&bytes))
    })
    .await
    .map_err(|_| {
        IntakeError::invalid("photo_corrupt", format!("{artifact} could not be decoded; send another photo"))
    })?;
    let content_type = match looked {
        Ok(content_type) => content_type,
        Err(refusal) => {
            take_away(pool, storage, artifact, &key).await?;
            return Err(IntakeError::invalid(refusal.code(), format!("{artifact}: {refusal}")));
        }
    };
    let mut tx = Tx::begin(pool, bell).await?;
    one_look(&mut tx, artifact).await?;
    // Somebody who had read other bytes may have taken these away.
    if !in_time(storage.exists(&key)).await? {
        return Err(missing(artifact));
    }
    sqlx::query!(
        "select safelight.upload_arrived($1, $2, $3, $4)",
        artifact.uuid(),
        content_type,
        i64::try_from(size).unwrap_or(i64::MAX),
        sha256
    )
    .fetch_one(&mut *tx)
    .await?;
    let target = vault.commit(&mut tx, row.subject_id.into(), &row.storage_key).await?;
    Entry::new("intake", "upload.arrived", "stored")
        .subject(row.subject_id.into())
        .data("upload", "supabase")
        .target(target)
        .write(&mut tx)
        .await?;
    tx.commit().await?;
    Ok(Arrival { content_type, bytes: size, already: false })
}

fn missing(artifact: Id<Artifact>) -> IntakeError {
    IntakeError::Conflict {
        code: "upload_missing",
        why: format!("the bytes of {artifact} are not in the store yet; PUT them first"),
    }
}

/// What is asked of the store while a look is kept: a slow store keeps no connection from others, and the look is not over before.
async fn in_time<T>(asks: impl Future<Output = Result<T, StorageError>>) -> Result<T, StorageError> {
    tokio::time::timeout(LONGEST_LOOK, asks).await.unwrap_or(Err(StorageError::Unreachable))
}

/// Two looks at one place end one after the other.
async fn one_look(tx: &mut sqlx::PgConnection, artifact: Id<Artifact>) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_advisory_xact_lock(7303, hashtext($1))", artifact.to_string()).fetch_one(tx).await?;
    Ok(())
}

/// Delete what is no photo, unless another look found one there meanwhile.
async fn take_away(
    pool: &sqlx::PgPool,
    storage: &Storage,
    artifact: Id<Artifact>,
    key: &Key,
) -> Result<(), IntakeError> {
    let mut tx = crate::db::begin(pool).await?;
    one_look(&mut tx, artifact).await?;
    let waits = sqlx::query_scalar!(
        r#"select exists (select from safelight.artifacts where id = $1 and state = 'expected') as "it!""#,
        artifact.uuid()
    )
    .fetch_one(&mut *tx)
    .await?;
    if waits {
        in_time(storage.delete(key)).await?;
    }
    Ok(tx.commit().await?)
}

/// Of bytes that were decoded as one of the three.
fn media_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'R', b'I', b'F', b'F', ..] => "image/webp",
        _ => "image/jpeg",
    }
}

fn content_type_named(name: &str) -> &'static str {
    match name {
        "image/png" => "image/png",
        "image/webp" => "image/webp",
        _ => "image/jpeg",
    }
}
