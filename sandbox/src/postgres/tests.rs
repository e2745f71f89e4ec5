//! The private server, held to what its header says, with real processes and a real `kill -9`.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::home::random_hex;
use super::server::{LOOK_AGAIN, signal};
use super::*;

const URL_FILE: &str = "SAFELIGHT_TEST_URL_FILE";

fn fast() -> Options {
    Options { fast: true, ..Options::default() }
}

async fn ask(url: &str, sql: &'static str) -> Result<String> {
    let mut connection = PgConnection::connect(url).await?;
    Ok(sqlx::query_scalar(sql).fetch_one(&mut connection).await?)
}

/// Wait for another process's act, bounded.
fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen within 30 s");
        sleep(LOOK_AGAIN);
    }
}

fn runs_on(folder: &Path) -> Vec<u32> {
    let ours = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*folder.to_string_lossy()))
    };
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok()).filter(ours).collect()
}

#[tokio::test]
async fn a_private_server_answers_over_tcp_and_socket_and_leaves_nothing_behind() {
    let postgres = Postgres::start(fast()).await.unwrap();
    let url = postgres.create_database("orders").await.unwrap();
    assert_eq!(
        ask(&url, "select current_database() || ' ' || current_setting('timezone')").await.unwrap(),
        "orders UTC"
    );
    let socket = url.replace("127.0.0.1", &postgres.folder().display().to_string().replace('/', "%2F"));
    assert_eq!(ask(&socket, "select current_user::text").await.unwrap(), SUPERUSER);
    let copy = postgres.create_database_from("orders_copy", "orders").await.unwrap();
    assert_eq!(ask(&copy, "select current_setting('fsync')").await.unwrap(), "off");
    postgres.drop_database("orders_copy").await.unwrap();
    assert!(ask(&copy, "select 'still there'").await.is_err());
    assert!(postgres.create_database("x\"; drop database orders; --").await.is_err());
    assert!(!format!("{postgres:?}").contains(&postgres.server.password));

    let folder = postgres.folder().to_path_buf();
    drop(postgres);
    assert!(!folder.exists());
    assert_eq!(runs_on(&folder), Vec::<u32>::new());
}

#[tokio::test]
async fn a_stranger_without_the_password_is_refused() {
    let postgres = Postgres::start(fast()).await.unwrap();
    let url = postgres.admin_url().replace(&postgres.server.password, "guess");
    assert!(format!("{:#}", ask(&url, "select 'in'").await.unwrap_err()).contains("password authentication failed"));
}

#[tokio::test]
async fn committed_rows_survive_a_stop_and_a_hard_kill_on_the_same_port() {
    let postgres = Postgres::start(Options::default()).await.unwrap();
    let url = postgres.create_database("rows").await.unwrap();
    assert_eq!(ask(&url, "select current_setting('fsync')").await.unwrap(), "on");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("create table kept as select 'here' as word").execute(&mut connection).await.unwrap();
    postgres.kill_hard().await.unwrap();
    assert!(sqlx::raw_sql("select 1").execute(&mut connection).await.is_err());
    assert!(ask(&url, "select 'up'").await.is_err());
    postgres.restart().await.unwrap();
    assert_eq!(ask(&url, "select word from kept").await.unwrap(), "here");
    postgres.stop().await.unwrap();
    assert!(ask(&url, "select 'up'").await.is_err());
    postgres.restart().await.unwrap();
    assert_eq!(ask(&url, "select word from kept").await.unwrap(), "here");
}

#[tokio::test]
async fn a_named_folder_is_kept_and_used_again_and_a_foreign_one_is_refused() {
    let place = std::env::temp_dir().join(format!("safelight-kept-{}", random_hex(4)));
    let named = |folder: &Path| Options { folder: Some(folder.to_path_buf()), ..fast() };
    let first = Postgres::start(named(&place)).await.unwrap();
    first.create_database("album").await.unwrap();
    drop(first);
    let second = Postgres::start(named(&place)).await.unwrap();
    assert_eq!(ask(&second.url("album"), "select current_database()::text").await.unwrap(), "album");
    drop(second);
    fs::remove_file(place.join("password")).unwrap();
    assert!(Postgres::start(named(&place)).await.unwrap_err().to_string().contains("holds something else"));
    fs::remove_dir_all(&place).unwrap();
}

#[tokio::test]
async fn a_setting_that_postgres_refuses_is_told_in_one_sentence() {
    let settings = vec![("max_connections".to_owned(), "many".to_owned())];
    let refused = Postgres::start(Options { settings, ..fast() }).await.unwrap_err().to_string();
    assert!(
        refused.contains("did not start") && refused.contains("max_connections") && !refused.contains('\n'),
        "{refused}"
    );
}

#[tokio::test]
async fn a_port_that_was_taken_meanwhile_is_named() {
    let postgres = Postgres::start(fast()).await.unwrap();
    postgres.stop().await.unwrap();
    let _thief = std::net::TcpListener::bind(("127.0.0.1", postgres.port())).unwrap();
    assert!(postgres.restart().await.unwrap_err().to_string().contains("could not bind"));
}

/// Not a test: the owner that the next tests kill. It says where its server is, then waits for its end.
#[tokio::test]
#[ignore = "the child process of two other tests"]
async fn owner() {
    let Some(file) = std::env::var_os(URL_FILE).map(PathBuf::from) else { return };
    let postgres = Postgres::start(fast()).await.unwrap();
    let text = format!("{}\n{}\n{}", postgres.port(), postgres.folder().display(), postgres.server.watchdog.id());
    fs::write(file.with_extension("new"), text).unwrap();
    fs::rename(file.with_extension("new"), &file).unwrap();
    // Heard also where a runner in the background has SIGINT ignored for its children; nothing is cleaned up by this end.
    tokio::signal::ctrl_c().await.unwrap();
    std::process::exit(130);
}

/// Start [`owner`] in a process of its own; gives the process, its server's port and folder, and its watchdog.
fn spawn_owner() -> (Child, u16, PathBuf, u32) {
    let file = std::env::temp_dir().join(format!("safelight-owner-{}", random_hex(4)));
    let name = format!("{}::owner", module_path!().split_once("::").unwrap().1);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&name, "--exact", "--ignored"]).env(URL_FILE, &file).stdout(Stdio::null()).process_group(0);
    let child = command.spawn().unwrap();
    soon("the owner's server", || file.exists());
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap();
    (child, next().parse().unwrap(), next().into(), next().parse().unwrap())
}

#[test]
fn the_server_dies_with_its_owner_also_by_kill_9_and_by_ctrl_c() {
    for word in ["KILL", "INT"] {
        let (mut child, port, folder, _) = spawn_owner();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        // To the whole group, as a terminal does.
        Command::new("/bin/sh")
            .args(["-c", r#"kill -s "$0" -- "-$1""#, word, &child.id().to_string()])
            .status()
            .unwrap();
        child.wait().unwrap();
        soon("the end of the server", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
        soon("the end of its folder", || !folder.exists());
        soon("the end of its processes", || runs_on(&folder).is_empty());
    }
}

#[tokio::test]
async fn a_server_whose_owner_and_watchdog_were_killed_is_swept_by_the_next_start() {
    let (mut child, port, folder, watchdog) = spawn_owner();
    signal("KILL", watchdog).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() || !folder.exists());
    let next = Postgres::start(fast()).await.unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!folder.exists());
    assert_eq!(runs_on(&folder), Vec::<u32>::new());
    assert!(ask(&next.admin_url(), "select 'mine'").await.is_ok());
}
