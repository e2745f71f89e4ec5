//! The engine: finds faces, sets them upright, embeds them.
//!
//! Life: load (size, sha256, parse, fold, optimise, self-test) -> shared through an `Arc` -> `faces`, `the_face`, `embed`.
//! Costs per photo on one core: one look at the whole photo in 640x640, five to eleven at the face in 320x320, one embedding.
//! Nothing is kept between calls, and nothing is logged.

use std::fmt;
use std::path::Path;

use image::RgbImage;
use prost::Message as _;
use thiserror::Error;
use tract_onnx::pb::ModelProto;

use crate::align::{ALIGNED, align};
use crate::detection::{Detection, Face, Landmarks, Point};
use crate::embedding::{Embedding, EmbeddingError};
use crate::fold::fold;
use crate::letterbox::{letterbox, planes};
use crate::model_files::{ChannelOrder, LoadError, ModelFiles, ModelId, Pixels, read_verified};
use crate::network::{EngineError, Network, Tract};
use crate::photo::Photo;
use crate::self_test;
use crate::upright::{SQUARE, set_upright};
use crate::verdict::NoVerdict;
use crate::yunet;

/// Side of the detector's input for a whole photo, in pixels.
const WHOLE: u32 = 640;

/// A face narrower than this, in pixels of the photo, is too small to compare. At 22 pixels a photo had 0.47 to itself, at 45
/// more than 0.92 (measured 2026-11-21).
const LEAST_WIDTH: f32 = 45.0;

/// A second face counts if it is at least this much of the largest, side by side.
const RIVAL: f32 = 0.5;

/// A loaded detector and embedder. Share it through an `Arc`; every method takes `&self` and blocks.
pub struct FaceEngine {
    whole: Box<dyn Network>,
    square: Box<dyn Network>,
    embedder: Box<dyn Network>,
    pixels: Pixels,
    model: ModelId,
    licence: String,
}

/// A face that could not be embedded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EmbedError {
    /// The model failed while running; the photo is not at fault.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The model ran, but what it said is no embedding.
    #[error(transparent)]
    Embedding(#[from] EmbeddingError),
    /// The face's landmarks fall together, so it cannot be laid on the template.
    #[error("the face's eyes, nose and mouth fall together; choose a photo that shows the face from the front")]
    Landmarks,
}

impl FaceEngine {
    /// Loads both models: takes about half a second and 140 MB. Do it once, at start.
    ///
    /// # Errors
    /// A [`LoadError`] that names the file. A file of another sha256 than registered is not parsed.
    pub fn load(files: &ModelFiles) -> Result<FaceEngine, LoadError> {
        let detector = read_model(&files.detector, &files.detector_sha256)?;
        let embedder = read_model(&files.embedder, &files.embedder_sha256)?;
        let engine = FaceEngine {
            whole: prepare(&files.detector, &detector, WHOLE)?,
            square: prepare(&files.detector, &detector, SQUARE)?,
            embedder: prepare(&files.embedder, &embedder, ALIGNED)?,
            pixels: files.pixels,
            model: ModelId { name: files.id.clone(), sha256: files.embedder_sha256.to_ascii_lowercase() },
            licence: files.licence.clone(),
        };
        engine.test_itself(files)?;
        Ok(engine)
    }

    fn test_itself(&self, files: &ModelFiles) -> Result<(), LoadError> {
        let failed = |path: &Path, why| LoadError::SelfTest { path: path.to_owned(), why };
        self_test::detector(&*self.whole, WHOLE as usize).map_err(|why| failed(&files.detector, why))?;
        self_test::detector(&*self.square, SQUARE as usize).map_err(|why| failed(&files.detector, why))?;
        let picture =
            RgbImage::from_fn(ALIGNED, ALIGNED, |x, y| image::Rgb([(2 * x) as u8, (2 * y) as u8, (x + y) as u8]));
        self_test::embedder(&*self.embedder, &self.input(&picture)).map_err(|why| failed(&files.embedder, why))
    }

    /// The model that makes this engine's embeddings.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// Under which licence the embedder is used, as the operator registered it.
    pub fn licence(&self) -> &str {
        &self.licence
    }

