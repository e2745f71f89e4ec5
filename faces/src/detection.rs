//! Where a face is: what the detector saw, and what became of it.
//!
//! All coordinates are pixels of the photo as [`crate::Photo`] holds it (upright), from the top left, with fractions.

/// A place in a photo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Pixels from the left edge.
    pub x: f32,
    /// Pixels from the top edge.
    pub y: f32,
}

impl Point {
    pub(crate) const fn new(x: f32, y: f32) -> Point {
        Point { x, y }
    }
}

/// Five landmarks: the eye on the left of the image, the eye on its right, the nose, the mouth's left and right corner.
pub type Landmarks = [Point; 5];

/// A face's box. May reach over the photo's edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width; of a face that was set upright, the width of the upright face.
    pub width: f32,
    /// Height, likewise.
    pub height: f32,
}

impl Bounds {
    pub(crate) fn centre(&self) -> Point {
        Point::new(self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    /// One number for how large the face is: the side of a square of the same area.
    pub(crate) fn side(&self) -> f32 {
        (self.width * self.height).max(0.0).sqrt()
    }

    /// Intersection over union, 0 to 1.
    pub(crate) fn overlap(&self, other: &Bounds) -> f32 {
        let width = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let height = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        if width <= 0.0 || height <= 0.0 {
            return 0.0;
        }
        let shared = width * height;
        shared / (self.width * self.height + other.width * other.height - shared)
    }
}

/// One thing the detector takes for a face. Not yet reliable: on tilted small faces the landmarks are silently wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Its box.
    pub bounds: Bounds,
    /// Its landmarks.
    pub landmarks: Landmarks,
    /// The detector's confidence, 0 to 1.
    pub score: f32,
}

/// A face that was found again, twice, after being set upright. Only the engine makes one, and only such a face is embedded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Face {
    seen: Detection,
}

impl Face {
    pub(crate) fn from_upright(seen: Detection) -> Face {
        Face { seen }
    }

    /// Its box: centred on the face, with the width and height of the face set upright.
    pub fn bounds(&self) -> Bounds {
        self.seen.bounds
    }

    /// Its landmarks, in the photo.
    pub fn landmarks(&self) -> &Landmarks {
        &self.seen.landmarks
    }

    /// The detector's confidence in the upright face, 0 to 1.
    pub fn score(&self) -> f32 {
        self.seen.score
    }

    /// How far the head is tilted, in degrees clockwise as seen on the screen; 0 is upright.
    pub fn roll_degrees(&self) -> f32 {
        roll(&self.seen.landmarks).to_degrees()
    }
}

/// Angle of the line between the eyes, in radians, clockwise on the screen.
pub(crate) fn roll(landmarks: &Landmarks) -> f32 {
    let [left, right, ..] = landmarks;
    (right.y - left.y).atan2(right.x - left.x)
}
