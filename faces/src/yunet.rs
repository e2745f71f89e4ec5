//! Reads what the YuNet detector says.
//!
//! Outputs, in graph order: cls, obj, bbox and kps, each for the strides 8, 16 and 32; a row per cell, cells row by row.
//! Source: OpenCV Zoo `face_detection_yunet` and OpenCV's `FaceDetectorYN` post-processing (read 2026-11-21).

use crate::detection::{Bounds, Detection, Point};
use crate::network::EngineError;

const STRIDES: [usize; 3] = [8, 16, 32];

/// Below this a detection is not kept.
const LEAST_SCORE: f32 = 0.7;

/// Two boxes that overlap more than this are one face.
const SAME_FACE: f32 = 0.3;

/// How many numbers each output holds for an input of `side` x `side`.
pub(crate) fn output_lengths(side: usize) -> [usize; 12] {
    let cells = STRIDES.map(|stride| (side / stride) * (side / stride));
    let mut lengths = [0; 12];
    for (head, numbers) in [1, 1, 4, 10].into_iter().enumerate() {
        for (level, cells) in cells.into_iter().enumerate() {
            lengths[3 * head + level] = numbers * cells;
        }
    }
    lengths
}

/// The faces in the detector's own pixels, the surest first.
pub(crate) fn read(outputs: &[Vec<f32>], side: usize) -> Result<Vec<Detection>, EngineError> {
    let lengths = outputs.iter().map(Vec::len);
    if !lengths.eq(output_lengths(side)) {
        return Err(EngineError::Output("the detector's outputs do not have YuNet's shape"));
    }
    let mut seen = Vec::new();
    for (level, stride) in STRIDES.into_iter().enumerate() {
        let columns = side / stride;
        let [cls, obj, boxes, points] = [0, 3, 6, 9].map(|head| outputs[head + level].as_slice());
        for (cell, (cls, obj)) in cls.iter().zip(obj).enumerate() {
            let score = (cls.clamp(0.0, 1.0) * obj.clamp(0.0, 1.0)).sqrt();
            if score >= LEAST_SCORE {
                let corner = Point::new((cell % columns) as f32, (cell / columns) as f32);
                seen.extend(in_cell(&boxes[4 * cell..][..4], &points[10 * cell..][..10], corner, stride as f32, score));
            }
        }
    }
    Ok(strongest(seen))
}

/// `None` if a number is not finite: such a box would win or lose every comparison.
fn in_cell(b: &[f32], k: &[f32], corner: Point, stride: f32, score: f32) -> Option<Detection> {
    let centre = Point::new((corner.x + b[0]) * stride, (corner.y + b[1]) * stride);
    let (width, height) = (b[2].exp() * stride, b[3].exp() * stride);
    let landmarks =
        [0, 1, 2, 3, 4].map(|j| Point::new((k[2 * j] + corner.x) * stride, (k[2 * j + 1] + corner.y) * stride));
    let bounds = Bounds { x: centre.x - width / 2.0, y: centre.y - height / 2.0, width, height };
    let finite = [bounds.x, bounds.y, width, height]
        .into_iter()
        .chain(landmarks.iter().flat_map(|p| [p.x, p.y]))
        .all(f32::is_finite);
    finite.then_some(Detection { bounds, landmarks, score })
}

/// Keeps the surest of those that overlap (non-maximum suppression).
fn strongest(mut seen: Vec<Detection>) -> Vec<Detection> {
    seen.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::new();
    for one in seen {
        if kept.iter().all(|k| k.bounds.overlap(&one.bounds) <= SAME_FACE) {
            kept.push(one);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Vec<Vec<f32>> {
        output_lengths(64).map(|length| vec![0.0; length]).to_vec()
    }

    /// A face of 32x32 pixels in one cell of the stride-16 level.
    fn speak(outputs: &mut [Vec<f32>], cell: usize, score: f32) {
        outputs[1][cell] = score;
        outputs[4][cell] = score;
        outputs[7][4 * cell..][..4].copy_from_slice(&[0.5, 0.25, 2.0_f32.ln(), 2.0_f32.ln()]);
        outputs[10][10 * cell..][..10].copy_from_slice(&[0.0, 0.0, 1.0, 0.0, 0.5, 0.5, 0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_cell_is_read_into_pixels() {
        let mut outputs = silent();
        speak(&mut outputs, 6, 0.9); // column 2, row 1 of four columns
        let seen = read(&outputs, 64).unwrap();
        assert_eq!(seen.len(), 1);
        let centre = seen[0].bounds.centre();
        assert!((centre.x - 40.0).abs() < 1e-3 && (centre.y - 20.0).abs() < 1e-3, "{centre:?}");
        assert!((seen[0].bounds.width - 32.0).abs() < 1e-3);
        assert_eq!(seen[0].landmarks[1], Point::new(48.0, 16.0));
        assert!((seen[0].score - 0.9).abs() < 1e-6);
    }

    #[test]
    fn a_faint_face_is_not_kept() {
        let mut outputs = silent();
        speak(&mut outputs, 6, 0.69);
        assert!(read(&outputs, 64).unwrap().is_empty());
    }

    #[test]
    fn boxes_that_overlap_are_one_face_and_the_surest_stays() {
        let mut outputs = silent();
        speak(&mut outputs, 5, 0.8);
        speak(&mut outputs, 6, 0.95);
        let seen = read(&outputs, 64).unwrap();
        assert_eq!(seen.len(), 1);
        assert!((seen[0].score - 0.95).abs() < 1e-6);
        speak(&mut outputs, 8, 0.8); // a row down and two columns to the left
        assert_eq!(read(&outputs, 64).unwrap().len(), 2);
    }

    #[test]
    fn numbers_that_are_not_finite_are_no_face() {
        let mut outputs = silent();
        speak(&mut outputs, 6, 0.9);
        outputs[7][4 * 6 + 2] = 1e9;
        assert!(read(&outputs, 64).unwrap().is_empty());
        outputs[1][6] = f32::NAN;
        assert!(read(&outputs, 64).unwrap().is_empty());
    }

    #[test]
    fn outputs_of_another_shape_are_an_error() {
        assert!(read(&silent(), 96).is_err());
        assert!(read(&silent()[..11], 64).is_err());
    }
}
