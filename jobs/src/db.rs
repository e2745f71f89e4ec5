//! Connections: which role, which clock zone, which planner settings, and how long anybody waits for an answer. Migrations
//! stand in `schema.rs`.
//!
//! A connection keeps its session, or, behind a pooler that hands out a server for one transaction at a time, it keeps
//! nothing (decision 0010): what differs between the two stands in `session.rs` and in [`begin`], and nowhere else.

mod line;
mod schema;
mod session;

use std::{
    ops::{Deref, DerefMut},
    str::FromStr,
    time::Duration,
};

use sqlx::{
    ConnectOptions, PgConnection, PgPool, Postgres, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

pub use line::Line;
pub use schema::{MIGRATIONS, lacks, migrate, refuse_older_schema};
use session::Session;

/// The longest that a statement of a job or a request waits for its answer. A connection that is half open never
/// answers; the attempt that waits for it is given up, and the connection closed.
pub const ANSWER: Duration = Duration::from_secs(20);

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
    /// Orders, hashes and swears to audit entries; changes none.
    Sealer,
}

impl Role {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Owner => None,
            Self::Api => Some("safelight_api"),
            Self::Worker => Some("safelight_worker"),
            Self::Auditor => Some("safelight_auditor"),
            Self::Sealer => Some("safelight_sealer"),
        }
    }
}

/// What stands between us and Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooler {
    /// Nothing, or something that keeps a session for a connection.
    #[default]
    None,
    /// A pooler in transaction mode, such as PgBouncer: no session outlives a transaction.
    Transaction,
}

/// Where Postgres is reached. Not printed: it holds a password.
#[derive(Clone)]
pub struct Address {
    url: String,
    pooler: Pooler,
}

impl Address {
    /// An address, and what stands before Postgres there.
    pub fn new(url: impl Into<String>, pooler: Pooler) -> Self {
        Self { url: url.into(), pooler }
    }
}

impl From<&str> for Address {
    fn from(url: &str) -> Self {
        Self::new(url, Pooler::None)
    }
}

impl From<&String> for Address {
    fn from(url: &String) -> Self {
        Self::new(url, Pooler::None)
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Self {
        address.clone()
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
    /// This program is newer than the schema.
    #[error("the database lacks the migration {migration}; run `safelight migrate` of this version first")]
    OlderSchema {
        /// Number and name of the first that is missing.
        migration: String,
    },
    /// The migrations hold a lock of their session, which a pooler in transaction mode does not keep.
    #[error(
        "migrations need a session of their own; give DATABASE_URL Postgres itself, not the pooler, and no DATABASE_POOLER"
    )]
    MigrateThroughPooler,
    /// The clock of a test stands in a database that a production build was pointed at.
    #[error("the clock of this database is turned, which only tests do; is DATABASE_URL the right one?")]
    TurnedClock,
    /// A query failed.
    #[error(transparent)]
    Query(#[from] sqlx::Error),
}

/// A pool whose connections act in one role, in UTC.
pub async fn connect(address: impl Into<Address>, role: Role, most: u32) -> Result<PgPool, DbError> {
    pool(address.into(), role, most, &[]).await
}

/// A pool for the queue's own statements. Their plans must not depend on statistics: the table is empty one minute and
/// full the next, so sequential scans, hash and merge joins are switched off and plans are fixed. The server gives a
/// statement up whose worker has long stopped waiting for it.
pub async fn connect_queue(address: impl Into<Address>, most: u32) -> Result<PgPool, DbError> {
    let fixed = [
        "jit = off",
        "enable_seqscan = off",
        "enable_hashjoin = off",
        "enable_mergejoin = off",
        "plan_cache_mode = force_generic_plan",
        "statement_timeout = '15s'",
    ];
    pool(address.into(), Role::Worker, most, &fixed).await
}

/// A pool for the sealer. It looks for the few new entries in long tables, and must never read one whole, nor all that is new to
/// sort it: behind a backlog that statistics do not know yet, a plan made for it did, and took 650 ms for a batch instead of 2.
pub async fn connect_sealer(address: impl Into<Address>, most: u32) -> Result<PgPool, DbError> {
    let fixed = [
        "jit = off",
        "enable_seqscan = off",
        "enable_bitmapscan = off",
        "enable_hashjoin = off",
        "enable_mergejoin = off",
        "plan_cache_mode = force_generic_plan",
    ];
    pool(address.into(), Role::Sealer, most, &fixed).await
}

async fn pool(address: Address, role: Role, most: u32, settings: &[&str]) -> Result<PgPool, DbError> {
    let session = Session::new(address.pooler, role, settings);
    let options = PgConnectOptions::from_str(&address.url)
        .map_err(|_| DbError::Address)?
        .application_name(&session.application_name())
        .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(2));
    let place = format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or(""));
    let pool = session.hooks(PgPoolOptions::new().max_connections(most)).connect_lazy_with(session.options(options));
    // One is opened now, so that a wrong address is told at once.
    match pool.acquire().await {
        Ok(_) => Ok(pool),
        Err(source) => Err(DbError::Connect { place, source }),
    }
}

