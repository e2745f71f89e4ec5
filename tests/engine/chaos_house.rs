//! The worker processes of the chaos test, their deaths, sleeps and successors, and the clocks that they believe.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};

use crate::{
    app::App,
    pools::{SOON, until},
    processes::{command, environment},
};

/// The shortest that a worker takes.
pub const LEASE: Duration = Duration::from_secs(3);
/// A worker that cannot reach Postgres while it starts gives up after this, and whoever started it starts it again.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

struct Worker {
    process: Child,
    since: Instant,
    /// Asleep until then.
    asleep: Option<Instant>,
}

/// The workers of one app.
pub struct Workers {
    awake: Vec<Worker>,
    leaving: Vec<Child>,
    environment: Vec<(&'static str, String)>,
    skew: Option<PathBuf>,
    started: usize,
}

impl Workers {
    pub async fn start(app: &App, count: usize) -> Self {
        let mut environment = environment(app, &app.url);
        let log = std::env::var("SAFELIGHT_CHAOS_LOG").unwrap_or_else(|_| "off".to_owned());
        environment.retain(|(name, _)| *name != "SAFELIGHT_LOG");
        environment.extend([("SAFELIGHT_LOG", log), ("SAFELIGHT_DRAIN_SECONDS", "2".to_owned())]);
        let mut workers = Self { awake: vec![], leaving: vec![], environment, skew: libfaketime(), started: 0 };
        for _ in 0..count {
            workers.another();
        }
        until(&app.db, "select count(*) from safelight.workers", count.try_into().unwrap()).await;
        workers
    }

    /// How their clocks went, for the report.
    pub fn clocks(&self) -> &'static str {
        match self.skew {
            Some(_) => "clocks minutes apart",
            None => "all clocks alike (libfaketime is not installed)",
        }
    }

    fn another(&mut self) {
        let mut command = command(&["worker"], &self.environment);
        command.stdout(Stdio::null());
        if let Some(library) = &self.skew {
            skewed(&mut command, library, self.started);
        }
        self.started += 1;
        let process = command.spawn().expect("a worker");
        self.awake.push(Worker { process, since: Instant::now(), asleep: None });
    }

    fn pick(&self, dice: usize) -> usize {
        dice % self.awake.len()
    }

    /// Wakes who has slept enough, and starts anew who ended while it started.
    pub fn supervise(&mut self) {
        for worker in &mut self.awake {
            if worker.asleep.is_some_and(|until| Instant::now() >= until) {
                signal("CONT", &worker.process);
                worker.asleep = None;
            }
        }
        let before = self.awake.len();
        self.awake.retain_mut(|worker| match worker.process.try_wait() {
            Ok(None) => true,
            ended => {
                assert!(worker.since.elapsed() < STARTS_WITHIN, "a worker ended by itself: {ended:?}");
                false
            }
        });
        for _ in self.awake.len()..before {
            self.another();
        }
    }

    pub async fn kill(&mut self, dice: usize) {
        let mut gone = self.awake.remove(self.pick(dice));
        gone.process.kill().await.expect("a worker that dies");
        self.another();
    }

    pub fn sleep(&mut self, dice: usize, time: Duration) {
        // Somebody stays awake.
        if self.awake.iter().filter(|worker| worker.asleep.is_none()).count() < 2 {
            return;
        }
        let at = self.pick(dice);
        signal("STOP", &self.awake[at].process);
        self.awake[at].asleep = Some(Instant::now() + time);
    }

    pub fn deploy(&mut self, dice: usize) {
        let gone = self.awake.remove(self.pick(dice));
        signal("TERM", &gone.process);
        signal("CONT", &gone.process);
        self.leaving.push(gone.process);
        self.another();
    }

    /// Everybody is awake and there.
    pub async fn mend(&mut self, app: &App, count: usize) {
        for worker in &mut self.awake {
            signal("CONT", &worker.process);
            worker.asleep = None;
        }
        self.supervise();
        while self.awake.len() < count {
            self.another();
        }
        for mut leaving in self.leaving.drain(..) {
            tokio::time::timeout(SOON, leaving.wait()).await.expect("a stop is bounded").expect("an end");
        }
        // One that started while Postgres was away may end after all: each has to be heard of, by the number of its process.
        let began = Instant::now();
        while self.heard_of(app).await < self.awake.len() {
            assert!(began.elapsed() < SOON, "not every worker comes back");
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.supervise();
        }
    }

    async fn heard_of(&self, app: &App) -> usize {
        let processes: Vec<i32> = self.awake.iter().filter_map(|worker| worker.process.id()?.try_into().ok()).collect();
        let heard = sqlx::query_scalar::<_, i64>(
            "select count(distinct pid) from safelight.workers
            where pid = any ($1) and seen_at > clock_timestamp() - interval '8 seconds'",
        );
        let heard = heard.bind(processes).fetch_one(&app.db).await.unwrap_or(0);
        usize::try_from(heard).unwrap_or(0)
    }

    pub fn all_live(&mut self) -> bool {
        self.awake.iter_mut().all(|worker| matches!(worker.process.try_wait(), Ok(None)))
    }

    /// As a SIGTERM does: each ends in good order.
    pub async fn stop(&mut self) {
        for worker in &self.awake {
            signal("TERM", &worker.process);
        }
        for mut worker in self.awake.drain(..) {
            let end = tokio::time::timeout(SOON, worker.process.wait()).await.expect("a stop is bounded");
            assert!(end.expect("an end").success(), "a worker ended in disorder");
        }
    }
}

/// The shell's own `kill`: slim containers have no other.
fn signal(name: &str, process: &Child) {
    let Some(pid) = process.id() else { return };
    let script = r#"kill -s "$0" "$1" 2>/dev/null || true"#;
    let sent = std::process::Command::new("/bin/sh").args(["-c", script, name, &pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "no shell to signal with");
}

/// The library that gives a process another clock, where Debian has it.
pub fn libfaketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path().join("faketime"));
    folders.map(|folder| folder.join("libfaketimeMT.so.1")).find(|library| library.exists())
}

/// Two of three workers believe in another time; none of them in one that the store would refuse.
fn skewed(command: &mut Command, library: &std::path::Path, number: usize) {
    let shift = ["+0s", "-4m", "+6m"][number % 3];
    command.env("LD_PRELOAD", library).env("FAKETIME", shift).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}
