use std::path::PathBuf;

use uuid::Uuid;

use super::{super::testing::*, *};
use crate::id::{Id, Subject};

/// A folder that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("safelight-storage-{}", Uuid::now_v7())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key(subject: Id<Subject>, id: &str) -> Key {
    Key::new("koselfie", &subject.uuid().simple().to_string(), "upload", id).unwrap()
}

fn bucket(url: &str) -> Storage {
    let config = S3Config {
        endpoint: format!("{url}/storage/v1/s3"),
        region: "local".into(),
        bucket: "people".into(),
        access_key: Secret::new("access"),
        secret_key: Secret::new("planted-secret"),
        timeout: Duration::from_secs(5),
    };
    Storage::s3(&config).unwrap()
}

#[tokio::test]
async fn what_is_put_is_there_until_it_is_deleted_and_then_provably_not() {
    let scratch = Scratch::new();
    let storage = Storage::file(&scratch.0).unwrap();
    let key = key(Id::new(), "one");
    assert!(storage.absent(&key).await.unwrap());
    storage.put(&key, Bytes::from_static(b"selfie"), "image/jpeg").await.unwrap();
    assert!(storage.exists(&key).await.unwrap());
    assert_eq!(&storage.get(&key, 6).await.unwrap()[..], b"selfie");
    assert_eq!(storage.get(&key, 5).await, Err(StorageError::TooLarge { most: 5 }));
    storage.delete(&key).await.unwrap();
    assert!(storage.absent(&key).await.unwrap());
    assert_eq!(storage.get(&key, 6).await, Err(StorageError::NotFound));
    storage.delete(&key).await.unwrap(); // as often as wanted
}

#[tokio::test]
async fn n25_deleting_one_persons_copy_leaves_the_others() {
    let scratch = Scratch::new();
    let storage = Storage::file(&scratch.0).unwrap();
    let (ann, bob) = (Id::<Subject>::new(), Id::<Subject>::new());
    for subject in [ann, bob] {
        for id in ["one", "two", "three"] {
            storage.put(&key(subject, id), Bytes::from_static(b"same"), "image/jpeg").await.unwrap();
        }
    }
    let found = storage.list(&Prefix::subject("koselfie", ann).unwrap()).await.unwrap();
    assert_eq!(found.len(), 3);
    let keys: Vec<Key> = found.into_iter().map(|listed| listed.key).chain([key(ann, "never-there")]).collect();
    let claims = storage.delete_many(&keys).await;
    assert_eq!(claims.len(), 4);
    assert!(claims.iter().all(|(_, claim)| claim.is_ok()), "{claims:?}");
    assert!(storage.list(&Prefix::subject("koselfie", ann).unwrap()).await.unwrap().is_empty());
    assert_eq!(storage.list(&Prefix::tenant("koselfie").unwrap()).await.unwrap().len(), 3);
    assert!(!scratch.0.join("koselfie").join(ann.uuid().simple().to_string()).exists(), "an empty folder names her");
}

