//! Words that an argument takes: a shell offers them, `--help` names them, and what stands there instead is refused in the words of
//! whoever reads it. Each list is the program's own; none is written down here.

use std::{collections::BTreeSet, ffi::OsStr};

use clap::{
    Arg, Command, Error,
    builder::{PossibleValue, TypedValueParser},
};
use safelight_api::tokens::Scope;
use safelight_jobs::{
    intake,
    job::Queue,
    policy::{Processor, Purpose},
    queue::search::State,
    registry, schedule,
};

/// The words, and how one is read.
#[derive(Clone)]
pub(crate) struct Offered<T> {
    words: Vec<&'static str>,
    read: fn(&str) -> Result<T, String>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Offered<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        self.read.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.words.iter().map(PossibleValue::new)))
    }
}

fn any(word: &str) -> Result<String, String> {
    Ok(word.to_owned())
}

fn kind_names() -> impl Iterator<Item = &'static str> {
    registry::ALL.iter().map(|known| known.name)
}

/// Those that jobs ask: no other has a control.
fn provider_names() -> BTreeSet<&'static str> {
    registry::ALL.iter().filter_map(|known| known.provider).map(Processor::as_str).collect()
}

/// Where a job stands.
pub(crate) fn states() -> Offered<State> {
    let read = |word: &str| word.parse().map_err(|error: safelight_jobs::queue::search::BadSearch| error.to_string());
    Offered { words: State::ALL.map(State::as_str).to_vec(), read }
}

/// Queues.
pub(crate) fn queues() -> Offered<Queue> {
    let read = |word: &str| {
        let names = Queue::ALL.map(Queue::as_str).join(", ");
        Queue::named(word).ok_or_else(|| format!("no queue is named `{word}`; there are {names}"))
    };
    Offered { words: Queue::ALL.map(Queue::as_str).to_vec(), read }
}

/// Kinds of jobs. One that is not among them finds what an older version has left.
pub(crate) fn kinds() -> Offered<String> {
    Offered { words: kind_names().collect(), read: any }
}

/// What the fleet's controls may name, but for tenants; whether it is there, the command says.
pub(crate) fn controlled() -> Offered<String> {
    let words = Queue::ALL.map(Queue::as_str).into_iter().chain(kind_names());
    Offered { words: words.chain(provider_names()).collect(), read: any }
}

/// Providers. What is no provider, the command says.
pub(crate) fn providers() -> Offered<String> {
    Offered { words: provider_names().into_iter().collect(), read: any }
}

/// What runs at set times.
pub(crate) fn schedules() -> Offered<String> {
    Offered { words: schedule::ALL.iter().map(|known| known.name).collect(), read: any }
}

/// What a token may do.
pub(crate) fn scopes() -> Offered<Scope> {
    let read = |word: &str| word.parse().map_err(|error: safelight_api::tokens::TokenError| error.to_string());
    Offered { words: Scope::ALL.map(Scope::as_str).to_vec(), read }
}

/// What a processing is for.
pub(crate) fn purposes() -> Offered<Purpose> {
    let read = |word: &str| word.parse().map_err(|error: safelight_jobs::policy::UnknownName| error.to_string());
    Offered { words: Purpose::ALL.iter().map(|purpose| purpose.as_str()).collect(), read }
}

/// Where an order stands.
pub(crate) fn order_states() -> Offered<String> {
    let read = |word: &str| match intake::ORDER_STATES.contains(&word) {
        true => Ok(word.to_owned()),
        false => Err(format!("an order is never `{word}`; there are {}", intake::ORDER_STATES.join(", "))),
    };
    Offered { words: intake::ORDER_STATES.to_vec(), read }
}

/// What somebody may ask for.
pub(crate) fn case_kinds() -> Offered<String> {
    Offered { words: intake::KINDS.to_vec(), read: any }
}

/// How it may have come.
pub(crate) fn channels() -> Offered<String> {
    Offered { words: intake::CHANNELS.to_vec(), read: any }
}
