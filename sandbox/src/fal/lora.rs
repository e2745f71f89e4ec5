//! The stand-in's LoRA file: a valid safetensors file whose tensors are the training photos as JPEG bytes.
//!
//! A real LoRA holds weights that a person can be generated from; this one holds what the stand-in generates from.
//! So it is as personal as the real thing, and a product that loses or keeps one too long is caught.
//! Layout: u64 little-endian header length, JSON header (name -> dtype, shape, data_offsets), data.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Largest header that is read, bytes.
const LARGEST_HEADER: u64 = 1 << 20;
const MADE_BY: &str = "safelight-sandbox";

#[derive(Serialize, Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

/// Packs photos (JPEG bytes) with the trigger phrase.
pub(crate) fn pack(photos: &[Vec<u8>], trigger: &str) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!({ "made_by": MADE_BY, "trigger": trigger }));
    let mut data = Vec::new();
    for (index, photo) in photos.iter().enumerate() {
        let begin = data.len();
        data.extend_from_slice(photo);
        let tensor = serde_json::json!({ "dtype": "U8", "shape": [photo.len()], "data_offsets": [begin, data.len()] });
        header.insert(format!("photo.{index:04}"), tensor);
    }
    let header = Value::Object(header).to_string().into_bytes();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(&header);
    file.extend_from_slice(&data);
    file
}

/// The photos in the file, in order.
///
/// # Errors
/// When it is not a file that [`pack`] made.
pub(crate) fn unpack(file: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let (length, rest) = file.split_first_chunk::<8>().context("shorter than a header")?;
    let length = u64::from_le_bytes(*length);
    ensure!(length <= LARGEST_HEADER && length as usize <= rest.len(), "the header is longer than the file");
    let (header, data) = rest.split_at(length as usize);
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).context("the header is not JSON")?;
    ensure!(header.get("__metadata__").is_some_and(|m| m["made_by"] == MADE_BY), "not trained here");
    let mut photos = Vec::new();
    for (name, value) in header.into_iter().filter(|(name, _)| name.starts_with("photo.")) {
        let tensor: Tensor = serde_json::from_value(value).with_context(|| format!("tensor {name}"))?;
        let (begin, end) = tensor.data_offsets;
        let Some(bytes) = data.get(begin..end) else { bail!("tensor {name} points outside the file") };
        photos.push(bytes.to_vec());
    }
    ensure!(!photos.is_empty(), "no photos inside");
    Ok(photos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_a_cut_file_is_refused() {
        let photos = vec![vec![1, 2, 3], vec![4; 500], vec![9]];
        let file = pack(&photos, "ohwx");
        assert_eq!(unpack(&file).unwrap(), photos);
        assert!(unpack(&file[..file.len() - 1]).is_err());
        assert!(unpack(&file[..5]).is_err());
        assert!(unpack(b"PK\x03\x04 certainly no safetensors").is_err());
    }
}
