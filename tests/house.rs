//! Whole-system tests: real Postgres, real HTTP, real signatures, real face models, stand-ins for the providers on their
//! real wire contracts. A name that begins with a clause id (`k23_…`) is that clause's proof.

#![expect(unreachable_pub, reason = "what the harness offers is public within this program")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod app;

#[path = "browser/walk.rs"]
mod browser;
mod clauses;
mod money;
mod one_job;
mod order_life;
mod races;
