//! One module a theme; each test proves the clause in its name. A test of a fence, a gate or a clock was seen to fail
//! once with its rule taken out; the commit that says so lists the rules.

mod agreed;
mod certificates;
mod clocks;
mod data_map;
mod erasure;
mod erasure_in_trouble;
mod exports;
mod faces;
mod fiscal;
mod mailbox;
mod markers;
mod model_terms;
mod notices;
mod objections;
mod originals;
mod outside;
mod parts;
mod payments;
mod policies;
mod policy_mail;
mod processors;
mod purposes;
mod restore;
mod restricted_calls;
mod rights;
mod sale_rows;
mod second_look;
mod stripe_events;
mod tampering;
mod traps;
mod uploads;
mod withdrawal;
mod withdrawal_race;
