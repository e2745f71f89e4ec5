//! One job, the attempts at it, and everybody who may touch its row: the lease and fence protocol, step by step.
//!
//! What one statement does is one step here, as Postgres does it at READ COMMITTED: a statement that wants a locked row
//! waits, `skip locked` passes it by. Between two steps anything else may happen: a stalled worker is an attempt that takes
//! no step for a while. It never models time but by its order: a lease runs out as soon as nobody's heartbeat keeps it.
//!
//! Source: jobs/src/queue/{claim,lease,settle,control}.rs, `Run::begin` and `Run::finish` in jobs/src/run.rs,
//! `safelight.holds_lease` in migrations/0005_queue.sql, worker/src/{keeper,layer,pools}.rs.

use stateright::{Model, Property};

/// Attempts that worker processes have in hand at once: one that holds the lease, and one of the past.
pub const HANDS: usize = 2;
/// Attempts that a job may spend, crashes in a row that it may cause, and how often it waits or is given back here.
const MOST_SPENT: u8 = 2;
const MOST_CRASHES: u8 = 2;
const MOST_WAITS: u8 = 1;
const MOST_GIVEN_BACK: u8 = 1;

/// A rule of the protocol that a variant does without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// `settle`, `settle_within` and `give_up` compare the token.
    TokenInSettle,
    /// `Run::begin` asks for the lease.
    LeaseAskedAtBegin,
    /// What asks for the lease locks the row until its transaction ends.
    RowLock,
    /// A rescue takes the token away.
    RescueTakesToken,
    /// A heartbeat extends only a lease whose token is its own.
    TokenInHeartbeat,
    /// `give_back` compares the token.
    TokenInGiveBack,
    /// A claim gives a lease that runs out.
    Deadline,
    /// A rescue counts the crash.
    CrashCounted,
    /// A transaction that took long extends the lease when it commits: heartbeats pass a locked row by meanwhile.
    LongCommitExtends,
    /// The database ends a transaction in which nothing happens any more.
    IdleTransactionEnds,
    /// A worker that disowns a claim whose answer it never had goes by the token of that claim.
    TokenInDisown,
}

/// The protocol, whole or without one of its fences.
#[derive(Debug, Clone, Copy, Default)]
pub struct Protocol {
    pub without: Option<Fence>,
}

impl Protocol {
    fn has(self, fence: Fence) -> bool {
        self.without != Some(fence)
    }
}

/// Where the job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    Ready,
    Running,
    Done,
    Cancelled,
    Dead,
}

/// The job's row, or what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub place: Place,
    /// `lease_token`: the number of the claim that gave it.
    pub token: Option<u8>,
    /// `lease_until` is over.
    pub over: bool,
    /// It ran out although the attempt's heartbeats were sent.
    pub unheard: bool,
    /// Its claim was committed, and the worker never had the answer.
    pub unknown: bool,
    /// `attempt`.
    pub spent: u8,
    pub crashes: u8,
}

/// What an attempt came to, told to the settler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    Done,
    Retry,
    Wait,
    GiveUp,
}

/// An effect of an attempt in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// `Run::step`, or any transaction before the last one.
    Step,
    /// `Run::finish`: the last effects and the job's end.
    Last,
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// Before it has looked for its recorded step.
    Start,
    /// Wants to write this next.
    Wants(Effect),
    /// In a transaction that writes this; it asked for the lease, and nothing is committed.
    Writes(Effect),
    /// Over; the settler has not written the verdict yet.
    Ended(Verdict),
}

/// An attempt in the hands of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempt {
    pub token: u8,
    pub at: At,
    /// Its process is stopped, or its heartbeats do not reach the database; its other statements may.
    pub mute: bool,
}

/// What really happened, which no row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Facts {
    pub claims: u8,
    pub steps: u8,
    pub lasts: u8,
    pub ends: u8,
    pub retries: u8,
    pub waits: u8,
    pub given_back: u8,
    /// Rescues since the last verdict that brought the job back.
    pub rescues: u8,
    /// An effect was committed under a lease that was not current.
    pub stale_effect: bool,
    /// A verdict, a return or a heartbeat changed the row under a lease that was not current.
    pub stale_word: bool,
    /// A lease was taken from an attempt that was well.
    pub robbed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct House {
    pub row: Row,
    pub hands: [Option<Attempt>; HANDS],
    pub facts: Facts,
}

