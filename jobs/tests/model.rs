//! The lease and fence protocol, searched exhaustively: every order in which two attempts, a rescuer, a canceller and a
//! graceful stop can meet at one job. The protocol as it is keeps its promises; without any one of its fences it breaks one,
//! and the search shows how.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing, and shows the way there"
)]
#![expect(unreachable_pub, reason = "the parts of one test program")]

#[path = "model/properties.rs"]
mod properties;
#[path = "model/protocol.rs"]
mod protocol;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use properties::{CRASHES, EFFECT, RUNS_OUT, WELL, WORD};
use protocol::{Fence, House, Protocol};
use stateright::{Checker, HasDiscoveries, Model};

/// Far above what is there; a model that grows beyond it no longer belongs into a test of some seconds.
const MOST_STATES: usize = 400_000;

#[test]
fn the_protocol_keeps_its_promises_in_every_order_of_events() {
    let checker = Protocol::default().checker().spawn_bfs().join();
    let states = checker.unique_state_count();
    assert!((100_000..MOST_STATES).contains(&states), "{states} states: the model is not what it was");
    checker.assert_properties();
}

/// Without this fence the promise is broken: the search finds a way, which `--nocapture` shows.
fn breaks(without: Fence, promise: &'static str) {
    let protocol = Protocol { without: Some(without) };
    let found = HasDiscoveries::AnyOf(BTreeSet::from([promise]));
    let checker = protocol.checker().finish_when(found).spawn_bfs().join();
    let Some(path) = checker.discovery(promise) else { panic!("without {without:?}, still: {promise}") };
    let kept = protocol.property(promise).condition;
    // What happens after the break is no part of the story.
    let way: Vec<String> = path
        .into_vec()
        .into_iter()
        .take_while(|(house, _)| kept(&protocol, house))
        .filter_map(|(_, act)| act.map(|act| format!("{act:?}")))
        .collect();
    println!("Without {without:?} it is not so that {promise}: {}", way.join(", "));
}

#[test]
fn without_the_token_in_settle_a_zombie_has_the_last_word() {
    breaks(Fence::TokenInSettle, WORD);
}

#[test]
fn without_the_lease_asked_at_begin_a_zombie_writes() {
    breaks(Fence::LeaseAskedAtBegin, EFFECT);
}

#[test]
fn without_the_row_lock_a_lease_is_lost_between_the_question_and_the_commit() {
    breaks(Fence::RowLock, EFFECT);
}

#[test]
fn without_a_rescue_that_takes_the_token_a_zombie_writes() {
    breaks(Fence::RescueTakesToken, EFFECT);
}

#[test]
fn without_the_token_in_the_heartbeat_a_dead_attempts_lease_is_kept_by_a_zombie() {
    breaks(Fence::TokenInHeartbeat, RUNS_OUT);
}

#[test]
fn without_the_token_in_a_return_a_zombie_gives_back_what_another_runs() {
    breaks(Fence::TokenInGiveBack, WORD);
}

#[test]
fn without_counted_crashes_a_poison_job_crashes_for_ever() {
    breaks(Fence::CrashCounted, CRASHES);
}

#[test]
fn without_a_commit_that_extends_a_long_transaction_costs_a_healthy_attempt_its_lease() {
    breaks(Fence::LongCommitExtends, WELL);
}

#[test]
fn without_the_token_of_the_lost_claim_a_worker_disowns_an_attempt_that_is_well() {
    breaks(Fence::TokenInDisown, WELL);
}

/// States from which the job need not end any more although nothing goes wrong from there on: nobody wakes a sleeper,
/// nobody crashes, nobody cancels.
fn stuck(protocol: Protocol) -> Vec<House> {
    let mut numbers: HashMap<House, usize> = HashMap::new();
    let (mut houses, mut before, mut queue) = (Vec::new(), Vec::<Vec<usize>>::new(), VecDeque::new());
    let mut number =
        |house: House, houses: &mut Vec<House>, before: &mut Vec<Vec<usize>>, queue: &mut VecDeque<usize>| {
            *numbers.entry(house).or_insert_with_key(|house| {
                houses.push(house.clone());
                before.push(Vec::new());
                queue.push_back(houses.len() - 1);
                houses.len() - 1
            })
        };
    for house in protocol.init_states() {
        number(house, &mut houses, &mut before, &mut queue);
    }
    let mut acts = Vec::new();
    while let Some(from) = queue.pop_front() {
        let house = houses[from].clone();
        protocol.actions(&house, &mut acts);
        for act in acts.drain(..) {
            if let Some(next) = protocol.next_state(&house, act) {
                let to = number(next, &mut houses, &mut before, &mut queue);
                if act.is_certain(&house) {
                    before[to].push(from);
                }
            }
        }
        assert!(houses.len() < MOST_STATES, "the search did not come to its end");
    }
    let mut ends: HashSet<usize> = (0..houses.len()).filter(|&number| houses[number].is_over()).collect();
    let mut queue: Vec<usize> = ends.iter().copied().collect();
    while let Some(to) = queue.pop() {
        queue.extend(before[to].iter().copied().filter(|&from| ends.insert(from)));
    }
    (0..houses.len()).filter(|number| !ends.contains(number)).map(|number| houses[number].clone()).collect()
}

#[test]
fn from_everywhere_the_job_still_ends_without_luck() {
    let stuck = stuck(Protocol::default());
    assert!(stuck.is_empty(), "{} states, for example {:?}", stuck.len(), stuck[0]);
}

#[test]
fn without_a_deadline_a_crash_leaves_the_job_running_for_ever() {
    let stuck = stuck(Protocol { without: Some(Fence::Deadline) });
    assert!(stuck.iter().any(|house| house.hands.iter().all(Option::is_none)), "nobody has it and it still runs");
}

#[test]
fn without_an_end_of_idle_transactions_a_sleeper_keeps_the_job_for_ever() {
    let stuck = stuck(Protocol { without: Some(Fence::IdleTransactionEnds) });
    assert!(stuck.iter().any(|house| house.row.over), "the lease is over and nobody may take it");
}
