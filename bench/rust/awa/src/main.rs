//! awa 0.6 adapter (queue storage engine). Settings: workers claimers cb (claim batch) poll_ms deadline_s
//! shards (enqueue_shards, at setup) stripes rot_ms; via=store|compat for the producer; AWA_* variables from the environment.
include!("../../peers/src/common.rs");
use awa::{
    Client, InsertOpts, InsertParams, JobArgs, JobContext, JobError, JobResult, QueueConfig, QueueStorage,
    QueueStorageConfig, Worker, insert_with,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Debug, Serialize, Deserialize, JobArgs)]
struct BenchJob {
    i: u64,
    t: u64,
}
struct Noop;
#[async_trait::async_trait]
impl Worker for Noop {
    fn kind(&self) -> &'static str {
        "bench_job"
    }
    async fn perform(&self, ctx: &JobContext) -> Result<JobResult, JobError> {
        let j: BenchJob =
            serde_json::from_value(ctx.job.args.clone()).map_err(|e| JobError::Terminal(e.to_string()))?;
        ran(j.t);
        Ok(JobResult::Completed)
    }
}
const Q: &str = "bench";
fn opts() -> InsertOpts {
    InsertOpts { queue: Q.into(), ..Default::default() }
}

#[tokio::main]
async fn main() {
    let (cmd, a) = Args::parse();
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(a.n("pool", 30) as u32)
        .connect(&std::env::var("DATABASE_URL").unwrap())
        .await
        .unwrap();
    let cfg = QueueStorageConfig { queue_stripe_count: a.n("stripes", 1) as usize, ..Default::default() };
    let store = Arc::new(QueueStorage::new(cfg.clone()).unwrap());
    match cmd.as_str() {
        "setup" => {
            sqlx::raw_sql("drop schema if exists awa cascade").execute(&pool).await.unwrap();
            awa::migrations::run(&pool).await.unwrap();
            let fresh: bool =
                sqlx::query_scalar("select awa.storage_auto_finalize_if_fresh('awa')").fetch_one(&pool).await.unwrap();
            assert!(fresh, "queue storage not active");
            if a.n("shards", 0) > 0 {
                sqlx::query("insert into awa.queue_meta (queue, enqueue_shards) values ($1, $2) on conflict (queue) do update set enqueue_shards = excluded.enqueue_shards")
                    .bind(Q).bind(a.n("shards", 1) as i16).execute(&pool).await.unwrap();
            }
            return;
        }
        "clean" => {
            store.reset(&pool).await.unwrap();
            sqlx::raw_sql("vacuum analyze").execute(&pool).await.unwrap();
            return;
        }
        _ => {}
    }
    let via_store = a.n("store", 1) == 1;
    let start = || {
        let (pool, cfg) = (pool.clone(), cfg.clone());
        let rot = Duration::from_millis(a.n("rot_ms", 1000));
        let qc = QueueConfig {
            max_workers: a.n("workers", 256) as u32,
            claimers: a.n("claimers", 1) as u16,
            claim_batch_size: a.n("cb", 512) as usize,
            poll_interval: Duration::from_millis(a.n("poll_ms", 200)),
            deadline_duration: Duration::from_secs(a.n("deadline_s", 0)),
            ..Default::default()
        };
        async move {
            let c =
                Client::builder(pool).queue(Q, qc).queue_storage(cfg, rot, rot).register_worker(Noop).build().unwrap();
            c.start().await.unwrap();
            std::mem::forget(c);
        }
    };
    // jobs not yet durably terminal: first call = all, later = all minus the terminal counters awa itself trusts
    let total = Arc::new(AtomicU64::new(u64::MAX));
    let left = || {
        let (pool, total) = (pool.clone(), total.clone());
        async move {
            if total.load(SeqCst) == u64::MAX {
                let n: i64 =
                    sqlx::query_scalar("select count(*) from awa.ready_entries").fetch_one(&pool).await.unwrap();
                total.store(n as u64, SeqCst);
                return n;
            }
            let done: i64 = sqlx::query_scalar(
                "select (coalesce((select sum(live_terminal_count) from awa.queue_terminal_live_counts),0)
                  + coalesce((select sum(terminal_delta) from awa.queue_terminal_count_deltas),0)
                  + coalesce((select sum(completed_count) from awa.receipt_completion_batches),0)
                  + coalesce((select sum(pruned_completed_count) from awa.queue_terminal_rollups),0))::bigint",
            )
            .fetch_one(&pool)
            .await
            .unwrap();
            total.load(SeqCst) as i64 - done
        }
    };
    let (p1, s1, s2) = (pool.clone(), store.clone(), store.clone());
    let bulk_copy = a.n("copy", 1) == 1;
    drive!(
        cmd,
        a,
        move |i, t| {
            let (p, s) = (p1.clone(), s1.clone());
            async move {
                let j = BenchJob { i, t };
                if via_store {
                    s.enqueue_params_batch(&p, &[awa::insert::params_with(&j, opts()).unwrap()]).await.unwrap();
                } else {
                    insert_with(&p, &j, opts()).await.unwrap();
                }
            }
        },
        |from: u64, to: u64| {
            let (p, s) = (pool.clone(), s2.clone());
            async move {
                let v: Vec<InsertParams> =
                    (from..to).map(|i| awa::insert::params_with(&BenchJob { i, t: 0 }, opts()).unwrap()).collect();
                let n = if bulk_copy {
                    s.enqueue_params_copy(&p, &v).await.unwrap()
                } else {
                    s.enqueue_params_batch(&p, &v).await.unwrap()
                };
                assert_eq!(n as u64, to - from);
            }
        },
        start,
        left
    );
    if cmd == "bulk" && a.n("analyze", 1) == 1 {
        // not timed: without column statistics (a database younger than its first autovacuum) awa drains 2 to 4 times slower
        sqlx::raw_sql("analyze").execute(&pool).await.unwrap();
    }
    std::process::exit(0);
}
