//! Cuts a turned and scaled square out of a photo.
//!
//! Every pixel of the square is looked up in the photo (inverse mapping) between its four neighbours (bilinear). When the
//! photo is shrunk to a third or less, four places per pixel are averaged, so that a large face does not turn into noise.
//! Outside the photo is black.

use image::RgbImage;

use crate::detection::Point;
use crate::similarity::Similarity;

/// From this scale on, 2x2 places per pixel are averaged. Below, the four neighbours are enough; more places cost time (a large
/// photo does not fit the cache) and moved no score.
const SHRUNK: f32 = 3.0;

/// A square of `side` pixels whose pixel `q` shows the photo's `to_photo(q)`.
pub(crate) fn warp(photo: &RgbImage, to_photo: &Similarity, side: u32) -> RgbImage {
    let n = if to_photo.scale() < SHRUNK { 1 } else { 2 };
    let places = (n * n) as f32;
    let offset = |i: u32| (i as f32 + 0.5) / n as f32 - 0.5;
    RgbImage::from_fn(side, side, |x, y| {
        let mut sum = [0.0_f32; 3];
        for i in 0..n {
            for j in 0..n {
                let seen = between(photo, to_photo.apply(Point::new(x as f32 + offset(i), y as f32 + offset(j))));
                for (total, channel) in sum.iter_mut().zip(seen) {
                    *total += channel;
                }
            }
        }
        image::Rgb(sum.map(|total| (total / places).round() as u8))
    })
}

/// The colour at a place between four pixels; pixels outside the photo are black.
fn between(photo: &RgbImage, at: Point) -> [f32; 3] {
    let (width, height) = (photo.width() as f32, photo.height() as f32);
    // also false for NaN
    let inside = at.x > -1.0 && at.y > -1.0 && at.x < width && at.y < height;
    if !inside {
        return [0.0; 3];
    }
    let (left, top) = (at.x.floor(), at.y.floor());
    let (right_share, low_share) = (at.x - left, at.y - top);
    let (left, top) = (left as i64, top as i64);
    let (upper, lower) = (pair(photo, left, top), pair(photo, left, top + 1));
    std::array::from_fn(|channel| {
        let mixed =
            |[a, b]: [[u8; 3]; 2]| f32::from(a[channel]) * (1.0 - right_share) + f32::from(b[channel]) * right_share;
        mixed(upper) * (1.0 - low_share) + mixed(lower) * low_share
    })
}

/// A pixel and its right neighbour.
fn pair(photo: &RgbImage, x: i64, y: i64) -> [[u8; 3]; 2] {
    let width = i64::from(photo.width());
    if x >= 0 && x + 1 < width && y >= 0 {
        // the fast path: six bytes in a row; a row below the photo is none
        let at = 3 * (y * width + x) as usize;
        if let Some([r, g, b, r2, g2, b2]) = photo.as_raw().get(at..at + 6) {
            return [[*r, *g, *b], [*r2, *g2, *b2]];
        }
    }
    let pixel = |x: i64| match (u32::try_from(x), u32::try_from(y)) {
        (Ok(x), Ok(y)) => photo.get_pixel_checked(x, y).map_or([0; 3], |pixel| pixel.0),
        _ => [0; 3],
    };
    [pixel(x), pixel(x + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> RgbImage {
        RgbImage::from_fn(40, 30, |x, y| image::Rgb([(x * 6) as u8, (y * 8) as u8, 100]))
    }

    #[test]
    fn the_identity_copies_and_outside_is_black() {
        let same = Similarity::around(Point::new(0.0, 0.0), Point::new(0.0, 0.0), 1.0, 0.0);
        let cut = warp(&ramp(), &same, 40);
        assert_eq!(cut.get_pixel(7, 5), ramp().get_pixel(7, 5));
        assert_eq!(cut.get_pixel(7, 35).0, [0, 0, 0]);
    }

    #[test]
    fn a_quarter_turn_puts_right_at_the_bottom() {
        // the square's x runs down the photo, its y runs to the left
        let turned = Similarity::around(Point::new(0.0, 0.0), Point::new(29.0, 0.0), 1.0, std::f32::consts::FRAC_PI_2);
        let cut = warp(&ramp(), &turned, 30);
        assert_eq!(cut.get_pixel(10, 3), ramp().get_pixel(26, 10));
    }

    #[test]
    fn shrinking_averages_stripes_to_grey() {
        let stripes = RgbImage::from_fn(64, 64, |x, _| image::Rgb([if x % 4 < 2 { 255 } else { 0 }; 3]));
        let quarter = Similarity::around(Point::new(0.0, 0.0), Point::new(2.0, 2.0), 4.0, 0.0);
        for pixel in warp(&stripes, &quarter, 15).pixels() {
            assert!((i32::from(pixel.0[0]) - 127).abs() < 2, "{pixel:?}");
        }
    }

    #[test]
    fn at_the_photo_s_edge_half_a_pixel_is_black() {
        let white = RgbImage::from_pixel(4, 4, image::Rgb([200; 3]));
        let half = Similarity::around(Point::new(0.0, 0.0), Point::new(-0.5, 1.0), 1.0, 0.0);
        let row: Vec<u8> = (0..5).map(|x| warp(&white, &half, 6).get_pixel(x, 0).0[0]).collect();
        assert_eq!(row, [100, 200, 200, 200, 100]);
        let low = Similarity::around(Point::new(0.0, 0.0), Point::new(1.0, -0.5), 1.0, 0.0);
        let column: Vec<u8> = (0..5).map(|y| warp(&white, &low, 6).get_pixel(0, y).0[0]).collect();
        assert_eq!(column, [100, 200, 200, 200, 100]);
    }
}
