//! A set of selfies for the demo and the tests: real photographs, made from one by real image operations.
//!
//! The one in `photos/` is a public-domain portrait. Its variants differ in crop, side, light, contrast, sharpness, size
//! and file format, as the pictures of one afternoon do. They are encoded files, uploaded as a customer's would be.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, codecs::jpeg::JpegEncoder};

use crate::scale;

/// One encoded photograph.
#[derive(Debug, Clone)]
pub struct Selfie {
    /// `image/jpeg`, `image/png` or `image/webp`.
    pub content_type: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
}

/// So many different selfies from one photograph; the same number gives the same files.
///
/// # Errors
/// When the photograph cannot be decoded, or a variant cannot be encoded.
pub fn selfies(photograph: &[u8], count: usize) -> anyhow::Result<Vec<Selfie>> {
    let photo = image::load_from_memory(photograph)?;
    (0..count).map(|number| encode(&variant(&photo, number), number)).collect()
}

fn variant(photo: &DynamicImage, number: usize) -> DynamicImage {
    let (width, height) = (photo.width(), photo.height());
    // A little closer each time, around the upper middle where the face is.
    let margin = u32::try_from(number % 5).unwrap_or(0) * width / 60;
    let mut picture = photo.crop_imm(margin, margin / 2, width - 2 * margin, height - 2 * margin);
    if number % 2 == 1 {
        picture = picture.fliph();
    }
    let light = [0, 18, -18, 30, -28, 8][number % 6];
    let contrast = [0.0, 8.0, -8.0, 14.0][number % 4];
    picture = picture.brighten(light).adjust_contrast(contrast);
    if number % 7 == 3 {
        picture = picture.blur(0.8);
    }
    let side = [900, 720, 1080, 640][number % 4];
    DynamicImage::ImageRgb8(scale::within(picture.to_rgb8(), side))
}

fn encode(picture: &DynamicImage, number: usize) -> anyhow::Result<Selfie> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = picture.to_rgb8();
    let content_type = match number % 6 {
        4 => {
            picture.write_to(&mut bytes, ImageFormat::Png)?;
            "image/png"
        }
        5 => {
            picture.write_to(&mut bytes, ImageFormat::WebP)?;
            "image/webp"
        }
        _ => {
            let quality = u8::try_from(78 + number % 4 * 5)?;
            picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality))?;
            "image/jpeg"
        }
    };
    Ok(Selfie { content_type, bytes: bytes.into_inner() })
}
