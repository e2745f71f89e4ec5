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
        let picture = RgbImage::from_fn(ALIGNED, ALIGNED, |x, y| image::Rgb([(2 * x) as u8, (2 * y) as u8, (x + y) as u8]));
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
    let inputs = graph.input.len();
    if inputs == 1 { Ok(model) } else { Err(broken(format!("it has {inputs} inputs, a face model has one"))) }
}

fn prepare(path: &Path, model: &ModelProto, side: u32) -> Result<Box<dyn Network>, LoadError> {
    let network = Tract::prepare(model, side as usize).map_err(|why| LoadError::Graph { path: path.to_owned(), why })?;
    Ok(Box::new(network))
}

impl fmt::Debug for FaceEngine {
    /// The model's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaceEngine({})", self.model.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::Bounds;
    use crate::similarity::Similarity;
    use crate::warp::warp;
    use crate::{Limits, cosine, decode};

    const MODEL: &str = "aa";

    /// A network that always says the same.
    struct Says(Vec<Vec<f32>>);

    impl Network for Says {
        fn run(&self, _: &[f32]) -> Result<Vec<Vec<f32>>, EngineError> {
            Ok(self.0.clone())
        }
    }

    fn sees_nothing(side: u32) -> Says {
        Says(yunet::output_lengths(side as usize).map(|length| vec![0.0; length]).to_vec())
    }

    /// Sees a face of `size` pixels in the middle, its eyes level.
    fn sees_a_face(side: u32, size: f32) -> Says {
        let mut seen = sees_nothing(side);
        let columns = side as usize / 16;
        let cell = columns / 2 * columns + columns / 2;
        seen.0[1][cell] = 0.9;
        seen.0[4][cell] = 0.9;
        seen.0[7][4 * cell + 2] = (size / 16.0).ln();
        seen.0[7][4 * cell + 3] = (size / 16.0).ln();
        seen.0[10][10 * cell..][..10].copy_from_slice(&[-1.0, -1.0, 1.0, -1.0, 0.0, 0.0, -1.0, 1.0, 1.0, 1.0]);
        seen
    }

    fn engine(whole: Says, square: Says, vector: &[f32]) -> FaceEngine {
        FaceEngine {
            whole: Box::new(whole),
            square: Box::new(square),
            embedder: Box::new(Says(vec![vector.to_vec()])),
            pixels: Pixels { mean: 127.5, std: 127.5, order: ChannelOrder::Rgb },
            model: ModelId { name: "test".to_owned(), sha256: MODEL.to_owned() },
            licence: String::new(),
        }
    }

    fn models() -> FaceEngine {
        FaceEngine::load(&ModelFiles::bundled(&beside("models"))).unwrap()
    }

    fn astronaut() -> Photo {
        decode(&std::fs::read(beside("photos/astronaut.png")).unwrap(), &Limits::default()).unwrap()
    }

    fn beside(path: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
    }

    /// The photo turned clockwise around its middle.
    fn turned(photo: &Photo, degrees: f32) -> Photo {
        let middle = Point::new(256.0, 256.0);
        Photo::upright(warp(photo.image(), &Similarity::around(middle, middle, 1.0, -degrees.to_radians()), 512))
    }

    #[test]
    fn a_face_that_is_not_there_at_a_second_look_is_not_reliable() {
        let engine = engine(sees_a_face(WHOLE, 100.0), sees_nothing(SQUARE), &[1.0; 128]);
        assert_eq!(engine.the_face(&astronaut()), Err(NoVerdict::Unreliable));
    }

    #[test]
    fn a_face_of_44_pixels_is_too_small_and_one_of_46_is_not() {
        let seen_with = |size: f32| engine(sees_a_face(WHOLE, size), sees_a_face(SQUARE, 320.0 / 2.2), &[1.0; 128]).the_face(&astronaut());
        assert_eq!(seen_with(44.0), Err(NoVerdict::TooSmall));
        assert!(seen_with(46.0).is_ok());
    }

    #[test]
    fn an_answer_that_is_not_finite_is_no_embedding() {
        for (vector, error) in [([f32::NAN; 128], EmbeddingError::NotFinite), ([0.0; 128], EmbeddingError::NoDirection)] {
            let engine = engine(sees_nothing(WHOLE), sees_nothing(SQUARE), &vector);
            let nowhere = engine.embed_at(&astronaut(), &[Point::new(9.0, 9.0); 5]);
            assert_eq!(nowhere.unwrap_err(), EmbedError::Landmarks);
            assert_eq!(engine.embed_at(&astronaut(), &crate::align::TEMPLATE).unwrap_err(), EmbedError::Embedding(error));
        }
    }

    #[test]
    fn the_input_rule_is_applied() {
        let engine = engine(sees_nothing(WHOLE), sees_nothing(SQUARE), &[1.0; 128]);
        let input = engine.input(&RgbImage::from_pixel(ALIGNED, ALIGNED, image::Rgb([255, 0, 0])));
        assert_eq!((input[0], input[input.len() - 1]), (1.0, -1.0));
    }

    /// What each step is worth, on the real models: without it, the same photo of the same face looks like a stranger's.
    #[test]
    fn without_setting_upright_or_without_alignment_a_tilted_face_is_a_stranger() {
        let (engine, photo) = (models(), astronaut());
        let straight = engine.embed(&photo, &engine.the_face(&photo).unwrap()).unwrap();
        let tilted = turned(&photo, 30.0);

        let face = engine.the_face(&tilted).unwrap();
        let whole = cosine(&straight, &engine.embed(&tilted, &face).unwrap()).unwrap();
        assert!(whole > 0.9, "all steps: {whole}");

        let seen = engine.faces(&tilted).unwrap()[0];
        let at_first_sight = cosine(&straight, &engine.embed_at(&tilted, &seen.landmarks).unwrap()).unwrap();
        assert!(at_first_sight < 0.6 && seen.score > 0.85, "without setting upright: {at_first_sight}");

        let Bounds { x, y, width, height } = face.bounds();
        let boxed = image::imageops::crop_imm(tilted.image(), x as u32, y as u32, width as u32, height as u32).to_image();
        let boxed = image::imageops::resize(&boxed, ALIGNED, ALIGNED, image::imageops::FilterType::Triangle);
        let unaligned = cosine(&straight, &engine.embed_aligned(&boxed).unwrap()).unwrap();
        assert!(unaligned < 0.6, "without alignment: {unaligned}");
        println!("all steps {whole:.3}, without setting upright {at_first_sight:.3}, without alignment {unaligned:.3}");
    }
}
