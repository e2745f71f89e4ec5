//! Similarity transforms of the plane: turn, scale, shift; never a shear, never a mirror.
//!
//! A point is a complex number z = x + iy and the transform is a*z + t, which makes the least-squares fit a closed form.

use crate::detection::{Landmarks, Point};

/// `p -> a*p + t` with complex `a` (turn and scale) and `t` (shift).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Similarity {
    re: f32,
    im: f32,
    shift: Point,
}

impl Similarity {
    /// Turns by `radians` clockwise on the screen and scales around `from`, which lands on `to`.
    pub(crate) fn around(from: Point, to: Point, scale: f32, radians: f32) -> Similarity {
        let (re, im) = (scale * radians.cos(), scale * radians.sin());
        let shift = Point::new(to.x - (re * from.x - im * from.y), to.y - (im * from.x + re * from.y));
        Similarity { re, im, shift }
    }

    /// The transform that brings `from` nearest to `to`, by least squares. `None` if the points of `from` or of `to` fall
    /// together or are not numbers: then there is no such transform, or none that can be turned back.
    pub(crate) fn fit(from: &Landmarks, to: &Landmarks) -> Option<Similarity> {
        let (from_centre, to_centre) = (centre(from), centre(to));
        let (mut re, mut im, mut spread) = (0.0, 0.0, 0.0);
        for (z, w) in from.iter().zip(to) {
            let (zx, zy) = (z.x - from_centre.x, z.y - from_centre.y);
            let (wx, wy) = (w.x - to_centre.x, w.y - to_centre.y);
            re += zx * wx + zy * wy;
            im += zx * wy - zy * wx;
            spread += zx * zx + zy * zy;
        }
        let (re, im) = (re / spread, im / spread);
        let scale = re.hypot(im);
        if !scale.is_normal() || spread < f32::EPSILON {
            return None;
        }
        let shift = Point::new(
            to_centre.x - (re * from_centre.x - im * from_centre.y),
            to_centre.y - (im * from_centre.x + re * from_centre.y),
        );
        Some(Similarity { re, im, shift })
    }

    pub(crate) fn apply(&self, p: Point) -> Point {
        Point::new(self.re * p.x - self.im * p.y + self.shift.x, self.im * p.x + self.re * p.y + self.shift.y)
    }

    /// How much longer a line becomes.
    pub(crate) fn scale(&self) -> f32 {
        self.re.hypot(self.im)
    }

    /// The way back. Of a transform that [`Similarity::fit`] gave, it always exists.
    pub(crate) fn inverse(&self) -> Similarity {
        let norm = self.re * self.re + self.im * self.im;
        let (re, im) = (self.re / norm, -self.im / norm);
        let shift = Point::new(-(re * self.shift.x - im * self.shift.y), -(im * self.shift.x + re * self.shift.y));
        Similarity { re, im, shift }
    }
}

fn centre(points: &Landmarks) -> Point {
    let n = points.len() as f32;
    Point::new(points.iter().map(|p| p.x).sum::<f32>() / n, points.iter().map(|p| p.y).sum::<f32>() / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACE: Landmarks = [
        Point::new(38.3, 51.7),
        Point::new(73.5, 51.5),
        Point::new(56.0, 71.7),
        Point::new(41.5, 92.4),
        Point::new(70.7, 92.2),
    ];

    fn near(a: Point, b: Point) -> bool {
        (a.x - b.x).abs() < 1e-2 && (a.y - b.y).abs() < 1e-2
    }

    #[test]
    fn the_fit_finds_a_known_turn_scale_and_shift() {
        let known = Similarity::around(Point::new(50.0, 60.0), Point::new(400.0, -20.0), 2.5, 0.6);
        let moved = FACE.map(|p| known.apply(p));
        let found = Similarity::fit(&FACE, &moved).unwrap();
        for p in FACE {
            assert!(near(found.apply(p), known.apply(p)));
        }
        assert!((found.scale() - 2.5).abs() < 1e-4);
    }

    #[test]
    fn there_and_back_again() {
        let there = Similarity::around(Point::new(3.0, 4.0), Point::new(-70.0, 900.0), 0.3, -2.0);
        for p in FACE {
            assert!(near(there.inverse().apply(there.apply(p)), p));
        }
    }

    #[test]
    fn a_mirrored_face_is_not_mirrored_back() {
        let mirrored = FACE.map(|p| Point::new(-p.x, p.y));
        let found = Similarity::fit(&FACE, &mirrored).unwrap();
        assert!(FACE.iter().zip(mirrored).any(|(p, m)| !near(found.apply(*p), m)));
    }

    #[test]
    fn points_that_fall_together_have_no_fit() {
        let dot = [Point::new(5.0, 5.0); 5];
        assert_eq!(Similarity::fit(&dot, &FACE), None);
        assert_eq!(Similarity::fit(&FACE, &dot), None);
        assert_eq!(Similarity::fit(&FACE, &[Point::new(f32::NAN, 0.0); 5]), None);
    }
}
