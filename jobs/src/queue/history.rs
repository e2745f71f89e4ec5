//! History that does not rot: the archive is cut off by whole partitions, the rest by age, in bounded bites.

use sqlx::PgPool;

use crate::db;

/// Make the archive's partitions of the coming weeks and drop those that are over. Answers how many of each.
pub async fn turn_archive(pool: &PgPool) -> Result<(i32, i32), sqlx::Error> {
    let mut write = db::write(pool).await?;
    let row = sqlx::query!(r#"select made as "made!", dropped as "dropped!" from safelight.turn_archive()"#)
        .fetch_one(&mut *write)
        .await?;
    write.commit().await?;
    Ok((row.made, row.dropped))
}

/// One bite of what is too old: attempts, keys, what lies outside of partitions. Zero: nothing more is due.
pub async fn prune_history(pool: &PgPool) -> Result<i32, sqlx::Error> {
    let mut write = db::write(pool).await?;
    let gone = sqlx::query_scalar!(r#"select safelight.prune_history() as "gone!""#).fetch_one(&mut *write).await?;
    write.commit().await?;
    Ok(gone)
}

/// One bite of the answers to requests that were remembered for longer than a day. Zero: nothing more is due.
///
/// # Errors
/// Those of the database.
pub async fn prune_answers(pool: &PgPool) -> Result<i32, sqlx::Error> {
    let mut write = db::write(pool).await?;
    let gone = sqlx::query_scalar!(r#"select safelight.prune_answers() as "gone!""#).fetch_one(&mut *write).await?;
    write.commit().await?;
    Ok(gone)
}
