//! A face as a vector of length 1, bound to the model that made it.
//!
//! An embedding is biometric data. It has no `Debug` of its numbers, no `Display`, no serde; the only way out is
//! [`Embedding::to_bytes`], and the caller encrypts what that gives.

use std::fmt;

use thiserror::Error;

use crate::ModelId;

/// How far from 1 the length of a stored vector may be.
const LENGTH_TOLERANCE: f32 = 1e-3;

/// A vector of finite numbers and length 1, and the sha256 of its model.
#[derive(Clone, PartialEq)]
pub struct Embedding {
    model_sha256: String,
    values: Vec<f32>,
}

/// Numbers that are no embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EmbeddingError {
    /// A number is NaN or infinite.
    #[error("the embedding has a number that is not finite; the photo's face cannot be compared")]
    NotFinite,
    /// All numbers are (nearly) zero, or there are none: the vector points nowhere.
    #[error("the embedding has no direction; the photo's face cannot be compared")]
    NoDirection,
    /// Stored bytes that are no vector of length 1: damaged, cut short or decrypted with another key.
    #[error("the stored embedding is damaged ({bytes} bytes); embed the photo again")]
    Damaged {
        /// How many bytes there were.
        bytes: usize,
    },
}

/// Two embeddings that say nothing about each other. Never turned into a number.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Mismatch {
    /// They are of different models.
    #[error("embeddings of model {left} and of model {right} cannot be compared; embed the older photo again")]
    Model {
        /// The sha256 of one model.
        left: String,
        /// The sha256 of the other.
        right: String,
    },
    /// They claim to be of one model, but have a different number of dimensions: one is damaged.
    #[error("an embedding of {left} and one of {right} numbers cannot be compared; embed the photos again")]
    Dimensions {
        /// Numbers in one.
        left: usize,
        /// Numbers in the other.
        right: usize,
    },
}

impl Embedding {
    /// Brings what the model said to length 1.
    pub(crate) fn unit(model: &ModelId, mut values: Vec<f32>) -> Result<Embedding, EmbeddingError> {
        if !values.iter().all(|value| value.is_finite()) {
            return Err(EmbeddingError::NotFinite);
        }
        let length = length(&values);
        if !length.is_normal() || length < 1e-6 {
            return Err(EmbeddingError::NoDirection);
        }
        values.iter_mut().for_each(|value| *value /= length);
        Ok(Embedding { model_sha256: model.sha256.clone(), values })
    }

    /// The sha256 of the model that made it, in hex. Store it beside the bytes.
    pub fn model_sha256(&self) -> &str {
        &self.model_sha256
    }

    /// How many numbers it has.
    pub fn dimensions(&self) -> usize {
        self.values.len()
    }

    /// The numbers as f32, little endian, 4 bytes each; the model is not in them. Encrypt before storing.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// Reads what [`Embedding::to_bytes`] gave, for the model it was stored with.
    ///
    /// # Errors
    /// [`EmbeddingError::Damaged`] if the bytes are not whole numbers, not finite, or not of length 1.
    pub fn from_bytes(model_sha256: &str, bytes: &[u8]) -> Result<Embedding, EmbeddingError> {
        let damaged = EmbeddingError::Damaged { bytes: bytes.len() };
        let (numbers, rest) = bytes.as_chunks::<4>();
        let values: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
        // also false for NaN
        let whole = rest.is_empty() && (length(&values) - 1.0).abs() <= LENGTH_TOLERANCE;
        if whole { Ok(Embedding { model_sha256: model_sha256.to_owned(), values }) } else { Err(damaged) }
    }
}

impl fmt::Debug for Embedding {
    /// Model and size, never the numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedding({} numbers of model {:.12})", self.values.len(), self.model_sha256)
    }
}

