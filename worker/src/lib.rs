//! Pools of apalis workers over Safelight's own queue.
//!
//! apalis is the runtime: it polls, limits concurrency, catches panics and shuts down. [`backend`] gives it jobs from our
//! queue; three tasks beside it claim, keep leases and settle. apalis is spelled in `backend.rs`, `layer.rs`, `pools.rs`
//! and `schedule.rs` only. This crate knows no job by name and no route.

mod backend;
mod bounds;
mod claimer;
pub mod config;
mod drain;
mod ears;
mod keeper;
mod layer;
mod pools;
mod reports;
mod rescuer;
mod schedule;
mod settler;
mod verdict;

pub use drain::{Drained, drain, perform};
pub use pools::{Perform, Performed, domain, run, run_with};
pub use reports::Reports;
pub use schedule::run as run_schedule;
