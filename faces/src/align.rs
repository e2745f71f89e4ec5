//! Lays a face on the 112x112 template that the embedder was trained on.
//!
//! Source of the template: the five reference points of InsightFace's `arcface_dst`, which OpenCV's `FaceRecognizerSF` uses
//! too (read 2026-11-21).

use image::RgbImage;

use crate::detection::{Landmarks, Point};
use crate::similarity::Similarity;
use crate::warp::warp;

/// Side of an aligned face, in pixels.
pub(crate) const ALIGNED: u32 = 112;

/// Where the five landmarks of an upright face belong.
pub(crate) const TEMPLATE: Landmarks = [
    Point::new(38.2946, 51.6963),
    Point::new(73.5318, 51.5014),
    Point::new(56.0252, 71.7366),
    Point::new(41.5493, 92.3655),
    Point::new(70.7299, 92.2041),
];

/// The face with these landmarks, 112x112 pixels. `None` if the landmarks fall together.
pub(crate) fn align(photo: &RgbImage, landmarks: &Landmarks) -> Option<RgbImage> {
    let to_template = Similarity::fit(landmarks, &TEMPLATE)?;
    Some(warp(photo, &to_template.inverse(), ALIGNED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_that_lies_on_the_template_is_cut_out_as_it_is() {
        let photo = RgbImage::from_fn(200, 200, |x, y| image::Rgb([x as u8, y as u8, 7]));
        let moved = TEMPLATE.map(|p| Point::new(p.x + 30.0, p.y + 40.0));
        let aligned = align(&photo, &moved).unwrap();
        assert_eq!(aligned.dimensions(), (112, 112));
        assert_eq!(aligned.get_pixel(10, 20).0, [40, 60, 7]);
    }

    #[test]
    fn landmarks_in_one_spot_are_not_aligned() {
        assert!(align(&RgbImage::new(10, 10), &[Point::new(3.0, 3.0); 5]).is_none());
    }
}
