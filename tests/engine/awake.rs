//! No wake-up is lost: neither a bell's nor a timer's, also when everything else on the machine is busy.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use safelight_jobs::{expire_consents::ExpireConsents, queue::Bell, run::Tx};
use safelight_worker::config::WorkerConfig;

use crate::{
    app::App,
    pools::{Pools, quick, until},
};

const NEVER: Duration = Duration::from_secs(600);
const ONE_BY_ONE: i64 = 25;
/// A start is a matter of milliseconds. This much is left to a machine that has other things to do; a wake-up that is lost
/// costs [`NEVER`], or a whole [`POLL`].
const STARTS_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
const DONE: &str = "select count(*) from safelight.jobs_archive where outcome = 'done'";

/// Threads of ordinary priority that use every core, twice over, until this is dropped.
struct Busy(Arc<AtomicBool>, Vec<std::thread::JoinHandle<u64>>);

impl Busy {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let spin = |over: Arc<AtomicBool>| {
            move || {
                let mut turns = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    turns = std::hint::black_box(turns.wrapping_add(1));
                }
                turns
            }
        };
        let threads = (0..2 * cores).map(|_| std::thread::spawn(spin(over.clone()))).collect();
        Self(over, threads)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        for thread in self.1.drain(..) {
            assert!(thread.join().is_ok_and(|turns| turns > 0), "a core that was not kept busy");
        }
    }
}

/// One job after the other, each into idle pools; the longest that one took.
async fn one_by_one(app: &App, bell: &Bell, name: &str) -> Duration {
    let mut longest = Duration::ZERO;
    for number in 1..=ONE_BY_ONE {
        let began = Instant::now();
        let mut tx = Tx::begin(&app.db, bell).await.unwrap();
        tx.enqueue(&ExpireConsents { because: format!("{name} {number}") }).await.unwrap();
        tx.commit().await.unwrap();
        until(&app.db, DONE, number).await;
        longest = longest.max(began.elapsed());
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ring_is_lost_when_every_core_is_busy() {
    let app = App::spawn().await;
    let pools = Pools::start(&app, WorkerConfig { poll: NEVER, ..quick() }).await;
    let listeners =
        "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen %'";
    until(&app.db, listeners, 1).await;
    let busy = Busy::start();
    let longest = one_by_one(&app, &Bell::start(app.worker.clone()), "ring").await;
    drop(busy);
    assert!(longest < STARTS_WITHIN, "{longest:?} from the wish to its end");
    pools.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_poll_is_lost_when_every_core_is_busy() {
    let app = App::spawn().await;
    let pools = Pools::start(&app, WorkerConfig { poll: POLL, ..quick() }).await;
    let busy = Busy::start();
    // A bell that nobody hears.
    let longest = one_by_one(&app, &Bell::default(), "silence").await;
    drop(busy);
    assert!(longest < STARTS_WITHIN, "{longest:?} from the wish to its end");
    pools.stop().await;
}