impl House {
    pub fn is_over(&self) -> bool {
        matches!(self.row.place, Place::Done | Place::Cancelled | Place::Dead)
    }
    /// Is this token the right to write?
    pub fn is_current(&self, token: u8) -> bool {
        self.row.place == Place::Running && self.row.token == Some(token)
    }
    /// Whose token stands on the row and is in somebody's hands.
    pub fn is_held(&self) -> bool {
        self.holder().is_some()
    }
    fn holder(&self) -> Option<&Attempt> {
        self.hands.iter().flatten().find(|attempt| self.is_current(attempt.token))
    }
    /// The lease is good again.
    fn extended(&mut self) {
        self.row.over = false;
        self.row.unheard = false;
    }
}

/// Who does what next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    Claims(usize),
    /// A claim is committed, and its answer is lost.
    ClaimIsLost,
    /// Its worker gives back what it claimed and never heard of.
    Disowns,
    /// Looks for its recorded step.
    Looks(usize),
    Begins(usize),
    Commits(usize),
    /// The job's code ends with this verdict, its open transaction rolled back.
    Says(usize, Verdict),
    Settles(usize),
    Beats(usize),
    /// A graceful stop drops the attempt and gives its job back.
    GivesBack(usize),
    FallsMute(usize),
    /// A zombie wakes.
    IsHeardAgain(usize),
    /// The database ends the transaction of an attempt that does nothing any more.
    IsCutOff(usize),
    Crashes(usize),
    LeaseRunsOut,
    Rescue,
    Cancel,
}

impl Act {
    /// Happens by itself sooner or later. A process that was stopped need never go on, so what it would do is not.
    pub fn is_certain(self, house: &House) -> bool {
        let awake = |hand: usize| house.hands[hand].is_some_and(|attempt| !attempt.mute);
        match self {
            Self::Claims(_) | Self::LeaseRunsOut | Self::Rescue | Self::IsCutOff(_) => true,
            Self::Looks(hand) | Self::Begins(hand) | Self::Commits(hand) | Self::Settles(hand) | Self::Beats(hand) => {
                awake(hand)
            }
            // Hands are few in here only: where one sleeps that holds nothing, another process has a free one.
            Self::Crashes(hand) => house.hands[hand]
                .is_some_and(|a| a.mute && !house.is_current(a.token) && !matches!(a.at, At::Writes(_))),
            Self::ClaimIsLost
            | Self::Disowns
            | Self::Says(..)
            | Self::GivesBack(_)
            | Self::FallsMute(_)
            | Self::IsHeardAgain(_)
            | Self::Cancel => false,
        }
    }
}

impl Protocol {
    /// Does another transaction hold the row?
    fn is_locked(self, house: &House, but: Option<usize>) -> bool {
        self.has(Fence::RowLock)
            && self.has(Fence::LeaseAskedAtBegin)
            && house.hands.iter().enumerate().any(|(hand, attempt)| {
                Some(hand) != but && attempt.is_some_and(|attempt| matches!(attempt.at, At::Writes(_)))
            })
    }

    /// `where id = $1 and lease_token = $2`.
    fn finds(self, house: &House, token: u8, fence: Fence) -> bool {
        let there = matches!(house.row.place, Place::Ready | Place::Running);
        there && (!self.has(fence) || house.row.token == Some(token))
    }

    /// Does some heartbeat keep the lease from running out? None does while a transaction has the row.
    pub fn is_kept(self, house: &House) -> bool {
        !self.is_locked(house, None)
            && house.row.place == Place::Running
            && house.hands.iter().flatten().any(|a| !a.mute && self.finds(house, a.token, Fence::TokenInHeartbeat))
    }

    fn comes_back(house: &mut House) {
        house.row.place = Place::Ready;
        house.row.token = None;
        house.row.unknown = false;
        house.extended();
    }

    fn ends(house: &mut House, place: Place) {
        house.row.place = place;
        house.row.token = None;
        house.row.unknown = false;
        house.extended();
        house.facts.ends += 1;
    }

