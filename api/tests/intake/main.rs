//! The intake, asked over its own router, on a real Postgres and the providers' stand-ins.
#![expect(clippy::expect_used, clippy::panic, reason = "a test's helper fails the test")]

mod certificates;
mod codes;
mod console;
mod house;
mod idempotency;
mod images;
mod inputs;
mod orders;
mod rights;
mod sweeps;
mod webhooks_fal;
mod webhooks_stripe;
