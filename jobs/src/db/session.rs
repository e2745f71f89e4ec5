//! What a connection is told before it is used, and what is done when it comes back.
//!
//! With a session of its own it is told once, when it is opened. Behind a pooler in transaction mode every use is one
//! transaction: it is begun before the connection is handed out, told everything again, and ended when it comes back, so
//! that no two messages of one statement can reach two servers. That transaction only reads: a statement that would write
//! through the pool itself, and whose commit nobody would wait for, fails instead of being lost.
//!
//! Never: waits without a bound. sqlx does, for the answer to a ping on a connection that comes back; a half-open one
//! would keep its place in the pool for ever.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, Postgres, Row, pool::PoolOptions, postgres::PgConnectOptions,
};

use super::{Pooler, Role, answered};

/// The longest that anybody waits for a connection: for a place in the pool, for the network, for the pooler's turn.
const TURN: Duration = Duration::from_secs(10);
/// The longest that a connection with a session may take for a word that costs the server nothing.
const WORD: Duration = Duration::from_secs(3);
/// A connection that was used within this time is not asked whether it still lives.
const FRESH: Duration = Duration::from_secs(1);

const POOLED: &str = " pooled";

/// For every role that works: a transaction whose client fell silent ends, and with it its locks. Nobody can rescue a job
/// before, whose row it holds.
const SILENT: &str = "idle_in_transaction_session_timeout = '10s'";

/// The server finds out within half a minute that a client's machine is gone.
const NETWORK: [&str; 4] =
    ["tcp_keepalives_idle = 10", "tcp_keepalives_interval = 5", "tcp_keepalives_count = 4", "tcp_user_timeout = '30s'"];

/// How connections of one pool begin and end.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pooler: Pooler,
    role: Option<&'static str>,
    settings: Vec<String>,
}

/// Told from the name under which the connections show themselves to the server.
pub(super) fn is_kept(options: &PgConnectOptions) -> bool {
    !options.get_application_name().is_some_and(|name| name.ends_with(POOLED))
}

impl Session {
    pub(super) fn new(pooler: Pooler, role: Role, settings: &[&str]) -> Self {
        // A login may be named like the schema: then `"$user"` would lead to another table of applied migrations as soon as
        // the schema is there, and the next migration would begin at the first.
        let mut all = vec!["search_path = public", "time zone 'UTC'"];
        // No warning that a transaction is begun or ended which already was.
        all.push("client_min_messages = error");
        match role {
            // A host that cuts statements after a while (two minutes at Supabase) means an application's: an index of a large
            // table takes what it takes.
            Role::Owner => all.push("statement_timeout = 0"),
            _ => all.push(SILENT),
        }
        if pooler == Pooler::None {
            all.extend(NETWORK);
        }
        all.extend(settings);
        Self { pooler, role: role.name(), settings: all.into_iter().map(str::to_owned).collect() }
    }

    pub(super) fn application_name(&self) -> String {
        let pooled = if self.pooler == Pooler::Transaction { POOLED } else { "" };
        format!("safelight {}{pooled}", self.role.unwrap_or("owner"))
    }

    pub(super) fn options(&self, options: PgConnectOptions) -> PgConnectOptions {
        match self.pooler {
            Pooler::None => options,
            // A name that one server knows means nothing, or something else, at the next one. And PgBouncer refuses a start
            // parameter that it does not know; its value changes nothing in the binary format.
            Pooler::Transaction => options.statement_cache_capacity(0).extra_float_digits(None),
        }
    }

    pub(super) fn hooks(&self, options: PoolOptions<Postgres>) -> PoolOptions<Postgres> {
        let (opened, taken) = (self.clone(), self.clone());
        let back = if self.pooler == Pooler::None { WORD } else { TURN };
        options
            .acquire_timeout(TURN)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let session = opened.clone();
                Box::pin(async move { answered(TURN, session.opened(connection)).await })
            })
            .before_acquire(move |connection, meta| {
                let session = taken.clone();
                Box::pin(async move { session.taken(connection, meta.idle_for).await.map(|()| true) })
            })
            // Ends what a dropped future left open, before somebody else writes into it.
            .after_release(move |connection, _| {
                Box::pin(async move { answered(back, connection.execute("rollback")).await.map(|_| true) })
            })
    }

    /// A new connection. One to a standby is refused, and the pool tries again: after a failover the same address leads to
    /// the primary sooner or later.
    async fn opened(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let told = match self.pooler {
            Pooler::None => self.told("set", "set role"),
            Pooler::Transaction => String::new(),
        };
        let standby: bool = sqlx::raw_sql(AssertSqlSafe(format!("{told} select pg_is_in_recovery()")))
            .fetch_one(&mut *connection)
            .await?
            .try_get(0)?;
        if standby {
            return Err(sqlx::Error::Configuration("this server is a standby and takes no writes".into()));
        }
        match self.pooler {
            Pooler::None => Ok(()),
            Pooler::Transaction => self.transaction(connection).await,
        }
    }

    async fn taken(&self, connection: &mut PgConnection, idle: Duration) -> Result<(), sqlx::Error> {
        match self.pooler {
            Pooler::None if idle < FRESH => Ok(()),
            Pooler::None => answered(WORD, connection.ping()).await,
            Pooler::Transaction => answered(TURN, self.transaction(connection)).await,
        }
    }

    /// sqlx gives statements names by counting; those that somebody else's transaction left at this server are in the way.
    async fn transaction(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let told = self.told("set local", "set local role");
        // Two transactions in one message: the first takes a snapshot, after which the second could not be told to write.
        let message = format!("begin; deallocate all; commit; begin read only; {told}");
        connection.execute(AssertSqlSafe(message)).await.map(|_| ())
    }

    fn told(&self, set: &str, set_role: &str) -> String {
        let mut all: String = self.settings.iter().map(|setting| format!("{set} {setting};")).collect();
        if let Some(role) = self.role {
            all.push_str(&format!("{set_role} {role};"));
        }
        all
    }
}
