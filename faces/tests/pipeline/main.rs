//! The face pipeline on real files: the models and the photo of this repository, and pictures made from it on the spot.

#![expect(clippy::unwrap_used, reason = "a photo that cannot be made is a broken test")]

mod real_faces;
mod refusals;
mod registration;
mod studio;
