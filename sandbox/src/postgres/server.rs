//! The operating system's side of one private server: make the cluster, launch, stop, kill.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::binaries::find_binaries;
use super::home::{claim_folder, homes, random_hex, stop_script, unprivileged_user, user_id};
use super::{Options, SUPERUSER};

const STARTS_WITHIN: Duration = Duration::from_secs(60);
const STOPS_WITHIN: Duration = Duration::from_secs(20);
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The operating system's side of one server.
pub(super) struct Server {
    postgres: PathBuf,
    pub(super) folder: PathBuf,
    options: Options,
    /// User and group of the server's processes, where they are not the owner's.
    pub(super) run_as: Option<(u32, u32)>,
    pub(super) password: String,
    pub(super) port: u16,
    process: Mutex<Option<Child>>,
    /// Ends when its input does: on drop, or when this process is no more.
    pub(super) watchdog: Child,
    /// Locked for as long as the owner lives; the sweep of another start goes by that.
    _lock: File,
}

/// The server that a standby follows.
pub(super) struct Followed {
    pub(super) port: u16,
    pub(super) password: String,
}

impl Server {
    pub(super) fn start(options: Options, follows: Option<Followed>) -> Result<Self> {
        let bin = find_binaries()?;
        let me = user_id()?;
        let run_as = if me == 0 { Some(unprivileged_user()?) } else { None };
        let homes = homes(me)?;
        let (folder, lock, lock_path) = claim_folder(&homes, options.folder.as_deref(), run_as)?;
        let remove = options.folder.is_none();
        let watchdog = stop_script(&folder, remove, &lock_path).stdin(Stdio::piped()).process_group(0).spawn()?;
        let password = follows.as_ref().map_or_else(|| random_hex(16), |followed| followed.password.clone());
        let process = Mutex::new(None);
        let postgres = bin.join("postgres");
        let mut server = Self { postgres, folder, options, run_as, password, port: 0, process, watchdog, _lock: lock };
        server.make_cluster(&bin, follows.as_ref())?;
        let mut tries = 0;
        loop {
            server.port = free_port()?;
            match server.launch() {
                // Between our look and the server's, somebody else may take the port.
                Err(e) if tries < 5 && format!("{e:#}").contains("could not bind") => tries += 1,
                result => return result.map(|()| server),
            }
        }
    }

    /// `initdb`, unless the folder has a cluster of an earlier start.
    fn make_cluster(&mut self, bin: &Path, follows: Option<&Followed>) -> Result<()> {
        let secret = self.folder.join("password");
        if self.data().join("PG_VERSION").exists() {
            self.password =
                fs::read_to_string(&secret).context("the folder holds data but no password file")?.trim().to_owned();
            return Ok(());
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&secret)?;
        writeln!(file, "{}", self.password)?;
        if let Some((user, group)) = self.run_as {
            chown(&secret, Some(user), Some(group))?;
        }
        if let Some(followed) = follows {
            return self.copy_cluster(bin, followed);
        }
        let initdb = |locale: &str| -> Result<std::process::Output> {
            let mut command = self.command(&bin.join("initdb"));
            command.arg("--pgdata").arg(self.data()).arg("--pwfile").arg(&secret);
            command.args([
                "--username",
                SUPERUSER,
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-sync",
                "--no-instructions",
            ]);
            Ok(command.arg(format!("--locale={locale}")).output()?)
        };
        let mut made = initdb("C.UTF-8")?;
        if !made.status.success() && String::from_utf8_lossy(&made.stderr).contains("locale") {
            made = initdb("C")?; // systems without C.UTF-8: bytewise order as well, only upper() knows less
        }
        ensure!(made.status.success(), "initdb failed: {}", last_line(&made.stderr));
        Ok(())
    }

    /// A base backup that knows where the rest streams from.
    fn copy_cluster(&self, bin: &Path, followed: &Followed) -> Result<()> {
        // Where `postgres` is a link, the other programs are beside what it leads to.
        let beside = fs::canonicalize(&self.postgres)?.with_file_name("pg_basebackup");
        let mut command = self.command(&if beside.exists() { beside } else { bin.join("pg_basebackup") });
        command.arg("--pgdata").arg(self.data()).args(["--write-recovery-conf", "--wal-method=stream", "--no-sync"]);
        command.args(["--checkpoint=fast", "--host=127.0.0.1", "--username", SUPERUSER]);
        command.arg(format!("--port={}", followed.port)).env("PGPASSWORD", &followed.password);
        let made = command.output()?;
        ensure!(made.status.success(), "pg_basebackup failed: {}", last_line(&made.stderr));
        Ok(())
    }

