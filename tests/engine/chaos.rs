//! Chaos: four real worker processes on a real Postgres while everything that can go wrong does, by the dice of a seed.
//! Afterwards an independent checker reads the tables and finds everything as it was promised.
//!
//! Life: a server of its own -> ledgers and witnesses (`chaos_ledger.rs`) -> producers and workers (`chaos_house.rs`) ->
//! faults one after the other -> everything is mended, the clock is turned until nothing waits -> the checker
//! (`chaos_checker.rs`). What goes wrong and when is decided by the seed; how the processes interleave is not, so a seed
//! that failed fails again often, not always.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use safelight_jobs::{queue, reconcile_calls::ReconcileCalls};
use safelight_sandbox::postgres::{self, Postgres};

use crate::{
    app::{App, migrated},
    chaos_checker::{self, Sales},
    chaos_house::{LEASE, Workers},
    chaos_ledger,
    pools::SOON,
};

/// How long things go wrong if nobody says so: with start, mending and checking half a minute.
const SECONDS: u64 = 15;
const WORKERS: usize = 4;

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// `kill -9` for a worker.
    Kill,
    /// A worker sleeps for longer than its leases, and wakes as a zombie.
    Sleep,
    /// A worker sleeps for a moment.
    Nod,
    /// SIGTERM, and another process in its place.
    Deploy,
    /// Some of the workers' sessions are ended.
    Cut,
    /// All of them.
    CutAll,
    /// Handlers wait for a table.
    Slow,
    /// Postgres is stopped in order and started.
    Restart,
    /// Postgres is killed with all its processes, and started.
    Outage,
    /// A job is cancelled, preferably one that runs.
    Cancel,
}

