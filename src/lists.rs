//! Lists that are printed a page at a time: how many, where the page before ended, and where the next one begins.

use clap::Args;
use safelight_jobs::place::Place;

use crate::process::remark;

/// How many of a list.
#[derive(Debug, Args)]
pub(crate) struct Most {
    /// How many
    #[arg(long, default_value_t = ON_A_PAGE, value_parser = number())]
    most: u16,
}

/// How many a page has where nobody says it.
const ON_A_PAGE: u16 = 100;

/// What may be said of it.
pub(crate) fn number() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=1000)
}

impl From<Option<u16>> for Most {
    fn from(said: Option<u16>) -> Self {
        Self { most: said.unwrap_or(ON_A_PAGE) }
    }
}

impl Most {
    /// What is asked of the database: one more, to see whether there is a next page.
    pub(crate) fn and_one(&self) -> i64 {
        i64::from(self.most) + 1
    }

    /// The rows of this page, of rows that were asked for by [`Most::and_one`], and the place where the next one begins.
    pub(crate) fn page<R, P>(&self, mut rows: Vec<R>, place: impl Fn(&R) -> P) -> (Vec<R>, Option<P>) {
        let most = usize::from(self.most);
        let more = rows.len() > most;
        rows.truncate(most);
        let next = rows.last().filter(|_| more).map(place);
        (rows, next)
    }
}

/// How to go on, for a person.
pub(crate) fn go_on(next: Option<impl std::fmt::Display>, says: &str) {
    if let Some(next) = next {
        remark(format_args!("{says} {next}"));
    }
}

/// The place as machines are given it: a text, as it is taken again.
pub(crate) fn document(next: Option<Place>) -> Option<String> {
    next.map(|place| place.to_string())
}
