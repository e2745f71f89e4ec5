//! The intake, asked over its own router, on a real Postgres and the providers' stand-ins.

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
