//! The schema's versions: bringing it up to date, and refusing one that is older than this program.
//!
//! A newer one is fine: migrations only add, so that the version before works on it while processes are replaced one by one, and
//! when a release is taken back.

use sqlx::{PgPool, migrate::Migrator};

use super::{DbError, keeps_session};

/// The schema, as sqlx runs it.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// The one that lets workers look at what is there.
const SEEN: i64 = 69;

/// Bring the schema up to date, and write down what kinds of jobs this version declares. Migrations of a newer version stay.
pub async fn migrate(pool: &PgPool) -> Result<(), DbError> {
    if !keeps_session(pool) {
        return Err(DbError::MigrateThroughPooler);
    }
    let mut migrator = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    migrator.set_ignore_missing(true).run(pool).await?;
    crate::queue::kinds::install(pool).await?;
    Ok(())
}

/// The first migration of this version that the database lacks; none: it has them all.
pub async fn lacks(pool: &PgPool) -> Result<Option<String>, sqlx::Error> {
    // The migrator's own table; there is none where the schema was laid by other means, so it is asked unchecked.
    let applied: Result<Vec<i64>, sqlx::Error> =
        sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(pool).await;
    let applied = match applied {
        Ok(applied) => applied,
        Err(error) => match error.as_database_error().and_then(|answer| answer.code()).as_deref() {
            // There is no such table.
            Some("42P01") => Vec::new(),
            // This role may not read it yet.
            Some("42501") => MIGRATIONS.iter().map(|known| known.version).filter(|version| *version < SEEN).collect(),
            _ => return Err(error),
        },
    };
    // Each of them: a migration that came late may have a lower number than one that is there.
    let missing = MIGRATIONS.iter().find(|known| !applied.contains(&known.version));
    Ok(missing.map(|known| format!("{:04} {}", known.version, known.description)))
}

/// Asked by each process before it does anything: statements of this version mean nothing to an older schema.
pub async fn refuse_older_schema(pool: &PgPool) -> Result<(), DbError> {
    match lacks(pool).await? {
        Some(migration) => Err(DbError::OlderSchema { migration }),
        None => Ok(()),
    }
}
