//! Where it is measured and what it costs: the private Postgres, and what the kernel counts for us.
//!
//! The server's settings are the same for every system in a run: durable, one gigabyte of shared buffers, everything else
//! as Postgres ships it.

use std::time::Duration;

use anyhow::Context;

/// The database of a measurement; a private one is gone when this is dropped.
pub(super) struct Server {
    url: String,
    #[cfg(feature = "sandbox")]
    private: Option<safelight_sandbox::postgres::Postgres>,
}

impl Server {
    pub(super) async fn at(url: Option<String>) -> anyhow::Result<Self> {
        match url {
            #[cfg(feature = "sandbox")]
            Some(url) => Ok(Self { url, private: None }),
            #[cfg(not(feature = "sandbox"))]
            Some(url) => Ok(Self { url }),
            None => Self::private().await,
        }
    }

    #[cfg(feature = "sandbox")]
    async fn private() -> anyhow::Result<Self> {
        let settings = [
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("full_page_writes", "on"),
            ("shared_buffers", "1GB"),
            ("jit", "on"),
        ];
        let options = safelight_sandbox::postgres::Options {
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..Default::default()
        };
        let server = safelight_sandbox::postgres::Postgres::start(options).await?;
        Ok(Self { url: server.create_database("bench").await?, private: Some(server) })
    }

    #[cfg(not(feature = "sandbox"))]
    #[expect(clippy::unused_async, reason = "its other form waits")]
    async fn private() -> anyhow::Result<Self> {
        anyhow::bail!("DATABASE_URL is not set, and this build cannot start a private Postgres")
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    #[cfg(feature = "sandbox")]
    pub(super) fn is_private(&self) -> bool {
        self.private.is_some()
    }
    #[cfg(not(feature = "sandbox"))]
    pub(super) fn is_private(&self) -> bool {
        false
    }
}

/// Run a command beside a private server and fail as it fails.
pub(super) async fn run_with_private_server(command: &[String]) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("no command was given")?;
    let server = Server::at(None).await?;
    // Ctrl-C reaches the command by itself; this process outlives it, to take the server away.
    let stop = crate::process::stop_on_signal();
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env("DATABASE_URL", server.url())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{program} cannot be run"))?;
    let status = tokio::select! {
        status = child.wait() => status?,
        () = stop.cancelled() => match tokio::time::timeout(Duration::from_secs(10), child.wait()).await {
            Ok(status) => status?,
            Err(_) => {
                child.kill().await?;
                child.wait().await?
            }
        },
    };
    anyhow::ensure!(status.success(), "{program}: {status}");
    Ok(())
}

/// Bytes of write-ahead log that the server has written so far.
pub(super) async fn write_ahead(pool: &sqlx::PgPool) -> Result<f64, sqlx::Error> {
    sqlx::query_scalar("select (pg_current_wal_insert_lsn() - '0/0')::float8").fetch_one(pool).await
}

/// The largest amount of memory that this process held since [`forget_peak`], in megabytes. Linux only.
pub(super) fn peak_megabytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some((kilobytes / 102.4).round() / 10.0)
}

/// What was held before does not count.
pub(super) fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Processor time that was used, in seconds: by this process, and by the whole machine. Linux only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    own: f64,
    all: f64,
}

/// The kernel counts in hundredths of a second on every machine that Linux runs on.
const TICKS: f64 = 100.0;

impl Used {
    pub(super) fn now() -> Option<Self> {
        let own = std::fs::read_to_string("/proc/self/stat").ok()?;
        // After the name, which may hold anything: state is the first field, user and system time the 12th and 13th.
        let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let own = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        let all = std::fs::read_to_string("/proc/stat").ok()?;
        let all: Vec<f64> = all.lines().next()?.split_whitespace().skip(1).flat_map(str::parse).collect();
        // user nice system idle iowait irq softirq steal
        let busy = all.iter().take(3).sum::<f64>() + all.iter().skip(5).take(2).sum::<f64>();
        Some(Self { own: own / TICKS, all: busy / TICKS })
    }

    /// Microseconds a job since `earlier`: of this process, and of everything on this machine.
    pub(super) fn since(self, earlier: Self, jobs: u64) -> (f64, f64) {
        let each = |seconds: f64| (seconds * 1e7 / jobs.max(1) as f64).round() / 10.0;
        (each(self.own - earlier.own), each(self.all - earlier.all))
    }
}
