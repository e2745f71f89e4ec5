//! A search as somebody asks for it: the same words in an address of the intake, in the console's form, on the command line, and
//! kept with an act on everything that matches.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};

use super::{Search, State};
use crate::{
    id::{self, Id, Order, Subject},
    job::Queue,
};

/// The longest word, in bytes.
const LONGEST: usize = 128;

/// What is looked for; what is `None` does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// One job.
    pub job: Option<Id<id::Job>>,
    /// Of one kind.
    pub kind: Option<String>,
    /// In one state.
    pub state: Option<State>,
    /// Of one queue.
    pub queue: Option<String>,
    /// Of one tenant.
    pub tenant: Option<String>,
    /// Of one order.
    pub order: Option<Id<Order>>,
    /// Of one person, by random id.
    pub subject: Option<Id<Subject>>,
    /// What it waits for, is held for, or ended with; what stands behind a colon need not be said.
    pub code: Option<String>,
    /// Made at this instant or later.
    pub from: Option<DateTime<Utc>>,
    /// Made before this instant.
    pub until: Option<DateTime<Utc>>,
}

/// A search that cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSearch {
    /// 422. A kind, code or tenant that is no word.
    #[error("`{0}` is a word of letters, digits and `_-:.`, of at most {LONGEST} bytes")]
    Word(&'static str),
    /// 422. No such state.
    #[error("a state is one of: ready, running, held, scheduled, set_aside, dead, done, cancelled")]
    State,
    /// 422. No such queue.
    #[error("a queue is one of: {}", Queue::ALL.map(Queue::as_str).join(", "))]
    Queue,
}

impl Wanted {
    /// Words that may stand in a stored search: no address, no name, no sentence.
    ///
    /// # Errors
    /// Which field holds something else, or that there is no such queue.
    pub fn checked(self) -> Result<Self, BadSearch> {
        let is_word = |text: &str| {
            (1..=LONGEST).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':' | b'.'))
        };
        for (name, word) in [("kind", &self.kind), ("code", &self.code), ("tenant", &self.tenant)] {
            if word.as_deref().is_some_and(|word| !is_word(word)) {
                return Err(BadSearch::Word(name));
            }
        }
        if self.queue.as_deref().is_some_and(|queue| Queue::named(queue).is_none()) {
            return Err(BadSearch::Queue);
        }
        Ok(self)
    }

    /// As the database is asked.
    pub fn search(&self) -> Search<'_> {
        Search {
            job: self.job,
            kind: self.kind.as_deref(),
            state: self.state,
            queue: self.queue.as_deref(),
            tenant: self.tenant.as_deref(),
            order: self.order,
            subject: self.subject,
            code: self.code.as_deref(),
            from: self.from,
            until: self.until,
            ..Search::default()
        }
    }

    /// Does anything narrow it?
    pub fn narrows(&self) -> bool {
        *self != Self::default()
    }

    /// Its words with their names, as an address carries them.
    pub fn words(&self) -> Vec<(&'static str, String)> {
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        [
            ("job", self.job.map(|job| job.to_string())),
            ("kind", self.kind.clone()),
            ("state", self.state.map(|state| state.as_str().to_owned())),
            ("queue", self.queue.clone()),
            ("tenant", self.tenant.clone()),
            ("order", self.order.map(|order| order.to_string())),
            ("subject", self.subject.map(|subject| subject.to_string())),
            ("code", self.code.clone()),
            ("from", self.from.map(time)),
            ("until", self.until.map(time)),
        ]
        .into_iter()
        .filter_map(|(name, word)| Some((name, word?)))
        .collect()
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.words().into_iter().map(|(name, word)| format!("{name}={word}")).collect();
        if words.is_empty() { f.write_str("all") } else { f.write_str(&words.join(" ")) }
    }
}

impl FromStr for State {
    type Err = BadSearch;
    fn from_str(word: &str) -> Result<Self, BadSearch> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or(BadSearch::State)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_name_somebody_is_no_word_of_a_search() {
        let with = |code: &str| Wanted { code: Some(code.to_owned()), ..Wanted::default() }.checked();
        assert!(with("provider:fal").is_ok());
        for bad in ["", "ann@example.org", "a face with freckles", &"x".repeat(129)] {
            assert_eq!(with(bad), Err(BadSearch::Word("code")), "{bad}");
        }
    }

    #[test]
    fn a_queue_that_nobody_has_is_refused_with_those_there_are() {
        let of = |queue: &str| Wanted { queue: Some(queue.to_owned()), ..Wanted::default() }.checked();
        assert!(Queue::ALL.into_iter().all(|queue| of(queue.as_str()).is_ok()));
        assert_eq!(of("trainings"), Err(BadSearch::Queue));
        assert!(BadSearch::Queue.to_string().starts_with("a queue is one of: payments, training, "));
    }

    #[test]
    fn a_search_says_its_words() {
        let wanted = Wanted { kind: Some("train_model".to_owned()), state: Some(State::Dead), ..Wanted::default() };
        assert_eq!(wanted.to_string(), "kind=train_model state=dead");
        let wanted = Wanted { queue: Some("training".to_owned()), ..Wanted::default() };
        assert_eq!((wanted.to_string().as_str(), wanted.narrows()), ("queue=training", true));
        assert_eq!((Wanted::default().to_string().as_str(), Wanted::default().narrows()), ("all", false));
        assert_eq!("waiting".parse::<State>(), Err(BadSearch::State));
    }
}
