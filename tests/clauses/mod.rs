//! One module a theme; each test proves the clause in its name.

mod clocks;
mod erasure;
mod faces;
mod notices;
mod payments;
mod purposes;
mod uploads;
mod withdrawal;
mod withdrawal_race;
