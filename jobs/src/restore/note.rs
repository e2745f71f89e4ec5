//! Noting restrictions and their ends in the erasure ledger, so that no restored backup works on data that were restricted since.
//!
//! Deletions note themselves, as their first step; a restriction has no job, and is noted by the workers, some seconds after its
//! commit. Writing one twice is writing it once.

use sqlx::PgPool;

use super::RestoreError;
use crate::{
    intake::Ground,
    providers::ledger::{Act, Ledger, LedgerEntry},
};

/// Restrictions of one look.
const AT_ONCE: i64 = 100;

/// Note what is not noted yet. Answers how many restrictions.
///
/// # Errors
/// [`RestoreError`]: what was noted before it stays noted.
pub async fn note(pool: &PgPool, ledger: &Ledger) -> Result<usize, RestoreError> {
    let rows = sqlx::query!(
        r#"select id, tenant, subject_id, ground, keep_until, noted, floor(extract(epoch from set_at))::bigint as "set_at!",
            floor(extract(epoch from lifted_at))::bigint as lifted_at
        from safelight.restrictions where noted = 0 or noted = 1 and lifted_at is not null order by id limit $1"#,
        AT_ONCE
    )
    .fetch_all(pool)
    .await?;
    let count = rows.len();
    for row in rows {
        let entry = |at, act| LedgerEntry { at, tenant: row.tenant.clone(), subject: row.subject_id.into(), act };
        if let (0, Some(ground)) = (row.noted, Ground::stored(&row.ground, row.keep_until)) {
            ledger.write(&entry(row.set_at, Act::Restriction(ground))).await?;
        }
        if let Some(lifted_at) = row.lifted_at {
            ledger.write(&entry(lifted_at, Act::Release)).await?;
        }
        // One that ended meanwhile is looked at once more.
        let noted: i16 = if row.lifted_at.is_some() { 2 } else { 1 };
        let mut tx = crate::db::begin(pool).await?;
        sqlx::query!("update safelight.restrictions set noted = greatest(noted, $2) where id = $1", row.id, noted)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
    }
    Ok(count)
}