const DICE: [(Fault, u32); 10] = [
    (Fault::Kill, 5),
    (Fault::Sleep, 4),
    (Fault::Nod, 2),
    (Fault::Deploy, 3),
    (Fault::Cut, 3),
    (Fault::CutAll, 1),
    (Fault::Slow, 5),
    (Fault::Restart, 1),
    (Fault::Outage, 1),
    (Fault::Cancel, 5),
];

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What goes wrong, each after its pause. Whatever the seed: a kill, a zombie and an outage are among it.
fn plan(dice: &mut StdRng, length: Duration) -> Vec<(Duration, Fault)> {
    let (mut plan, mut all) = (Vec::new(), Duration::ZERO);
    while all < length {
        let fault = DICE.choose_weighted(dice, |(_, weight)| *weight).unwrap().0;
        let pause = Duration::from_millis(dice.gen_range(50..900));
        // What the fault itself takes is a part of the time.
        all += pause
            + if matches!(fault, Fault::Restart | Fault::Outage) { Duration::from_secs(2) } else { Duration::ZERO };
        plan.push((pause, fault));
    }
    for (at, fault) in [Fault::Slow, Fault::Sleep, Fault::Kill, Fault::Outage].into_iter().enumerate() {
        if plan.len() > at && plan.iter().all(|(_, planned)| *planned != fault) {
            plan[at].1 = fault;
        }
    }
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_loses_no_job_and_repeats_no_effect() {
    let seed = setting("SAFELIGHT_CHAOS_SEED").unwrap_or_else(|| rand::thread_rng().gen_range(0..1_000_000_000));
    let length = Duration::from_secs(setting("SAFELIGHT_CHAOS_SECONDS").unwrap_or(SECONDS));
    println!("chaos: seed {seed}, {length:?}; SAFELIGHT_CHAOS_SEED={seed} repeats what goes wrong");
    let mut dice = StdRng::seed_from_u64(seed);

    // A server that is killed must keep what it has committed; the machine itself does not go down here.
    let settings =
        [("fsync", "off"), ("autovacuum_naptime", "2s")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let own = Postgres::start(postgres::Options { settings: settings.into(), ..Default::default() }).await.unwrap();
    let app =
        App::spawn_at(migrated(&own, "chaos").await, |options| options.fal_delay = Duration::from_millis(200)).await;
    let sales = Sales::open(&app).await;
    chaos_ledger::lay(&app.db).await;
    let began = Instant::now();
    let mut workers = Workers::start(&app, WORKERS).await;
    chaos_ledger::flood(&app.db).await;
    let producers = chaos_ledger::produce(&app, seed);
    let paid = tokio::spawn(sales.clone().are_paid(app.sandbox.stripe.clone(), length / 2));

    let plan = plan(&mut dice, length);
    for (pause, fault) in &plan {
        tokio::time::sleep(*pause).await;
        workers.supervise();
        goes_wrong(*fault, &app, &own, &mut workers, &mut dice).await;
    }
    println!("chaos: over after {:.1} s", began.elapsed().as_secs_f32());

    producers.stop().await;
    paid.await.unwrap();
    workers.mend(&app, WORKERS).await;
    comes_to_rest(&app, &mut workers, &sales).await;
    workers.stop().await;
    let report = chaos_checker::check(&app, &sales).await;
    let faults = faults(&plan);
    println!(
        "chaos: seed {seed}, {faults}{}; {report}; {:.1} s in all",
        workers.clocks(),
        began.elapsed().as_secs_f32()
    );
    assert!(
        report.differences.is_empty(),
        "chaos, seed {seed} ({faults}): {} differences\n{}",
        report.differences.len(),
        report.differences.join("\n")
    );
    app.db.close().await;
}

fn faults(plan: &[(Duration, Fault)]) -> String {
    let mut kinds: Vec<Fault> = plan.iter().map(|(_, fault)| *fault).collect();
    kinds.sort();
    kinds.chunk_by(|a, b| a == b).map(|same| format!("{} {:?}, ", same.len(), same[0])).collect()
}

async fn goes_wrong(fault: Fault, app: &App, own: &Postgres, workers: &mut Workers, dice: &mut StdRng) {
    match fault {
        Fault::Kill => workers.kill(dice.r#gen()).await,
        Fault::Sleep => workers.sleep(dice.r#gen(), LEASE + Duration::from_millis(dice.gen_range(500..4000))),
        Fault::Nod => workers.sleep(dice.r#gen(), Duration::from_millis(dice.gen_range(50..1500))),
        Fault::Deploy => workers.deploy(dice.r#gen()),
        Fault::Cut => cut(app, dice.gen_range(0.1..0.6)).await,
        Fault::CutAll => cut(app, 1.0).await,
        Fault::Slow => slow(app, Duration::from_millis(dice.gen_range(200..2500))),
        Fault::Restart => own.restart().await.expect("a restart"),
        Fault::Outage => {
            own.kill_hard().await.expect("an outage");
            tokio::time::sleep(Duration::from_millis(dice.gen_range(0..800))).await;
            own.restart().await.expect("a server that comes back");
        }
        Fault::Cancel => cancel(app, dice.gen_range(0..20)).await,
    }
}

/// Ends a part of the workers' sessions. A server that is away has none.
async fn cut(app: &App, part: f64) {
    let _ = sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'safelight safelight_worker' and random() < $1",
    )
    .bind(part)
    .execute(&app.db)
    .await;
}

/// For a while, whoever reads orders waits; so do the attempts that do.
fn slow(app: &App, time: Duration) {
    let db = app.db.clone();
    tokio::spawn(async move {
        let Ok(mut hold) = safelight_jobs::db::begin(&db).await else { return };
        let held = sqlx::query("lock table safelight.orders in access exclusive mode").execute(&mut *hold).await;
        if held.is_ok() {
            tokio::time::sleep(time).await;
        }
        let _ = hold.rollback().await;
    });
}

/// Takes one job out of the queue and writes that down, in one transaction. Jobs that somebody's key test rests on stay.
async fn cancel(app: &App, skip: i64) {
    let _: Result<(), sqlx::Error> = async {
        let mut tx = safelight_jobs::db::begin(&app.db).await?;
        let found: Option<uuid::Uuid> = sqlx::query_scalar(
            "select id from safelight.jobs where payload ->> 'because' like 'chaos %' order by state = 1 desc, id offset $1 limit 1",
        )
        .bind(skip)
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(job) = found
            && queue::cancel(&mut tx, job.into(), "chaos").await?
        {
            sqlx::query("insert into chaos.cancels (job_id) values ($1)").bind(job).execute(&mut *tx).await?;
        }
        tx.commit().await
    }
    .await;
}

/// Until no job is left: what waits for later is let run by turning the clock, what a provider did not tell is asked for.
async fn comes_to_rest(app: &App, workers: &mut Workers, sales: &Sales) {
    let began = Instant::now();
    let mut turns = 0;
    loop {
        let left: i64 =
            sqlx::query_scalar("select count(*) from safelight.jobs").fetch_one(&app.db).await.unwrap_or(-1);
        let due = sqlx::query_scalar::<_, bool>(
            "select exists (select from safelight.jobs where state = 1 or state in (0, 3) and run_at <= safelight.now())",
        )
        .fetch_one(&app.db)
        .await
        .unwrap_or(true);
        if left == 0 {
            if turns > 2 && sales.are_at_rest(app).await {
                return;
            }
            let because = format!("at rest {turns}");
            app.enqueues(&ReconcileCalls { because, grace_seconds: Some(0) }).await;
            turns += 1;
        } else if !due {
            app.turn_clock(chrono::Duration::minutes(7)).await;
        }
        assert!(workers.all_live(), "a worker ended by itself");
        if began.elapsed() > 2 * SOON {
            return; // the checker says what is left
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
