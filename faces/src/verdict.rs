//! Why there is no face to compare. A verdict is an answer of its own: it never becomes a low score.

use thiserror::Error;

use crate::network::EngineError;

/// No single reliable face. `Display` is a sentence for the customer, [`NoVerdict::code`] is for programs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoVerdict {
    /// The detector sees no face at all.
    #[error(
        "We cannot see a face in this photo. Please choose one that shows the face from the front, upright and in good light."
    )]
    NoFace,
    /// This many faces, each at least half as large as the largest; small faces in the background do not count.
    #[error("We see {0} faces in this photo. Please choose one that shows only the one person, or cut the others off.")]
    SeveralFaces(usize),
    /// The face is so small that its embedding would say little (under 45 pixels wide).
    #[error("The face in this photo is too small. Please choose one that was taken from closer.")]
    TooSmall,
    /// The detector saw a face and lost it when looking again at the upright face.
    #[error(
        "We cannot make out the face in this photo well enough. Please choose one that shows it from the front and unobscured."
    )]
    Unreliable,
    /// The photo is not at fault: the model failed while running.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl NoVerdict {
    /// The stable name of this verdict, for an API's error body or a row.
    pub fn code(&self) -> &'static str {
        match self {
            NoVerdict::NoFace => "no_face",
            NoVerdict::SeveralFaces(_) => "several_faces",
            NoVerdict::TooSmall => "face_too_small",
            NoVerdict::Unreliable => "no_reliable_face",
            NoVerdict::Engine(_) => "face_engine_failed",
        }
    }
}
