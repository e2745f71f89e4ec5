//! Connections: which role, which clock zone, which planner settings. Runs migrations.

use std::{str::FromStr, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Executor, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// The migrations, in the binary.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// What a process may do in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs migrations, installs policies, creates tokens.
    Owner,
    /// The HTTP intake.
    Api,
    /// The workers.
    Worker,
    /// Reads the evidence.
    Auditor,
}

impl Role {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Owner => None,
            Self::Api => Some("safelight_api"),
            Self::Worker => Some("safelight_worker"),
            Self::Auditor => Some("safelight_auditor"),
        }
    }
}

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The address is not one.
    #[error("DATABASE_URL is not a Postgres address; expected postgres://user:password@host:port/database")]
    Address,
    /// Nobody answers, or not as expected.
    #[error("Postgres at {place} did not let us in: {source}; check that it runs and that DATABASE_URL is right")]
    Connect {
        /// Host, port and database, never the password.
        place: String,
        /// What was answered.
        source: sqlx::Error,
    },
    /// A migration failed; nothing of it was kept.
    #[error("the schema could not be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The clock of a test stands in a database that a production build was pointed at.
    #[error("the clock of this database is turned, which only tests do; is DATABASE_URL the right one?")]
    TurnedClock,
    /// A query failed.
    #[error(transparent)]
    Query(#[from] sqlx::Error),
}

/// A pool whose connections act in one role, in UTC.
pub async fn connect(url: &str, role: Role, most: u32) -> Result<PgPool, DbError> {
    pool(url, role, most, &[]).await
}

/// A pool for the queue's own statements. Their plans must not depend on statistics: the table is empty one minute and
/// full the next, so sequential scans, hash and merge joins are switched off and plans are fixed.
pub async fn connect_queue(url: &str, most: u32) -> Result<PgPool, DbError> {
    let fixed = [
        "jit = off",
        "enable_seqscan = off",
        "enable_hashjoin = off",
        "enable_mergejoin = off",
        "plan_cache_mode = force_generic_plan",
    ];
    pool(url, Role::Worker, most, &fixed).await
}

async fn pool(url: &str, role: Role, most: u32, settings: &[&str]) -> Result<PgPool, DbError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| DbError::Address)?
        .application_name(&format!("safelight {}", role.name().unwrap_or("owner")))
        .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(2));
    let place = format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or(""));
    // A login may be named like the schema: then `"$user"` would lead to another table of applied migrations as soon as
    // the schema is there, and the next migration would begin at the first.
    let mut greeting = String::from("set time zone 'UTC'; set search_path to public");
    for setting in settings {
        greeting.push_str("; set ");
        greeting.push_str(setting);
    }
    if let Some(name) = role.name() {
        // A process that is stopped, or a host that is cut off, in the middle of a transaction would keep its rows locked:
        // no rescue could have its job, no withdrawal its person. Nothing here waits for the outside inside a transaction.
        greeting.push_str("; set idle_in_transaction_session_timeout = '10s'; set role ");
        greeting.push_str(name);
    }
    let pool = PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(Duration::from_secs(10))
        .after_connect(move |connection, _| {
            let greeting = greeting.clone();
            Box::pin(async move { connection.execute(AssertSqlSafe(greeting)).await.map(|_| ()) })
        })
        .connect_with(options)
        .await
        .map_err(|source| DbError::Connect { place, source })?;
    Ok(pool)
}

/// Begin a transaction, also when nobody waits for it any more.
///
/// A future of sqlx 0.9.0 that is dropped while its BEGIN is under way gives the connection back with the transaction
/// open: whatever is written on it next waits for a commit that never comes. Attempts are dropped when their lease is
/// lost, and requests when their caller hangs up; so a task of its own sees the BEGIN through.
///
/// # Errors
/// Those of the connection.
#[expect(clippy::disallowed_methods, reason = "its one home")]
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    tokio::spawn(async move { pool.begin().await })
        .await
        .map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?
}

/// Bring the schema up to date.
pub async fn migrate(pool: &PgPool) -> Result<(), DbError> {
    MIGRATIONS.run(pool).await?;
    Ok(())
}

/// A turned clock is for the demo and for tests. `allowed` says whether this build has them.
pub async fn refuse_turned_clock(pool: &PgPool, allowed: bool) -> Result<(), DbError> {
    let turned =
        sqlx::query_scalar!(r#"select exists (select from safelight.clock) as "turned!""#).fetch_one(pool).await?;
    if turned && !allowed { Err(DbError::TurnedClock) } else { Ok(()) }
}
