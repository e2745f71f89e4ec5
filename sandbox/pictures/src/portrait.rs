//! Makes a new picture of the person on a photo by real image work: crop, roll, light, colour, another background.
//!
//! Deterministic by seed. Faces stay faces: detectors find them and embeddings stay near the person's own.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, ImageReader, Limits, Rgb, RgbImage};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::scale::{scaled, within};

/// The work is done at most this large, then scaled: pixels, longer side.
const WORK_SIDE: u32 = 512;
/// Largest picture that is decoded, pixels per side.
const LARGEST_SIDE: u32 = 12_000;

/// Decodes JPEG, PNG or WebP, bounded.
pub fn decode(bytes: &[u8]) -> Option<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    reader.decode().ok()
}

/// Encodes; `None` only when the encoder refuses the size.
pub fn encode(picture: &DynamicImage, format: ImageFormat) -> Option<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).ok()?;
    Some(bytes.into_inner())
}

/// The photo, its longer side at most so many pixels.
pub fn fit(photo: &DynamicImage, side: u32) -> DynamicImage {
    let large = photo.width().max(photo.height()) > side;
    let photo = photo.to_rgb8();
    DynamicImage::ImageRgb8(if large { within(photo, side) } else { photo })
}

/// A portrait from that photo.
pub fn portrait(photo: &DynamicImage, seed: u64, width: u32, height: u32) -> DynamicImage {
    let mut rng = StdRng::seed_from_u64(seed);
    let cropped = crop(photo, &mut rng, width, height);
    let (w, h) = work_size(width, height);
    // The mean of each box of pixels: a tenth of a filter's work, and this is most of a stand-in's.
    let source = cropped.thumbnail_exact(w, h).to_rgb8();
    let picture = repaint(&source, &Scene::any(&mut rng));
    scale(picture, width, height)
}

/// A background with nobody before it.
pub fn nobody(seed: u64, width: u32, height: u32) -> DynamicImage {
    let mut rng = StdRng::seed_from_u64(seed);
    let scene = Scene::any(&mut rng);
    let (w, h) = work_size(width, height);
    let picture = RgbImage::from_fn(w, h, |x, y| scene.backdrop(x as f32 / w as f32, y as f32 / h as f32));
    scale(picture, width, height)
}

/// What Fal's safety checker leaves of a flagged picture.
pub fn black(width: u32, height: u32) -> DynamicImage {
    DynamicImage::ImageRgb8(RgbImage::new(width, height))
}

/// 0 to 1: near 1 for a picture that is mostly black, or mostly the pure magenta that tests mark with; near 0 else.
pub fn nsfw_probability(picture: &DynamicImage) -> f64 {
    let small = picture.resize_exact(64, 64, image::imageops::FilterType::Nearest).to_rgb8();
    let marked = |p: &Rgb<u8>| {
        let [r, g, b] = p.0;
        (r < 8 && g < 8 && b < 8) || (r > 240 && g < 24 && b > 240)
    };
    let share = small.pixels().filter(|p| marked(p)).count() as f64 / (64.0 * 64.0);
    if share > 0.5 { 0.9 + 0.09 * share } else { 0.01 + 0.04 * share }
}

fn work_size(width: u32, height: u32) -> (u32, u32) {
    let factor = (f64::from(WORK_SIDE) / f64::from(width.max(height))).min(1.0);
    let side = |s: u32| ((f64::from(s) * factor) as u32).max(1);
    (side(width), side(height))
}

fn scale(picture: RgbImage, width: u32, height: u32) -> DynamicImage {
    DynamicImage::ImageRgb8(scaled(picture, width, height))
}

/// The largest box of the wanted shape, a little smaller and a little aside. Selfies have the face above the middle.
fn crop(photo: &DynamicImage, rng: &mut StdRng, width: u32, height: u32) -> DynamicImage {
    let (pw, ph) = (f64::from(photo.width()), f64::from(photo.height()));
    let shape = f64::from(width) / f64::from(height);
    let (mut w, mut h) = if pw / ph > shape { (ph * shape, ph) } else { (pw, pw / shape) };
    let zoom = rng.gen_range(0.86..0.98);
    (w, h) = ((w * zoom).max(1.0), (h * zoom).max(1.0));
    let x = (pw - w) * rng.gen_range(0.40..0.60);
    let y = (ph - h) * rng.gen_range(0.05..0.45);
    photo.crop_imm(x as u32, y as u32, w as u32, h as u32)
}

/// How a picture is lit, tinted, rolled and what is behind.
struct Scene {
    roll: f32,
    gain: f32,
    lift: f32,
    tint: [f32; 3],
    top: [f32; 3],
    bottom: [f32; 3],
}

