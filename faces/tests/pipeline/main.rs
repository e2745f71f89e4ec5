//! The face pipeline on real files: the models and the photo of this repository, and pictures made from it on the spot.

mod real_faces;
mod refusals;
mod registration;
mod studio;
