//! No wake-up is lost: neither a bell's nor a timer's, also when everything else on the machine is busy.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rand::Rng;
use safelight_jobs::{db, expire_consents::ExpireConsents, job::Queue, queue::Bell, run::Tx, stop::Done};
use safelight_worker::{Perform, config::WorkerConfig};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    pools::{SOON, quick, until},
};

const NEVER: Duration = Duration::from_secs(600);
const ONE_BY_ONE: usize = 40;
/// A start is a matter of milliseconds. This much is left to a machine that has other things to do; a wake-up that is lost
/// costs [`NEVER`], or a whole [`POLL`].
const STARTS_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// Threads of ordinary priority that use every core until this is dropped.
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
        let threads = (0..cores).map(|_| std::thread::spawn(spin(over.clone()))).collect();
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

/// A worker of one queue, and what it starts.
struct Starts {
    started: mpsc::UnboundedReceiver<()>,
    stop: CancellationToken,
    worker: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Starts {
    async fn of(app: &App, poll: Duration) -> Self {
        Self::with(app, poll, Bell::default()).await
    }

    /// A worker whose process rings with `bell`.
    async fn with(app: &App, poll: Duration, bell: Bell) -> Self {
        let (tell, started) = mpsc::unbounded_channel();
        let perform: Perform = Arc::new(move |_| {
            tell.send(()).expect("somebody who counts");
            Box::pin(std::future::ready(Ok(Ok(Done::nothing_more()))))
        });
        let config = WorkerConfig { queues: vec![Queue::Sweeps], poll, ..quick() };
        let queue_pool = db::connect_queue(&app.database_url, 6).await.unwrap();
        let stop = CancellationToken::new();
        let worker = tokio::spawn(safelight_worker::run_with(config, queue_pool, bell, perform, stop.clone()));
        let listeners =
            "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen %'";
        until(&app.db, listeners, 1).await;
        Self { started, stop, worker }
    }

    /// One job after the other; the longest from its commit to its start. The next one comes while the claimer still looks
    /// whether there is more, or a moment later: that is where a wake-up can be lost.
    async fn one_by_one(&mut self, app: &App, bell: &Bell) -> Duration {
        let mut longest = Duration::ZERO;
        for number in 0..ONE_BY_ONE {
            let mut tx = Tx::begin(&app.db, bell).await.unwrap();
            tx.enqueue(&ExpireConsents { because: format!("look {number}") }).await.unwrap();
            tx.commit().await.unwrap();
            let began = Instant::now();
            let start = tokio::time::timeout(SOON, self.started.recv()).await;
            assert!(start.is_ok_and(|start| start.is_some()), "job {number} never starts");
            longest = longest.max(began.elapsed());
            let moment = Duration::from_micros(rand::thread_rng().gen_range(0..4000));
            tokio::time::sleep(moment).await;
        }
        longest
    }

    async fn stop(self) {
        self.stop.cancel();
        self.worker.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ring_is_lost_when_every_core_is_busy() {
    let app = App::spawn().await;
    let mut starts = Starts::of(&app, NEVER).await;
    let busy = Busy::start();
    let longest = starts.one_by_one(&app, &Bell::start(app.worker.clone())).await;
    drop(busy);
    assert!(longest < STARTS_WITHIN, "{longest:?} from a wish to its start");
    starts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_of_the_workers_own_process_wakes_it_without_the_way_over_the_database() {
    let app = App::spawn().await;
    // Not started: it reaches nobody but the claimers of its process.
    let bell = Bell::default();
    let mut starts = Starts::with(&app, NEVER, bell.clone()).await;
    let longest = starts.one_by_one(&app, &bell).await;
    assert!(longest < STARTS_WITHIN, "{longest:?} from a wish to its start");
    starts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_poll_is_lost_when_every_core_is_busy() {
    let app = App::spawn().await;
    let mut starts = Starts::of(&app, POLL).await;
    let busy = Busy::start();
    // A bell that nobody hears.
    let longest = starts.one_by_one(&app, &Bell::default()).await;
    drop(busy);
    assert!(longest < STARTS_WITHIN, "{longest:?} from a wish to its start");
    starts.stop().await;
}
