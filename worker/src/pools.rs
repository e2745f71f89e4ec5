//! One process's pools: an apalis worker for each queue, and the tasks that they share.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use anyhow::anyhow;
use apalis::prelude::{BoxDynError, Data, WorkerBuilder, WorkerError};
use futures::{FutureExt, future::BoxFuture};
use safelight_jobs::{
    db,
    job::{Queue, Undecodable},
    queue::{self, Bell, Claimed, Verdict},
    registry,
    services::Services,
    stop::{Done, Stop},
    traces,
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    backend::QueueBackend,
    bounds,
    claimer::{Claimer, Hand, InFlight},
    config::WorkerConfig,
    ears,
    keeper::Keeper,
    layer::{Answer, SettleLayer},
    reports::{Attempted, Reports},
    rescuer, settler,
    settler::Ended,
    verdict::verdict,
};

/// How long a stopping process waits for claims that were under way.
const LAST_CLAIMS: Duration = Duration::from_secs(5);

/// What an attempt came to.
pub type Performed = Result<Result<Done, Stop>, Undecodable>;

/// Performs one claimed job.
pub type Perform = Arc<dyn Fn(Claimed) -> BoxFuture<'static, Performed> + Send + Sync>;

/// The jobs of the domain: decode, ask the gate, run. `bell` rings for what they wish for.
pub fn domain(pool: sqlx::PgPool, bell: Bell, services: Arc<Services>) -> Perform {
    Arc::new(move |job| {
        let (pool, bell, services) = (pool.clone(), bell.clone(), services.clone());
        Box::pin(async move { registry::perform(&job, pool, bell, services).await })
    })
}

/// Run the jobs of the domain until `stop` is cancelled.
///
/// `pool` is for the jobs' own statements, `queue_pool` for claiming and settling.
pub async fn run(
    config: WorkerConfig,
    pool: sqlx::PgPool,
    queue_pool: sqlx::PgPool,
    services: Arc<Services>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let bell = Bell::start(pool.clone());
    run_with(config, queue_pool, bell.clone(), domain(pool, bell, services), stop).await
}