#[tokio::test]
async fn n10_a_sweep_finds_and_deletes_what_we_would_never_have_written() {
    let scratch = Scratch::new();
    let storage = Storage::file(&scratch.0).unwrap();
    let subject = Id::<Subject>::new();
    let folder = scratch.0.join("koselfie").join(subject.uuid().simple().to_string()).join("upload");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("Holiday Photo.JPG"), b"x").unwrap();
    let prefix = Prefix::subject("koselfie", subject).unwrap();
    let found = storage.list(&prefix).await.unwrap();
    assert_eq!((found.len(), found[0].key.is_regular(), found[0].size), (1, false, 1));
    assert!(found[0].key.belongs_to("koselfie", subject));
    storage.delete(&found[0].key).await.unwrap();
    assert!(storage.list(&prefix).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_stream_is_stored_whole_or_not_at_all() {
    let scratch = Scratch::new();
    let storage = Storage::file(&scratch.0).unwrap();
    let key = key(Id::new(), "model");
    let chunk = || Ok(Bytes::from(vec![7_u8; 5 * 1024 * 1024]));
    let broken = futures::stream::iter([chunk(), chunk(), Err("gone"), chunk()]).boxed();
    assert_eq!(storage.put_stream(&key, broken, "application/x").await, Err(StorageError::SourceBroke));
    assert!(storage.absent(&key).await.unwrap());
    let whole = futures::stream::iter([chunk(), chunk(), chunk()] as [Result<Bytes, &str>; 3]).boxed();
    assert_eq!(storage.put_stream(&key, whole, "application/x").await, Ok(15 * 1024 * 1024));
    assert_eq!(storage.get(&key, u64::MAX).await.unwrap().len(), 15 * 1024 * 1024);
}

#[tokio::test]
async fn a_folder_says_that_it_cannot_sign() {
    let scratch = Scratch::new();
    let storage = Storage::file(&scratch.0).unwrap();
    let heard = storage.signed_get(&key(Id::new(), "one"), Duration::from_secs(60)).await.err();
    assert_eq!(heard, Some(StorageError::NotSupported));
}

#[tokio::test]
async fn a_signed_link_opens_one_object_one_way_for_its_time() {
    let storage = bucket("http://127.0.0.1:9");
    let key = key(Id::new(), "one");
    let read = storage.signed_get(&key, Duration::from_secs(900)).await.unwrap();
    let link = url::Url::parse(read.expose()).unwrap();
    assert_eq!(link.path(), format!("/storage/v1/s3/people/{key}"));
    let pairs: std::collections::HashMap<_, _> = link.query_pairs().into_owned().collect();
    assert_eq!(pairs["X-Amz-Expires"], "900");
    assert!(!read.expose().contains("planted-secret"));
    let write = storage.signed_put(&key, Duration::from_secs(900)).await.unwrap();
    let signature = |link: &Secret| link.expose().split("X-Amz-Signature=").nth(1).map(str::to_owned);
    assert_ne!(signature(&read), signature(&write), "a link for reading does not write");
    for life in [Duration::ZERO, LONGEST_LINK + Duration::from_secs(1)] {
        assert_eq!(storage.signed_get(&key, life).await.err(), Some(StorageError::BadLife));
    }
}

#[tokio::test]
async fn a_bucket_is_asked_path_style_with_a_signature_and_its_codes_are_told_apart() {
    let key = key(Id::new(), "one");
    let deleted = format!("<DeleteResult><Deleted><Key>{key}</Key></Deleted></DeleteResult>");
    let server = StandIn::start([
        Reply::Say(200, vec![("etag", "\"1\"".into())], String::new()),
        Reply::Say(404, vec![], String::new()),
        Reply::Say(403, vec![], "<Error><Code>SignatureDoesNotMatch</Code></Error>".into()),
        Reply::Say(200, vec![], deleted),
    ])
    .await;
    let storage = bucket(&server.url);
    storage.put(&key, Bytes::from_static(b"x"), "image/jpeg").await.unwrap();
    assert_eq!(storage.absent(&key).await, Ok(true));
    assert_eq!(storage.absent(&key).await, Err(StorageError::NotAllowed), "a refusal proves nothing");
    storage.delete(&key).await.unwrap();
    let asked = server.asked();
    assert_eq!(asked[0].path, format!("/storage/v1/s3/people/{key}"));
    assert_eq!(asked[0].header("content-type"), "image/jpeg");
    assert!(asked[0].header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=access/"));
    let heard = bucket(&nobody().await).absent(&key).await;
    assert_eq!(heard, Err(StorageError::Unreachable));
}

#[tokio::test]
async fn n8_a_bulk_delete_that_leaves_one_behind_says_which() {
    let subject = Id::<Subject>::new();
    let (one, two) = (key(subject, "one"), key(subject, "two"));
    let half = format!(
        "<DeleteResult><Deleted><Key>{one}</Key></Deleted><Error><Key>{two}</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
    );
    let server = StandIn::start([Reply::Say(200, vec![], half), Reply::Say(403, vec![], String::new())]).await;
    let claims = bucket(&server.url).delete_many(&[one.clone(), two.clone()]).await;
    assert_eq!(claims, [(one, Ok(())), (two, Err(StorageError::NotAllowed))]);
}

#[test]
fn h23_a_bucket_is_not_reached_over_plain_http() {
    let config = |endpoint: &str, secret: &str| S3Config {
        endpoint: endpoint.into(),
        region: "eu".into(),
        bucket: "people".into(),
        access_key: Secret::new("a"),
        secret_key: Secret::new(secret),
        timeout: Duration::from_secs(1),
    };
    assert!(matches!(Storage::s3(&config("http://s3.example", "s")), Err(ConfigError::PlainHttp { .. })));
    assert!(matches!(Storage::s3(&config("https://s3.example", "")), Err(ConfigError::BadSecret { .. })));
}
