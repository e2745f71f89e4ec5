//! What the protocol promises, asked of every state that it can reach; and what the search must have met to mean anything.

use stateright::Property;

use super::protocol::{At, Effect, House, Place, Protocol};

pub const EFFECT: &str = "no effect is committed under a lease that is not current";
pub const WORD: &str = "no verdict, return or heartbeat changes a row under a lease that is not current";
pub const ONCE: &str = "each effect and the job's end happen at most once";
pub const WHOLE: &str = "the last effects and the end are one";
pub const RUNS_OUT: &str = "a lease that nobody holds runs out";
pub const LEASED: &str = "a running job has a lease, and no other job has one";
pub const CRASHES: &str = "crashes are counted, and too many of them end the job";
pub const SPENT: &str = "only a retry spends an attempt";
pub const WELL: &str = "no lease is taken from an attempt that is well";

/// All of them, and the sights that prove that the search went where the trouble is.
pub fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(EFFECT, |_, house: &House| !house.facts.stale_effect),
        Property::always(WORD, |_, house: &House| !house.facts.stale_word),
        Property::always(ONCE, |_, house: &House| {
            let facts = house.facts;
            facts.steps <= 1 && facts.lasts <= 1 && facts.ends <= 1 && (facts.ends == 1) == house.is_over()
        }),
        Property::always(WHOLE, |_, house: &House| house.facts.lasts == 0 || house.row.place == Place::Done),
        Property::always(RUNS_OUT, |protocol: &Protocol, house: &House| {
            house.row.place != Place::Running || house.is_held() || !protocol.is_kept(house)
        }),
        Property::always(LEASED, |_, house: &House| (house.row.place == Place::Running) == house.row.token.is_some()),
        Property::always(CRASHES, |_, house: &House| {
            house.row.crashes == house.facts.rescues && (house.is_over() || house.row.crashes < 2)
        }),
        Property::always(SPENT, |_, house: &House| house.row.spent == house.facts.retries),
        Property::always(WELL, |_, house: &House| !house.facts.robbed),
        Property::sometimes("an old attempt writes beside a new one", |_, house: &House| {
            let current = house.hands.iter().flatten().any(|attempt| house.is_current(attempt.token));
            let old = house
                .hands
                .iter()
                .flatten()
                .any(|attempt| !house.is_current(attempt.token) && matches!(attempt.at, At::Wants(Effect::Step)));
            current && old
        }),
        Property::sometimes("a zombie's own verdict waits to be settled", |_, house: &House| {
            let old = |token| !house.is_current(token);
            house.is_held() && house.hands.iter().flatten().any(|a| old(a.token) && matches!(a.at, At::Ended(_)))
        }),
        Property::sometimes("a lease is over while its attempt writes", |_, house: &House| {
            house.row.over && house.hands.iter().flatten().any(|attempt| matches!(attempt.at, At::Writes(_)))
        }),
        Property::sometimes("a job comes through after a crash, a wait, a return and a retry", |_, house: &House| {
            let facts = house.facts;
            facts.lasts == 1 && facts.retries == 1 && facts.waits == 1 && facts.given_back == 1 && facts.rescues == 1
        }),
        Property::sometimes("a job is cancelled while it runs", |_, house: &House| {
            house.row.place == Place::Cancelled && house.hands.iter().any(Option::is_some)
        }),
        Property::sometimes("a job crashes too often", |_, house: &House| {
            house.row.place == Place::Dead && house.facts.rescues == 2
        }),
        Property::sometimes("a job spends its last attempt", |_, house: &House| {
            house.row.place == Place::Dead && house.row.spent == 2
        }),
    ]
}
