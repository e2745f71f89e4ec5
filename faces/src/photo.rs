//! Turns a stranger's bytes into an upright RGB picture, or refuses them.
//!
//! Input: a JPEG, PNG or WebP file.  Output: 8-bit RGB, row by row, turned as its EXIF orientation says, transparency laid on
//! white. Of an animation, the first frame.
//! Order of the checks: bytes, kind, wholeness (JPEG), sides, pixels, memory; only then are pixels allocated. This order
//! matters: `DynamicImage::from_decoder`, which is the way that keeps the orientation, does not look at `max_alloc`
//! (image 0.25.10, measured with an 11000x11000 PNG of 0.35 MB).
//! Colour profiles are ignored: a face in Display P3 is still that face.

use std::fmt;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::error::LimitErrorKind;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, RgbImage};

use crate::jpeg_walk::walk;
use crate::kind::{Kind, kind_of};
use crate::{Limits, Refusal};

/// An upright photo in memory. Cloning copies the pixels.
#[derive(Clone)]
pub struct Photo {
    image: RgbImage,
}

impl Photo {
    /// Width in pixels, after turning.
    pub fn width(&self) -> u32 {
        self.image.width()
    }

    /// Height in pixels, after turning.
    pub fn height(&self) -> u32 {
        self.image.height()
    }

    /// The pixels: red, green, blue, one byte each, row by row from the top left; `3 * width * height` bytes.
    pub fn rgb(&self) -> &[u8] {
        self.image.as_raw()
    }

    /// A picture that is upright already.
    #[cfg(test)]
    pub(crate) fn upright(image: RgbImage) -> Photo {
        Photo { image }
    }

    pub(crate) fn image(&self) -> &RgbImage {
        &self.image
    }
}

impl fmt::Debug for Photo {
    /// The size only: a photo is personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Photo({}x{})", self.width(), self.height())
    }
}

/// Decodes a photo. Blocks for as long as that takes; `limits` bound the memory and thereby the time.
///
/// # Errors
/// A [`Refusal`] that the sender of the file can act on. No input makes it panic.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Photo, Refusal> {
    if bytes.len() > limits.max_bytes {
        return Err(Refusal::TooManyBytes { bytes: bytes.len(), most: limits.max_bytes });
    }
    let kind = kind_of(bytes)?;
    let costly = match kind {
        Kind::Png => false,
        Kind::WebP => true,
        Kind::Jpeg => {
            let seen = walk(bytes)?;
            if seen.scans > limits.max_jpeg_scans {
                return Err(Refusal::Unsupported { format: "a JPEG with far too many passes" });
            }
            seen.progressive
        }
    };
    guarded(|| pixels(bytes, kind, costly, limits))
}

fn pixels(bytes: &[u8], kind: Kind, costly: bool, limits: &Limits) -> Result<Photo, Refusal> {
    let most = if costly { limits.max_pixels_costly } else { limits.max_pixels };
    let too_many = || Refusal::TooManyPixels { most_megapixels: most / 1_000_000, most_side: limits.max_side };

    let mut reader = ImageReader::with_format(Cursor::new(bytes), kind.format());
    let mut strict = image::Limits::no_limits();
    strict.max_image_width = Some(limits.max_side);
    strict.max_image_height = Some(limits.max_side);
    strict.max_alloc = Some(limits.max_decoded());
    reader.limits(strict);

    let mut decoder = reader.into_decoder().map_err(|e| refusal(&e, too_many))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > most || decoder.total_bytes() > limits.max_decoded() {
        return Err(too_many());
    }
    // a photo whose EXIF is broken is still a photo
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| refusal(&e, too_many))?;
    image.apply_orientation(orientation);
    Ok(Photo { image: on_white(image) })
}

/// Our words for a decoder's error. The decoder's own text is dropped: it may quote the file.
fn refusal(error: &ImageError, too_many: impl Fn() -> Refusal) -> Refusal {
    match error {
        ImageError::Limits(limit) => match limit.kind() {
            LimitErrorKind::DimensionError | LimitErrorKind::InsufficientMemory => too_many(),
            _ => Refusal::Corrupt,
        },
        ImageError::Unsupported(_) => Refusal::Unsupported { format: "in a rare variant of its format" },
        ImageError::Decoding(_) | ImageError::Encoding(_) | ImageError::Parameter(_) | ImageError::IoError(_) => {
            Refusal::Corrupt
        }
    }
}

/// 8-bit RGB, with transparency laid on white, as a browser shows it.
fn on_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    let (width, height) = rgba.dimensions();
    RgbImage::from_fn(width, height, |x, y| {
        let [r, g, b, alpha] = rgba.get_pixel(x, y).0;
        let over = |c: u8| ((u32::from(c) * u32::from(alpha) + 255 * (255 - u32::from(alpha)) + 127) / 255) as u8;
        image::Rgb([over(r), over(g), over(b)])
    })
}

/// Decoders are fed by strangers. One that panics on a file has found a damaged file, not a reason to fail the job.
fn guarded(work: impl FnOnce() -> Result<Photo, Refusal>) -> Result<Photo, Refusal> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Refusal::Corrupt))
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;

    #[test]
    fn a_decoder_that_panics_refuses_the_photo() {
        let refused = guarded(|| panic!("index out of bounds")).map(|_| ());
        assert_eq!(refused, Err(Refusal::Corrupt));
    }

    #[test]
    fn glass_is_white_and_half_glass_is_half() {
        let mut glass = RgbaImage::from_pixel(3, 1, Rgba([10, 20, 30, 255]));
        glass.put_pixel(1, 0, Rgba([10, 20, 30, 0]));
        glass.put_pixel(2, 0, Rgba([0, 0, 0, 128]));
        let flat = on_white(DynamicImage::ImageRgba8(glass));
        assert_eq!(flat.get_pixel(0, 0).0, [10, 20, 30]);
        assert_eq!(flat.get_pixel(1, 0).0, [255, 255, 255]);
        assert_eq!(flat.get_pixel(2, 0).0, [127, 127, 127]);
    }
}
