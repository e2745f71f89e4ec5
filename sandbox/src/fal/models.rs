//! What the models do with an accepted request. Inputs and outputs as in the models' schemas (@fal-ai/client 1.10.1).

use std::collections::HashMap;
use std::io::{Cursor, Read as _};
use std::sync::Arc;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat};
use safelight_pictures::portrait;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::error::ModelError;
use super::{FAST_TRAINER, FLUX_LORA, IMAGE_TO_IMAGE, NSFW, Oddities, State, TRAINER, lora};
use crate::download::download;
use crate::faults::Fault;
use crate::lock::lock;
use crate::token;

/// Fewer photos are refused.
const FEWEST_PHOTOS: usize = 4;
/// More files in an archive are refused.
const MOST_FILES: usize = 500;
/// Largest single photo after unpacking, bytes.
const LARGEST_PHOTO: u64 = 64 * 1024 * 1024;
/// Photos are kept in the LoRA at most this large, pixels per side.
const LORA_SIDE: u32 = 768;
const MOST_PICTURES: u64 = 8;
const PHOTO_KINDS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// A finished piece of work: the answer, and the URLs of the files in it.
pub(crate) struct Made {
    pub(crate) body: Value,
    pub(crate) files: Vec<String>,
}

/// How many pictures each source has given, and which of them go wrong.
pub(crate) struct Counted {
    oddities: Oddities,
    made: HashMap<String, u32>,
}

impl Counted {
    pub(crate) fn new(oddities: Oddities) -> Counted {
        Counted { oddities, made: HashMap::new() }
    }

    pub(crate) fn set(&mut self, oddities: Oddities) {
        self.oddities = oddities;
    }

