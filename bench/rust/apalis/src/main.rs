//! Bench adapter for apalis + apalis-postgres. Usage: bench-apalis CMD key=value ...
//! Prints one JSON line per result. DATABASE_URL from the environment.
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::*},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use apalis::prelude::*;
use apalis_postgres::{Config, PgPool, PostgresStorage, Pubsub};
use futures::stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::postgres::PgPoolOptions;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    i: u64,
    t: u64,
}

type R<T> = Result<T, BoxDynError>;

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

struct Args(HashMap<String, String>);
impl Args {
    fn n(&self, k: &str, d: u64) -> u64 {
        self.0.get(k).map(|v| v.parse().unwrap()).unwrap_or(d)
    }
    fn s(&self, k: &str, d: &str) -> String {
        self.0.get(k).cloned().unwrap_or(d.into())
    }
    fn b(&self, k: &str, d: bool) -> bool {
        self.n(k, d as u64) == 1
    }
    fn note(&self) -> String {
        let mut v: Vec<_> = self.0.iter().map(|(k, v)| format!("{k}={v}")).collect();
        v.sort();
        v.join(" ")
    }
}

#[derive(Clone, Default)]
struct St {
    count: Arc<AtomicU64>,
    lat: Arc<Mutex<Vec<u64>>>,
    record: bool,
    sleep_ms: u64,
    verbose: bool,
    fail: u64, // fail every job whose i % fail == 0 (0 = never)
}

async fn handle(job: Job, st: Data<St>, att: Attempt) -> R<()> {
    if st.record {
        let d = now_us().saturating_sub(job.t);
        st.lat.lock().unwrap().push(d);
    }
    if st.verbose {
        println!("{} start {} attempt {:?}", now_us() / 1000, job.i, att.current());
    }
    if st.sleep_ms > 0 {
        tokio::time::sleep(Duration::from_millis(st.sleep_ms)).await;
    }
    st.count.fetch_add(1, SeqCst);
    if st.fail > 0 && job.i % st.fail == 0 {
        return Err("deliberate".into());
    }
    if st.verbose {
        println!("{} end {}", now_us() / 1000, job.i);
    }
    Ok(())
}

fn cfg(a: &Args) -> Config {
    Config::default()
        .queue(a.s("queue", "bench"))
        .batch_size(a.n("batch", 100) as usize)
        .lock_tasks(a.b("lock", true))
        .persist_results(a.b("persist", true))
        .heartbeat_interval(Duration::from_millis(a.n("hb_ms", 30_000)))
        .missed_heartbeats(a.n("missed", 10) as usize)
}

/// What apalis-core's IntervalStrategy / StreamStrategy should do: poll until Pending, so that the
/// waker is always registered for the next tick and the next notification.
struct FixedStrategy {
    sleep: std::pin::Pin<Box<tokio::time::Sleep>>,
    every: Duration,
    notify: Option<Pubsub>,
}
impl PollStrategy for FixedStrategy {
    fn poll_drive(&mut self, cx: &mut std::task::Context<'_>, _: &PollSnapshot) -> std::task::Poll<Option<()>> {
        use futures::{Future, Stream};
        if let Some(s) = &mut self.notify {
            while let std::task::Poll::Ready(Some(_)) = std::pin::Pin::new(&mut *s).poll_next(cx) {}
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            let at = tokio::time::Instant::now() + self.every;
            self.sleep.as_mut().reset(at);
        }
        std::task::Poll::Ready(Some(()))
    }
}

