//! N2, K13, K17: real jobs, Fal's webhook and the person's own withdrawal or erasure, statement by statement, on real Postgres,
//! in an order that dice choose.
//!
//! A scene is a paid order a moment before one of its jobs. The job runs as a worker runs it; Fal calls back twice as soon as
//! it has accepted, and its answer may be lost; the person withdraws or is erased somewhere in between. Every statement of
//! each of them waits at a turnstile. What must hold: nothing is recorded whose commit came after the withdrawal's or the
//! erasure's, no acceptance is lost or left at Fal, and no work of an erased person is in the queue.
//!
//! The normal run plays some; `./dev races [count] [seed]` plays ten thousand. `lacks.rs` takes out each lock and check.

mod actors;
mod contested;
mod fal;
mod lacks;
mod scene;
mod turnstile;

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, rngs::StdRng};
use scene::{Act, Kind, Stage};

/// The actor whose requests Fal answers; the person is 1, Fal's reports are 2.
pub const WORKER: usize = 0;

/// Plays of the normal run.
const SOME: u64 = 120;
/// Stages, each with a database of its own, that are played on at the same time: many, because a play mostly waits, but each
/// takes seconds to set.
const STAGES: [u64; 2] = [2, 8];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What came of many plays.
#[derive(Debug, Default)]
struct Seen {
    /// Plays in which something was recorded before the end, by scene.
    recorded: BTreeMap<Kind, u64>,
    /// Plays in which nothing was.
    stopped: BTreeMap<Kind, u64>,
    /// Statements and answers that were let through.
    turns: usize,
}

async fn play_some(first: u64, last: u64) -> Seen {
    let stage = Stage::set().await;
    let mut seen = Seen::default();
    for seed in first..last {
        let mut dice = StdRng::seed_from_u64(seed);
        let kind = Kind::ALL[dice.gen_range(0..Kind::ALL.len())];
        let act = Act::ALL[dice.gen_range(0..Act::ALL.len())];
        // Who proves no lease may record under a consent that was given anew.
        let anew = kind == Kind::Forgetful && act == Act::WithdrawComparingAndAgreeAgain;
        let act = if anew { Act::WithdrawComparing } else { act };
        let played = stage.plays(kind, act, &mut dice).await;
        assert!(
            played.wrong.is_empty(),
            "seed {seed}, {kind:?} against {act:?}: {:?}, turns {:?}; repeat it with ./dev races 1 {seed}",
            played.wrong,
            played.turns
        );
        seen.turns += played.turns.len();
        *if played.recorded { &mut seen.recorded } else { &mut seen.stopped }.entry(kind).or_default() += 1;
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn n2_k13_k17_k43_nothing_is_recorded_after_a_withdrawal_or_an_erasure_in_any_order_of_statements() {
    let count = number("SAFELIGHT_RACES").unwrap_or(SOME);
    let seed = number("SAFELIGHT_SEED").unwrap_or(0);
    let stages = STAGES[usize::from(count > 10 * SOME)].min(count);
    let played = (0..stages).map(|stage| {
        let (first, last) = (seed + count * stage / stages, seed + count * (stage + 1) / stages);
        tokio::spawn(play_some(first, last))
    });
    let (mut turns, mut stopped, mut recorded) = (0, BTreeMap::new(), BTreeMap::new());
    for stage in played.collect::<Vec<_>>() {
        let seen = stage.await.unwrap();
        turns += seen.turns;
        seen.stopped.into_iter().for_each(|(kind, times)| *stopped.entry(kind).or_insert(0) += times);
        seen.recorded.into_iter().for_each(|(kind, times)| *recorded.entry(kind).or_insert(0) += times);
    }
    println!("{count} plays, {turns} statements and answers; recorded first: {recorded:?}; stopped: {stopped:?}");
    if count >= SOME {
        let all_stopped: u64 = stopped.values().sum();
        assert!(
            Kind::ALL.iter().all(|kind| recorded.contains_key(kind)) && all_stopped >= count / 20,
            "both orders are met: {recorded:?} {stopped:?}"
        );
    }
}
