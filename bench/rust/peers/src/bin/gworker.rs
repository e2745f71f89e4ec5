//! graphile_worker (Rust) adapter.
include!("../common.rs");
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext, WorkerOptions,
};
use serde::{Deserialize, Serialize};
use sqlx09 as sqlx;

#[derive(Serialize, Deserialize)]
struct Job {
    i: u64,
    t: u64,
}
impl TaskHandler for Job {
    const IDENTIFIER: &'static str = "noop";
    async fn run(self, _c: WorkerContext) -> impl IntoTaskHandlerResult {
        ran(self.t);
        Ok::<(), String>(())
    }
}
#[tokio::main]
async fn main() {
    let (cmd, a) = Args::parse();
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(a.n("pool", 20) as u32)
        .connect(&std::env::var("DATABASE_URL").unwrap())
        .await
        .unwrap();
    if cmd == "setup" {
        sqlx::raw_sql("drop schema if exists graphile_worker cascade").execute(&pool).await.unwrap();
    }
    let mut o = WorkerOptions::default()
        .schema("graphile_worker")
        .concurrency(a.n("conc", 100) as usize)
        .poll_interval(Duration::from_millis(a.n("interval_ms", 1000)))
        .define_job::<Job>()
        .pg_pool(pool.clone());
    if a.n("lq", 0) > 0 {
        o = o.local_queue(LocalQueueConfig::default().with_size(a.n("lq", 0) as usize));
    }
    if a.n("cbd", 9999) != 9999 {
        o = o.complete_job_batch_delay(Duration::from_millis(a.n("cbd", 0)));
    }
    let w = std::sync::Arc::new(o.init().await.unwrap());
    if cmd == "setup" {
        return;
    }
    if cmd == "clean" {
        sqlx::raw_sql("delete from graphile_worker._private_jobs").execute(&pool).await.unwrap();
        sqlx::raw_sql("vacuum analyze graphile_worker._private_jobs").execute(&pool).await.unwrap();
        return;
    }
    let u = std::sync::Arc::new(w.create_utils());
    let u2 = u.clone();
    let left = || async {
        sqlx::query_scalar::<_, i64>("select count(*) from graphile_worker._private_jobs")
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    drive!(
        cmd,
        a,
        move |i, t| {
            let u = u.clone();
            async move {
                u.add_job(Job { i, t }, JobSpec::default()).await.unwrap();
            }
        },
        |from: u64, to: u64| {
            let u = u2.clone();
            async move {
                let v: Vec<RawJobSpec> = (from..to)
                    .map(|i| RawJobSpec {
                        identifier: "noop".into(),
                        payload: serde_json::json!({"i":i,"t":0}),
                        spec: JobSpec::default(),
                    })
                    .collect();
                u.add_raw_jobs(&v).await.unwrap();
            }
        },
        || {
            let w = w.clone();
            async move {
                tokio::spawn(async move {
                    w.run().await.unwrap();
                });
            }
        },
        left
    );
    std::process::exit(0);
}
