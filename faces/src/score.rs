//! Compares one image with a person's selfies, and the selfies with each other.

use serde::Serialize;
use thiserror::Error;

use crate::embedding::{Embedding, Mismatch, cosine};

/// A selfie whose mean cosine to the others is below this shows somebody else, or a bad face. Chosen for SFace: the same person
/// gave 0.73 and more, different people 0.35 at most (10 identities; not a calibration).
pub const ODD_BELOW: f32 = 0.40;

/// How many of the best selfies the mean is over.
const BEST: usize = 3;

/// How alike an image is to a person's selfies, as cosines (-1 to 1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// The cosine to the selfie that is most alike.
    pub best: f32,
    /// The mean over the three selfies that are most alike; over all if there are fewer.
    pub mean_best3: f32,
    /// How many selfies were compared.
    pub compared: usize,
}

/// No score.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScoreError {
    /// There is nothing to compare with. Not a score of 0.
    #[error("there is no selfie to compare the image with; embed the person's photos first")]
    NoSelfies,
    /// A selfie is of another model than the image; no part of the score is given then.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// Compares `image` with every selfie.
///
/// # Errors
/// [`ScoreError`] if there is no selfie, or one of another model.
pub fn score(image: &Embedding, selfies: &[Embedding]) -> Result<Score, ScoreError> {
    let mut cosines = selfies.iter().map(|selfie| cosine(image, selfie)).collect::<Result<Vec<f32>, Mismatch>>()?;
    cosines.sort_by(|a, b| b.total_cmp(a));
    let best = *cosines.first().ok_or(ScoreError::NoSelfies)?;
    let leading = &cosines[..cosines.len().min(BEST)];
    let mean_best3 = leading.iter().sum::<f32>() / leading.len() as f32;
    Ok(Score { best, mean_best3, compared: cosines.len() })
}

/// The places of the selfies that are unlike the others, in order. Of fewer than two selfies, none; of two that are unlike, or
/// of two people half and half, all, since nobody can say who is right. Among very few selfies one stranger can drag the mean
/// of the right ones down too, so ask again when there are more.
///
/// # Errors
/// [`Mismatch`] if the selfies are of different models.
pub fn odd_ones_out(selfies: &[Embedding]) -> Result<Vec<usize>, Mismatch> {
    let mut odd = Vec::new();
    for (place, selfie) in selfies.iter().enumerate() {
        let others = selfies.iter().enumerate().filter(|(other, _)| *other != place);
        let cosines = others.map(|(_, other)| cosine(selfie, other)).collect::<Result<Vec<f32>, Mismatch>>()?;
        let mean = cosines.iter().sum::<f32>() / cosines.len() as f32;
        // of a single selfie the mean is NaN, which is not below anything
        if mean < ODD_BELOW {
            odd.push(place);
        }
    }
    Ok(odd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelId;

    /// A face in a plane: the angle between two of them is their likeness.
    fn at(degrees: f32) -> Embedding {
        of("aa", degrees)
    }

    fn of(sha256: &str, degrees: f32) -> Embedding {
        let model = ModelId { name: "test".to_owned(), sha256: sha256.to_owned() };
        Embedding::unit(&model, vec![degrees.to_radians().cos(), degrees.to_radians().sin()]).unwrap()
    }

    #[test]
    fn the_score_is_the_best_and_the_mean_of_the_best_three() {
        let scored = score(&at(0.0), &[at(90.0), at(60.0), at(0.0), at(-60.0), at(180.0)]).unwrap();
        assert!((scored.best - 1.0).abs() < 1e-6);
        assert!((scored.mean_best3 - 2.0 / 3.0).abs() < 1e-6, "{scored:?}");
        assert_eq!(scored.compared, 5);
        assert!((score(&at(0.0), &[at(60.0)]).unwrap().mean_best3 - 0.5).abs() < 1e-6);
    }

    #[test]
    fn no_selfie_is_no_score_and_a_foreign_selfie_spoils_it() {
        assert_eq!(score(&at(0.0), &[]), Err(ScoreError::NoSelfies));
        assert!(matches!(score(&at(0.0), &[at(0.0), of("bb", 0.0)]), Err(ScoreError::Mismatch(_))));
        assert!(odd_ones_out(&[at(0.0), of("bb", 0.0)]).is_err());
    }

    #[test]
    fn the_stranger_among_the_selfies_is_found() {
        assert_eq!(odd_ones_out(&[at(0.0), at(20.0), at(100.0), at(-20.0)]).unwrap(), [2]);
        assert!(odd_ones_out(&[at(0.0), at(20.0), at(-20.0)]).unwrap().is_empty());
    }

    #[test]
    fn of_two_people_half_and_half_nobody_is_preferred() {
        assert_eq!(odd_ones_out(&[at(0.0), at(0.0), at(100.0), at(100.0)]).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn one_selfie_is_never_odd_and_two_unlike_ones_both_are() {
        assert!(odd_ones_out(&[]).unwrap().is_empty());
        assert!(odd_ones_out(&[at(0.0)]).unwrap().is_empty());
        assert_eq!(odd_ones_out(&[at(0.0), at(120.0)]).unwrap(), [0, 1]);
    }
}