macro_rules! run_worker {
    ($a:expr, $st:expr, $name:expr, $backend:expr, $tail:ident) => {{
        let (st, name) = ($st.clone(), $name);
        let conc = $a.n("conc", 100) as usize;
        let verbose = st.verbose;
        let stop_after = $a.n("stop_after_ms", 0);
        let b = WorkerBuilder::new(&*name).backend($backend).data(st).on_event(
            move |ctx: &WorkerContext, ev: &Event| {
                if verbose || matches!(ev, Event::Error(_)) && std::env::var("EV").is_ok() {
                    println!("{} ev {} {:?}", now_us() / 1000, ctx.name(), ev);
                }
                if stop_after > 0 && matches!(ev, Event::Start) {
                    let c = ctx.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(stop_after)).await;
                        let _ = c.stop();
                    });
                }
            },
        );
        run_worker!(@ $tail, b, conc, name)
    }};
    (@ par, $b:expr, $conc:expr, $name:expr) => {
        // not tokio::spawn: a worker with .parallelize(tokio::spawn) is not provably Send (rustc HRTB error)
        tokio::task::spawn_blocking(move || tokio::runtime::Handle::current().block_on(async move {
            let r = $b.concurrency($conc).parallelize(tokio::spawn).build(handle).run().await;
            println!("{} worker {} ended: {r:?}", now_us() / 1000, $name);
        }))
    };
    (@ seq, $b:expr, $conc:expr, $name:expr) => {
        tokio::spawn(async move {
            let r = $b.concurrency($conc).build(handle).run().await;
            println!("{} worker {} ended: {r:?}", now_us() / 1000, $name);
        })
    };
}

fn spawn_workers(pool: &PgPool, a: &Args, st: &St) -> Vec<tokio::task::JoinHandle<()>> {
    let mut hs = vec![];
    for w in 0..a.n("workers", 1) {
        let mode = a.s("mode", "notify");
        let interval = Duration::from_millis(a.n("interval_ms", 100));
        let pubsub = Pubsub::new(pool.clone(), a.s("queue", "bench"));
        let mut strat = apalis::prelude::Strategy::new();
        match mode.as_str() {
            "none" => {}
            "poll" => strat = strat.interval(interval),
            "notify" => strat = strat.stream(pubsub),
            "both" => strat = strat.stream(pubsub).interval(interval),
            "fixedpoll" | "fixed" => {
                strat = strat.apply(FixedStrategy {
                    sleep: Box::pin(tokio::time::sleep(interval)),
                    every: interval,
                    notify: (mode == "fixed").then_some(pubsub),
                })
            }
            _ => panic!("mode"),
        }
        let backend = PostgresStorage::<Job>::new(pool).with_config(cfg(a)).poll_with_strategy(strat);
        let name = format!("{}-{w}", a.s("name", &format!("w{}", std::process::id())));
        if a.b("par", false) {
            hs.push(run_worker!(a, st, name, backend, par));
        } else {
            hs.push(run_worker!(a, st, name, backend, seq));
        }
    }
    hs
}

fn pct(v: &[u64], p: f64) -> f64 {
    v[((v.len() as f64 * p).ceil() as usize).clamp(1, v.len()) - 1] as f64 / 1000.0
}
fn lat_json(st: &St) -> serde_json::Value {
    let mut v = st.lat.lock().unwrap().clone();
    v.sort();
    if v.is_empty() {
        return json!({"n": 0});
    }
    json!({"n": v.len(), "p50_ms": pct(&v,0.5), "p95_ms": pct(&v,0.95), "p99_ms": pct(&v,0.99), "max_ms": pct(&v,1.0)})
}

