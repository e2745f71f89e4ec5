//! The failover of a replicated Postgres: the primary dies without a word while jobs flow, the standby is promoted, and the
//! address that everybody knows leads to it. Two real servers, streaming replication.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use safelight_jobs::{
    db::{self, Role},
    expire_consents::ExpireConsents,
    queue::Bell,
    run::Tx,
};
use safelight_sandbox::postgres::{self, Postgres};
use sqlx::PgPool;
use tokio::task::JoinHandle;

use super::{DONE, LEFT, line::Line, steady, until_at_last, until_true};
use crate::{app::App, pools::Pools};

pub const FAILOVERS: &str = "select count(*) from safelight.audit_entries where action = 'database.timeline'";

/// A primary, its standby, and the line that everybody goes through.
struct Cluster {
    primary: Postgres,
    standby: Postgres,
    line: Line,
    /// What the standby hears through.
    stream: Line,
    url: String,
}

impl Cluster {
    async fn start(synchronous: bool) -> Self {
        let primary = Postgres::start(postgres::Options { max_connections: 80, ..Default::default() }).await.unwrap();
        let own = primary.create_database("safelight").await.unwrap();
        let db = db::connect(&own, Role::Owner, 1).await.unwrap();
        db::migrate(&db).await.unwrap();
        let stream = Line::to(primary.port()).await;
        let options = postgres::Options { max_connections: 80, ..Default::default() };
        let standby = primary.standby(options, Some(stream.port())).await.unwrap();
        if synchronous {
            // After the copy was made: the standby, once promoted, waits for nobody.
            sqlx::raw_sql("alter system set synchronous_standby_names = '*'").execute(&db).await.unwrap();
            sqlx::raw_sql("select pg_reload_conf()").execute(&db).await.unwrap();
        }
        let state = if synchronous {
            "select count(*) from pg_stat_replication where sync_state = 'sync'"
        } else {
            "select count(*) from pg_stat_replication where state = 'streaming'"
        };
        until_at_last(&db, state, 1).await;
        db.close().await;
        let (line, url) = Line::before(&own).await;
        Self { primary, standby, line, stream, url }
    }

    /// `kill -9` for the primary; the standby takes over at the same address.
    async fn fails_over(&self) {
        self.primary.kill_hard().await.unwrap();
        self.line.goes_down();
        self.standby.promote().await.unwrap();
        self.line.leads_to(self.standby.port());
        self.line.passes();
    }

    /// As the owner, at the server that is left.
    async fn survivor(&self) -> PgPool {
        db::connect(&self.standby.url("safelight"), Role::Owner, 2).await.unwrap()
    }
}

/// Somebody who enqueues without a break, and remembers what was confirmed.
pub struct Producer {
    confirmed: Arc<Mutex<BTreeSet<String>>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Producer {
    pub fn start(pool: PgPool, name: &'static str) -> Self {
        let (confirmed, stop) = (Arc::<Mutex<BTreeSet<String>>>::default(), Arc::<AtomicBool>::default());
        let task = tokio::spawn({
            let (confirmed, stop) = (confirmed.clone(), stop.clone());
            async move {
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    number += 1;
                    let because = format!("{name} {number}");
                    if enqueues(&pool, &because).await.is_ok() {
                        confirmed.lock().unwrap().insert(because);
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                }
            }
        });
        Self { confirmed, stop, task }
    }

    pub fn confirmed(&self) -> usize {
        self.confirmed.lock().unwrap().len()
    }

    pub async fn stop(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
        self.confirmed.lock().unwrap().clone()
    }
}

async fn enqueues(pool: &PgPool, because: &str) -> anyhow::Result<()> {
    let mut tx = Tx::begin(pool, &Bell::default()).await?;
    tx.enqueue(&ExpireConsents { because: because.to_owned() }).await?;
    Ok(tx.commit().await?)
}

/// Every effect that is in the database is there once, and belongs to a job that is done.
pub async fn effects(db: &PgPool) -> BTreeSet<String> {
    let all: Vec<String> = sqlx::query_scalar("select asked_by from safelight.sweeps").fetch_all(db).await.unwrap();
    let distinct: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(all.len(), distinct.len(), "an effect is there twice");
    let done: i64 = sqlx::query_scalar(DONE).fetch_one(db).await.unwrap();
    assert_eq!(done, all.len() as i64);
    let dead: i64 = sqlx::query_scalar("select count(*) from safelight.dead_letters").fetch_one(db).await.unwrap();
    assert_eq!(dead, 0);
    distinct
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_with_synchronous_replication_loses_no_confirmed_job_and_does_none_twice() {
    let app = App::spawn().await;
    let cluster = Cluster::start(true).await;
    let one = Pools::start_at(&cluster.url, &app, steady()).await;
    let other = Pools::start_at(&cluster.url, &app, steady()).await;
    let producer = Producer::start(db::connect(&cluster.url, Role::Worker, 2).await.unwrap(), "a job");
    until_true("a hundred jobs are confirmed", || producer.confirmed() >= 100).await;
    cluster.fails_over().await;
    let before = producer.confirmed();
    until_true("jobs are confirmed again", || producer.confirmed() >= before + 30).await;
    let confirmed = producer.stop().await;
    let db = cluster.survivor().await;
    until_at_last(&db, LEFT, 0).await;
    let effects = effects(&db).await;
    until_at_last(&db, FAILOVERS, 1).await;
    let lost: Vec<_> = confirmed.difference(&effects).collect();
    assert!(lost.is_empty(), "confirmed and lost: {lost:?}");
    one.stop().await;
    other.stop().await;
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_with_asynchronous_replication_loses_whole_moments_and_says_so() {
    let app = App::spawn().await;
    let cluster = Cluster::start(false).await;
    let standby = cluster.standby.url("safelight");
    let refused = tokio::spawn(async move { db::connect(&standby, Role::Worker, 1).await.is_err() });
    let one = Pools::start_at(&cluster.url, &app, steady()).await;
    let other = Pools::start_at(&cluster.url, &app, steady()).await;
    let producer = Producer::start(db::connect(&cluster.url, Role::Worker, 2).await.unwrap(), "a job");
    until_true("fifty jobs are confirmed", || producer.confirmed() >= 50).await;
    // From here on the standby hears nothing, and nobody waits for it.
    cluster.stream.falls_silent();
    let heard = producer.confirmed();
    until_true("fifty more are", || producer.confirmed() >= heard + 50).await;
    assert!(refused.await.unwrap(), "a standby was taken for a primary");
    cluster.fails_over().await;
    let before = producer.confirmed();
    until_true("jobs are confirmed again", || producer.confirmed() >= before + 30).await;
    let confirmed = producer.stop().await;
    let db = cluster.survivor().await;
    until_at_last(&db, LEFT, 0).await;
    let effects = effects(&db).await;
    until_at_last(&db, FAILOVERS, 1).await;
    let lost = confirmed.difference(&effects).count();
    assert!(lost >= 40, "the test is no test: {lost} are lost");
    // A lost moment is lost whole: no key without its job, no job without its key.
    let torn = "select count(*) from safelight.job_keys k where not exists (select from safelight.jobs j where j.id = k.job_id)
        and not exists (select from safelight.jobs_archive a where a.id = k.job_id)";
    assert_eq!(sqlx::query_scalar::<_, i64>(torn).fetch_one(&db).await.unwrap(), 0);
    one.stop().await;
    other.stop().await;
    db.close().await;
}
