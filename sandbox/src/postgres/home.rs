//! Where private servers live, who runs them, and how they end: folders, lock files, watchdog, sweep.
//!
//! One shell script ends a server, whoever asks: the watchdog when its owner is gone, a drop, or the sweep of a later start.
//! It signals a process only when its command line names the folder that is to be ended.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rand::RngCore;

/// Kernels take 104 (macOS) or 108 bytes for a socket's path; this many may be in the folder's.
const LONGEST_FOLDER: usize = 80;

/// Stops the server of one folder, then removes what was asked; run by the watchdog, by a drop and by the sweep alike.
/// Arguments: folder, signal, `remove` or `keep`, lock file. Waits first until its input ends, that is, until its owner dies.
const STOP_SCRIPT: &str = r#"
trap '' HUP INT TERM QUIT
while read -r _; do :; done
data=$1/data
ours() { { tr '\0' ' ' <"/proc/$1/cmdline" || ps -o args= -p "$1"; } 2>/dev/null | grep -qF -e "$data"; }
pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && ours "$pid"; then
    kill -s "$2" "$pid"
    tries=0
    while [ -e "$data/postmaster.pid" ] && [ "$tries" -lt 200 ]; do sleep 0.05; tries=$((tries + 1)); done
    if ours "$pid"; then kill -s KILL "$pid"; fi
fi
if [ "$3" = remove ]; then rm -rf "$1" || { sleep 1; rm -rf "$1"; }; fi
rm -f "$4"
"#;

pub(super) fn stop_script(folder: &Path, remove: bool, lock: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(STOP_SCRIPT).arg("safelight-postgres-watchdog").arg(folder);
    // A folder that goes needs no checkpoint; one that stays is closed in order.
    command.args(if remove { ["QUIT", "remove"] } else { ["INT", "keep"] }).arg(lock);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    command
}

/// The parent of all private servers of this user, and of their lock files.
pub(super) fn homes(me: u32) -> Result<PathBuf> {
    let mut parent = std::env::temp_dir();
    if parent.as_os_str().len() > LONGEST_FOLDER - 32 {
        parent = PathBuf::from("/tmp"); // a socket's path is short
    }
    let homes = parent.join(format!("safelight-{me}"));
    match fs::create_dir(&homes) {
        // Root's is passable, because the server then is another user.
        Ok(()) => fs::set_permissions(&homes, fs::Permissions::from_mode(if me == 0 { 0o711 } else { 0o700 }))?,
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e).with_context(|| format!("{} cannot be made", homes.display())),
    }
    let found = fs::symlink_metadata(&homes)?;
    ensure!(
        found.is_dir() && found.uid() == me,
        "{} is not a folder of this user: remove it or set TMPDIR",
        homes.display()
    );
    Ok(homes)
}

/// Sweep what dead owners left, then make a folder and its locked lock file, all before another start can look.
pub(super) fn claim_folder(
    homes: &Path,
    wanted: Option<&Path>,
    run_as: Option<(u32, u32)>,
) -> Result<(PathBuf, File, PathBuf)> {
    let turn = File::create(homes.join("turn"))?;
    turn.lock()?;
    sweep(homes)?;
    let name = format!("pg-{}", random_hex(4));
    let folder = match wanted {
        Some(path) => std::path::absolute(path)?,
        None => homes.join(&name),
    };
    ensure!(
        folder.as_os_str().len() <= LONGEST_FOLDER,
        "{} is too long for a socket's path: choose a shorter one",
        folder.display()
    );
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let foreign = !folder.join("password").exists() && fs::read_dir(&folder)?.next().is_some();
    ensure!(!foreign, "{} holds something else: name an empty folder", folder.display());
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    if let Some((user, group)) = run_as {
        chown(&folder, Some(user), Some(group))?;
    }
    let lock_path = homes.join(format!("{name}.owner"));
    let mut lock = File::create(&lock_path)?;
    lock.lock()?;
    write!(lock, "{}\n{}", if wanted.is_some() { "keep" } else { "remove" }, folder.display())?;
    Ok((folder, lock, lock_path))
}

/// End servers whose owner is gone: the kernel gives back a lock when its process ends, however it ends.
fn sweep(homes: &Path) -> Result<()> {
    for entry in fs::read_dir(homes)? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "owner") {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue }; // its watchdog was faster
        if file.try_lock().is_err() {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        match text.split_once('\n') {
            Some((fate, folder)) => stop_script(Path::new(folder), fate == "remove", &path).status().map(drop)?,
            None => fs::remove_file(&path)?,
        }
    }
    Ok(())
}

pub(super) fn user_id() -> Result<u32> {
    let said = Command::new("id").arg("-u").output().context("the command `id` is missing")?.stdout;
    String::from_utf8_lossy(&said).trim().parse().context("`id -u` did not say a number")
}

/// Who runs the server when root asks for one: the packaged user, else nobody.
pub(super) fn unprivileged_user() -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        let line = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
        Some((line.get(2)?.parse().ok()?, line.get(3)?.parse().ok()?))
    };
    find("postgres").or_else(|| find("nobody")).context("Postgres refuses to run as root: add a user named postgres")
}

pub(super) fn random_hex(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    rand::thread_rng().fill_bytes(&mut random);
    hex::encode(random)
}