async fn wait_done(pool: &PgPool, n: u64, st: &St, limit: Duration) -> R<i64> {
    let t = Instant::now();
    while st.count.load(SeqCst) < n && t.elapsed() < limit {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    loop {
        let c: i64 =
            sqlx::query_scalar("select count(*) from apalis.jobs where status <> 'Done'").fetch_one(pool).await?;
        if c == 0 || t.elapsed() > limit {
            return Ok(c);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::main]
async fn main() -> R<()> {
    let mut argv = std::env::args().skip(1);
    let cmd = argv.next().expect("cmd");
    let a = Args(
        argv.map(|x| {
            let (k, v) = x.split_once('=').expect("key=value");
            (k.to_string(), v.to_string())
        })
        .collect(),
    );
    let url = std::env::var("DATABASE_URL")?;
    let pool = PgPoolOptions::new().max_connections(a.n("pool", 20) as u32).connect(&url).await?;
    let q = a.s("queue", "bench");
    let storage = || PostgresStorage::<Job>::new(&pool).with_config(cfg(&a));
    match cmd.as_str() {
        "setup" => {
            sqlx::raw_sql("drop schema if exists apalis cascade").execute(&pool).await?;
            PostgresStorage::setup(&pool).await?;
        }
        "clean" => {
            sqlx::raw_sql("truncate apalis.jobs; delete from apalis.workers").execute(&pool).await?;
            sqlx::raw_sql("vacuum analyze apalis.jobs").execute(&pool).await?;
        }
        "bulk" => {
            let (n, b) = (a.n("n", 50_000), a.n("b", 1000));
            let t = Instant::now();
            let mut s = storage();
            let mut i = 0;
            while i < n {
                let v: Vec<Job> = (i..(i + b).min(n)).map(|i| Job { i, t: 0 }).collect();
                if a.b("via_all", false) {
                    s.push_all(&mut stream::iter(v.into_iter().map(|j| {
                        TaskBuilder::new(j).priority(1).run_after(Duration::from_secs(a.n("after", 0))).build()
                    })))
                    .await?;
                } else {
                    s.push_bulk(v).await?;
                }
                i += b;
            }
            let e = t.elapsed().as_secs_f64();
            println!("{}", json!({"test":"bulk","n":n,"b":b,"per_s":n as f64/e,"args":a.note()}));
        }
        "single" => {
            let (n, p) = (a.n("n", 10_000), a.n("p", 16));
            let next = Arc::new(AtomicU64::new(0));
            let t = Instant::now();
            let mut hs = vec![];
            for _ in 0..p {
                let mut s = storage();
                let next = next.clone();
                hs.push(tokio::spawn(async move {
                    loop {
                        let i = next.fetch_add(1, SeqCst);
                        if i >= n {
                            break;
                        }
                        s.push(Job { i, t: 0 }).await.unwrap();
                    }
                }));
            }
            for h in hs {
                h.await?;
            }
            let e = t.elapsed().as_secs_f64();
            println!("{}", json!({"test":"single","n":n,"p":p,"per_s":n as f64/e,"args":a.note()}));
        }
        "drain" => {
            let n: i64 = sqlx::query_scalar("select count(*) from apalis.jobs").fetch_one(&pool).await?;
            let st = St::default();
            let t = Instant::now();
            let hs = spawn_workers(&pool, &a, &st);
            let left = wait_done(&pool, n as u64, &st, Duration::from_secs(a.n("limit", 120))).await?;
            let e = t.elapsed().as_secs_f64();
            let runs = st.count.load(SeqCst);
            println!(
                "{}",
                json!({"test":"drain","n":n,"runs":runs,"left":left,"secs":e,"per_s":(n-left) as f64/e,"args":a.note()})
            );
            drop(hs);
            std::process::exit(0);
        }
        "idle" | "load" => {
            let st = St { record: true, ..Default::default() };
            let _hs = spawn_workers(&pool, &a, &st);
            tokio::time::sleep(Duration::from_millis(2000)).await;
            let n;
            if cmd == "idle" {
                n = a.n("n", 200);
                let mut s = storage();
                for i in 0..n {
                    tokio::time::sleep(Duration::from_millis(a.n("gap_ms", 50))).await;
                    s.push(Job { i, t: now_us() }).await?;
                }
            } else {
                let (rate, secs) = (a.n("rate", 200), a.n("secs", 20));
                n = rate * secs;
                let (t0, t0us) = (Instant::now(), now_us());
                for i in 0..n {
                    let off = Duration::from_micros(i * 1_000_000 / rate);
                    tokio::time::sleep_until((t0 + off).into()).await;
                    let mut s = storage();
                    tokio::spawn(async move {
                        s.push(Job { i, t: t0us + off.as_micros() as u64 }).await.unwrap();
                    });
                }
            }
            let left = wait_done(&pool, n, &st, Duration::from_secs(a.n("limit", 60))).await?;
            println!("{}", json!({"test":cmd,"lat":lat_json(&st),"unacked_after":left,"args":a.note()}));
        }
        // a plain worker for the fault tests: prints every start / end
        "work" => {
            let st = St {
                verbose: a.b("verbose", true),
                sleep_ms: a.n("sleep_ms", 0),
                fail: a.n("fail", 0),
                ..Default::default()
            };
            let hs = spawn_workers(&pool, &a, &st);
            let secs = a.n("secs", 30);
            tokio::select! {
                _ = futures::future::join_all(hs) => {},
                _ = tokio::time::sleep(Duration::from_secs(secs)) => {},
            }
            println!("{} runs {}", now_us() / 1000, st.count.load(SeqCst));
        }
        // commit and NOTIFY wake-up floors of the server, one connection pair
        "floor" => {
            use sqlx::Connection;
            let n = a.n("n", 500);
            let mut c = sqlx::PgConnection::connect(&url).await?;
            sqlx::raw_sql("drop table if exists floor_t; create table floor_t(i bigint)").execute(&mut c).await?;
            let mut l = apalis_postgres::PgListener::connect(&url).await?;
            l.listen("floor").await?;
            let (mut sel, mut ins, mut ntf) = (vec![], vec![], vec![]);
            for i in 0..n as i64 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let t = Instant::now();
                let _: i32 = sqlx::query_scalar("select 1").fetch_one(&mut c).await?;
                sel.push(t.elapsed().as_micros() as u64);
                let t = Instant::now();
                sqlx::query("insert into floor_t values ($1)").bind(i).execute(&mut c).await?;
                ins.push(t.elapsed().as_micros() as u64);
                let t = Instant::now();
                let (r, _) = tokio::join!(
                    l.recv(),
                    sqlx::query("select pg_notify('floor', $1)").bind(i.to_string()).execute(&mut c)
                );
                r?;
                ntf.push(t.elapsed().as_micros() as u64);
            }
            for (name, v) in [("select 1", sel), ("insert commit", ins), ("notify to listen", ntf)] {
                let mut v = v;
                v.sort();
                println!(
                    "{}",
                    json!({"test":"floor","what":name,"p50_ms":pct(&v,0.5),"p95_ms":pct(&v,0.95),"p99_ms":pct(&v,0.99)})
                );
            }
            sqlx::raw_sql("drop table floor_t").execute(&mut c).await?;
        }
        "dup" => {
            let mut s = storage();
            for i in 0..2 {
                let r = s.push_task(TaskBuilder::new(Job { i, t: 0 }).idempotency_key("k1").build()).await;
                println!("push {i} same key: {r:?}");
            }
            let v: Vec<_> = (0..5)
                .map(|i| {
                    TaskBuilder::new(Job { i, t: 0 })
                        .idempotency_key(if i < 4 { format!("b{i}") } else { "k1".into() })
                        .build()
                })
                .collect();
            let r = s.push_all(&mut stream::iter(v)).await;
            println!("bulk of 5 with one duplicate: {r:?}");
            let c: i64 = sqlx::query_scalar("select count(*) from apalis.jobs").fetch_one(&pool).await?;
            println!("rows in queue {q}: {c}");
        }
        "sched" => {
            // run_at jobs: t carries the wanted start
            let st = St { record: true, ..Default::default() };
            let _hs = spawn_workers(&pool, &a, &st);
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let n = a.n("n", 50);
            let after = a.n("after_ms", 3000);
            let mut s = storage();
            for i in 0..n {
                let want = now_us() + after * 1000;
                s.push_task(TaskBuilder::new(Job { i, t: want }).run_after(Duration::from_millis(after)).build())
                    .await?;
                tokio::time::sleep(Duration::from_millis(73)).await;
            }
            let left = wait_done(&pool, n, &st, Duration::from_secs(a.n("limit", 60))).await?;
            println!("{}", json!({"test":"sched","lateness":lat_json(&st),"left":left,"args":a.note()}));
        }
        _ => panic!("unknown {cmd}"),
    }
    std::process::exit(0);
}
