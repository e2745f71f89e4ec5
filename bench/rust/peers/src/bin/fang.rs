//! fang (asynk, postgres) adapter.
include!("../common.rs");
use fang::serde::{Deserialize, Serialize};
use fang::{
    AsyncRunnable, FangError, SleepParams, async_trait,
    asynk::{
        async_queue::{AsyncQueue, AsyncQueueable},
        async_worker_pool::AsyncWorkerPool,
    },
    typetag,
};
use sqlx08 as sqlx;

#[derive(Serialize, Deserialize)]
#[serde(crate = "fang::serde")]
struct Job {
    i: u64,
    t: u64,
}
#[typetag::serde]
#[async_trait]
impl AsyncRunnable for Job {
    async fn run(&self, _q: &dyn AsyncQueueable) -> Result<(), FangError> {
        ran(self.t);
        Ok(())
    }
}
#[tokio::main]
async fn main() {
    let (cmd, a) = Args::parse();
    let url = std::env::var("DATABASE_URL").unwrap();
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(4).connect(&url).await.unwrap();
    if cmd == "setup" {
        sqlx::raw_sql("drop table if exists fang_tasks; drop type if exists fang_task_state")
            .execute(&pool)
            .await
            .unwrap();
        let mut dirs: Vec<_> =
            std::fs::read_dir(std::env::var("MIGRATIONS").unwrap()).unwrap().map(|d| d.unwrap().path()).collect();
        dirs.sort();
        for d in dirs {
            if let Ok(s) = std::fs::read_to_string(d.join("up.sql")) {
                sqlx::raw_sql(&s).execute(&pool).await.unwrap();
            }
        }
        return;
    }
    if cmd == "clean" {
        sqlx::raw_sql("truncate fang_tasks").execute(&pool).await.unwrap();
        sqlx::raw_sql("vacuum analyze fang_tasks").execute(&pool).await.unwrap();
        return;
    }
    let mut q = AsyncQueue::builder().uri(url).max_pool_size(a.n("pool", 40) as u32).build();
    q.connect().await.unwrap();
    let (q1, q2, q3) = (q.clone(), q.clone(), q.clone());
    let left = || async {
        sqlx::query_scalar::<_, i64>("select count(*) from fang_tasks where state not in ('finished','failed')")
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    drive!(
        cmd,
        a,
        move |i, t| {
            let q = q1.clone();
            async move {
                q.insert_task(&Job { i, t }).await.unwrap();
            }
        },
        // no bulk call in fang: one insert, one commit per job
        |from: u64, to: u64| {
            let q = q2.clone();
            async move {
                for i in from..to {
                    q.insert_task(&Job { i, t: 0 }).await.unwrap();
                }
            }
        },
        || {
            let q = q3.clone();
            let c = a.n("conc", 20) as u32;
            let s = Duration::from_millis(a.n("sleep_ms", 1000));
            async move {
                let mut w: AsyncWorkerPool<AsyncQueue> = AsyncWorkerPool::builder()
                    .number_of_workers(c)
                    .queue(q)
                    .sleep_params(SleepParams {
                        sleep_period: s,
                        max_sleep_period: s,
                        min_sleep_period: s,
                        sleep_step: Duration::from_millis(1),
                    })
                    .build();
                tokio::spawn(async move {
                    w.start().await;
                });
            }
        },
        left
    );
    std::process::exit(0);
}
