//! The same failover by the real thing: Patroni over etcd, HAProxy before it, and worker processes in network namespaces
//! with addresses of their own, one of which is cut off.
//!
//! Asked for by `./dev failover`, which installs what it needs and runs as root; elsewhere there is nothing to see.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use safelight_jobs::{
    db::{self, Role},
    queue::Bell,
    run::Tx,
};
use sqlx::PgPool;

use super::{
    LEFT, RUNNING,
    failover::{FAILOVERS, Producer, effects},
};
use crate::{
    app::{self, App},
    processes::environment,
};

/// A key in etcd lives for twenty seconds at least, and an election follows.
const ELECTION: Duration = Duration::from_secs(120);
const PASSWORD: &str = "only-on-this-bridge";
const BRIDGE: &str = "safelight0";
const HERE: &str = "10.77.19.1";

fn sh(line: &str) -> bool {
    Command::new("/bin/sh").arg("-c").arg(line).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

async fn within<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(began.elapsed() < ELECTION, "never: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A process and all that it started; ends with its handle.
struct Daemon(Child);

impl Daemon {
    fn start(mut command: Command, log: &Path) -> Self {
        let log = fs::File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
    /// As a power cut does.
    fn dies(&mut self) {
        sh(&format!("kill -s KILL -- -{}", self.0.id()));
        let _ = self.0.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.dies();
    }
}

/// Worker machines: namespaces on one bridge.
struct Hosts(u32);

impl Hosts {
    fn start(count: u32) -> Self {
        let hosts = Self(count);
        hosts.clear();
        assert!(sh(&format!(
            "ip link add {BRIDGE} type bridge && ip addr add {HERE}/24 dev {BRIDGE} && ip link set {BRIDGE} up"
        )));
        for host in 1..=count {
            assert!(sh(&format!(
                "ip netns add safelight-{host} && ip link add safelight-{host} type veth peer name eth0 netns safelight-{host} \
                && ip link set safelight-{host} master {BRIDGE} up && ip -n safelight-{host} link set lo up \
                && ip -n safelight-{host} addr add 10.77.19.{}/24 dev eth0 && ip -n safelight-{host} link set eth0 up",
                10 + host
            )));
        }
        hosts
    }
    /// The cable is pulled: nobody is told.
    fn cut_off(&self, host: u32) {
        assert!(sh(&format!("ip link set safelight-{host} down")));
    }
    fn comes_back(&self, host: u32) {
        assert!(sh(&format!("ip link set safelight-{host} up")));
    }
    fn clear(&self) {
        for host in 1..=self.0 {
            sh(&format!("ip link del safelight-{host}; ip netns del safelight-{host}"));
        }
        sh(&format!("ip link del {BRIDGE}"));
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.clear();
    }
}

struct Node {
    daemon: Daemon,
    data: PathBuf,
    api: u16,
}

impl Node {
    /// Patroni and its Postgres, with everything of both, at once.
    fn dies(&mut self) {
        let postmaster = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        self.daemon.dies();
        if let Some(pid) = postmaster.lines().next() {
            sh(&format!("pkill -KILL -P {pid}; kill -s KILL {pid}"));
        }
    }
    async fn is_primary(&self, http: &reqwest::Client) -> bool {
        let asked =
            http.get(format!("http://{HERE}:{}/primary", self.api)).timeout(Duration::from_secs(2)).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }
}

struct Cluster {
    nodes: Vec<Node>,
    url: String,
    _etcd: Daemon,
    _haproxy: Daemon,
    folder: PathBuf,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.dies();
        }
        // Where it went wrong, the logs stay.
        if std::thread::panicking() {
            eprintln!("logs are in {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind((HERE, 0)).unwrap().local_addr().unwrap().port()
}

fn postgres_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("a user named postgres");
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

fn binaries() -> PathBuf {
    let newest = fs::read_dir("/usr/lib/postgresql").unwrap().flatten().map(|entry| entry.path().join("bin")).max();
    newest.expect("Postgres")
}

impl Cluster {
    async fn start() -> Self {
        let (user, group) = postgres_user();
        let folder = std::env::temp_dir().join(format!("safelight-failover-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(user), Some(group)).unwrap();
        let run = |program: &str| {
            let mut command = Command::new(program);
            command.uid(user).gid(group).current_dir(&folder);
            command
        };
        let (client, peer) = (free_port(), free_port());
        let mut etcd = run("etcd");
        etcd.arg("--data-dir").arg(folder.join("etcd")).args([
            "--name",
            "e",
            "--log-level",
            "warn",
            "--unsafe-no-fsync",
        ]);
        for (option, port) in [
            ("listen-client-urls", client),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer),
            ("initial-advertise-peer-urls", peer),
        ] {
            etcd.arg(format!("--{option}=http://{HERE}:{port}"));
        }
        etcd.arg(format!("--initial-cluster=e=http://{HERE}:{peer}"));
        let etcd = Daemon::start(etcd, &folder.join("etcd.log"));

        let (front, mut back, mut nodes) = (free_port(), String::new(), Vec::new());
        for name in ["a", "b"] {
            let (port, api, data) = (free_port(), free_port(), folder.join(name));
            let settings = folder.join(format!("{name}.yml"));
            let text = format!(
                "scope: safelight\nname: {name}\nrestapi: {{listen: '{HERE}:{api}', connect_address: '{HERE}:{api}'}}\n\
                etcd3: {{host: '{HERE}:{client}'}}\n\
                bootstrap:\n  dcs:\n    ttl: 20\n    loop_wait: 1\n    retry_timeout: 3\n    synchronous_mode: true\n    postgresql:\n      parameters: {{max_connections: 120}}\n\
                \x20 initdb: [{{encoding: UTF8}}, {{locale: C.UTF-8}}]\n\
                \x20 pg_hba: ['host all all {HERE}/24 scram-sha-256', 'host replication all {HERE}/24 scram-sha-256', 'local all all trust']\n\
                postgresql:\n  pgpass: '{}'\n  listen: '{HERE}:{port}'\n  connect_address: '{HERE}:{port}'\n  data_dir: '{}'\n  bin_dir: '{}'\n\
                \x20 parameters: {{unix_socket_directories: '{}'}}\n\
                \x20 authentication:\n    superuser: {{username: postgres, password: '{PASSWORD}'}}\n    replication: {{username: replicator, password: '{PASSWORD}'}}\n",
                folder.join(format!("{name}.pgpass")).display(),
                data.display(),
                binaries().display(),
                folder.display(),
            );
            fs::write(&settings, text).unwrap();
            chown(&settings, Some(user), Some(group)).unwrap();
            let mut patroni = run("patroni");
            patroni.arg(&settings);
            back.push_str(&format!("  server {name} {HERE}:{port} check port {api}\n"));
            let daemon = Daemon::start(patroni, &folder.join(format!("{name}.log")));
            nodes.push(Node { daemon, data, api });
        }
        let settings = folder.join("haproxy.cfg");
        let text = format!(
            "defaults\n  mode tcp\n  timeout connect 3s\n  timeout client 1h\n  timeout server 1h\n\
            listen primary\n  bind {HERE}:{front}\n  option httpchk OPTIONS /primary\n  http-check expect status 200\n\
            \x20 default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions\n{back}"
        );
        fs::write(&settings, text).unwrap();
        let mut haproxy = run("haproxy");
        haproxy.arg("-f").arg(&settings).arg("-db");
        let haproxy = Daemon::start(haproxy, &folder.join("haproxy.log"));
        let url = format!("postgres://postgres:{PASSWORD}@{HERE}:{front}/postgres");
        let cluster = Self { nodes, url, _etcd: etcd, _haproxy: haproxy, folder };
        let admin =
            within("a primary behind HAProxy", async || db::connect(&cluster.url, Role::Owner, 1).await.ok()).await;
        app::prepare(&admin).await;
        within("a synchronous standby", async || {
            let standby = "select count(*) from pg_stat_replication where sync_state = 'sync'";
            sqlx::query_scalar::<_, i64>(standby).fetch_one(&admin).await.ok().filter(|count| *count == 1)
        })
        .await;
        admin.close().await;
        cluster
    }

    async fn primary(&self, http: &reqwest::Client) -> usize {
        within("one primary", async || {
            for (at, node) in self.nodes.iter().enumerate() {
                if node.is_primary(http).await {
                    return Some(at);
                }
            }
            None
        })
        .await
    }
}

fn worker(app: &App, host: u32, url: &str, folder: &Path) -> Daemon {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &format!("safelight-{host}"), env!("CARGO_BIN_EXE_safelight"), "worker"]);
    command.env_remove("PORT").envs(environment(app, "http://127.0.0.1:9"));
    command.env("DATABASE_URL", url).env("SAFELIGHT_LOG", "info");
    Daemon::start(command, &folder.join(format!("worker-{host}.log")))
}

async fn number(db: &PgPool, sql: &'static str) -> Option<i64> {
    sqlx::query_scalar(sql).fetch_one(db).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_patroni_the_primary_dies_and_a_host_is_cut_off_and_nothing_is_lost() {
    if std::env::var_os("SAFELIGHT_FAILOVER").is_none() {
        return;
    }
    let app = App::spawn().await;
    let hosts = Hosts::start(2);
    let mut cluster = Cluster::start().await;
    let _one = worker(&app, 1, &cluster.url, &cluster.folder);
    let _other = worker(&app, 2, &cluster.url, &cluster.folder);
    let db = db::connect(&cluster.url, Role::Owner, 3).await.unwrap();
    within("two workers", async || number(&db, "select count(*) from safelight.workers").await.filter(|n| *n == 2))
        .await;

    // The primary dies while jobs flow.
    let producer = Producer::start(db::connect(&cluster.url, Role::Worker, 2).await.unwrap(), "a job");
    within("two hundred jobs", async || (producer.confirmed() >= 200).then_some(())).await;
    let dead = cluster.primary(&app.http).await;
    let died = Instant::now();
    cluster.nodes[dead].dies();
    let before = producer.confirmed();
    within("jobs are confirmed again", async || (producer.confirmed() >= before + 50).then_some(())).await;
    println!("failed over: confirmed again after {:.1} s", died.elapsed().as_secs_f64());
    let mut confirmed = producer.stop().await;
    within("all jobs are done", async || number(&db, LEFT).await.filter(|n| *n == 0)).await;

    // Both hosts work; one of them is cut off with its jobs in hand.
    let mut hold = db::begin(&db).await.unwrap();
    sqlx::query("lock table safelight.orders in access exclusive mode").execute(&mut *hold).await.unwrap();
    for number in 0..16 {
        let mut tx = Tx::begin(&db, &Bell::default()).await.unwrap();
        let because = format!("held {number}");
        tx.enqueue(&safelight_jobs::expire_consents::ExpireConsents { because: because.clone() }).await.unwrap();
        tx.commit().await.unwrap();
        confirmed.insert(because);
    }
    within("both have work", async || number(&db, RUNNING).await.filter(|n| *n == 16)).await;
    let spread = "select count(distinct worker) from safelight.jobs where state = 1";
    assert_eq!(number(&db, spread).await, Some(2));
    hosts.cut_off(1);
    within("its jobs are taken from it", async || {
        number(&db, "select count(*) from safelight.job_attempts where verdict = 'crashed'").await.filter(|n| *n == 8)
    })
    .await;
    hold.rollback().await.unwrap();
    within("all jobs are done", async || number(&db, LEFT).await.filter(|n| *n == 0)).await;
    hosts.comes_back(1);
    within("it is back", async || {
        number(&db, "select count(*) from safelight.workers where seen_at > clock_timestamp() - interval '5 seconds'")
            .await
            .filter(|n| *n == 2)
    })
    .await;

    let effects = effects(&db).await;
    let lost: Vec<_> = confirmed.difference(&effects).collect();
    assert!(lost.is_empty(), "confirmed and lost: {lost:?}");
    assert_eq!(number(&db, FAILOVERS).await, Some(1), "the failover is written down");
    println!("{} jobs confirmed, {} effects, each once", confirmed.len(), effects.len());
    db.close().await;
}
