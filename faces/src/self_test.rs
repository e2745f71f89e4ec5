//! A network is tried once before it is trusted: is its answer of the right shape, finite, and not the same nothing?

use crate::network::Network;
use crate::yunet;

/// A detector for `side` x `side` answers in YuNet's shape.
pub(crate) fn detector(network: &dyn Network, side: usize) -> Result<(), String> {
    let outputs = network.run(&vec![0.0; 3 * side * side]).map_err(|e| e.to_string())?;
    yunet::read(&outputs, side).map_err(|e| e.to_string())?;
    if outputs.iter().flatten().all(|number| number.is_finite()) {
        Ok(())
    } else {
        Err("its answer is not finite".to_owned())
    }
}

/// An embedder gives one vector, which says something.
pub(crate) fn embedder(network: &dyn Network, input: &[f32]) -> Result<(), String> {
    let outputs = network.run(input).map_err(|e| e.to_string())?;
    let [vector] = outputs.as_slice() else {
        return Err(format!("it has {} outputs, an embedder has one", outputs.len()));
    };
    if !(32..=4096).contains(&vector.len()) {
        return Err(format!("its vector has {} numbers, an embedder's 32 to 4096", vector.len()));
    }
    if !vector.iter().all(|number| number.is_finite()) {
        return Err("its vector is not finite".to_owned());
    }
    if vector.iter().all(|number| *number == 0.0) {
        return Err("its vector is zero".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::EngineError;

    struct Says(Vec<Vec<f32>>);

    impl Network for Says {
        fn run(&self, _: &[f32]) -> Result<Vec<Vec<f32>>, EngineError> {
            Ok(self.0.clone())
        }
    }

    #[test]
    fn an_embedder_that_says_nothing_is_not_trusted() {
        let tried = |vectors: &[Vec<f32>]| embedder(&Says(vectors.to_vec()), &[]);
        assert_eq!(tried(&[vec![0.1; 128]]), Ok(()));
        assert!(tried(&[vec![0.0; 128]]).is_err());
        assert!(tried(&[vec![f32::NAN; 128]]).is_err());
        assert!(tried(&[vec![0.1; 7]]).is_err());
        assert!(tried(&[vec![0.1; 128], vec![0.1; 128]]).is_err());
    }

    #[test]
    fn a_detector_of_another_shape_is_not_trusted() {
        let outputs = yunet::output_lengths(64).map(|length| vec![0.0; length]);
        assert_eq!(detector(&Says(outputs.to_vec()), 64), Ok(()));
        assert!(detector(&Says(outputs[..9].to_vec()), 64).is_err());
        let mut infinite = outputs.to_vec();
        infinite[7][0] = f32::INFINITY;
        assert!(detector(&Says(infinite), 64).is_err());
    }
}