    /// The next picture's lot.
    fn next(&mut self, source: &str) -> Lot {
        let number = self.made.entry(source.to_owned()).or_default();
        *number += 1;
        match Some(*number) {
            number if number == self.oddities.nsfw_at => Lot::Flagged,
            number if number == self.oddities.nobody_at => Lot::Nobody,
            _ => Lot::Portrait,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lot {
    Portrait,
    Nobody,
    Flagged,
}

/// Does the work of one request.
pub(crate) async fn perform(state: &Arc<State>, id: Uuid) -> Result<Made, ModelError> {
    let (endpoint, input) = {
        let book = lock(&state.book);
        let request = book.get(id).ok_or_else(ModelError::internal)?;
        (request.endpoint.clone(), request.input.clone())
    };
    if state.faults.take(&format!("{id} {endpoint}"), Fault::ModelBreaks) {
        return Err(ModelError::internal());
    }
    if state.faults.take(&format!("{id} {endpoint}"), Fault::ModelRefuses) {
        let text = "The content could not be processed because it contained material flagged by a content checker.";
        return Err(ModelError::new("content_policy_violation", "prompt", text));
    }
    let shelf = Shelf { state: state.clone(), id };
    match endpoint.as_str() {
        TRAINER | FAST_TRAINER => train(shelf, &input).await,
        FLUX_LORA => from_lora(shelf, &input).await,
        IMAGE_TO_IMAGE => from_photo(shelf, &input).await,
        NSFW => judge(&shelf, &input).await,
        _ => Err(ModelError::internal()),
    }
}

async fn train(shelf: Shelf, input: &Value) -> Result<Made, ModelError> {
    let zip = shelf.fetch(input, "images_data_url").await?;
    let trigger = ["trigger_phrase", "trigger_word"].iter().find_map(|name| input[*name].as_str());
    let trigger = trigger.unwrap_or_default().to_owned();
    let steps = input["steps"].as_u64().unwrap_or(2500);
    let label = trigger.clone();
    let weights = heavy(move || Ok(lora::pack(&photos_in(&zip)?, &label))).await?;
    let config = json!({ "trigger_phrase": trigger, "steps": steps, "instance_prompt": trigger });
    let config = shelf.put("config.json", "application/json", config.to_string().into_bytes());
    let weights = shelf.put("pytorch_lora_weights.safetensors", "application/octet-stream", weights);
    let files = [&config, &weights].iter().filter_map(|file| file["url"].as_str().map(str::to_owned)).collect();
    Ok(Made { body: json!({ "diffusers_lora_file": weights, "config_file": config }), files })
}

/// The photos of a training archive, scaled, as JPEG.
fn photos_in(archive: &[u8]) -> Result<Vec<Vec<u8>>, ModelError> {
    let field = "images_data_url";
    let broken = || ModelError::new("invalid_archive", field, "Invalid archive. Please try again with a valid zip.");
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).map_err(|_| broken())?;
    if archive.len() > MOST_FILES {
        return Err(ModelError::new("archive_file_count_exceeds_maximum", field, "Too many files in the archive.")
            .with_context(json!({ "count": MOST_FILES, "provided_count": archive.len() })));
    }
    let mut photos = Vec::new();
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(|_| broken())?;
        let name = file.name().map_err(|_| broken())?.to_lowercase();
        let hidden = name.rsplit('/').next().is_none_or(|n| n.starts_with('.')) || name.starts_with("__macosx/");
        if hidden || !PHOTO_KINDS.iter().any(|kind| name.ends_with(&format!(".{kind}"))) {
            continue;
        }
        let mut bytes = Vec::new();
        file.take(LARGEST_PHOTO + 1).read_to_end(&mut bytes).map_err(|_| broken())?;
        if bytes.len() as u64 > LARGEST_PHOTO {
            return Err(ModelError::new("file_too_large", field, "A photo in the archive is too large."));
        }
        let unreadable = || ModelError::new("image_load_error", field, "Failed to load the image.");
        let photo = portrait::decode(&bytes).ok_or_else(unreadable)?;
        photos.push(portrait::encode(&portrait::fit(&photo, LORA_SIDE), ImageFormat::Jpeg).ok_or_else(unreadable)?);
    }
    if photos.len() < FEWEST_PHOTOS {
        let text = format!("The archive must hold at least {FEWEST_PHOTOS} photos.");
        return Err(ModelError::new("archive_file_count_below_minimum", field, text)
            .with_context(json!({ "count": FEWEST_PHOTOS, "provided_count": photos.len() })));
    }
    Ok(photos)
}

async fn from_lora(shelf: Shelf, input: &Value) -> Result<Made, ModelError> {
    let wish = Wish::read(input, (1024, 768))?;
    let Some(lora) = input["loras"].as_array().and_then(|loras| loras.first()) else {
        // No LoRA: a picture of no one in particular.
        return shelf.pictures(wish, Models::Nobody, "no lora").await;
    };
    let file = shelf.fetch(lora, "path").await?;
    let source = hex::encode(Sha256::digest(&file));
    let photos = lora::unpack(&file).map_err(|_| no_weights())?;
    shelf.pictures(wish, Models::Trained(photos), &source).await
}

fn no_weights() -> ModelError {
    ModelError::new("file_download_error", "loras", "Failed to load the LoRA weights.")
}

/// Who is on a picture.
enum Models {
    Nobody,
    Photo(DynamicImage),
    /// A LoRA's photos, as JPEG.
    Trained(Vec<Vec<u8>>),
}

impl Models {
    /// With a LoRA the seed says which of its photos; the others stay packed, because unpacking is most of the work.
    fn portrait(&self, seed: u64, width: u32, height: u32) -> Result<DynamicImage, ModelError> {
        match self {
            Self::Nobody => Ok(portrait::nobody(seed, width, height)),
            Self::Photo(photo) => Ok(portrait::portrait(photo, seed, width, height)),
            Self::Trained(photos) => {
                let packed = photos.get((seed % photos.len().max(1) as u64) as usize).ok_or_else(no_weights)?;
                let photo = portrait::decode(packed).ok_or_else(no_weights)?;
                Ok(portrait::portrait(&photo, seed, width, height))
            }
        }
    }
}

async fn from_photo(shelf: Shelf, input: &Value) -> Result<Made, ModelError> {
    let file = shelf.fetch(input, "image_url").await?;
    let photo = heavy(move || {
        portrait::decode(&file)
            .ok_or_else(|| ModelError::new("image_load_error", "image_url", "Failed to load the image."))
    });
    let photo = photo.await?;
    let wish = Wish::read(input, (photo.width().clamp(64, 1536), photo.height().clamp(64, 1536)))?;
    shelf.pictures(wish, Models::Photo(photo), IMAGE_TO_IMAGE).await
}

async fn judge(shelf: &Shelf, input: &Value) -> Result<Made, ModelError> {
    let file = shelf.fetch(input, "image_url").await?;
    let probability = heavy(move || {
        let picture = portrait::decode(&file)
            .ok_or_else(|| ModelError::new("image_load_error", "image_url", "Failed to load the image."))?;
        Ok(portrait::nsfw_probability(&picture))
    });
    Ok(Made { body: json!({ "nsfw_probability": probability.await? }), files: Vec::new() })
}

/// Pixels off the async threads.
async fn heavy<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ModelError> + Send + 'static,
) -> Result<T, ModelError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ModelError::internal())?
}

/// What a generation asks for.
struct Wish {
    prompt: String,
    count: u64,
    seed: u64,
    size: (u32, u32),
    format: ImageFormat,
    checked: bool,
}

impl Wish {
    fn read(input: &Value, default_size: (u32, u32)) -> Result<Wish, ModelError> {
        let prompt = input["prompt"].as_str().ok_or_else(|| ModelError::missing("prompt"))?;
        let count = input["num_images"].as_u64().unwrap_or(1);
        if !(1..=MOST_PICTURES).contains(&count) {
            return Err(ModelError::new("less_than_equal", "num_images", "Input should be between 1 and 8"));
        }
        let format = match input["output_format"].as_str() {
            None | Some("jpeg") => ImageFormat::Jpeg,
            Some("png") => ImageFormat::Png,
            Some(_) => return Err(ModelError::new("one_of", "output_format", "Input should be 'jpeg' or 'png'")),
        };
        Ok(Wish {
            prompt: prompt.to_owned(),
            count,
            seed: input["seed"].as_u64().unwrap_or_else(|| u64::from(rand::random::<u32>())),
            size: size(&input["image_size"], default_size)?,
            format,
            checked: input["enable_safety_checker"].as_bool().unwrap_or(true),
        })
    }
}

