//! One module a theme; each test proves the clause in its name.

mod clocks;
mod faces;
mod payments;
mod purposes;
mod withdrawal_race;