    /// `settle`: verdict and fence are one statement.
    fn settle(self, house: &mut House, token: u8, verdict: Verdict) {
        if !self.finds(house, token, Fence::TokenInSettle) {
            return;
        }
        house.facts.stale_word |= !house.is_current(token);
        match verdict {
            Verdict::Done => Self::ends(house, Place::Done),
            Verdict::GiveUp => Self::ends(house, Place::Dead),
            Verdict::Retry | Verdict::Wait => {
                house.row.crashes = 0;
                house.facts.rescues = 0;
                if verdict == Verdict::Retry {
                    house.row.spent += 1;
                    house.facts.retries += 1;
                } else {
                    house.facts.waits += 1;
                }
                if house.row.spent >= MOST_SPENT { Self::ends(house, Place::Dead) } else { Self::comes_back(house) }
            }
        }
    }

    /// What an attempt's own code and its process may do next.
    fn acts_of(self, house: &House, hand: usize, attempt: Attempt, acts: &mut Vec<Act>) {
        let free = !self.is_locked(house, Some(hand));
        match attempt.at {
            At::Start => acts.push(Act::Looks(hand)),
            At::Wants(_) => acts.push(Act::Begins(hand)),
            At::Writes(_) => acts.push(Act::Commits(hand)),
            At::Ended(_) if free => acts.push(Act::Settles(hand)),
            At::Ended(_) => {}
        }
        if !matches!(attempt.at, At::Ended(_)) {
            acts.extend([
                Act::Says(hand, Verdict::Retry),
                Act::Says(hand, Verdict::GiveUp),
                Act::Says(hand, Verdict::Done),
            ]);
            if house.facts.waits < MOST_WAITS {
                acts.push(Act::Says(hand, Verdict::Wait));
            }
        }
        if attempt.mute {
            acts.push(Act::IsHeardAgain(hand));
            if matches!(attempt.at, At::Writes(_)) && self.has(Fence::IdleTransactionEnds) {
                acts.push(Act::IsCutOff(hand));
            }
        } else {
            acts.extend([Act::Beats(hand), Act::FallsMute(hand)]);
        }
        if free && house.facts.given_back < MOST_GIVEN_BACK {
            acts.push(Act::GivesBack(hand));
        }
        acts.push(Act::Crashes(hand));
    }

    fn does(self, house: &mut House, hand: usize, mut attempt: Attempt, act: Act) {
        let token = attempt.token;
        let lost = At::Ended(Verdict::Retry); // `lease_lost`: settled like any retry, that is, not at all
        match act {
            Act::Looks(_) => {
                attempt.at = At::Wants(if house.facts.steps == 0 { Effect::Step } else { Effect::Last });
            }
            Act::Begins(_) => {
                let At::Wants(effect) = attempt.at else { return };
                let holds = self.finds(house, token, Fence::LeaseAskedAtBegin);
                let asked = self.has(Fence::LeaseAskedAtBegin);
                attempt.at = if holds || !asked { At::Writes(effect) } else { lost };
            }
            Act::Commits(_) => match attempt.at {
                At::Writes(Effect::Step) => {
                    house.facts.stale_effect |= !house.is_current(token);
                    house.facts.steps += 1;
                    if self.has(Fence::LongCommitExtends) && house.is_current(token) {
                        house.extended();
                    }
                    attempt.at = At::Wants(Effect::Last);
                }
                At::Writes(Effect::Last) if self.finds(house, token, Fence::TokenInSettle) => {
                    house.facts.stale_effect |= !house.is_current(token);
                    house.facts.lasts += 1;
                    Self::ends(house, Place::Done);
                    house.hands[hand] = None;
                    return;
                }
                _ => attempt.at = lost,
            },
            Act::Says(_, verdict) => attempt.at = At::Ended(verdict),
            Act::Settles(_) => {
                if let At::Ended(verdict) = attempt.at {
                    self.settle(house, token, verdict);
                }
                house.hands[hand] = None;
                return;
            }
            Act::Beats(_) => {
                if self.finds(house, token, Fence::TokenInHeartbeat) {
                    if !self.is_locked(house, None) && house.row.place == Place::Running {
                        house.facts.stale_word |= !house.is_current(token);
                        house.extended();
                    }
                } else if !matches!(attempt.at, At::Ended(_)) {
                    // The keeper cuts it; what it had open is rolled back, and there is nothing to settle.
                    house.hands[hand] = None;
                    return;
                }
            }
            Act::GivesBack(_) => {
                if self.finds(house, token, Fence::TokenInGiveBack) {
                    house.facts.stale_word |= !house.is_current(token);
                    house.facts.given_back += 1;
                    Self::comes_back(house);
                }
                house.hands[hand] = None;
                return;
            }
            Act::FallsMute(_) => attempt.mute = true,
            Act::IsHeardAgain(_) => attempt.mute = false,
            Act::IsCutOff(_) => attempt.at = At::Ended(Verdict::Retry),
            Act::Crashes(_) => {
                house.hands[hand] = None;
                return;
            }
            Act::Claims(_) | Act::ClaimIsLost | Act::Disowns | Act::LeaseRunsOut | Act::Rescue | Act::Cancel => return,
        }
        house.hands[hand] = Some(attempt);
    }

