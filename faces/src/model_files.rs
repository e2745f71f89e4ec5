//! Which model files an engine runs on, and reading them: size first, then sha256, and nothing is parsed before both are right.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The largest model file that is read, in bytes. InsightFace's largest recognisers are near 260 MB.
const MOST_BYTES: u64 = 512 * 1024 * 1024;

/// The files of one engine and what is needed to use them. The detector is a YuNet; the embedder any ONNX network that takes a
/// 1x3x112x112 face on InsightFace's template and gives one vector.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    /// Path of the YuNet detector.
    pub detector: PathBuf,
    /// Path of the embedder.
    pub embedder: PathBuf,
    /// The detector's sha256, in hex.
    pub detector_sha256: String,
    /// The embedder's sha256, in hex. Every embedding carries it.
    pub embedder_sha256: String,
    /// The embedder's name for people, for example `sface-2021dec-int8bq`.
    pub id: String,
    /// Under which licence the embedder is used, for the evidence; not interpreted.
    pub licence: String,
    /// How the embedder wants its pixels.
    pub pixels: Pixels,
}

/// An embedder's input rule: `(value - mean) / std` for values of 0 to 255.
///
/// InsightFace's rule (read in its 2.1 package): RGB with 127.5 and 127.5, or 0 and 1 if the graph itself begins with Sub and
/// Mul.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pixels {
    /// Subtracted first.
    pub mean: f32,
    /// Divided by then.
    pub std: f32,
    /// Which plane comes first.
    pub order: ChannelOrder,
}

/// The order of the three planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

impl ModelFiles {
    /// YuNet 2023mar and SFace 2021dec, as `models/` of this repository holds them. See `models/README.md` on their licences.
    pub fn bundled(dir: &Path) -> ModelFiles {
        ModelFiles {
            detector: dir.join("face_detection_yunet_2023mar_int8bq.onnx"),
            embedder: dir.join("face_recognition_sface_2021dec_int8bq.onnx"),
            detector_sha256: "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10".to_owned(),
            embedder_sha256: "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee".to_owned(),
            id: "sface-2021dec-int8bq".to_owned(),
            licence: "Apache-2.0 (OpenCV Zoo)".to_owned(),
            pixels: Pixels { mean: 0.0, std: 1.0, order: ChannelOrder::Rgb },
        }
    }
}

/// The model that made an embedding. Two models' embeddings are never compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelId {
    /// Its name for people; says nothing about equality.
    pub name: String,
    /// The sha256 of its file, in lower-case hex: its identity.
    pub sha256: String,
}

/// An engine that could not be made. Nothing of this depends on a customer's photo: it is for the operator, at start.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file is missing or cannot be read.
    #[error("cannot read the model file {}: {source}; check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any face model.
    #[error("the model file {} is larger than {most} bytes, so it was not read; is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        most: u64,
    },
    /// The file is not the one that was registered. It was not parsed.
    #[error("the model file {} has sha256 {actual}, but {expected} is registered; restore the file or register this one", path.display())]
    Sha256 {
        /// The file.
        path: PathBuf,
        /// What the configuration says.
        expected: String,
        /// What the file has.
        actual: String,
    },
    /// The file is the registered one, but it is no ONNX graph that can be run.
    #[error("the model file {} cannot be run: {why}", path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The graph runs, but its answer is not that of such a model.
    #[error("the model file {} failed its self-test: {why}; check its kind and its input rule (mean, std, order)", path.display())]
    SelfTest {
        /// The file.
        path: PathBuf,
        /// What was wrong with the answer.
        why: String,
    },
}

/// Reads a file whose sha256 (hex, either case) is `expected`.
pub(crate) fn read_verified(path: &Path, expected: &str) -> Result<Vec<u8>, LoadError> {
    read_at_most(path, expected, MOST_BYTES)
}

fn read_at_most(path: &Path, expected: &str, most: u64) -> Result<Vec<u8>, LoadError> {
    let unreadable = |source| LoadError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most {
        return Err(LoadError::TooLarge { path: path.to_owned(), most });
    }
    let actual = hex::encode(Sha256::digest(&bytes));
    if !actual.eq_ignore_ascii_case(expected) {
        return Err(LoadError::Sha256 { path: path.to_owned(), expected: expected.to_owned(), actual });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_hash_or_over_the_limit_is_not_handed_out() {
        let me = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let right = hex::encode(Sha256::digest(std::fs::read(&me).unwrap()));
        assert!(read_at_most(&me, &right, 1_000_000).is_ok());
        assert!(read_at_most(&me, &right.to_uppercase(), 1_000_000).is_ok());
        assert!(matches!(read_at_most(&me, &right, 10), Err(LoadError::TooLarge { .. })));
        assert!(matches!(
            read_at_most(&me, &right.replace(char::is_numeric, "0"), 1_000_000),
            Err(LoadError::Sha256 { .. })
        ));
        assert!(matches!(read_verified(Path::new("no such file"), &right), Err(LoadError::Read { .. })));
    }
}
