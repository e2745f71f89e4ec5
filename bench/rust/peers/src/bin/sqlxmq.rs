//! sqlxmq adapter. Schema: the crate's own migrations directory, given as MIGRATIONS=path.
include!("../common.rs");
use serde::{Deserialize, Serialize};
use sqlx08 as sqlx;
use sqlxmq::{CurrentJob, JobRegistry, job};

#[derive(Serialize, Deserialize)]
struct Job {
    i: u64,
    t: u64,
}
#[job]
async fn noop(mut j: CurrentJob) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let x: Job = j.json()?.unwrap();
    ran(x.t);
    j.complete().await?;
    Ok(())
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
        sqlx::raw_sql("drop schema public cascade; create schema public").execute(&pool).await.unwrap();
        let m =
            sqlx::migrate::Migrator::new(std::path::PathBuf::from(std::env::var("MIGRATIONS").unwrap())).await.unwrap();
        m.run(&pool).await.unwrap();
        return;
    }
    if cmd == "clean" {
        sqlx::raw_sql(
            "delete from mq_payloads; delete from mq_msgs where id <> '00000000-0000-0000-0000-000000000000'",
        )
        .execute(&pool)
        .await
        .unwrap();
        sqlx::raw_sql("vacuum analyze").execute(&pool).await.unwrap();
        return;
    }
    let (p1, p2) = (pool.clone(), pool.clone());
    let left = || async {
        sqlx::query_scalar::<_, i64>("select count(*) from mq_msgs where id <> '00000000-0000-0000-0000-000000000000'")
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    let keep = std::sync::Arc::new(tokio::sync::Mutex::new(vec![]));
    drive!(
        cmd,
        a,
        move |i, t| {
            let p = p1.clone();
            async move {
                noop.builder().set_json(&Job { i, t }).unwrap().spawn(&p).await.unwrap();
            }
        },
        |from: u64, to: u64| {
            let p = p2.clone();
            async move {
                let mut tx = p.begin().await.unwrap();
                for i in from..to {
                    noop.builder().set_json(&Job { i, t: 0 }).unwrap().spawn(&mut *tx).await.unwrap();
                }
                tx.commit().await.unwrap();
            }
        },
        || {
            let p = pool.clone();
            let keep = keep.clone();
            let c = a.n("conc", 40) as usize;
            let min = a.n("min", (c / 2) as u64) as usize;
            async move {
                let h = JobRegistry::new(&[noop])
                    .runner(&p)
                    .set_concurrency(min, c)
                    .set_keep_alive(false)
                    .run()
                    .await
                    .unwrap();
                keep.lock().await.push(h);
            }
        },
        left
    );
    std::process::exit(0);
}
