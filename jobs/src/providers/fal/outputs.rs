//! Reading what the models answer. Every field but the link may be missing.
//! Source: types of the JavaScript client 1.10.1, read November 2026.

use serde_json::Value;

use super::FalError;
use crate::providers::Secret;

/// A file that a model made. It has no `Debug`: the link leads to a person's data.
pub struct FalFile {
    /// Where it lies, until it is purged or expires.
    pub url: Secret,
    /// For example `image/jpeg`.
    pub content_type: Option<String>,
    /// In bytes.
    pub size: Option<u64>,
}

/// An image and fal's own verdict on it.
pub struct FalImage {
    /// The file.
    pub file: FalFile,
    /// True if the safety checker objected: the picture is then black, though the status says 200.
    pub flagged: bool,
}

/// The trained weights in a trainer's result.
pub fn trained_model(result: &Value) -> Result<FalFile, FalError> {
    file(&result["diffusers_lora_file"]).ok_or(FalError::Unreadable { what: "training result" })
}

/// The images in a generator's result, with their flags.
pub fn images(result: &Value) -> Result<Vec<FalImage>, FalError> {
    let unreadable = FalError::Unreadable { what: "generation result" };
    let images = result["images"].as_array().ok_or_else(|| unreadable.clone())?;
    let flags = &result["has_nsfw_concepts"];
    images
        .iter()
        .enumerate()
        .map(|(place, image)| {
            let flagged = flags[place].as_bool().unwrap_or(false);
            Some(FalImage { file: file(image)?, flagged })
        })
        .collect::<Option<_>>()
        .ok_or(unreadable)
}

/// How likely an image is not safe for work, from 0 to 1; 0 or 1 from the model that only says yes or no.
pub fn nsfw_probability(result: &Value) -> Result<f64, FalError> {
    let flag = |flag: bool| if flag { 1.0 } else { 0.0 };
    result["nsfw_probability"]
        .as_f64()
        .or_else(|| result["has_nsfw_concepts"][0].as_bool().map(flag))
        .filter(|probability| (0.0..=1.0).contains(probability))
        .ok_or(FalError::Unreadable { what: "nsfw result" })
}

fn file(value: &Value) -> Option<FalFile> {
    Some(FalFile {
        url: Secret::new(value["url"].as_str()?),
        content_type: value["content_type"].as_str().map(str::to_owned),
        size: value["file_size"].as_u64(),
    })
}
