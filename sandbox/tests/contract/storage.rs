//! Storage, by the crate object_store and by hand.

use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig, WriteMultipart};
use safelight_sandbox::Fault;
use serde_json::{Value, json};

use crate::house::House;

pub(crate) fn store(house: &House) -> AmazonS3 {
    builder(house).build().unwrap()
}

fn builder(house: &House) -> AmazonS3Builder {
    let supabase = house.sandbox.description().supabase;
    AmazonS3Builder::new()
        .with_endpoint(supabase.s3_endpoint)
        .with_bucket_name("safelight")
        .with_region(supabase.s3_region)
        .with_access_key_id(supabase.s3_access_key_id)
        .with_secret_access_key(supabase.s3_secret_access_key)
        .with_allow_http(true)
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
}

#[tokio::test]
async fn what_is_put_is_listed_read_in_parts_copied_and_deleted() {
    let house = House::open().await;
    let store = store(&house);
    let key = Path::from("subjects/a1/uploads/one.jpg");
    store.put(&key, PutPayload::from_static(b"0123456789")).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), "0123456789");
    assert_eq!(store.get_range(&key, 2..5).await.unwrap(), "234");
    assert_eq!(store.head(&key).await.unwrap().size, 10);

    store.copy(&key, &Path::from("subjects/a2/copy.jpg")).await.unwrap();
    let listed: Vec<_> = store.list(Some(&Path::from("subjects"))).try_collect().await.unwrap();
    assert_eq!(listed.len(), 2);
    let folders = store.list_with_delimiter(Some(&Path::from("subjects"))).await.unwrap();
    let folders: Vec<String> = folders.common_prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(folders, ["subjects/a1", "subjects/a2"]);

    store.delete(&key).await.unwrap();
    assert!(matches!(store.get(&key).await, Err(object_store::Error::NotFound { .. })));
    let all = futures::stream::iter([Ok(Path::from("subjects/a2/copy.jpg")), Ok(Path::from("never/was"))]);
    let gone: Vec<_> = store.delete_stream(all.boxed()).try_collect().await.unwrap();
    assert_eq!(gone.len(), 2, "deleting what is not there is no error");
    assert!(house.sandbox.supabase.objects("safelight").is_empty());
    let left: Vec<_> = std::fs::read_dir(house.dir().join("buckets/safelight")).unwrap().collect();
    assert!(left.is_empty(), "folders with subject ids in their names go with the last object");
}

#[tokio::test]
async fn a_listing_of_more_than_one_page_misses_nothing() {
    let house = House::open().await;
    for number in 0..1203 {
        let key = format!("many/{number:05}");
        house.sandbox.supabase.put("safelight", &key, "text/plain", Bytes::from_static(b"x")).await.unwrap();
    }
    let listed: Vec<_> = store(&house).list(Some(&Path::from("many"))).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1203);
}

#[tokio::test]
async fn a_put_overwrites_in_spite_of_if_none_match() {
    let house = House::open().await;
    let store = store(&house);
    let key = Path::from("same");
    store.put(&key, PutPayload::from_static(b"one")).await.unwrap();
    store.put_opts(&key, PutPayload::from_static(b"two"), PutMode::Create.into()).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), "two");
}

#[tokio::test]
async fn an_upload_in_parts_is_one_object() {
    let house = House::open().await;
    let store = store(&house);
    let key = Path::from("large/model.safetensors");
    let upload = store.put_multipart(&key).await.unwrap();
    let mut writer = WriteMultipart::new_with_chunk_size(upload, 5 << 20);
    let whole: Vec<u8> = (0..(11 << 20)).map(|n: u32| n as u8).collect();
    writer.write(&whole);
    writer.finish().await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), whole);
}

#[tokio::test]
async fn a_wrong_secret_an_unknown_key_and_no_signature_are_refused() {
    let house = House::open().await;
    let key = Path::from("mine");
    let wrong = builder(&house).with_secret_access_key("not the secret").build().unwrap();
    let error = wrong.put(&key, PutPayload::from_static(b"x")).await.unwrap_err();
    assert!(error.to_string().contains("SignatureDoesNotMatch"), "{error}");
    let unknown = builder(&house).with_access_key_id("somebody").build().unwrap();
    let error = unknown.put(&key, PutPayload::from_static(b"x")).await.unwrap_err();
    assert!(error.to_string().contains("InvalidAccessKeyId"), "{error}");
    let url = format!("{}/safelight/mine", house.sandbox.description().supabase.s3_endpoint);
    assert_eq!(house.http.get(url).send().await.unwrap().status(), 403);
    assert!(house.sandbox.supabase.objects("safelight").is_empty());
}

