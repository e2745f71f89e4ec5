//! Cuts a turned and scaled square out of a photo.
//!
//! Every pixel of the square is looked up in the photo (inverse mapping) between its four neighbours (bilinear). When the
//! photo is shrunk, several places per pixel are averaged, so that a large face does not turn into noise. Outside the photo is
//! black.

use image::RgbImage;

use crate::detection::Point;
use crate::similarity::Similarity;

/// Averaging more than 4x4 places per pixel costs time and moves no score.
const MOST_PLACES: f32 = 4.0;

/// A square of `side` pixels whose pixel `q` shows the photo's `to_photo(q)`.
pub(crate) fn warp(photo: &RgbImage, to_photo: &Similarity, side: u32) -> RgbImage {
    let n = to_photo.scale().round().clamp(1.0, MOST_PLACES) as u32;
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

/// The colour at a place between pixels; pixels outside the photo are black.
fn between(photo: &RgbImage, at: Point) -> [f32; 3] {
    let (width, height) = (photo.width() as f32, photo.height() as f32);
    // also false for NaN
    let inside = at.x > -1.0 && at.y > -1.0 && at.x < width && at.y < height;
    if !inside {
        return [0.0; 3];
    }
    let (left, top) = (at.x.floor(), at.y.floor());
    let (right_share, low_share) = (at.x - left, at.y - top);
    let mut colour = [0.0; 3];
    for (dx, dy, share) in [
        (0.0, 0.0, (1.0 - right_share) * (1.0 - low_share)),
        (1.0, 0.0, right_share * (1.0 - low_share)),
        (0.0, 1.0, (1.0 - right_share) * low_share),
        (1.0, 1.0, right_share * low_share),
    ] {
        let (x, y) = (left + dx, top + dy);
        if x < 0.0 || y < 0.0 {
            continue;
        }
        if let Some(pixel) = photo.get_pixel_checked(x as u32, y as u32) {
            for (total, channel) in colour.iter_mut().zip(pixel.0) {
                *total += share * f32::from(channel);
            }
        }
    }
    colour
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
    fn shrinking_averages_a_chequerboard_to_grey() {
        let board = RgbImage::from_fn(64, 64, |x, y| image::Rgb([if (x + y) % 2 == 0 { 255 } else { 0 }; 3]));
        let quarter = Similarity::around(Point::new(0.0, 0.0), Point::new(2.0, 2.0), 4.0, 0.0);
        for pixel in warp(&board, &quarter, 15).pixels() {
            assert!((i32::from(pixel.0[0]) - 127).abs() < 12, "{pixel:?}");
        }
    }
}
