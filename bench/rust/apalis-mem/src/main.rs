//! Upper bound of the apalis 1.0 worker runtime: no-op tasks through WorkerBuilder, no database.
//! bench-apalis-mem drain n= workers= conc=(0 no limit layer) par=(0|1 parallelize) backend=(pre|vec) data=(0|1 extra data layer)
include!("../../peers/src/common.rs");
use apalis::prelude::*;
use apalis_core::backend::{BackendConfig, dequeue::VecDequeBackend, finalize::Ephemeral};
use std::task::{Context, Poll};
use tower_layer::Identity;

#[derive(Clone, Debug)]
struct Job {
    t: u64,
}
async fn handle(j: Job) {
    ran(j.t);
}
async fn handle_data(j: Job, _d: Data<std::sync::Arc<String>>) {
    ran(j.t);
}
/// Yields pre-made tasks, then stays pending.
struct Pre(std::vec::IntoIter<Task<Job>>);
impl Backend for Pre {
    type Task = Task<Job>;
    type Error = std::io::Error;
    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }
    fn poll_next(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Option<Result<Self::Task, Self::Error>>> {
        match self.0.next() {
            Some(t) => Poll::Ready(Some(Ok(t))),
            None => Poll::Pending,
        }
    }
    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }
}
impl BackendConfig for Pre {
    type Args = Job;
    type Id = u64;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;
    fn config(&self) -> &() {
        &()
    }
    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
macro_rules! go {
    ($a:expr, $b:expr, $h:expr) => {{
        let conc = $a.n("conc", 0) as usize;
        let b = $b;
        let f: std::pin::Pin<Box<dyn Future<Output = ()>>> = match (conc, $a.n("par", 0)) {
            (0, 0) => Box::pin(async move { b.build($h).run().await.unwrap() }),
            (_, 0) => Box::pin(async move { b.concurrency(conc).build($h).run().await.unwrap() }),
            (0, _) => Box::pin(async move { b.parallelize(tokio::spawn).build($h).run().await.unwrap() }),
            (_, _) => {
                Box::pin(async move { b.concurrency(conc).parallelize(tokio::spawn).build($h).run().await.unwrap() })
            }
        };
        tokio::runtime::Handle::current().block_on(f)
    }};
}
#[tokio::main]
async fn main() {
    let (_cmd, a) = Args::parse();
    let (n, w) = (a.n("n", 1_000_000), a.n("workers", 1));
    let vec_backend = a.n("vec", 0) == 1;
    let mut sets = vec![];
    for k in 0..w {
        let v: Vec<_> =
            (0..n / w).map(|i| TaskBuilder::new(Job { t: 0 }).task_id(TaskId::from_int(k * n + i)).build()).collect();
        sets.push(v);
    }
    let a = std::sync::Arc::new(a);
    let t = Instant::now();
    for (k, v) in sets.into_iter().enumerate() {
        let a = a.clone();
        tokio::task::spawn_blocking(move || {
            let name = format!("w{k}");
            if vec_backend {
                let b = VecDequeBackend::<Job>::new();
                {
                    let mut s = b.clone();
                    tokio::runtime::Handle::current().block_on(async {
                        for t in v {
                            s.push_task(t).await.unwrap();
                        }
                    });
                }
                go!(a, WorkerBuilder::new(&*name).backend(b), handle)
            } else if a.n("data", 0) == 1 {
                go!(
                    a,
                    WorkerBuilder::new(&*name).backend(Pre(v.into_iter())).data(std::sync::Arc::new(String::new())),
                    handle_data
                )
            } else {
                go!(a, WorkerBuilder::new(&*name).backend(Pre(v.into_iter())), handle)
            }
        });
    }
    let total = n / w * w;
    wait_count(total, 60).await;
    let e = t.elapsed().as_secs_f64();
    let c = COUNT.load(SeqCst);
    println!(
        "{}",
        serde_json::json!({"test":"runtime","n":total,"left":total-c,"secs":e,"per_s":c as f64/e,"us_per_job":e*1e6/c as f64,"task_context":cfg!(feature="task-context"),"args":a.note()})
    );
    std::process::exit(0);
}
