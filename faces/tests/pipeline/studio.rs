//! Where the test photos are made: real image operations on the one real photo, and the files they are sent as.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use safelight_faces::{Embedding, FaceEngine, Limits, ModelFiles, Photo, cosine, decode};

/// One engine for all tests of a process.
pub(crate) static ENGINE: LazyLock<FaceEngine> =
    LazyLock::new(|| FaceEngine::load(&ModelFiles::bundled(&beside("models"))).unwrap());

pub(crate) fn beside(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The file as it lies there.
pub(crate) fn astronaut_file() -> Vec<u8> {
    std::fs::read(beside("photos/astronaut.png")).unwrap()
}

pub(crate) fn astronaut() -> RgbImage {
    pixels(&decode(&astronaut_file(), &Limits::default()).unwrap())
}

pub(crate) fn pixels(photo: &Photo) -> RgbImage {
    RgbImage::from_raw(photo.width(), photo.height(), photo.rgb().to_vec()).unwrap()
}

/// Sent and received without a loss.
pub(crate) fn sent(picture: &RgbImage) -> Photo {
    decode(&png(picture, None), &Limits::default()).unwrap()
}

/// The embedding of the one face.
pub(crate) fn embedded(photo: &Photo) -> Embedding {
    ENGINE.embed(photo, &ENGINE.the_face(photo).unwrap()).unwrap()
}

/// How alike the one face of each photo is.
pub(crate) fn likeness(one: &Photo, other: &Photo) -> f32 {
    cosine(&embedded(one), &embedded(other)).unwrap()
}

pub(crate) fn png(picture: &RgbImage, orientation: Option<u8>) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = PngEncoder::new(&mut file);
    if let Some(orientation) = orientation {
        encoder.set_exif_metadata(exif(orientation)).unwrap();
    }
    encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8).unwrap();
    file
}

pub(crate) fn jpeg(picture: &RgbImage, quality: u8, orientation: Option<u8>) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut file, quality);
    if let Some(orientation) = orientation {
        encoder.set_exif_metadata(exif(orientation)).unwrap();
    }
    encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8).unwrap();
    file
}

pub(crate) fn webp(picture: &RgbImage, orientation: Option<u8>) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let mut encoder = WebPEncoder::new_lossless(&mut file);
    if let Some(orientation) = orientation {
        encoder.set_exif_metadata(exif(orientation)).unwrap();
    }
    encoder.write_image(picture, picture.width(), picture.height(), ExtendedColorType::Rgb8).unwrap();
    file.into_inner()
}

/// An EXIF block with nothing but the orientation: tag 274, a short, little endian.
fn exif(orientation: u8) -> Vec<u8> {
    let head: [u8; 10] = [b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0];
    let entry: [u8; 12] = [0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
    [&head[..], &entry, &[0; 4]].concat()
}

/// Turned clockwise around the middle; black where there was nothing.
pub(crate) fn turned(picture: &RgbImage, degrees: f32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (middle_x, middle_y) = (width as f32 / 2.0, height as f32 / 2.0);
    RgbImage::from_fn(width, height, |x, y| {
        let (dx, dy) = (x as f32 - middle_x, y as f32 - middle_y);
        let (from_x, from_y) = (cos * dx + sin * dy + middle_x, cos * dy - sin * dx + middle_y);
        image::imageops::interpolate_bilinear(picture, from_x, from_y).unwrap_or(Rgb([0, 0, 0]))
    })
}

pub(crate) fn side_by_side(left: &RgbImage, right: &RgbImage) -> RgbImage {
    let mut both = RgbImage::new(left.width() + right.width(), left.height().max(right.height()));
    image::imageops::replace(&mut both, left, 0, 0);
    image::imageops::replace(&mut both, right, i64::from(left.width()), 0);
    both
}
