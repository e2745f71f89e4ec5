//! Find the binaries of Postgres, new enough, without asking the shell.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// The oldest Postgres that Safelight's SQL is written for.
pub const OLDEST_VERSION: u32 = 15;

/// The folder with `postgres` and `initdb`: PATH first, then the newest in the usual places.
pub(super) fn find_binaries() -> Result<PathBuf> {
    let on_path =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    if let Some(bin) = on_path.into_iter().find(|bin| version(bin).is_some_and(|v| v >= OLDEST_VERSION)) {
        return Ok(bin);
    }
    let mut places: Vec<PathBuf> =
        ["/usr/local/bin", "/usr/local/pgsql/bin", "/opt/homebrew/bin"].map(PathBuf::from).into();
    for versions in ["/usr/lib/postgresql", "/usr/lib64/postgresql", "/usr", "/opt/homebrew/opt", "/usr/local/opt"] {
        places.extend(fs::read_dir(versions).into_iter().flatten().flatten().map(|entry| entry.path().join("bin")));
    }
    let newest = places.into_iter().filter_map(|bin| version(&bin).map(|version| (version, bin))).max();
    newest.filter(|(version, _)| *version >= OLDEST_VERSION).map(|(_, bin)| bin).with_context(|| {
        format!(
            "Postgres {OLDEST_VERSION} or newer was not found: install it (Debian, Ubuntu: apt-get install postgresql; \
             macOS: brew install postgresql@17) or set DATABASE_URL"
        )
    })
}

/// Major version of the binaries in `bin`, if both are there: "postgres (PostgreSQL) 15.18 (Debian ...)" is 15.
fn version(bin: &Path) -> Option<u32> {
    bin.join("initdb").exists().then_some(())?;
    let said = Command::new(bin.join("postgres")).arg("--version").stderr(Stdio::null()).output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    said.split_whitespace().nth(2)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