/// Run until `stop` is cancelled, then drain: running jobs may end within the bound, the others are given back.
///
/// `bell` is the process's own: what is wished for with it starts here without the way over the database.
pub async fn run_with(
    config: WorkerConfig,
    queue_pool: sqlx::PgPool,
    bell: Bell,
    perform: Perform,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let host = hostname();
    // New for every start: a restart under an old name strands nothing, because nothing depends on the name.
    let name = format!("{host}:{}:{}", std::process::id(), &Uuid::new_v4().simple().to_string()[..8]);
    let queues = config.served();
    let keeper = Keeper::default();
    let wakers = ears::wakers(&queues);
    for (&queue, waker) in wakers.iter() {
        bell.wakes(queue, waker.clone());
    }
    let (ended_tx, ended_rx) = mpsc::unbounded_channel::<Ended>();
    // Outlives `stop`: leases are kept and outcomes written while jobs drain.
    let over = CancellationToken::new();

    let mut beside = JoinSet::new();
    beside.spawn(settler::run(queue_pool.clone(), keeper.clone(), ended_rx));
    // Heartbeats and rescues never wait behind claims for a connection.
    let alive = db::beside(&queue_pool, 2);
    beside.spawn(keeper.clone().run(alive.clone(), config.clone(), over.clone()));
    beside.spawn(ears::listen(queue_pool.clone(), wakers.clone(), bell.clone(), over.clone()));
    // Nor claims behind settles; and the first claim of a connection takes many times as long as any other.
    let claiming = db::beside(&queue_pool, 2);
    beside.spawn(rescuer::run(alive, bell, name.clone(), host, config.clone(), over.clone()));

    let hands = Hands { perform, reports: config.reports.clone() };
    let (mut workers, mut claimers) = (JoinSet::new(), JoinSet::new());
    for queue in queues {
        let in_flight = InFlight::default();
        let (jobs_tx, jobs_rx) = mpsc::channel(config.concurrency.max(1));
        let stop_claiming = stop.child_token();
        let right = Claimer {
            hand: Hand::Right,
            long: Arc::default(),
            pool: claiming.clone(),
            queue,
            worker: name.clone(),
            config: config.clone(),
            bell: wakers.get(&queue).cloned().unwrap_or_default(),
            keeper: keeper.clone(),
            in_flight: in_flight.clone(),
            jobs: jobs_tx,
            stop: stop_claiming.clone(),
        };
        claimers.spawn(Claimer { hand: Hand::Left, ..right.clone() }.run());
        claimers.spawn(right.run());
        let backend = QueueBackend {
            pool: queue_pool.clone(),
            jobs: jobs_rx,
            keeper: keeper.clone(),
            in_flight: in_flight.clone(),
            layer: SettleLayer { keeper: keeper.clone(), in_flight, ended: ended_tx.clone() },
            stop: stop_claiming,
            closing: None,
        };
        workers.spawn(pool_of(queue, name.clone(), backend, hands.clone(), stop.clone()));
    }
    drop(ended_tx);
    tracing::info!(worker = %name, "working");

    // A worker's end before `stop` is a fault of the runtime: the process ends, and leases run out by themselves.
    let mut result = Ok(());
    tokio::select! {
        () = stop.cancelled() => {}
        Some(early) = workers.join_next() => {
            result = match early {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(anyhow!("a pool ended: {error}")),
                Err(error) => Err(anyhow!("a pool broke: {error}")),
            };
            stop.cancel();
        }
    }
    let drained = async { while workers.join_next().await.is_some() {} };
    if tokio::time::timeout(config.drain, drained).await.is_err() {
        tracing::warn!(bound = ?config.drain, "jobs still run at the end of the drain; they are given back");
        workers.shutdown().await;
    }
    // A claim that was under way may commit after the stop: its jobs are given back by their claimer, not left to a lease.
    let claimed = async { while claimers.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_CLAIMS, claimed).await.is_err() {
        tracing::warn!(bound = ?LAST_CLAIMS, "a claim does not end; what it takes comes back when its lease runs out");
        claimers.shutdown().await;
    }
    let left = keeper.all();
    if !left.is_empty()
        && let Err(error) = db::answered(bounds::GOODBYE, queue::give_back(&queue_pool, &left)).await
    {
        tracing::warn!(%error, "jobs could not be given back; their leases run out by themselves");
    }
    over.cancel();
    let _ = db::answered(bounds::GOODBYE, queue::forget_worker(&queue_pool, &name)).await;
    beside.shutdown().await;
    tracing::info!(worker = %name, "stopped");
    result
}

#[derive(Clone)]
struct Hands {
    perform: Perform,
    reports: Option<Reports>,
}

async fn pool_of(
    queue: Queue,
    name: String,
    backend: QueueBackend,
    hands: Hands,
    stop: CancellationToken,
) -> Result<(), WorkerError> {
    WorkerBuilder::new(format!("{name}/{}", queue.as_str()))
        .backend(backend)
        .data(hands)
        .build(attempt)
        .run_until(async move {
            stop.cancelled().await;
            Ok::<(), WorkerError>(())
        })
        .await
}