    /// All that the detector takes for a face, the surest first. For counting and for showing; only [`FaceEngine::the_face`]
    /// gives a face that may be embedded.
    ///
    /// # Errors
    /// [`EngineError`] if the model fails. A photo without a face is an empty list.
    pub fn faces(&self, photo: &Photo) -> Result<Vec<Detection>, EngineError> {
        let fitted = letterbox(photo.image(), WHOLE)?;
        let mut seen = yunet::read(&self.whole.run(&fitted.input)?, WHOLE as usize)?;
        for one in &mut seen {
            one.bounds.x *= fitted.scale;
            one.bounds.y *= fitted.scale;
            one.bounds.width *= fitted.scale;
            one.bounds.height *= fitted.scale;
            one.landmarks = one.landmarks.map(|p| Point::new(p.x * fitted.scale, p.y * fitted.scale));
        }
        Ok(seen)
    }

    /// The one face of a photo, seen reliably. Another face makes the photo ambiguous if it is at least half as large as the
    /// largest (by the side of its box) and can be seen again when set upright; smaller ones are background.
    ///
    /// # Errors
    /// A [`NoVerdict`]. When several apply: no face, then several faces, then unreliable, then too small.
    pub fn the_face(&self, photo: &Photo) -> Result<Face, NoVerdict> {
        let mut seen = self.faces(photo)?;
        seen.sort_by(|a, b| b.bounds.side().total_cmp(&a.bounds.side()));
        let [largest, smaller @ ..] = seen.as_slice() else { return Err(NoVerdict::NoFace) };

        let mut rivals = 0;
        for rival in smaller.iter().filter(|rival| rival.bounds.side() >= RIVAL * largest.bounds.side()) {
            // what the detector loses at a second look was no face
            rivals += usize::from(self.set_upright(photo, rival)?.is_some());
        }
        if rivals > 0 {
            return Err(NoVerdict::SeveralFaces(1 + rivals));
        }
        let upright = self.set_upright(photo, largest)?.ok_or(NoVerdict::Unreliable)?;
        if upright.bounds.width < LEAST_WIDTH {
            return Err(NoVerdict::TooSmall);
        }
        Ok(Face::from_upright(upright))
    }

    fn set_upright(&self, photo: &Photo, seen: &Detection) -> Result<Option<Detection>, EngineError> {
        set_upright(photo.image(), seen, |square| {
            let input = planes(square.as_raw(), SQUARE, SQUARE, SQUARE, ChannelOrder::Bgr);
            yunet::read(&self.square.run(&input)?, SQUARE as usize)
        })
    }

    /// The embedding of a face of this photo. A face of another photo gives an embedding of whatever is at its place.
    ///
    /// # Errors
    /// [`EmbedError`]; no embedding is ever zero or not finite.
    pub fn embed(&self, photo: &Photo, face: &Face) -> Result<Embedding, EmbedError> {
        self.embed_at(photo, face.landmarks())
    }

    fn embed_at(&self, photo: &Photo, landmarks: &Landmarks) -> Result<Embedding, EmbedError> {
        let aligned = align(photo.image(), landmarks).ok_or(EmbedError::Landmarks)?;
        self.embed_aligned(&aligned)
    }

    fn embed_aligned(&self, aligned: &RgbImage) -> Result<Embedding, EmbedError> {
        let mut outputs = self.embedder.run(&self.input(aligned))?;
        let values = outputs.pop().ok_or(EngineError::Output("the embedder has no output"))?;
        Ok(Embedding::unit(&self.model, values)?)
    }

    /// An aligned face as the embedder wants it.
    fn input(&self, aligned: &RgbImage) -> Vec<f32> {
        let Pixels { mean, std, order } = self.pixels;
        let mut input = planes(aligned.as_raw(), ALIGNED, ALIGNED, ALIGNED, order);
        input.iter_mut().for_each(|value| *value = (*value - mean) / std);
        input
    }
}

fn read_model(path: &Path, sha256: &str) -> Result<ModelProto, LoadError> {
    let bytes = read_verified(path, sha256)?;
    let broken = |why: String| LoadError::Graph { path: path.to_owned(), why };
    let mut model = ModelProto::decode(bytes.as_slice()).map_err(|e| broken(e.to_string()))?;
    let graph = model.graph.as_mut().ok_or_else(|| broken("it holds no graph".to_owned()))?;
    fold(graph).map_err(broken)?;
    Ok(model)
}

fn prepare(path: &Path, model: &ModelProto, side: u32) -> Result<Box<dyn Network>, LoadError> {
    let network =
        Tract::prepare(model, side as usize).map_err(|why| LoadError::Graph { path: path.to_owned(), why })?;
    Ok(Box::new(network))
}

impl fmt::Debug for FaceEngine {
    /// The model's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaceEngine({})", self.model.name)
    }
}

#[cfg(test)]
mod tests;
