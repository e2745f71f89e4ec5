//! Real processes: `safelight api` and two `safelight worker` on one Postgres, killed without warning; and starts that
//! cannot succeed.

use std::{
    path::PathBuf,
    process::{Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rand::Rng;
use safelight_jobs::{reconcile_calls::ReconcileCalls, sweep_retention::SweepRetention};
use tokio::process::{Child, Command};

use crate::{
    app::{App, MASTER_KEY},
    pools::{SOON, until},
};

/// What a process reads from its environment, for the stand-ins of one app.
pub fn environment(app: &App, url: &str) -> Vec<(&'static str, String)> {
    let there = app.sandbox.description();
    let host = |url: &str| url.split("://").nth(1).unwrap_or(url).trim_end_matches('/').to_owned();
    vec![
        ("DATABASE_URL", app.database_url.clone()),
        ("SAFELIGHT_MASTER_KEY", MASTER_KEY.to_owned()),
        ("SAFELIGHT_PUBLIC_URL", url.to_owned()),
        ("SAFELIGHT_LISTEN", host(url)),
        ("SAFELIGHT_LEASE_SECONDS", "3".to_owned()),
        ("SAFELIGHT_LOG", "error".to_owned()),
        ("SAFELIGHT_MODELS", concat!(env!("CARGO_MANIFEST_DIR"), "/models").to_owned()),
        ("CRON_SECRET", app.cron_secret.clone()),
        ("STRIPE_URL", there.stripe.url.clone()),
        ("STRIPE_SECRET_KEY", there.stripe.secret_key.clone()),
        ("STRIPE_WEBHOOK_SECRET", there.stripe.webhook_secret.clone()),
        ("FAL_QUEUE_URL", there.fal.queue_url.clone()),
        ("FAL_PLATFORM_URL", there.fal.platform_url.clone()),
        ("FAL_REST_URL", there.fal.rest_url.clone()),
        ("FAL_FILES_HOSTS", host(&there.fal.files_url)),
        ("FAL_KEY", there.fal.key.clone()),
        ("FAL_ADMIN_KEY", there.fal.admin_key.clone()),
        ("FAL_USER_ID", there.fal.user_id.clone()),
        ("SUPABASE_URL", there.supabase.url.clone()),
        ("SUPABASE_SERVICE_KEY", there.supabase.secret_key.clone()),
        ("S3_ENDPOINT", there.supabase.s3_endpoint.clone()),
        ("S3_REGION", there.supabase.s3_region.clone()),
        ("S3_ACCESS_KEY", there.supabase.s3_access_key_id.clone()),
        ("S3_SECRET_KEY", there.supabase.s3_secret_access_key.clone()),
        ("RESEND_URL", there.resend.url.clone()),
        ("RESEND_API_KEY", there.resend.api_key.clone()),
    ]
}

/// This program; in a rehearsal (`./dev rehearse`) another version of it, always or by turns.
fn program() -> PathBuf {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    let other = std::env::var_os("SAFELIGHT_OTHER_VERSION").map(PathBuf::from);
    let turn =
        std::env::var_os("SAFELIGHT_BY_TURNS").is_none() || STARTED.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    other.filter(|_| turn).unwrap_or_else(|| env!("CARGO_BIN_EXE_safelight").into())
}

pub fn command(arguments: &[&str], environment: &[(&'static str, String)]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).env_remove("PORT").envs(environment.iter().map(|(name, value)| (*name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    command
}

/// A process that ends by itself.
pub async fn ends(arguments: &[&str], environment: &[(&'static str, String)]) -> Output {
    let output = command(arguments, environment).stderr(Stdio::piped()).output();
    tokio::time::timeout(SOON, output).await.expect("it ends by itself").expect("it starts")
}

/// An intake and two workers.
pub struct Fleet {
    workers: Vec<Child>,
    pub environment: Vec<(&'static str, String)>,
    _api: Child,
}

impl Fleet {
    pub async fn start(app: &App) -> Self {
        Self::start_with(app, &[]).await
    }

    /// The same, with these variables instead of the app's own.
    pub async fn start_with(app: &App, instead: &[(&'static str, String)]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        app.sandbox.stripe.set_webhook_url(Some(format!("{url}/webhooks/stripe")));
        let mut environment = environment(app, &url);
        environment.extend_from_slice(instead);
        let api = command(&["api"], &environment).spawn().expect("an intake");
        let mut fleet = Self { workers: Vec::new(), environment, _api: api };
        for _ in 0..2 {
            fleet.another();
        }
        let ready = async {
            while !app.http.get(format!("{url}/ready")).send().await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, ready).await.expect("an intake that listens");
        until(&app.db, "select count(*) from safelight.workers", 2).await;
        fleet
    }

    fn another(&mut self) {
        self.workers.push(command(&["worker"], &self.environment).spawn().expect("a worker"));
    }

    /// `kill -9` for the worker that is busy, and a new one in its place.
    async fn kill_one(&mut self, app: &App) {
        let busy: Option<String> = sqlx::query_scalar("select worker from safelight.jobs where state = 1 limit 1")
            .fetch_optional(&app.db)
            .await
            .unwrap();
        let pid = busy.and_then(|name| name.split(':').nth(1)?.parse::<u32>().ok());
        let at = self.workers.iter().position(|worker| worker.id() == pid).unwrap_or(0);
        self.workers.remove(at).kill().await.expect("a worker that dies");
        self.another();
    }
}

/// A moment that differs from run to run, so that many runs see many moments.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(rand::thread_rng().gen_range(0..250))).await;
}

async fn until_fal(app: &App, what: &str, there: impl Fn(&App) -> bool) {
    let there = async {
        while !there(app) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, there).await.unwrap_or_else(|_| panic!("Fal never saw {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_outlives_the_death_of_every_worker_it_meets() {
    let app = App::spawn_with(|options| options.fal_delay = Duration::from_millis(300)).await;
    let (_ann, order) = app.pro_order().await;
    let mut fleet = Fleet::start(&app).await;
    app.pays(order).await;

    until_fal(&app, "a training", |app| app.sandbox.fal.trainings() == 1).await;
    fleet.kill_one(&app).await;
    // All images are asked for: a request that a crash may have kept from leaving is never sent again, and a person
    // decides; that is another test's order.
    until_fal(&app, "twelve generations", |app| app.sandbox.fal.generations() == 12).await;
    a_moment().await;
    fleet.kill_one(&app).await;
    until(
        &app.db,
        "select least(count(*), 1) from safelight.artifacts where class = 'image' and delivered_at is not null",
        1,
    )
    .await;
    a_moment().await;
    fleet.kill_one(&app).await;
    until(&app.db, "select count(*) from safelight.orders where state = 'delivered'", 1).await;
    until(&app.db, "select count(*) from safelight.provider_calls where purge <> 'purged'", 0).await;

    assert_eq!((app.sandbox.fal.trainings(), app.sandbox.fal.generations()), (1, 12));
    assert_eq!(app.sandbox.fal.files().len(), 0, "every copy at Fal is purged");
    until(&app.db, "select count(*) from safelight.notices where sent_at is null", 0).await;
    assert_eq!(app.sandbox.resend.mails().len(), 1);

    app.turn_clock(chrono::Duration::hours(24 * 31)).await;
    app.enqueues(&SweepRetention { because: "a month later".to_owned() }).await;
    until(
        &app.db,
        "select least(count(*), 1) from safelight.deletion_steps s join safelight.deletions d on d.id = s.deletion_id
            where s.state <> 'todo' and d.trigger = 'retention'",
        1,
    )
    .await;
    fleet.kill_one(&app).await;
    until(&app.db, "select count(*) from safelight.artifacts", 0).await;
    until(&app.db, "select count(*) from safelight.deletions where state <> 'complete'", 0).await;
    assert_eq!(app.stored_keys(), Vec::<String>::new());
    assert_eq!(
        app.count("select count(*) from safelight.deletion_steps where state not in ('verified', 'retained_by_law')")
            .await,
        0
    );
    assert!(app.dead_letters().await.is_empty(), "{:?}", app.dead_letters().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_while_it_submits_asks_for_no_image_twice() {
    let app = App::spawn_with(|options| options.fal_delay = Duration::from_millis(200)).await;
    let (_ann, order) = app.pro_order().await;
    let mut fleet = Fleet::start(&app).await;
    app.pays(order).await;
    let some = rand::thread_rng().gen_range(2..9);
    until_fal(&app, "some generations", |app| app.sandbox.fal.generations() >= some).await;
    fleet.kill_one(&app).await;
    // Everything comes to rest: whatever was asked for is collected, whatever may not have left is in doubt and shown.
    let at_rest = "select count(*) from safelight.provider_calls where position is not null
        and (state in ('succeeded', 'failed', 'cancelled') or state = 'unknown' and request_id is null)";
    until(&app.db, at_rest, 12).await;
    until(&app.db, "select count(*) from safelight.jobs", 0).await;
    app.enqueues(&ReconcileCalls { because: "after the crash".to_owned(), grace_seconds: Some(0) }).await;
    until(&app.db, "select count(*) from safelight.sweeps where kind = 'reconcile'", 1).await;
    let in_doubt =
        app.count("select count(*) from safelight.provider_calls where state = 'unknown' and request_id is null").await;
    let images = app
        .count("select count(*) from safelight.provider_calls where position is not null and request_id is not null");
    assert_eq!(app.sandbox.fal.generations() as i64, images.await);
    assert_eq!(app.sandbox.fal.trainings(), 1);
    let state = app.order_state(order).await.0;
    assert_eq!(state, if in_doubt == 0 { "delivered" } else { "generating" });
    let residue = app.count("select residue::bigint from safelight.sweeps where kind = 'reconcile'");
    assert_eq!(residue.await, in_doubt, "what is in doubt is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_migration_changes_nothing() {
    let app = App::spawn().await;
    let versions = "select count(*) from safelight.policy_versions";
    let before = app.count(versions).await;
    for _ in 0..2 {
        let output = ends(&["migrate"], &environment(&app, &app.url)).await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(app.count(versions).await, before);
    }
}

/// One sentence for a person, and nothing else.
pub fn is_sorry(output: &Output, says: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("safelight: ") && text.contains(says), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_succeed_says_why_in_one_sentence_and_leaves_nothing() {
    let app = App::spawn().await;
    let with = |name: &'static str, value: &str| {
        let mut changed = environment(&app, &app.url);
        changed.retain(|(known, _)| *known != name);
        changed.push((name, value.to_owned()));
        changed
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    is_sorry(&ends(&["worker"], &with("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")).await, "127.0.0.1:1/none");
    is_sorry(&ends(&["worker"], &with("DATABASE_URL", "mysql://somewhere")).await, "DATABASE_URL");
    is_sorry(&ends(&["worker"], &with("SAFELIGHT_MASTER_KEY", "not a key")).await, "64 hex");
    is_sorry(&ends(&["worker"], &with("SAFELIGHT_MODELS", "/nowhere")).await, "face model");
    is_sorry(&ends(&["api"], &with("SAFELIGHT_LISTEN", &address)).await, &address);
    let mut wrong_key = with("SAFELIGHT_MASTER_KEY", "not a key");
    wrong_key.push(("SAFELIGHT_LISTEN", "127.0.0.1:0".to_owned()));
    is_sorry(&ends(&["api"], &wrong_key).await, "64 hex");
    is_sorry(
        &ends(&["migrate"], &with("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")).await,
        "127.0.0.1:1/none",
    );
    assert_eq!(app.count("select count(*) from safelight.workers").await, 0);
}
