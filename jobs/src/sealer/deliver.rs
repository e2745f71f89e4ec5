//! Checkpoints out of the house: every one, in order of size, to every place that is configured.

use sqlx::PgPool;

use super::{SealError, Sealer};
use crate::{db, providers::witness::Witness};

/// A place outside the database.
pub type Destination = Witness;

/// After so many checkpoints it is written down how far a place is: whoever goes on after a crash begins there.
const AT_ONCE: u32 = 20;
/// After failures nobody tries a place again before this, in seconds.
const LONGEST_WAIT: f64 = 300.0;

/// Bring what is not there yet to every place that is due. A place that fails is tried again later and stops no other one.
///
/// # Errors
/// The database did not answer.
pub async fn deliver(pool: &PgPool, sealer: &Sealer) -> Result<u64, SealError> {
    let mut arrived = 0;
    for place in sealer.destinations.iter() {
        loop {
            let now = to_one(pool, sealer, place).await?;
            arrived += now;
            if now < u64::from(AT_ONCE) {
                break;
            }
        }
    }
    Ok(arrived)
}

async fn to_one(pool: &PgPool, sealer: &Sealer, place: &Witness) -> Result<u64, SealError> {
    let mut tx = db::begin(pool).await?;
    sqlx::query!("insert into safelight.audit_destinations (name) values ($1) on conflict do nothing", place.name())
        .execute(&mut *tx)
        .await?;
    let Some(claim) = sqlx::query!(
        r#"update safelight.audit_destinations set token = token + 1, claimed_until = clock_timestamp() + make_interval(secs => $2)
        where name = $1 and (claimed_until is null or claimed_until <= clock_timestamp())
            and delivered < (select coalesce(max(size), 0) from safelight.audit_checkpoints)
        returning token, delivered, tries"#,
        place.name(),
        sealer.lease.as_secs_f64()
    )
    .fetch_optional(&mut *tx)
    .await?
    else {
        tx.commit().await?;
        return Ok(0);
    };
    tx.commit().await?;
    let waiting = sqlx::query!(
        "select size, note from safelight.audit_checkpoints where size > $1 order by size limit $2",
        claim.delivered,
        i64::from(AT_ONCE)
    )
    .fetch_all(pool)
    .await?;
    let (mut arrived, mut upto, mut failed) = (0, claim.delivered, None);
    for checkpoint in waiting {
        match place.put(u64::try_from(checkpoint.size).unwrap_or(0), &checkpoint.note).await {
            Ok(()) => (arrived, upto) = (arrived + 1, checkpoint.size),
            Err(error) => {
                tracing::warn!(destination = place.name(), size = checkpoint.size, %error, "a checkpoint did not arrive; it is tried again");
                failed = Some(error.code());
                break;
            }
        }
    }
    let tries = if failed.is_some() { claim.tries.saturating_add(1) } else { 0 };
    let wait = f64::from(tries.min(16)).exp2().min(LONGEST_WAIT);
    // A process whose lease is over writes nothing; what it brought there stays and is found to be the same.
    let mut tx = db::begin(pool).await?;
    sqlx::query!(
        r#"update safelight.audit_destinations set delivered = greatest(delivered, $3), tries = $4, code = $5, updated_at = safelight.now(),
            claimed_until = case when $5::text is null then null else clock_timestamp() + make_interval(secs => $6) end
        where name = $1 and token = $2"#,
        place.name(),
        claim.token,
        upto,
        tries,
        failed,
        if failed.is_some() { wait.min(sealer.lease.as_secs_f64() * 5.0) } else { 0.0 }
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(arrived)
}
