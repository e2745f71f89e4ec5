//! A private Postgres for the demo and the tests: own folder, own port, own password, gone with its owner.
//!
//! Life: find the binaries -> sweep what crashed owners left -> watchdog -> initdb -> postgres -> ready. Dropping the last
//! handle stops the server and removes its folder. The owner's death does the same, also by `kill -9`: a small shell, in a
//! process group of its own so that Ctrl-C does not reach it, waits on a pipe that only the owner holds open. If that
//! shell was killed too, the next start sweeps: it finds the owner's lock file unlocked.
//!
//! Never: touches another Postgres (only processes that run on the folder made here are signalled), listens beyond
//! 127.0.0.1 and its own socket, runs the server as root (initdb refuses), or serves production.

mod binaries;
mod home;
mod line;
mod mutant;
mod pooler;
mod server;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

pub use binaries::OLDEST_VERSION;
pub use line::{Cut, Line};
pub use mutant::mutate;
pub use pooler::PgBouncer;
use server::{Followed, Server};

/// The superuser of the private server.
pub const SUPERUSER: &str = "safelight";

/// What a private server should be like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it lives. `None`: a temporary folder, removed at the end. `Some`: this folder, made or used again, and kept.
    pub folder: Option<PathBuf>,
    /// Trade durability for speed (`fsync`, `synchronous_commit` and `full_page_writes` off): for tests only.
    pub fast: bool,
    /// Connections at once.
    pub max_connections: u16,
    /// Further settings, name and value as in `postgresql.conf`; they win over the ones chosen here.
    pub settings: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { folder: None, fast: false, max_connections: 200, settings: Vec::new() }
    }
}

/// A running private server. Clones share it; the last one to be dropped stops it and cleans up.
#[derive(Clone)]
pub struct Postgres {
    server: Arc<Server>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("folder", &self.server.folder)
            .field("port", &self.server.port)
            .finish_non_exhaustive()
    }
}

impl Postgres {
    /// Make a server and wait until it takes connections. A port that is taken meanwhile is replaced by another.
    ///
    /// # Errors
    /// One sentence each: no binaries (says what to install), a folder that is not ours, a server that does not come up.
    pub async fn start(options: Options) -> Result<Self> {
        let server = tokio::task::spawn_blocking(move || Server::start(options, None)).await??;
        Ok(Self { server: Arc::new(server) })
    }

    /// Make a standby of this server: a base backup, then everything that is committed, as a stream. `through` is the port
    /// at which it reaches this server, where that is not the server's own.
    ///
    /// # Errors
    /// As [`Postgres::start`]; also a server that is down.
    pub async fn standby(&self, options: Options, through: Option<u16>) -> Result<Self> {
        let followed = Followed { port: through.unwrap_or(self.server.port), password: self.server.password.clone() };
        let server = tokio::task::spawn_blocking(move || Server::start(options, Some(followed))).await??;
        Ok(Self { server: Arc::new(server) })
    }

    /// The standby becomes a primary: it follows nobody any more and takes writes.
    ///
    /// # Errors
    /// It was no standby, or does not answer in time.
    pub async fn promote(&self) -> Result<()> {
        let mut connection = PgConnection::connect(&self.admin_url()).await.context("the standby does not answer")?;
        let promoted: bool = sqlx::query_scalar("select pg_promote(true, 60)").fetch_one(&mut connection).await?;
        ensure!(promoted, "the standby was not promoted within a minute");
        Ok(connection.close().await?)
    }

