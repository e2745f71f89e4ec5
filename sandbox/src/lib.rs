//! Stand-ins for the providers on their real wire contracts.

mod busy;
mod calls;
mod clock;
mod download;
pub mod fal;
mod faults;
mod front;
mod lock;
pub mod postgres;
mod server;
pub mod supabase;
mod token;
mod webhooks;

pub use calls::Call;
pub use clock::Clock;
pub use faults::{Fault, Faults, Rule};
pub use webhooks::Delivery;