/// One attempt of one job. A panic is a bug of one job, not the end of the others: it is a retry with a code.
async fn attempt(mut job: Claimed, hands: Data<Hands>) -> Result<Answer, BoxDynError> {
    let Hands { perform, reports } = (*hands).clone();
    let span = span(&job);
    let attempted = Attempted {
        kind: job.kind.clone(),
        job: job.lease.job,
        tenant: job.tenant.clone(),
        subject: job.subject,
        spent: job.attempt,
        most: job.max_attempts,
    };
    if let Some(from) = &job.traceparent {
        traces::continues(&span, from);
    }
    // What follows from this attempt goes on from its span, where traces are collected.
    job.traceparent = traces::of(&span).or(job.traceparent);
    async move {
        let began = std::time::Instant::now();
        let kind = attempted.kind.clone();
        if job.late {
            tracing::warn!("its deadline is over; it is not run any more");
            let verdict = Some(Verdict::GiveUp { code: "deadline_over".to_owned() });
            tell(reports.as_ref(), &attempted, verdict.as_ref());
            shown(&tracing::Span::current(), verdict.as_ref());
            return Ok(Answer::new(&kind, verdict));
        }
        let bound = registry::known(&kind).map_or(Duration::MAX, |known| known.timeout);
        let result = tokio::time::timeout(bound, AssertUnwindSafe(perform(job)).catch_unwind()).await;
        let retry = |code: &str| {
            let delay = registry::retry_of(&kind).delay(attempted.spent + 1);
            Some(Verdict::Retry { delay, code: code.to_owned() })
        };
        let verdict = match result {
            Ok(Ok(result)) => {
                log(&result);
                verdict(&kind, attempted.spent, result)
            }
            Err(_) => {
                tracing::warn!(?bound, "the attempt took too long and was cut; it is tried again");
                retry("timed_out")
            }
            Ok(Err(_)) => {
                tracing::error!("the job panicked; this is a bug in it");
                retry("panicked")
            }
        };
        tell(reports.as_ref(), &attempted, verdict.as_ref());
        shown(&tracing::Span::current(), verdict.as_ref());
        metrics::histogram!("safelight_job_seconds", "job" => kind.clone()).record(began.elapsed().as_secs_f64());
        metrics::counter!("safelight_job_attempts_total", "job" => kind.clone(), "verdict" => word(verdict.as_ref()))
            .increment(1);
        Ok(Answer::new(&kind, verdict))
    }
    .instrument(span)
    .await
}

/// What every line of an attempt belongs to.
pub(crate) fn span(job: &Claimed) -> tracing::Span {
    tracing::info_span!("job", job.name = %job.kind, job.id = %job.lease.job, attempt = job.attempt + 1)
}

fn tell(reports: Option<&Reports>, attempted: &Attempted, verdict: Option<&Verdict>) {
    if let Some(reports) = reports {
        reports.of(attempted, verdict);
    }
}

/// The verdict, on the attempt's span.
fn shown(span: &tracing::Span, verdict: Option<&Verdict>) {
    traces::says(span, "job.verdict", word(verdict));
    let code = match verdict {
        Some(
            Verdict::Retry { code, .. }
            | Verdict::Trouble { code, .. }
            | Verdict::GiveUp { code }
            | Verdict::Park { code },
        ) => code,
        None | Some(Verdict::Done | Verdict::Wait { .. }) => return,
    };
    traces::says(span, "job.code", code.clone());
    traces::failed(span);
}

fn word(verdict: Option<&Verdict>) -> &'static str {
    match verdict {
        None | Some(Verdict::Done) => "done",
        Some(Verdict::Retry { .. } | Verdict::Trouble { .. }) => "retry",
        Some(Verdict::Wait { .. }) => "wait",
        Some(Verdict::GiveUp { .. }) => "gave_up",
        Some(Verdict::Park { .. }) => "parked",
    }
}

pub(crate) fn log(
    result: &Result<Result<safelight_jobs::stop::Done, safelight_jobs::stop::Stop>, safelight_jobs::job::Undecodable>,
) {
    use safelight_jobs::stop::Stop;
    match result {
        Ok(Ok(_)) => tracing::debug!("done"),
        Ok(Err(Stop::Retry { code, why, .. })) => {
            tracing::warn!(code, why = format!("{why:#}"), "tried, will try again")
        }
        Ok(Err(Stop::Wait { why, .. })) => tracing::debug!(why, "waits"),
        Ok(Err(Stop::GiveUp { code, why })) => tracing::warn!(code, why, "gave up"),
        Err(undecodable) => tracing::error!(%undecodable, "parked until a version that reads it releases it"),
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}
