//! The stand-ins' image work: selfies from one photograph, portraits from selfies. A crate of its own, so that pixels are
//! optimised in debug builds and the stand-ins around them are not. Never asks a network, and knows no provider.

pub mod photos;
pub mod portrait;
mod scale;