impl Scene {
    fn any(rng: &mut StdRng) -> Scene {
        let mut colour = |low: f32, high: f32| [(); 3].map(|()| rng.gen_range(low..high));
        let (tint, top, bottom) = (colour(0.94, 1.06), colour(60.0, 220.0), colour(30.0, 160.0));
        Scene {
            roll: rng.gen_range(-7.0_f32..7.0).to_radians(),
            gain: rng.gen_range(0.88..1.12),
            lift: rng.gen_range(-10.0..10.0),
            tint,
            top,
            bottom,
        }
    }

    fn backdrop(&self, x: f32, y: f32) -> Rgb<u8> {
        let wave = 6.0 * ((x * 9.0).sin() + (y * 7.0).cos());
        Rgb([0, 1, 2].map(|c| (self.top[c] * (1.0 - y) + self.bottom[c] * y + wave).clamp(0.0, 255.0) as u8))
    }
}

/// Rolls about the middle, changes light and colour, and lets the corners fade into another background.
fn repaint(source: &RgbImage, scene: &Scene) -> RgbImage {
    let (w, h) = (source.width() as f32, source.height() as f32);
    let (sin, cos) = scene.roll.sin_cos();
    RgbImage::from_fn(source.width(), source.height(), |x, y| {
        let (dx, dy) = (x as f32 - w / 2.0, y as f32 - h / 2.0);
        let from = (dx * cos - dy * sin + w / 2.0, dx * sin + dy * cos + h / 2.0);
        let (nx, ny) = (dx / (w * 0.5), (dy + h * 0.06) / (h * 0.56));
        // 1 around head and shoulders, 0 in the corners.
        let person = ((1.25 - (nx * nx + ny * ny)) / 0.45).clamp(0.0, 1.0);
        let (lit, behind) = (sample(source, from), scene.backdrop(x as f32 / w, y as f32 / h));
        Rgb([0, 1, 2].map(|c| {
            let front = lit[c] * scene.gain * scene.tint[c] + scene.lift;
            (front * person + f32::from(behind.0[c]) * (1.0 - person)).clamp(0.0, 255.0) as u8
        }))
    })
}

/// Bilinear; outside the picture its border goes on.
fn sample(source: &RgbImage, (x, y): (f32, f32)) -> [f32; 3] {
    let (right, bottom) = (source.width() - 1, source.height() - 1);
    let (x, y) = (x.clamp(0.0, right as f32), y.clamp(0.0, bottom as f32));
    let (x0, y0) = (x as u32, y as u32);
    let (x1, y1) = ((x0 + 1).min(right), (y0 + 1).min(bottom));
    let (fx, fy) = (x - x0 as f32, y - y0 as f32);
    let at = |x, y, c: usize| f32::from(source.get_pixel(x, y).0[c]);
    [0, 1, 2].map(|c| {
        let above = at(x0, y0, c) * (1.0 - fx) + at(x1, y0, c) * fx;
        let below = at(x0, y1, c) * (1.0 - fx) + at(x1, y1, c) * fx;
        above * (1.0 - fy) + below * fy
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo() -> DynamicImage {
        let picture = RgbImage::from_fn(200, 260, |x, y| Rgb([x as u8, y as u8, (x ^ y) as u8]));
        DynamicImage::ImageRgb8(picture)
    }

    #[test]
    fn the_same_seed_makes_the_same_picture_and_another_seed_another() {
        let one = portrait(&photo(), 7, 192, 256);
        assert_eq!(one, portrait(&photo(), 7, 192, 256));
        assert_ne!(one, portrait(&photo(), 8, 192, 256));
        assert_eq!((one.width(), one.height()), (192, 256));
    }

    #[test]
    fn only_black_and_marked_pictures_are_unfit_for_work() {
        assert!(nsfw_probability(&black(100, 100)) > 0.9);
        let marked = RgbImage::from_pixel(40, 40, Rgb([255, 0, 255]));
        assert!(nsfw_probability(&DynamicImage::ImageRgb8(marked)) > 0.9);
        assert!(nsfw_probability(&portrait(&photo(), 1, 96, 96)) < 0.1);
        assert!(nsfw_probability(&nobody(1, 96, 96)) < 0.1);
    }

    #[test]
    fn what_is_no_picture_is_not_decoded() {
        assert!(decode(b"<html>not a picture</html>").is_none());
        let png = encode(&photo(), ImageFormat::Png).unwrap();
        assert!(decode(&png).is_some());
        assert!(decode(&png[..png.len() / 2]).is_none());
    }
}