/// How alike two faces are: -1 to 1, 1 for the same picture. For SFace, 0.40 and more speaks for the same person.
///
/// # Errors
/// [`Mismatch`] if the embeddings are of different models.
pub fn cosine(left: &Embedding, right: &Embedding) -> Result<f32, Mismatch> {
    if left.model_sha256 != right.model_sha256 {
        return Err(Mismatch::Model { left: left.model_sha256.clone(), right: right.model_sha256.clone() });
    }
    if left.values.len() != right.values.len() {
        return Err(Mismatch::Dimensions { left: left.values.len(), right: right.values.len() });
    }
    Ok(dot(&left.values, &right.values).clamp(-1.0, 1.0))
}

fn length(values: &[f32]) -> f32 {
    // f64: the square of a large but finite f32 would be infinite
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt() as f32
}

/// Eight sums side by side, which the compiler turns into vector instructions.
fn dot(left: &[f32], right: &[f32]) -> f32 {
    let (left, left_rest) = left.as_chunks::<8>();
    let (right, right_rest) = right.as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for (a, b) in left.iter().zip(right) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + left_rest.iter().zip(right_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(sha256: &str) -> ModelId {
        ModelId { name: "test".to_owned(), sha256: sha256.to_owned() }
    }

    fn embedding(values: &[f32]) -> Embedding {
        Embedding::unit(&model("aa"), values.to_vec()).unwrap()
    }

    #[test]
    fn every_embedding_has_length_one() {
        for values in [vec![3.0, 4.0], vec![1e-5; 100], vec![1e30; 100]] {
            assert!((length(&embedding(&values).values) - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn nothing_and_not_a_number_are_errors_and_no_embeddings() {
        let made = |values: &[f32]| Embedding::unit(&model("aa"), values.to_vec()).unwrap_err();
        assert_eq!(made(&[0.0, 0.0]), EmbeddingError::NoDirection);
        assert_eq!(made(&[]), EmbeddingError::NoDirection);
        assert_eq!(made(&[1.0, f32::NAN]), EmbeddingError::NotFinite);
        assert_eq!(made(&[1.0, f32::INFINITY]), EmbeddingError::NotFinite);
    }

    #[test]
    fn the_cosine_is_that_of_the_directions() {
        let long: Vec<f32> = (0..19).map(|i| i as f32).collect();
        let opposite: Vec<f32> = long.iter().map(|v| -2.0 * v).collect();
        assert!((cosine(&embedding(&long), &embedding(&long)).unwrap() - 1.0).abs() < 1e-6);
        assert!((cosine(&embedding(&long), &embedding(&opposite)).unwrap() + 1.0).abs() < 1e-6);
        assert!((cosine(&embedding(&[1.0, 0.0]), &embedding(&[1.0, 1.0])).unwrap() - 0.5_f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn embeddings_of_different_models_are_never_compared() {
        let ours = embedding(&[1.0, 0.0]);
        let theirs = Embedding::unit(&model("bb"), vec![1.0, 0.0]).unwrap();
        assert!(matches!(cosine(&ours, &theirs), Err(Mismatch::Model { .. })));
        assert!(matches!(cosine(&ours, &embedding(&[1.0, 0.0, 0.0])), Err(Mismatch::Dimensions { .. })));
    }

    #[test]
    fn bytes_come_back_as_they_went() {
        let there = embedding(&[1.0, -2.0, 0.5]);
        let bytes = there.to_bytes();
        assert_eq!(bytes[..4], there.values[0].to_le_bytes());
        assert_eq!(Embedding::from_bytes("aa", &bytes).unwrap(), there);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let bytes = embedding(&[1.0, -2.0, 0.5]).to_bytes();
        let nan: Vec<u8> = [f32::NAN, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        for damaged in [&bytes[..11], &bytes[..8], &[][..], &nan, &[0; 12], &[&bytes[..], &[0]].concat()] {
            let refused = Embedding::from_bytes("aa", damaged).unwrap_err();
            assert_eq!(refused, EmbeddingError::Damaged { bytes: damaged.len() });
        }
    }

    #[test]
    fn its_numbers_are_not_printed() {
        let printed = format!("{:?}", embedding(&[0.6, 0.8]));
        assert_eq!(printed, "Embedding(2 numbers of model aa)");
    }
}
