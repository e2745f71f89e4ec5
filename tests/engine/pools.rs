//! Running worker pools for a test, ways to end them, and bounded waiting for facts.

use std::time::{Duration, Instant};

use safelight_jobs::{
    db::{self, Address, Role},
    expire_consents::ExpireConsents,
    id::{self, Id},
    job::Job,
    queue::{self, Bell, Claimed},
};
use safelight_worker::{Perform, config::WorkerConfig};
use serde_json::Value;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// No fact of these tests takes longer on a machine that is busy with something else.
pub const SOON: Duration = Duration::from_secs(40);

/// The pools of one worker process.
pub struct Pools {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// A short lease and a short poll.
pub fn quick() -> WorkerConfig {
    WorkerConfig {
        concurrency: 4,
        lease: Duration::from_secs(3),
        poll: Duration::from_millis(50),
        drain: Duration::from_secs(10),
        ..WorkerConfig::default()
    }
}

impl Pools {
    pub async fn start(app: &App, config: WorkerConfig) -> Self {
        Self::start_at(&app.database_url, app, config).await
    }

    /// The same, at a database of its own address.
    pub async fn start_at(address: impl Into<Address>, app: &App, config: WorkerConfig) -> Self {
        let address = address.into();
        let pool = db::connect(&address, Role::Worker, 6).await.expect("a pool");
        let perform = safelight_worker::domain(pool.clone(), Bell::start(pool), app.services.clone());
        Self::start_with(&address, perform, config).await
    }

    /// The same, with work of the test's own.
    pub async fn start_with(address: impl Into<Address>, perform: Perform, config: WorkerConfig) -> Self {
        let queue_pool = db::connect_queue(address, 6).await.expect("a pool for the queue");
        let stop = CancellationToken::new();
        let task = tokio::spawn(safelight_worker::run_with(config, queue_pool, Bell::default(), perform, stop.clone()));
        Self { stop, task }
    }

    /// As a SIGTERM does: ends when the drain is over.
    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.task)
            .await
            .expect("a stop is bounded")
            .expect("no panic")
            .expect("a stop in good order");
    }

    /// Ask for the stop and go on; the handle ends with it.
    pub fn ask_to_stop(self) -> JoinHandle<anyhow::Result<()>> {
        self.stop.cancel();
        self.task
    }

    /// As a power cut does: nothing is given back, nothing is written any more.
    pub async fn die(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Wait, not for ever, until a number is there. The query answers one `bigint`.
pub async fn until(db: &PgPool, sql: &'static str, wanted: i64) {
    let began = Instant::now();
    loop {
        // An error is a fact that is not there yet: some tests take the server away meanwhile.
        let seen = sqlx::query_scalar::<_, i64>(sql).fetch_one(db).await;
        if seen.as_ref().is_ok_and(|&seen| seen == wanted) {
            return;
        }
        assert!(began.elapsed() < SOON, "still {seen:?} instead of {wanted}: {sql}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl App {
    /// Work of the house that costs next to nothing and leaves one row in `sweeps` when it was done.
    pub async fn enqueues_work(&self, because: &str) -> Id<id::Job> {
        let mut tx = self.tx().await;
        let job = tx.enqueue(&ExpireConsents { because: because.to_owned() }).await.expect("a job").id;
        tx.commit().await.expect("a commit");
        job
    }

    /// Claim one job of the sweeps' queue, for one minute.
    pub async fn claims(&self) -> Claimed {
        let mut claimed =
            queue::claim(&self.worker, ExpireConsents::QUEUE, "a worker", 1, 60.0).await.expect("a claim");
        claimed.pop().expect("a due job")
    }

    /// Every lease runs out now, whatever its worker does; but for rows that an attempt's own transaction holds.
    pub async fn leases_run_out(&self) {
        sqlx::query(
            "update safelight.jobs set lease_until = clock_timestamp() - interval '1 second'
            where id in (select id from safelight.jobs where state = 1 for update skip locked)",
        )
        .execute(&self.db)
        .await
        .expect("leases");
    }

    /// From here on whoever reads orders waits: a handler that takes as long as the test wants.
    pub async fn holds_orders(&self) -> Transaction<'static, Postgres> {
        let mut hold = db::begin(&self.db).await.expect("a transaction");
        sqlx::query("lock table safelight.orders in access exclusive mode").execute(&mut *hold).await.expect("a lock");
        hold
    }

    /// Handlers that wait behind [`App::holds_orders`].
    pub async fn until_held_up(&self, handlers: i64) {
        until(
            &self.db,
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
                and query like '%safelight.orders%' and state = 'active' and query not like '%pg_stat_activity%'",
            handlers,
        )
        .await;
    }

    /// Everything that an attempt may write about its job and about the world. Not what a provider answered to a request
    /// that left before the lease was lost: that is written down in any case, or its copy there would be nobody's.
    pub async fn all_that_is_written(&self) -> Value {
        sqlx::query_scalar(
            "select jsonb_build_object(
                'jobs', (select jsonb_agg(j order by id) from safelight.jobs j),
                'keys', (select jsonb_agg(k order by key) from safelight.job_keys k),
                'steps', (select jsonb_agg(s order by job_id, name) from safelight.job_steps s),
                'attempts', (select jsonb_agg(a order by at) from safelight.job_attempts a),
                'bulk', (select jsonb_agg(b order by id) from safelight.bulk_acts b),
                'archive', (select jsonb_agg(a order by id) from safelight.jobs_archive a),
                'dead', (select jsonb_agg(d order by id) from safelight.dead_letters d),
                'calls', (select jsonb_agg(jsonb_build_array(id, wish, purge) order by id) from safelight.provider_calls),
                'artifacts', (select jsonb_agg(a order by id) from safelight.artifacts a),
                'embeddings', (select count(*) from safelight.embeddings),
                'similarities', (select count(*) from safelight.similarities),
                'checks', (select count(*) from safelight.image_checks),
                'notices', (select jsonb_agg(n order by id) from safelight.notices n),
                'orders', (select jsonb_agg(o order by id) from safelight.orders o),
                'consents', (select count(*) from safelight.consents),
                'deletions', (select jsonb_agg(d order by id) from safelight.deletions d),
                'deletion_steps', (select jsonb_agg(d order by deletion_id, seq) from safelight.deletion_steps d),
                'sweeps', (select count(*) from safelight.sweeps),
                'audit', (select count(*) from safelight.audit_entries
                    where actor = 'worker' and action not like 'call.%'))",
        )
        .fetch_one(&self.db)
        .await
        .expect("what is written")
    }
}
