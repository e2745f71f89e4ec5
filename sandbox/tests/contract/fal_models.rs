//! Fal's models: what a training takes, what it refuses, and what pictures come of it.

use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{ObjectStoreExt as _, PutPayload};
use safelight_sandbox::fal::{FLUX_LORA, IMAGE_TO_IMAGE, NSFW, Oddities, TRAINER};
use serde_json::{Value, json};

use crate::fal_queue::data_uri;
use crate::house::{House, photo, photos, zip};
use crate::storage::store;

async fn refusal(house: &House, archive: &[u8]) -> String {
    let input = json!({ "images_data_url": data_uri(archive), "trigger_phrase": "ohwx" });
    let (_, code, body) = house.fal(TRAINER, &input).await;
    assert_eq!(code, 422, "{body}");
    body["detail"][0]["type"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_training_refuses_what_is_no_archive_of_enough_readable_photos() {
    let house = House::open().await;
    assert_eq!(refusal(&house, b"no zip at all").await, "invalid_archive");
    assert_eq!(refusal(&house, &zip(&[])).await, "archive_file_count_below_minimum");
    assert_eq!(refusal(&house, &photos(3)).await, "archive_file_count_below_minimum");
    let texts: Vec<_> = (0..9).map(|n| (format!("{n}.txt"), b"words".to_vec())).collect();
    assert_eq!(refusal(&house, &zip(&texts)).await, "archive_file_count_below_minimum");
    let broken: Vec<_> = (0..9).map(|n| (format!("{n}.jpg"), b"not a jpeg".to_vec())).collect();
    assert_eq!(refusal(&house, &zip(&broken)).await, "image_load_error");
    assert_eq!(house.sandbox.fal.trainings(), 5, "each was accepted and counted");
    assert!(house.sandbox.fal.files().is_empty(), "none left a file");
}

/// The whole way: zip in our storage, signed URL, LoRA at Fal, LoRA in our storage, signed URL, pictures.
#[tokio::test]
async fn a_lora_trained_from_our_storage_gives_pictures_of_the_same_photos() {
    let house = House::with(|o| o.fal_oddities = Oddities { nobody_at: Some(2), nsfw_at: Some(3) }).await;
    let store = store(&house);
    let minute = std::time::Duration::from_secs(60);
    let place = Path::from("subjects/a1/training.zip");
    store.put(&place, PutPayload::from(photos(5))).await.unwrap();
    let zip = store.signed_url(axum::http::Method::GET, &place, minute).await.unwrap();
    let input = json!({ "images_data_url": zip.as_str(), "trigger_phrase": "ohwx person", "steps": 1000 });
    let (_, code, trained) = house.fal(TRAINER, &input).await;
    assert_eq!(code, 200, "{trained}");
    assert_eq!(trained["diffusers_lora_file"]["file_name"], "pytorch_lora_weights.safetensors");
    let weights = house.http.get(trained["diffusers_lora_file"]["url"].as_str().unwrap()).send().await.unwrap();
    let weights = weights.bytes().await.unwrap();
    assert_eq!(trained["diffusers_lora_file"]["file_size"], weights.len());

    let place = Path::from("subjects/a1/model.safetensors");
    store.put(&place, PutPayload::from_bytes(weights)).await.unwrap();
    let lora = store.signed_url(axum::http::Method::GET, &place, minute).await.unwrap();
    let input = json!({
        "prompt": "ohwx person, studio", "loras": [{ "path": lora.as_str(), "scale": 1 }], "num_images": 4, "seed": 11,
        "image_size": "portrait_4_3",
    });
    let (_, code, made) = house.fal(FLUX_LORA, &input).await;
    assert_eq!(code, 200, "a flagged picture is no error");
    assert_eq!(made["has_nsfw_concepts"], json!([false, false, true, false]));
    assert_eq!(made["seed"], 11);
    let mut pictures = Vec::new();
    for image in made["images"].as_array().unwrap() {
        assert_eq!((&image["width"], &image["height"]), (&json!(768), &json!(1024)));
        let bytes = house.http.get(image["url"].as_str().unwrap()).send().await.unwrap().bytes().await.unwrap();
        pictures.push(image::load_from_memory(&bytes).unwrap());
    }
    assert!(pictures[2].to_rgb8().pixels().all(|p| p.0 == [0, 0, 0]), "the flagged one is black");

    // Numbers 5 to 8 of the same LoRA: no oddity is left, and one seed gives one picture.
    let (_, _, again) = house.fal(FLUX_LORA, &input).await;
    assert_eq!(again["has_nsfw_concepts"], json!([false, false, false, false]));
    let same = house.http.get(again["images"][0]["url"].as_str().unwrap()).send().await.unwrap();
    let same = image::load_from_memory(&same.bytes().await.unwrap()).unwrap();
    assert_eq!(same, pictures[0]);
    let somebody = house.http.get(again["images"][1]["url"].as_str().unwrap()).send().await.unwrap();
    let somebody = image::load_from_memory(&somebody.bytes().await.unwrap()).unwrap();
    assert_ne!(somebody, pictures[1], "number 2 showed nobody, number 6 does");
    assert_eq!((house.sandbox.fal.trainings(), house.sandbox.fal.generations()), (1, 2));
}

#[tokio::test]
async fn a_file_that_is_no_lora_makes_no_pictures() {
    let house = House::open().await;
    let input = json!({ "prompt": "p", "loras": [{ "path": data_uri(b"junk") }] });
    let (_, code, body) = house.fal(FLUX_LORA, &input).await;
    assert_eq!((code.as_u16(), &body["detail"][0]["type"]), (422, &json!("file_download_error")));
    let (_, code, body) = house.fal(FLUX_LORA, &json!({})).await;
    assert_eq!((code.as_u16(), &body["detail"][0]["type"]), (422, &json!("missing")));
}

#[tokio::test]
async fn a_picture_from_one_photo_is_made_and_judged() {
    let house = House::with(|o| o.fal_oddities.nsfw_at = Some(2)).await;
    let input = json!({ "prompt": "p", "image_url": data_uri(&photo(3)), "num_images": 2, "output_format": "png" });
    let (_, code, made) = house.fal(IMAGE_TO_IMAGE, &input).await;
    assert_eq!(code, 200, "{made}");
    assert_eq!(made["has_nsfw_concepts"], json!([false, true]));
    assert_eq!(made["images"][0]["content_type"], "image/png");
    let mut verdicts = Vec::new();
    for image in made["images"].as_array().unwrap() {
        let (_, _, verdict): (_, _, Value) = house.fal(NSFW, &json!({ "image_url": image["url"] })).await;
        verdicts.push(verdict["nsfw_probability"].as_f64().unwrap());
    }
    assert!(verdicts[0] < 0.1 && verdicts[1] > 0.9, "{verdicts:?}");
}
