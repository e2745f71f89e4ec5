//! Complaints that users of job queues have, made impossible: those that no other file of this program proves. The
//! number is the one in docs/proof.md.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use safelight_api::tokens::{self, Scope};
use safelight_jobs::{
    db::{self, Role},
    job::Queue,
    queue::{self, Bell},
    run::Tx,
    stop::Done,
    sweep_retention::SweepRetention,
};
use safelight_sandbox::postgres::{self, Postgres};
use safelight_worker::{Perform, config::WorkerConfig};
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    pools::{Pools, SOON, quick, until},
};

/// A private server with these settings, and its schema.
async fn server(settings: &[(&str, &str)]) -> (Postgres, String, PgPool) {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let own = Postgres::start(postgres::Options { settings, ..Default::default() }).await.unwrap();
    let url = own.create_database("safelight").await.unwrap();
    let db = db::connect(&url, Role::Owner, 4).await.unwrap();
    db::migrate(&db).await.unwrap();
    (own, url, db)
}

async fn number(db: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

const WAVE: i64 = 12_500;
const HOT_BYTES: &str = "select pg_total_relation_size('safelight.jobs')";
const DEAD: &str = "select coalesce(sum(n_dead_tup), 0)::bigint from pg_stat_user_tables where schemaname = 'safelight' and relname = 'jobs'";

/// A wave of jobs through a running worker.
async fn wave(db: &PgPool, ran: &AtomicU64) {
    let before = ran.load(Ordering::Relaxed);
    for _ in 0..WAVE / 500 {
        let payloads: Vec<_> = (0..500).map(|_| json!({ "because": "load" })).collect();
        let mut tx = db::begin(db).await.unwrap();
        queue::enqueue_bulk(&mut tx, Queue::Sweeps, "expire_consents", &payloads).await.unwrap();
        tx.commit().await.unwrap();
    }
    until(db, "select count(*) from safelight.jobs", 0).await;
    assert_eq!(ran.load(Ordering::Relaxed) - before, u64::try_from(WAVE).unwrap(), "each ran, and ran once");
}

/// Nobody asks for it: what is dead goes by itself, but for what the table's own threshold and a last batch leave.
async fn vacuumed(db: &PgPool) {
    let began = std::time::Instant::now();
    while number(db, DEAD).await > 3000 {
        assert!(began.elapsed() < SOON, "{} dead rows stay", number(db, DEAD).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_07_tables_stay_small_under_load_and_pinned_snapshots() {
    // fsync is of no interest here, and autovacuum comes as often in seconds as elsewhere in minutes.
    let settings = [("fsync", "off"), ("synchronous_commit", "off"), ("autovacuum_naptime", "1s")];
    let (_own, url, db) = server(&settings).await;
    let ran = Arc::new(AtomicU64::new(0));
    let counted = ran.clone();
    let perform: Perform = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(Ok(Done::nothing_more()))))
    });
    // A lease that no busy machine outlasts: what is counted here is rows.
    let config =
        WorkerConfig { queues: vec![Queue::Sweeps], concurrency: 500, lease: Duration::from_secs(60), ..quick() };
    let stop = CancellationToken::new();
    let queue_pool = db::connect_queue(&url, 6).await.unwrap();
    let worker = tokio::spawn(safelight_worker::run_with(config, queue_pool, Bell::default(), perform, stop.clone()));

    // Somebody reads for a long time: nothing dead may go meanwhile. It is as much as the protocol writes, no more.
    let mut reader = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("begin isolation level repeatable read; select count(*) from safelight.jobs")
        .execute(&mut reader)
        .await
        .unwrap();
    wave(&db, &ran).await;
    let pinned = number(&db, HOT_BYTES).await;
    let dead = number(&db, DEAD).await;
    assert!(pinned < WAVE * 2048 && dead <= 3 * WAVE, "{} bytes a job, {dead} dead rows of {WAVE} jobs", pinned / WAVE);
    sqlx::raw_sql("rollback").execute(&mut reader).await.unwrap();

    // It goes by itself when the reader has gone.
    vacuumed(&db).await;

    // And wave after wave the hot table is as large as what is in it, not as what ever went through it: without an end of what
    // is dead these waves would make it seven times as large. Each begins when vacuum has been: how often it comes is the
    // machine's affair, that its room is used again is the table's.
    let mut sizes = vec![pinned];
    for _ in 0..6 {
        wave(&db, &ran).await;
        sizes.push(number(&db, HOT_BYTES).await);
        vacuumed(&db).await;
    }
    assert!(sizes.iter().all(|size| *size < 3 * pinned), "the hot table grows with its history: {sizes:?} bytes");
    assert_eq!(number(&db, "select count(*) from safelight.jobs_archive").await, 7 * WAVE, "the history is elsewhere");
    stop.cancel();
    worker.await.unwrap().unwrap();
    db.close().await;
}

