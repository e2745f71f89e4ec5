//! Stand-ins for the providers on their real wire contracts, and a private Postgres.
//!
//! For the demo and the tests: [`Sandbox::start`] in process, or `safelight sandbox --json` as a process of its own that
//! is controlled over [`control`]. Every stand-in listens on 127.0.0.1 only, counts what it was asked, believes in one
//! [`Clock`] that can be turned, and can be made to fail ([`Faults`]). None of them ever calls a real provider.

mod busy;
mod calls;
mod clock;
pub mod control;
mod download;
pub mod fal;
mod faults;
mod front;
mod lock;
pub mod oidc;
mod plan;
pub mod postgres;
pub mod resend;
mod sandbox;
pub mod sentry;
mod server;
mod signing;
pub mod stripe;
pub mod supabase;
mod token;
mod webhooks;

pub use calls::Call;
pub use clock::Clock;
pub use faults::{Fault, Faults, Rule};
pub use plan::{FaultPlan, OfOne, Share};
pub use safelight_pictures::photos;
pub use sandbox::{Description, Options, Ports, Sandbox};
pub use webhooks::Delivery;