/// Another pool like this one, for what must not wait behind the others' statements. Opens nothing yet.
pub fn beside(pool: &PgPool, most: u32) -> PgPool {
    pool.options().clone().max_connections(most).connect_lazy_with((*pool.connect_options()).clone())
}

/// Does a connection of this pool keep its session between transactions? Only then can it listen.
pub fn keeps_session(pool: &PgPool) -> bool {
    session::is_kept(&pool.connect_options())
}

/// Wait for an answer of the database, not for ever. Who gives up drops the statement: whether it was carried out is
/// unknown then, as after a lost connection.
///
/// # Errors
/// Those of the statement; past the limit one of the kind `TimedOut`.
pub async fn answered<T>(
    limit: Duration,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(limit, statement).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("the database did not answer within {limit:?}"),
        ))),
    }
}

/// Begin a transaction that may write.
///
/// A future of sqlx 0.9.0 that is dropped while its BEGIN is under way gives the connection back with the transaction
/// open; the pool ends it then (`session.rs`), so that nothing is written into it. Behind a pooler each connection comes
/// with a transaction that only reads; this one is allowed to write before its first statement.
///
/// # Errors
/// Those of the connection.
#[expect(clippy::disallowed_methods, reason = "its one home")]
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let statement = if keeps_session(pool) { "begin" } else { "begin; set transaction read write" };
    answered(ANSWER, pool.begin_with(statement)).await
}

/// A connection for one statement that writes: committed by itself, or, behind a pooler, by [`Write::commit`].
#[must_use = "what is not committed is lost behind a pooler"]
pub struct Write(Writing);

enum Writing {
    Alone(PoolConnection<Postgres>),
    Within(Transaction<'static, Postgres>),
}

/// See [`Write`]. A statement that writes and is given the pool itself fails behind a pooler.
///
/// # Errors
/// Those of the connection.
pub async fn write(pool: &PgPool) -> Result<Write, sqlx::Error> {
    Ok(Write(if keeps_session(pool) {
        Writing::Alone(pool.acquire().await?)
    } else {
        Writing::Within(begin(pool).await?)
    }))
}

impl Write {
    /// The statement is carried out, for good.
    ///
    /// # Errors
    /// Those of the commit.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        match self.0 {
            Writing::Alone(_) => Ok(()),
            Writing::Within(transaction) => transaction.commit().await,
        }
    }
}

impl Deref for Write {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        match &self.0 {
            Writing::Alone(connection) => connection,
            Writing::Within(transaction) => transaction,
        }
    }
}
impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.0 {
            Writing::Alone(connection) => connection,
            Writing::Within(transaction) => transaction,
        }
    }
}

/// Is it the database itself that is away, full or closing, so that no statement would do better?
pub fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(answer) => answer.code().is_some_and(|state| {
            // 08: the connection. 53: no disk, no memory, no connection left; 53400 is a limit of one statement. 57P: the
            // server is being stopped or comes up. 58: its files fail. 25006: it is a standby by now.
            let class = |start: &str| state.starts_with(start);
            class("08") || class("53") && state != "53400" || class("57P") || class("58") || state == "25006"
        }),
        _ => false,
    }
}

/// A turned clock is for the demo and for tests. `allowed` says whether this build has them.
pub async fn refuse_turned_clock(pool: &PgPool, allowed: bool) -> Result<(), DbError> {
    let turned =
        sqlx::query_scalar!(r#"select exists (select from safelight.clock) as "turned!""#).fetch_one(pool).await?;
    if turned && !allowed { Err(DbError::TurnedClock) } else { Ok(()) }
}