#[tokio::test]
async fn a_signed_url_opens_one_object_for_its_time_and_method() {
    let house = House::open().await;
    let store = store(&house);
    let key = Path::from("subjects/a1/zip/training.zip");
    let put = store.signed_url(Method::PUT, &key, Duration::from_secs(60)).await.unwrap();
    assert_eq!(house.http.put(put).body("bytes").send().await.unwrap().status(), 200);
    let get = store.signed_url(Method::GET, &key, Duration::from_secs(60)).await.unwrap();
    assert_eq!(house.http.get(get.clone()).send().await.unwrap().text().await.unwrap(), "bytes");
    assert_eq!(house.http.delete(get.clone()).send().await.unwrap().status(), 403, "signed for GET only");
    let other = get.as_str().replace("training.zip", "other.zip");
    assert_eq!(house.http.get(other).send().await.unwrap().status(), 403, "signed for one object only");
    let longer = get.as_str().replace("X-Amz-Expires=60", "X-Amz-Expires=6000");
    assert_eq!(house.http.get(longer).send().await.unwrap().status(), 403, "its life is signed too");
    let over = store.signed_url(Method::GET, &key, Duration::ZERO).await.unwrap();
    let answer = house.http.get(over).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert!(answer.text().await.unwrap().contains("expired"));
}

#[tokio::test]
async fn names_with_percent_signs_or_beyond_ascii_are_refused() {
    let house = House::open().await;
    let store = store(&house);
    for key in ["über", "100%", "a\u{1f600}"] {
        let error = store.put(&Path::from(key), PutPayload::from_static(b"x")).await.unwrap_err();
        assert!(error.to_string().contains("InvalidKey"), "{key}: {error}");
    }
    for key in ["../outside", "a/../../b", "/abs", "a//b"] {
        assert!(house.sandbox.supabase.put("safelight", key, "text/plain", Bytes::new()).await.is_err(), "{key}");
    }
}

#[tokio::test]
async fn a_storage_outage_is_felt_and_ends() {
    let house = House::open().await;
    let store = store(&house);
    house.sandbox.supabase.faults().times(1, Fault::ServerError { status: 503 });
    assert!(store.put(&Path::from("a"), PutPayload::from_static(b"x")).await.is_err());
    store.put(&Path::from("a"), PutPayload::from_static(b"x")).await.unwrap();
    house.sandbox.supabase.take_down().await;
    assert!(store.get(&Path::from("a")).await.is_err());
    house.sandbox.supabase.bring_up().await.unwrap();
    store.get(&Path::from("a")).await.unwrap();
}

#[tokio::test]
async fn objects_are_found_again_by_the_next_sandbox_on_the_same_folder() {
    let house = House::open().await;
    house.sandbox.supabase.put("safelight", "a/b.jpg", "image/jpeg", Bytes::from_static(b"x")).await.unwrap();
    let again = safelight_sandbox::Sandbox::start(safelight_sandbox::Options::new(house.dir())).await.unwrap();
    assert_eq!(again.supabase.read("safelight", "a/b.jpg").await.unwrap(), "x");
}

#[tokio::test]
async fn rest_errors_are_400_with_the_real_number_as_text_and_a_removal_names_what_went() {
    let house = House::open().await;
    let supabase = house.sandbox.description().supabase;
    let base = format!("{}/storage/v1/object", supabase.url);
    let key = &supabase.secret_key;
    let post = |path: &str| house.http.post(format!("{base}/{path}")).header("apikey", key);

    assert_eq!(post("safelight/a/one.txt").body("1").send().await.unwrap().status(), 200);
    let twice = post("safelight/a/one.txt").body("1").send().await.unwrap();
    assert_eq!(twice.status(), 400);
    let twice: Value = twice.json().await.unwrap();
    assert_eq!((&twice["statusCode"], &twice["error"]), (&json!("409"), &json!("Duplicate")));
    let missing = house.http.get(format!("{base}/safelight/none")).header("apikey", key).send().await.unwrap();
    assert_eq!(missing.status(), 400);
    assert_eq!(missing.json::<Value>().await.unwrap()["statusCode"], "404");

    let list: Value = post("list/safelight").json(&json!({ "prefix": "" })).send().await.unwrap().json().await.unwrap();
    assert_eq!(list, json!([{ "name": "a", "id": null, "metadata": null }]), "one level; a folder has a null id");
    let signed: Value =
        post("sign/safelight/a/one.txt").json(&json!({ "expiresIn": 60 })).send().await.unwrap().json().await.unwrap();
    let url = format!("{}/storage/v1{}", supabase.url, signed["signedURL"].as_str().unwrap());
    assert_eq!(house.http.get(url).send().await.unwrap().text().await.unwrap(), "1");

    let names = json!({ "prefixes": ["a/one.txt", "a/never.txt"] });
    let gone = house.http.delete(format!("{base}/safelight")).header("apikey", key).json(&names);
    let gone: Value = gone.send().await.unwrap().json().await.unwrap();
    assert_eq!(gone.as_array().unwrap().len(), 1, "missing names are silently absent");
    assert_eq!(house.http.get(format!("{base}/safelight/a")).send().await.unwrap().status(), 401, "no apikey");
}