    /// Start the server on `self.port` and wait until it is ready.
    pub(super) fn launch(&self) -> Result<()> {
        let mut process = self.process();
        let log = self.folder.join("log");
        let mut tries = 0;
        loop {
            let out = File::create(&log)?;
            let mut command = self.command(&self.postgres);
            command.arg("-D").arg(self.data()).stdout(out.try_clone()?).stderr(out).process_group(0);
            for (name, value) in self.settings() {
                command.arg("-c").arg(format!("{name}={value}"));
            }
            let child = process.insert(command.spawn().with_context(|| self.postgres.display().to_string())?);
            let deadline = Instant::now() + STARTS_WITHIN;
            while child.try_wait()?.is_none() {
                if self.is_ready(child.id()) {
                    return Ok(());
                }
                if Instant::now() > deadline {
                    child.kill()?;
                    child.wait()?;
                    *process = None;
                    bail!(
                        "private Postgres was not ready after {} s: {}",
                        STARTS_WITHIN.as_secs(),
                        last_line(&fs::read(&log)?)
                    );
                }
                sleep(LOOK_AGAIN);
            }
            *process = None;
            let said = fs::read_to_string(&log)?;
            // After kill_hard the last sessions may still hold the shared memory for a moment.
            if said.contains("shared memory block") && tries < 250 {
                tries += 1;
                sleep(LOOK_AGAIN);
                continue;
            }
            let cause =
                ["could not bind", "FATAL"].iter().find_map(|word| said.lines().find(|line| line.contains(word)));
            bail!(
                "private Postgres did not start: {}",
                cause.map_or_else(|| last_line(said.as_bytes()), str::to_owned)
            );
        }
    }

    fn settings(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", self.folder.display().to_string()),
            ("unix_socket_permissions", "0700".to_owned()),
            ("max_connections", self.options.max_connections.to_string()),
            ("shared_buffers", "64MB".to_owned()),
            // In the folder, not in /dev/shm: nothing is left there after kill_hard, and small containers have little of it.
            ("dynamic_shared_memory_type", "mmap".to_owned()),
            ("timezone", "UTC".to_owned()),
            ("log_timezone", "UTC".to_owned()),
            ("jit", "off".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if self.options.fast {
            all.extend(
                ["fsync", "synchronous_commit", "full_page_writes"].map(|name| (name.to_owned(), "off".to_owned())),
            );
        }
        all.extend(self.options.settings.iter().cloned());
        all
    }

    /// The server's own word for it: line 1 of its pid file names the process, line 8 its state.
    fn is_ready(&self, pid: u32) -> bool {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.first().is_some_and(|line| *line == pid.to_string())
            && lines.get(7).is_some_and(|line| line.starts_with("ready") || line.starts_with("standby"))
    }

    pub(super) fn stop(&self) -> Result<()> {
        let mut process = self.process();
        let Some(child) = process.as_mut() else { return Ok(()) };
        signal("INT", child.id())?;
        let deadline = Instant::now() + STOPS_WITHIN;
        while child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "private Postgres did not stop within {} s", STOPS_WITHIN.as_secs());
            sleep(LOOK_AGAIN);
        }
        *process = None;
        Ok(())
    }

    pub(super) fn kill_hard(&self) -> Result<()> {
        let mut process = self.process();
        let Some(mut child) = process.take() else { return Ok(()) };
        let backends = children_of(child.id());
        child.kill()?;
        for backend in backends {
            signal("KILL", backend)?;
        }
        child.wait()?;
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A command of Postgres as the right user, without the caller's `PG...` variables, in plain English and UTC.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").env("TZ", "UTC").stdin(Stdio::null()).current_dir(&self.folder);
        if let Some((user, group)) = self.run_as {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take()); // its cue
        if let Err(e) = self.watchdog.wait() {
            tracing::warn!(error = %e, "the private Postgres may still run; the next start removes it");
        }
        if let Some(mut child) = self.process().take() {
            let _ = child.wait(); // the watchdog has ended it; this only collects the exit code
        }
    }
}

pub(super) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The shell's own `kill`: slim containers have no other.
pub(super) fn signal(name: &str, pid: u32) -> Result<()> {
    Command::new("/bin/sh")
        .arg("-c")
        .arg(r#"kill -s "$0" "$1" 2>/dev/null || true"#)
        .arg(name)
        .arg(pid.to_string())
        .status()?;
    Ok(())
}

/// Direct children of a process where /proc tells; elsewhere none, and they end by themselves when they miss their parent.
fn children_of(parent: u32) -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
}
