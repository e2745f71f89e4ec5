//! A real PgBouncer before a private Postgres, in transaction mode and with very few servers, so that what depends on a
//! session meets another one at once.
//!
//! Ends with its handle or with this process, as the server does: a shell between them waits on a pipe that only the owner
//! holds open.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::home::random_hex;
use super::server::{LOOK_AGAIN, free_port};
use super::{Postgres, SUPERUSER};

const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// Starts the pooler and ends it when the input ends.
const KEEPER: &str = r#"
trap '' HUP INT QUIT
"$1" "$2" </dev/null >/dev/null 2>"$3" &
pooler=$!
while read -r _; do :; done
kill -s KILL "$pooler"
wait "$pooler" 2>/dev/null
rm -rf "$4"
"#;

/// A running PgBouncer.
pub struct PgBouncer {
    port: u16,
    password: String,
    keeper: Child,
}

impl std::fmt::Debug for PgBouncer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgBouncer").field("port", &self.port).finish_non_exhaustive()
    }
}

impl PgBouncer {
    /// Start one before a server, with so many connections to it for each database.
    ///
    /// # Errors
    /// One sentence: the program is not there (says what to install), or does not come up.
    pub async fn start(postgres: &Postgres, servers: u16) -> Result<Self> {
        let postgres = postgres.clone();
        tokio::task::spawn_blocking(move || Self::launch(&postgres, servers)).await?
    }

    fn launch(postgres: &Postgres, servers: u16) -> Result<Self> {
        let program = find().context("PgBouncer is not installed (Debian, Ubuntu: apt-get install pgbouncer)")?;
        let server = &postgres.server;
        let folder = server.folder.join(format!("pgbouncer-{}", random_hex(4)));
        let port = free_port()?;
        fs::create_dir(&folder)?;
        if let Some((user, group)) = server.run_as {
            chown(&folder, Some(user), Some(group))?;
        }
        let file = |name: &str, text: String| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, text)?;
            if let Some((user, group)) = server.run_as {
                chown(&path, Some(user), Some(group))?;
            }
            Ok(path)
        };
        let users = file("users", format!("\"{SUPERUSER}\" \"{}\"\n", server.password))?;
        let settings = file(
            "settings",
            format!(
                "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
                default_pool_size = {servers}\nmax_client_conn = 500\nserver_login_retry = 1\nquery_wait_timeout = 30\n",
                server.port,
                users.display()
            ),
        )?;
        let log = file("log", String::new())?;
        let mut command = server.command(Path::new("/bin/sh"));
        command.arg("-c").arg(KEEPER).arg("safelight-pgbouncer").args([&program, &settings, &log, &folder]);
        let keeper = command.stdin(Stdio::piped()).spawn()?;
        let pooler = Self { port, password: server.password.clone(), keeper };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if began.elapsed() > STARTS_WITHIN {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("PgBouncer did not start: {}", said.lines().last().unwrap_or("it said nothing"));
            }
            sleep(LOOK_AGAIN);
        }
        Ok(pooler)
    }

    /// Address of a database through the pooler, with user and password: a secret, not for logs.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take()); // its cue
        let _ = self.keeper.wait();
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"].map(PathBuf::from))
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.is_file())
}
