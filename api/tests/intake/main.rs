//! The intake, asked over its own router, on a real Postgres and the providers' stand-ins.
#![expect(clippy::expect_used, clippy::panic, reason = "a test's helper fails the test")]

mod addresses;
mod bulk_acts;
mod certificates;
mod codes;
mod console;
mod console_acts;
mod console_decisions;
mod console_find;
mod console_large;
mod console_lists;
mod console_money;
mod console_oidc;
mod console_pages;
mod console_refresh;
mod console_repairs;
mod console_sessions;
mod console_ways;
mod documents;
mod house;
mod idempotency;
mod images;
mod inputs;
mod killed;
mod log;
mod looks;
mod metrics;
mod operators;
mod orders;
mod persons;
mod rights;
mod sweeps;
mod waiting;
mod webhook_edges;
mod webhooks_fal;
mod webhooks_stripe;
