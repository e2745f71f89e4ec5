//! The engine on networks that say what they are told, and what each of its steps is worth on the real ones.

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

/// Sees another one of 60 pixels in the corner.
fn and_another(mut seen: Says) -> Says {
    seen.0[1][164] = 0.9;
    seen.0[4][164] = 0.9;
    seen.0[7][4 * 164 + 2] = 3.75_f32.ln();
    seen.0[7][4 * 164 + 3] = 3.75_f32.ln();
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
fn a_second_face_that_is_not_there_at_a_second_look_is_not_counted() {
    let two = || and_another(sees_a_face(WHOLE, 100.0));
    let level = || sees_a_face(SQUARE, 320.0 / 2.2);
    let seen_twice = engine(two(), level(), &[1.0; 128]);
    assert_eq!(seen_twice.faces(&astronaut()).unwrap().len(), 2);
    assert_eq!(seen_twice.the_face(&astronaut()), Err(NoVerdict::SeveralFaces(2)));
    let seen_once = engine(two(), sees_nothing(SQUARE), &[1.0; 128]);
    assert_eq!(seen_once.the_face(&astronaut()), Err(NoVerdict::Unreliable));
}

#[test]
fn a_face_of_44_pixels_is_too_small_and_one_of_46_is_not() {
    let seen_with = |size: f32| {
        engine(sees_a_face(WHOLE, size), sees_a_face(SQUARE, 320.0 / 2.2), &[1.0; 128]).the_face(&astronaut())
    };
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
