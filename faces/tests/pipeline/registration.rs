//! Which model files an engine is made of.

use std::path::PathBuf;

use safelight_faces::{FaceEngine, LoadError, ModelFiles, Pixels};

use crate::studio::{ENGINE, beside};

fn bundled() -> ModelFiles {
    ModelFiles::bundled(&beside("models"))
}

fn refused(files: &ModelFiles) -> LoadError {
    FaceEngine::load(files).unwrap_err()
}

#[test]
fn the_engine_names_its_model() {
    assert_eq!(ENGINE.model().name, "sface-2021dec-int8bq");
    assert_eq!(ENGINE.model().sha256, bundled().embedder_sha256);
    assert!(ENGINE.licence().contains("Apache-2.0"));
}

#[test]
fn a_model_of_another_hash_is_refused_before_it_is_parsed() {
    // a file that is no model at all: were it parsed first, it would be refused as one
    let files = ModelFiles { embedder: beside("models/README.md"), ..bundled() };
    let error = refused(&files);
    assert!(matches!(&error, LoadError::Sha256 { path, .. } if *path == files.embedder), "{error}");

    let files = ModelFiles { detector_sha256: "0".repeat(64), ..bundled() };
    assert!(matches!(refused(&files), LoadError::Sha256 { path, .. } if path == files.detector));
}

#[test]
fn a_file_that_is_no_model_is_refused_by_name() {
    let readme = beside("models/LICENSE-yunet.txt");
    let sha256 = "c83b8120c50ccbd4c4f96edf53141bdd566ebb8f8e9227e415326aa1b1aba958";
    let files = ModelFiles { embedder: readme.clone(), embedder_sha256: sha256.to_owned(), ..bundled() };
    let error = refused(&files);
    assert!(matches!(&error, LoadError::Graph { path, .. } if *path == readme), "{error}");
}

#[test]
fn detector_and_embedder_cannot_be_mixed_up() {
    let ModelFiles { detector, embedder, detector_sha256, embedder_sha256, .. } = bundled();
    let files = ModelFiles {
        detector: embedder,
        detector_sha256: embedder_sha256,
        embedder: detector,
        embedder_sha256: detector_sha256,
        ..bundled()
    };
    let error = refused(&files);
    assert!(matches!(error, LoadError::Graph { .. } | LoadError::SelfTest { .. }), "{error}");
    let only_the_embedder =
        ModelFiles { detector: bundled().detector, detector_sha256: bundled().detector_sha256, ..files };
    let error = refused(&only_the_embedder);
    assert!(matches!(error, LoadError::SelfTest { .. }), "{error}");
}

#[test]
fn an_input_rule_that_makes_no_sense_fails_the_self_test() {
    let rule = Pixels { std: 0.0, ..bundled().pixels };
    let error = refused(&ModelFiles { pixels: rule, ..bundled() });
    assert!(matches!(error, LoadError::SelfTest { .. }), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let files = ModelFiles { detector: PathBuf::from("no/such/detector.onnx"), ..bundled() };
    assert!(refused(&files).to_string().contains("no/such/detector.onnx"));
}
