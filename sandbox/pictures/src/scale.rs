//! Pictures in another size. Never changes what is on them.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// The picture in this size, both sides at least one pixel; stays as it is where the resizer refuses it.
///
/// Not `image`'s own: scaling was a tenth of all that the tests computed. `resize_typed`, because `resize` would compile the
/// resizer for every kind of pixel.
pub(crate) fn scaled(picture: RgbImage, width: u32, height: u32) -> RgbImage {
    let (width, height) = (width.max(1), height.max(1));
    if picture.dimensions() == (width, height) {
        return picture;
    }
    let mut other = RgbImage::new(width, height);
    let from = TypedImageRef::<U8x3>::from_buffer(picture.width(), picture.height(), picture.as_raw());
    let to = TypedImage::<U8x3>::from_buffer(width, height, &mut other);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let resize = || Resizer::new().resize_typed(&from.ok()?, &mut to.ok()?, &options).ok();
    if resize().is_some() { other } else { picture }
}

/// The picture so small or large that its longer side is so many pixels.
pub(crate) fn within(picture: RgbImage, side: u32) -> RgbImage {
    let longer = f64::from(picture.width().max(picture.height()).max(1));
    let fitted = |length: u32| (f64::from(length) * f64::from(side) / longer).round() as u32;
    let (width, height) = (fitted(picture.width()), fitted(picture.height()));
    scaled(picture, width, height)
}
