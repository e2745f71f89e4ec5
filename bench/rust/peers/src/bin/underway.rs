//! underway adapter.
include!("../common.rs");
use serde::{Deserialize, Serialize};
use sqlx08 as sqlx;
use underway::{Job as UJob, To};

#[derive(Serialize, Deserialize, Clone)]
struct Job {
    i: u64,
    t: u64,
}
#[tokio::main]
async fn main() {
    let (cmd, a) = Args::parse();
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(a.n("pool", 50) as u32)
        .connect(&std::env::var("DATABASE_URL").unwrap())
        .await
        .unwrap();
    if cmd == "setup" {
        sqlx::raw_sql("drop schema if exists underway cascade; drop table if exists public._sqlx_migrations")
            .execute(&pool)
            .await
            .unwrap();
        underway::run_migrations(&pool).await.unwrap();
        return;
    }
    if cmd == "clean" {
        sqlx::raw_sql("truncate underway.task cascade").execute(&pool).await.unwrap();
        sqlx::raw_sql("vacuum analyze underway.task").execute(&pool).await.unwrap();
        return;
    }
    let job = UJob::builder()
        .step(|_cx, j: Job| async move {
            ran(j.t);
            To::done()
        })
        .name("bench")
        .pool(pool.clone())
        .build()
        .await
        .unwrap();
    let job = std::sync::Arc::new(job);
    let (j1, j2, p2) = (job.clone(), job.clone(), pool.clone());
    let left = || async {
        sqlx::query_scalar::<_, i64>(
            "select count(*) from underway.task where state not in ('succeeded','failed','cancelled')",
        )
        .fetch_one(&pool)
        .await
        .unwrap()
    };
    drive!(
        cmd,
        a,
        move |i, t| {
            let j = j1.clone();
            async move {
                j.enqueue(&Job { i, t }).await.unwrap();
            }
        },
        |from: u64, to: u64| {
            let (j, _p) = (j2.clone(), p2.clone());
            async move {
                // Job has no bulk call (Queue::enqueue_multi needs the inner step state): one transaction, one insert per job
                let mut tx = _p.begin().await.unwrap();
                for i in from..to {
                    j.enqueue_using(&mut *tx, &Job { i, t: 0 }).await.unwrap();
                }
                tx.commit().await.unwrap();
            }
        },
        || {
            let mut w = job.worker();
            w.set_concurrency_limit(a.n("conc", 20) as usize);
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
