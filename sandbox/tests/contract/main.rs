//! The stand-ins held to the providers' contracts, over real HTTP, by clients that know nothing of them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by panicking")]

mod auth;
mod control;
mod fal_files;
mod fal_models;
mod fal_queue;
mod fal_webhooks;
mod house;
mod resend;
mod specs;
mod storage;
mod stripe;
mod stripe_typed;
mod stripe_webhooks;
mod traps;
