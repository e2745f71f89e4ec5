//! Clients of the providers, one file each: the client and its error enum. None of them touches the database.
//!
//! Every client is made once, from a config struct whose addresses can be set, so that a stand-in on 127.0.0.1 works;
//! plain http to any other host is refused when the client is made. A call that has a side effect is sent once: the
//! queue decides about a second try. Errors and logs never hold a key, a mail address, or a link to a photo.
//!
//! A call that carries a person's data demands a proof that only a gate can make; without one it does not compile:
//!
//! ```compile_fail,E0308
//! # use safelight_jobs::providers::fal::{Fal, TrainingRequest};
//! async fn train_without_asking(fal: &Fal, request: &TrainingRequest) {
//!     let _ = fal.submit_training(&(), request).await;
//! }
//! ```
//!
//! and a proof for one purpose does not open another:
//!
//! ```compile_fail,E0308
//! # use safelight_jobs::{gate::{Allowed, Compare}, providers::fal::{Fal, TrainingRequest}};
//! async fn train_because_comparing_was_allowed(fal: &Fal, proof: &Allowed<Compare>, request: &TrainingRequest) {
//!     let _ = fal.submit_training(proof, request).await;
//! }
//! ```

pub mod auth;
pub mod fal;
pub mod fal_webhook;
mod http;
mod jwks;
pub mod ledger;
pub mod mail;
pub mod oidc;
pub mod outside;
pub mod secret;
pub mod sentry;
pub mod storage;
pub mod stripe;
pub mod stripe_webhook;
pub mod witness;

pub use http::ConfigError;
pub use secret::Secret;

#[cfg(test)]
pub(crate) mod testing;