    fn rescue(self, house: &mut House) {
        let token = house.row.token;
        let well = house.holder().is_some_and(|attempt| !attempt.mute && !matches!(attempt.at, At::Ended(_)));
        house.facts.robbed |= well && house.row.unheard;
        Self::comes_back(house);
        house.facts.rescues += 1;
        if self.has(Fence::CrashCounted) {
            house.row.crashes += 1;
        }
        if house.row.crashes >= MOST_CRASHES {
            Self::ends(house, Place::Dead);
        } else if !self.has(Fence::RescueTakesToken) {
            house.row.token = token;
        }
    }
}

impl Model for Protocol {
    type State = House;
    type Action = Act;

    fn init_states(&self) -> Vec<House> {
        let row =
            Row { place: Place::Ready, token: None, over: false, unheard: false, unknown: false, spent: 0, crashes: 0 };
        vec![House { row, hands: [None; HANDS], facts: Facts::default() }]
    }

    fn actions(&self, house: &House, acts: &mut Vec<Act>) {
        let free = !self.is_locked(house, None);
        // A claim passes locked rows by, but nobody holds a ready one.
        if house.row.place == Place::Ready
            && let Some(hand) = house.hands.iter().position(Option::is_none)
        {
            acts.push(Act::Claims(hand));
        }
        let may_return = house.facts.given_back < MOST_GIVEN_BACK;
        if house.row.place == Place::Ready && may_return {
            acts.push(Act::ClaimIsLost);
        }
        let spared = !house.row.unknown && self.has(Fence::TokenInDisown);
        if house.row.place == Place::Running && free && may_return && !spared {
            acts.push(Act::Disowns);
        }
        for (hand, attempt) in house.hands.iter().enumerate() {
            if let Some(attempt) = attempt {
                self.acts_of(house, hand, *attempt, acts);
            }
        }
        if house.row.place == Place::Running {
            if !house.row.over && self.has(Fence::Deadline) && !self.is_kept(house) {
                acts.push(Act::LeaseRunsOut);
            }
            if house.row.over && free {
                acts.push(Act::Rescue);
            }
        }
        if !house.is_over() && free {
            acts.push(Act::Cancel);
        }
    }

    fn next_state(&self, house: &House, act: Act) -> Option<House> {
        let mut next = house.clone();
        match act {
            Act::Claims(hand) => {
                next.facts.claims += 1;
                let token = next.facts.claims;
                next.row.place = Place::Running;
                next.row.token = Some(token);
                next.extended();
                next.hands[hand] = Some(Attempt { token, at: At::Start, mute: false });
            }
            Act::ClaimIsLost => {
                next.facts.claims += 1;
                next.row.place = Place::Running;
                next.row.token = Some(next.facts.claims);
                next.row.unknown = true;
            }
            Act::Disowns => {
                next.facts.robbed |= next.is_held();
                next.facts.given_back += 1;
                Self::comes_back(&mut next);
            }
            Act::LeaseRunsOut => {
                next.row.over = true;
                next.row.unheard = next.holder().is_some_and(|attempt| !attempt.mute);
            }
            Act::Rescue => self.rescue(&mut next),
            Act::Cancel => Self::ends(&mut next, Place::Cancelled),
            Act::Looks(hand)
            | Act::Begins(hand)
            | Act::Commits(hand)
            | Act::Says(hand, _)
            | Act::Settles(hand)
            | Act::Beats(hand)
            | Act::GivesBack(hand)
            | Act::FallsMute(hand)
            | Act::IsHeardAgain(hand)
            | Act::IsCutOff(hand)
            | Act::Crashes(hand) => {
                let attempt = next.hands[hand]?;
                self.does(&mut next, hand, attempt, act);
            }
        }
        (next != *house).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        super::properties::all()
    }
}