fn size(wish: &Value, default: (u32, u32)) -> Result<(u32, u32), ModelError> {
    let wrong = || ModelError::new("one_of", "image_size", "Input should be a known image size");
    match wish {
        Value::Null => Ok(default),
        Value::String(name) => Ok(match name.as_str() {
            "square_hd" => (1024, 1024),
            "square" => (512, 512),
            "portrait_4_3" => (768, 1024),
            "portrait_16_9" => (576, 1024),
            "landscape_4_3" => (1024, 768),
            "landscape_16_9" => (1024, 576),
            _ => return Err(wrong()),
        }),
        Value::Object(_) => {
            let side = |name: &str| u32::try_from(wish[name].as_u64().unwrap_or(512)).ok();
            let (width, height) = (side("width").ok_or_else(wrong)?, side("height").ok_or_else(wrong)?);
            if (64..=2048).contains(&width) && (64..=2048).contains(&height) {
                Ok((width, height))
            } else {
                Err(wrong())
            }
        }
        _ => Err(wrong()),
    }
}

/// Reads inputs of one request and puts its outputs at the files host.
struct Shelf {
    state: Arc<State>,
    id: Uuid,
}

impl Shelf {
    /// Downloads what `input[field]` points at: a URL, or a file object with one.
    async fn fetch(&self, input: &Value, field: &'static str) -> Result<Bytes, ModelError> {
        let url = input[field].as_str().or_else(|| input[field]["url"].as_str());
        let url = url.ok_or_else(|| ModelError::missing(field))?;
        download(&self.state.http, url).await.map_err(|missed| ModelError::missed(missed, field))
    }

    /// Stores an output with the life that the request asked for. Returns Fal's file object.
    fn put(&self, name: &str, kind: &str, bytes: Vec<u8>) -> Value {
        let life = lock(&self.state.book).get(self.id).and_then(|request| request.file_life_seconds);
        let until = life.map(|seconds| self.state.clock.now() + chrono::Duration::seconds(seconds));
        let path = format!("/files/b/{}/{name}", token::letters(20));
        let (size, base) = (bytes.len(), &self.state.description.files_url);
        let url = lock(&self.state.files).put(base, &path, kind, Bytes::from(bytes), until, Some(self.id));
        json!({ "url": url, "content_type": kind, "file_name": name, "file_size": size })
    }

    /// Makes the wished pictures.
    async fn pictures(&self, wish: Wish, models: Models, source: &str) -> Result<Made, ModelError> {
        let lots: Vec<Lot> = {
            let mut counted = lock(&self.state.oddities);
            let black = || self.state.faults.take(&self.id.to_string(), Fault::BlackPicture);
            (0..wish.count).map(|_| counted.next(source)).map(|lot| if black() { Lot::Flagged } else { lot }).collect()
        };
        let ((width, height), format, seed) = (wish.size, wish.format, wish.seed);
        let lots: Vec<Lot> = lots
            .into_iter()
            .map(|lot| if lot == Lot::Flagged && !wish.checked { Lot::Portrait } else { lot })
            .collect();
        let drawn = lots.clone();
        let pictures = heavy(move || {
            let draw = |(index, lot): (u64, Lot)| {
                let seed = seed.wrapping_add(index);
                let picture = match lot {
                    Lot::Flagged => portrait::black(width, height),
                    Lot::Portrait => models.portrait(seed, width, height)?,
                    Lot::Nobody => portrait::nobody(seed, width, height),
                };
                portrait::encode(&picture, format).ok_or_else(ModelError::internal)
            };
            (0..).zip(drawn).map(draw).collect::<Result<Vec<_>, _>>()
        });
        let (ending, kind) = if format == ImageFormat::Png { ("png", "image/png") } else { ("jpg", "image/jpeg") };
        let mut images = Vec::new();
        for bytes in pictures.await? {
            let mut image = self.put(&format!("{}.{ending}", token::letters(12)), kind, bytes);
            image["width"] = json!(width);
            image["height"] = json!(height);
            images.push(image);
        }
        let files = images.iter().filter_map(|image| image["url"].as_str().map(str::to_owned)).collect();
        let flags: Vec<bool> = lots.iter().map(|lot| *lot == Lot::Flagged).collect();
        let body = json!({
            "images": images,
            "has_nsfw_concepts": flags,
            "prompt": wish.prompt,
            "seed": seed,
            "timings": { "inference": self.state.options.delay.as_secs_f64() },
        });
        Ok(Made { body, files })
    }
}
