//! The face pipeline: decode a photo, find the face, set it upright, embed it, compare.
//!
//! What to read first: [`decode`] turns a stranger's bytes into a [`Photo`] or a [`Refusal`]; [`FaceEngine`] finds the one
//! [`Face`] in it (or says why not, [`NoVerdict`]) and turns it into an [`Embedding`]; [`score`] compares.
//!
//! Everything is in process and pure computation. This crate never opens a socket or a database, never writes a file, never
//! logs, and no error of it holds a pixel, an embedding or a name. It does not know what a customer, an order or consent is:
//! who may embed whose face is decided by the caller.
//!
//! All of it blocks and uses one core: call it from a blocking thread, as many at once as there are cores. A time limit is not
//! in its power; the limits on size are ([`Limits`]).

mod align;
mod detection;
mod embedding;
mod engine;
mod fold;
mod jpeg_walk;
mod kind;
mod letterbox;
mod limits;
mod model_files;
mod network;
mod photo;
mod refusal;
mod score;
mod self_test;
mod similarity;
mod upright;
mod verdict;
mod warp;
mod weights;
mod yunet;

pub use detection::{Bounds, Detection, Face, Landmarks, Point};
pub use embedding::{Embedding, EmbeddingError, Mismatch, cosine};
pub use engine::{EmbedError, FaceEngine};
pub use limits::Limits;
pub use model_files::{ChannelOrder, LoadError, ModelFiles, ModelId, Pixels};
pub use network::EngineError;
pub use photo::{Photo, decode};
pub use refusal::Refusal;
pub use score::{ODD_BELOW, Score, ScoreError, odd_ones_out, score};
pub use verdict::NoVerdict;
