//! Turns pictures into a network's input planes, and fits a photo into the detector's square: shrink so that the longer side
//! fits, never enlarge, fill up with black at the right and at the bottom.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use crate::model_files::ChannelOrder;
use crate::network::EngineError;

/// The detector's input and the way back to the photo.
pub(crate) struct Letterbox {
    /// 1 x 3 x side x side: blue, green, red planes, 0 to 255.
    pub(crate) input: Vec<f32>,
    /// Photo pixels per input pixel; at least 1.
    pub(crate) scale: f32,
}

/// Fits `photo` into `side` x `side`.
pub(crate) fn letterbox(photo: &RgbImage, side: u32) -> Result<Letterbox, EngineError> {
    let (width, height) = photo.dimensions();
    let longer = width.max(height).max(1);
    if longer <= side {
        return Ok(Letterbox { input: planes(photo.as_raw(), width, height, side, ChannelOrder::Bgr), scale: 1.0 });
    }
    let scale = longer as f32 / side as f32;
    let fitted = |length: u32| ((length as f32 / scale).round() as u32).clamp(1, side);
    let (width, height) = (fitted(width), fitted(height));
    let small = shrunk(photo, width, height)?;
    Ok(Letterbox { input: planes(&small, width, height, side, ChannelOrder::Bgr), scale })
}

/// The photo in this size, 8-bit RGB; every pixel of the photo counts.
///
/// `resize_typed`, because `resize` would compile the resizer for every kind of pixel into this crate: two minutes of it.
fn shrunk(photo: &RgbImage, width: u32, height: u32) -> Result<Vec<u8>, EngineError> {
    let mut small = vec![0; 3 * width as usize * height as usize];
    let from = TypedImageRef::<U8x3>::from_buffer(photo.width(), photo.height(), photo.as_raw());
    let to = TypedImage::<U8x3>::from_buffer(width, height, &mut small);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let resize = || Resizer::new().resize_typed(&from.ok()?, &mut to.ok()?, &options).ok();
    resize().ok_or(EngineError::Shrink)?;
    Ok(small)
}

/// Three planes of `side` x `side`, the picture in the top left corner.
pub(crate) fn planes(rgb: &[u8], width: u32, height: u32, side: u32, order: ChannelOrder) -> Vec<f32> {
    let (width, height, side) = (width as usize, height as usize, side as usize);
    let plane = side * side;
    let (red, blue) = match order {
        ChannelOrder::Rgb => (0, 2 * plane),
        ChannelOrder::Bgr => (2 * plane, 0),
    };
    let mut input = vec![0.0; 3 * plane];
    for (y, row) in rgb.chunks_exact((3 * width).max(1)).take(height).enumerate() {
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            let at = y * side + x;
            input[red + at] = f32::from(pixel[0]);
            input[plane + at] = f32::from(pixel[1]);
            input[blue + at] = f32::from(pixel[2]);
        }
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: image::Rgb<u8> = image::Rgb([250, 20, 10]);

    #[test]
    fn a_small_photo_is_not_enlarged() {
        let fitted = letterbox(&RgbImage::from_pixel(3, 2, RED), 4).unwrap();
        assert_eq!(fitted.scale, 1.0);
        let blue = [10.0, 10.0, 10.0, 0.0, 10.0, 10.0, 10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(fitted.input[..16], blue, "blue comes first, black fills up at the right and the bottom");
        assert_eq!(fitted.input[32], 250.0, "red comes last");
    }

    #[test]
    fn an_embedder_may_want_red_first() {
        assert_eq!(planes(&RED.0, 1, 1, 1, ChannelOrder::Rgb), [250.0, 20.0, 10.0]);
        assert_eq!(planes(&RED.0, 1, 1, 1, ChannelOrder::Bgr), [10.0, 20.0, 250.0]);
    }

    #[test]
    fn a_large_photo_is_shrunk_by_its_longer_side() {
        let fitted = letterbox(&RgbImage::from_pixel(80, 160, RED), 40).unwrap();
        assert_eq!(fitted.scale, 4.0);
        assert_eq!((fitted.input[0], fitted.input[19], fitted.input[20]), (10.0, 10.0, 0.0));
        assert_eq!(fitted.input[39 * 40], 10.0);
    }

    #[test]
    fn a_line_of_pixels_keeps_one_pixel() {
        assert!(letterbox(&RgbImage::from_pixel(9000, 1, RED), 640).unwrap().input[0] > 0.0);
        assert!(letterbox(&RgbImage::from_pixel(1, 9000, RED), 640).unwrap().input[0] > 0.0);
    }
}