fn quiet() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// The cookie of a browser that has signed in at the console.
pub async fn signs_in(app: &App, token: &str) -> String {
    let form = [("token", token), ("why", "on call")];
    let door = quiet().post(format!("{}/console/sign-in", app.url)).form(&form).send().await.unwrap();
    door.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

/// What a browser does: signs in, opens a page, and presses one of its buttons.
async fn presses(app: &App, token: &str, page: &str, action: &str) -> u16 {
    let (quiet, cookie) = (quiet(), signs_in(app, token).await);
    let shown = quiet.get(format!("{}{page}", app.url)).header("cookie", &cookie).send().await.unwrap();
    let shown = shown.text().await.unwrap();
    assert!(shown.contains(&format!("action=\"{page}/{action}\"")), "the page has the button: {shown}");
    let csrf = shown.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let form = [("csrf", csrf), ("why", "it asks the wrong account")];
    let pressed = quiet.post(format!("{}{page}/{action}", app.url)).header("cookie", &cookie).form(&form);
    pressed.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_04_a_running_job_can_be_cancelled_from_the_console() {
    let app = App::spawn().await;
    let hold = app.holds_orders().await;
    let unwanted = app.enqueues_work("unwanted").await;
    let pools = Pools::start(&app, WorkerConfig { concurrency: 1, ..quick() }).await;
    app.until_held_up(1).await;
    app.enqueues_work("next").await;
    let token = tokens::create(&app.db, None, "ann of operations", &[Scope::Operate]).await.unwrap();
    assert_eq!(presses(&app, token.expose(), &format!("/console/jobs/{unwanted}"), "cancel").await, 303);
    // One slot: the next one starts only when the attempt of the cancelled one was dropped.
    until(&app.db, "select count(*) from safelight.jobs where state = 1 and payload ->> 'because' = 'next'", 1).await;
    hold.rollback().await.unwrap();
    until(&app.db, "select count(*) from safelight.jobs_archive where outcome = 'done'", 1).await;
    assert_eq!(
        app.count("select count(*) from safelight.sweeps where asked_by = 'unwanted'").await,
        0,
        "it wrote nothing"
    );
    let kept: (String, String, String) = sqlx::query_as(
        "select actor, why, outcome from safelight.operator_acts where about = $1 and action = 'job.control'",
    )
    .bind(unwanted.to_string())
    .fetch_one(&app.db)
    .await
    .unwrap();
    assert_eq!(kept, ("ann of operations".to_owned(), "it asks the wrong account".to_owned(), "cancelled".to_owned()));
    pools.stop().await;
}

/// The last look of the retention sweep: found, acted on, still due.
async fn last_look(app: &App, because: &str) -> (i32, i32, Option<i32>) {
    sqlx::query_as("select found, acted, residue from safelight.sweeps where kind = 'retention' and asked_by = $1")
        .bind(because)
        .fetch_one(&app.db)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn complaint_08_a_sweep_that_deletes_nothing_says_so() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.uploads(&ann, 3).await;
    app.enqueues(&SweepRetention { because: "early".to_owned() }).await;
    app.run_due_jobs().await;
    assert_eq!(last_look(&app, "early").await, (0, 0, Some(0)), "nothing was due, and that was looked at");

    // Everything is due, and somebody holds the rows: this run can do nothing about it.
    app.turn_clock(chrono::Duration::hours(24 * 31)).await;
    let mut holder = db::begin(&app.db).await.unwrap();
    sqlx::query("select from safelight.artifacts for update").execute(&mut *holder).await.unwrap();
    app.enqueues(&SweepRetention { because: "hindered".to_owned() }).await;
    app.run_due_jobs().await;
    assert_eq!(last_look(&app, "hindered").await, (1, 0, Some(3)), "it found, did nothing, and says what is still due");
    let said: serde_json::Value = sqlx::query_scalar(
        "select counts from safelight.audit_entries where action = 'sweep.retention' order by seq desc limit 1",
    )
    .fetch_one(&app.db)
    .await
    .unwrap();
    assert_eq!((&said["deletions"], &said["residue"]), (&json!(0), &json!(3)), "{said}");
    holder.rollback().await.unwrap();

    // The store refuses: the deletion is open and says so; it is not counted as done.
    app.sandbox.supabase.take_down().await;
    app.enqueues(&SweepRetention { because: "store is down".to_owned() }).await;
    app.run_due_jobs().await;
    assert_eq!(last_look(&app, "store is down").await, (1, 1, Some(0)), "a deletion has taken them on");
    assert_eq!(app.count("select count(*) from safelight.deletions where state = 'complete'").await, 0);
    assert_eq!(app.stored_keys().len(), 3);
    let open = "select count(*) from safelight.deletion_steps where class = 'upload' and state <> 'verified' and verified_at is null";
    assert_eq!(app.count(open).await, 1, "the step is not verified");
}

/// Locks that a NOTIFY takes at its commit: one for the whole server, on "database 0".
const NOTIFYING: &str =
    "select count(*) from pg_locks where locktype = 'object' and classid = 'pg_database'::regclass and objid = 0";

#[tokio::test(flavor = "multi_thread")]
async fn complaint_09_notify_is_not_the_commit_bottleneck() {
    // One session's commit waits for a standby that never comes. If it has notified, it holds the lock of all who notify
    // meanwhile; nobody else waits for standbys.
    let (own, url, db) =
        server(&[("fsync", "off"), ("synchronous_standby_names", "nobody"), ("synchronous_commit", "local")]).await;
    let notifies = |url: String, commit: &'static str| async move {
        let mut session = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("set synchronous_commit = {commit}; begin; notify somebody; commit")))
            .execute(&mut session)
            .await
    };
    sqlx::raw_sql("create table written (n int)").execute(&db).await.unwrap();
    let holder = {
        let url = url.clone();
        tokio::spawn(async move {
            let mut session = PgConnection::connect(&url).await.unwrap();
            sqlx::raw_sql("set synchronous_commit = on; begin; insert into written values (1); notify somebody; commit")
                .execute(&mut session)
                .await
        })
    };
    let held = "select count(*) from pg_locks where locktype = 'object' and classid = 'pg_database'::regclass and objid = 0 and granted";
    until(&db, held, 1).await;
    // Who notifies now waits: the lock is what it is said to be.
    let waiter = tokio::spawn(notifies(url.clone(), "local"));
    until(&db, NOTIFYING, 2).await;

    let wishes = async {
        let bell = queue::Bell::start(db::connect(&url, Role::Worker, 1).await.unwrap());
        for wish in 0..20 {
            let mut tx = Tx::begin(&db, &bell).await.unwrap();
            tx.enqueue(&SweepRetention { because: format!("typed {wish}") }).await.unwrap();
            tx.commit().await.unwrap();
            sqlx::query(
                "select safelight.enqueue('sweep_retention', jsonb_build_object('because', $1::text), 'sweeps', $1)",
            )
            .bind(format!("sql {wish}"))
            .execute(&db)
            .await
            .unwrap();
        }
        let mut tx = db::begin(&db).await.unwrap();
        let payloads = vec![json!({ "because": "bulk" }); 100];
        queue::enqueue_bulk(&mut tx, Queue::Sweeps, "sweep_retention", &payloads).await.unwrap();
        tx.commit().await.unwrap();
    };
    tokio::time::timeout(SOON, wishes).await.expect("an enqueuing transaction waits for the lock of NOTIFY");
    assert_eq!(number(&db, "select count(*) from safelight.jobs").await, 140);
    assert!(!holder.is_finished() && !waiter.is_finished(), "the lock was held all the while");
    assert!(number(&db, held).await == 1);
    holder.abort();
    waiter.abort();
    drop(db);
    own.kill_hard().await.unwrap();
}
