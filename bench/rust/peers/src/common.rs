// Shared by the adapters with include!.
use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub static COUNT: AtomicU64 = AtomicU64::new(0);
pub static LAT: Mutex<Vec<u64>> = Mutex::new(Vec::new());
pub static RECORD: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}
pub fn ran(t: u64) {
    if RECORD.load(SeqCst) {
        LAT.lock().unwrap().push(now_us().saturating_sub(t));
    }
    COUNT.fetch_add(1, SeqCst);
}
pub struct Args(HashMap<String, String>);
#[allow(dead_code)]
impl Args {
    pub fn parse() -> (String, Args) {
        let mut a = std::env::args().skip(1);
        let cmd = a.next().expect("cmd");
        (
            cmd,
            Args(
                a.map(|x| {
                    let (k, v) = x.split_once('=').unwrap();
                    (k.into(), v.into())
                })
                .collect(),
            ),
        )
    }
    pub fn n(&self, k: &str, d: u64) -> u64 {
        self.0.get(k).map(|v| v.parse().unwrap()).unwrap_or(d)
    }
    pub fn note(&self) -> String {
        let mut v: Vec<_> = self.0.iter().map(|(k, v)| format!("{k}={v}")).collect();
        v.sort();
        v.join(" ")
    }
}
pub fn rate(test: &str, n: u64, t: Instant, a: &Args) {
    let e = t.elapsed().as_secs_f64();
    println!("{}", serde_json::json!({"test":test,"n":n,"secs":e,"per_s":n as f64/e,"args":a.note()}));
}
pub async fn wait_count(n: u64, limit: u64) {
    let t = Instant::now();
    while COUNT.load(SeqCst) < n && t.elapsed() < Duration::from_secs(limit) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
pub fn report_lat(test: &str, a: &Args) {
    let mut v = LAT.lock().unwrap().clone();
    v.sort();
    let p = |p: f64| v[((v.len() as f64 * p).ceil() as usize).clamp(1, v.len()) - 1] as f64 / 1000.0;
    println!(
        "{}",
        serde_json::json!({"test":test,"lat":{"n":v.len(),"p50_ms":p(0.5),"p95_ms":p(0.95),"p99_ms":p(0.99),"max_ms":p(1.0)},"args":a.note()})
    );
}
/// Runs the producer side of every test; $push: async fn-like closure (i, t) -> future,
/// $bulk: closure(from, to), $start: starts the workers, $left: rows not yet acknowledged.
#[macro_export]
macro_rules! drive {
    ($cmd:expr, $a:expr, $push:expr, $bulk:expr, $start:expr, $left:expr) => {{
        let (cmd, a) = (&$cmd, &$a);
        let push = $push;
        match cmd.as_str() {
            "bulk" => {
                let (n, b) = (a.n("n", 50_000), a.n("b", 1000));
                let t = Instant::now();
                let mut i = 0;
                while i < n {
                    $bulk(i, (i + b).min(n)).await;
                    i += b;
                }
                rate("bulk", n, t, a);
            }
            "single" => {
                let (n, p) = (a.n("n", 10_000), a.n("p", 16));
                let next = std::sync::Arc::new(AtomicU64::new(0));
                let t = Instant::now();
                let mut hs = vec![];
                for _ in 0..p {
                    let next = next.clone();
                    let push = push.clone();
                    hs.push(tokio::spawn(async move {
                        loop {
                            let i = next.fetch_add(1, SeqCst);
                            if i >= n { break; }
                            push(i, 0).await;
                        }
                    }));
                }
                for h in hs { h.await.unwrap(); }
                rate("single", n, t, a);
            }
            "drain" => {
                let n: i64 = $left().await;
                let t = Instant::now();
                $start().await;
                wait_count(n as u64, a.n("limit", 120)).await;
                let mut left = 0;
                while t.elapsed().as_secs() < a.n("limit", 120) {
                    left = $left().await;
                    if left == 0 { break; }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let e = t.elapsed().as_secs_f64();
                println!("{}", serde_json::json!({"test":"drain","n":n,"runs":COUNT.load(SeqCst),"left":left,"secs":e,"per_s":(n-left) as f64/e,"args":a.note()}));
            }
            "idle" | "load" => {
                RECORD.store(true, SeqCst);
                $start().await;
                tokio::time::sleep(Duration::from_millis(2000)).await;
                let n;
                if cmd == "idle" {
                    n = a.n("n", 200);
                    for i in 0..n {
                        tokio::time::sleep(Duration::from_millis(a.n("gap_ms", 50))).await;
                        push(i, now_us()).await;
                    }
                } else {
                    let (r, secs) = (a.n("rate", 200), a.n("secs", 20));
                    n = r * secs;
                    let (t0, t0us) = (Instant::now(), now_us());
                    for i in 0..n {
                        let off = Duration::from_micros(i * 1_000_000 / r);
                        tokio::time::sleep_until((t0 + off).into()).await;
                        tokio::spawn(push(i, t0us + off.as_micros() as u64));
                    }
                }
                wait_count(n, a.n("limit", 60)).await;
                report_lat(cmd, a);
            }
            _ => panic!("unknown command"),
        }
    }};
}