    /// Address of a database over TCP, with user and password: a secret, not for logs.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.server.password, self.server.port)
    }

    /// Address of the maintenance database `postgres`.
    #[must_use]
    pub fn admin_url(&self) -> String {
        self.url("postgres")
    }

    /// Port on 127.0.0.1; stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// Folder that holds data, log and the unix socket.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.server.folder
    }

    /// Create an empty database and return its address.
    ///
    /// # Errors
    /// A name that is not `[a-z0-9_]`, one that exists, a server that is down.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        self.create_database_from(name, "template1").await
    }

    /// Create a database as a copy of `template` (to which nobody may be connected) and return its address.
    ///
    /// # Errors
    /// As [`Postgres::create_database`]; also a template that is missing or in use.
    pub async fn create_database_from(&self, name: &str, template: &str) -> Result<String> {
        self.administer(&[name, template], &format!(r#"create database "{name}" template "{template}""#)).await?;
        Ok(self.url(name))
    }

    /// A new database from a backup of another one, as an operator makes and restores it: by `pg_dump` and `pg_restore`, while
    /// others work on the first. Answers its address.
    ///
    /// # Errors
    /// A name that is not `[a-z0-9_]` or is taken, programs that are not beside the server's, and what they say.
    pub async fn create_database_from_backup(&self, name: &str, of: &str) -> Result<String> {
        let url = self.create_database(name).await?;
        // A link to the server's program is enough to start it; its companions are where it really is.
        let bin = std::fs::canonicalize(binaries::find_binaries()?.join("postgres"))?;
        let bin = bin.parent().context("a program lies in a folder")?;
        let file = std::env::temp_dir().join(format!("safelight-{}-{name}.dump", self.port())).display().to_string();
        let dumped = run(&bin.join("pg_dump"), &["--format=custom", "--file", &file, &self.url(of)]).await;
        let restored = match dumped {
            Ok(()) => run(&bin.join("pg_restore"), &["--exit-on-error", "--dbname", &url, &file]).await,
            Err(error) => Err(error),
        };
        let _ = std::fs::remove_file(&file);
        restored.map(|()| url)
    }

    /// Drop a database, ending the sessions in it; one that does not exist is fine.
    ///
    /// # Errors
    /// A name that is not `[a-z0-9_]`, a server that is down.
    pub async fn drop_database(&self, name: &str) -> Result<()> {
        self.administer(&[name], &format!(r#"drop database if exists "{name}" with (force)"#)).await
    }

    /// The same for the database of an address, on a thread of its own that nobody waits for: for a test that ends. Hundreds of
    /// them would fill a small disk. An address of another server is left alone.
    pub fn drop_later(&self, url: &str) {
        let Some((_, name)) = url.rsplit_once(&format!(":{}/", self.port())) else { return };
        let (server, name) = (self.clone(), name.to_owned());
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            // The server may be on its way out, and takes the database with it.
            let _ = runtime.block_on(server.drop_database(&name));
        });
    }

    /// Stop in order, ending all sessions. The folder stays for [`Postgres::restart`].
    ///
    /// # Errors
    /// The server did not end in time.
    pub async fn stop(&self) -> Result<()> {
        self.blocking(Server::stop).await
    }

    /// Stop if it runs, then start on the same port with the same data.
    ///
    /// # Errors
    /// The server did not end or did not come up in time.
    pub async fn restart(&self) -> Result<()> {
        self.blocking(|server| server.stop().and_then(|()| server.launch())).await
    }

    /// An outage: `kill -9` for the server and each of its processes. Bring it back by [`Postgres::restart`].
    ///
    /// # Errors
    /// The process could not be signalled.
    pub async fn kill_hard(&self) -> Result<()> {
        self.blocking(Server::kill_hard).await
    }

    async fn blocking(&self, act: impl FnOnce(&Server) -> Result<()> + Send + 'static) -> Result<()> {
        let server = Arc::clone(&self.server);
        tokio::task::spawn_blocking(move || act(&server)).await?
    }

    async fn administer(&self, names: &[&str], sql: &str) -> Result<()> {
        for name in names {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            ensure!(
                (1..=63).contains(&name.len()) && name.chars().all(plain),
                "database name {name:?} is not [a-z0-9_]{{1,63}}"
            );
        }
        let mut connection =
            PgConnection::connect(&self.admin_url()).await.context("private Postgres does not answer")?;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.with_context(|| sql.to_owned())?;
        Ok(connection.close().await?)
    }
}

/// One of Postgres's programs, to its end.
async fn run(program: &Path, arguments: &[&str]) -> Result<()> {
    let output = tokio::process::Command::new(program).args(arguments).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("{} does not start", program.display()))?;
    ensure!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
