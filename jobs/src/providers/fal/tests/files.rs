use serde_json::json;

use super::*;

#[tokio::test]
async fn n9_a_purge_that_answers_200_and_keeps_a_file_is_not_taken_for_a_success() {
    let link = "https://v3.fal.media/files/b/planted/face.png";
    let results = json!([
        {"link": link, "exception": null},
        {"link": link, "exception": format!("could not delete {link} because of a timeout")},
        {"link": link},
    ]);
    let (server, fal) = told(Reply::json(200, json!({"cdn_delete_results": results}))).await;
    let files = fal.purge(ID).await.unwrap();
    assert!(files.iter().all(|file| file.host == "v3.fal.media"));
    let failed: Vec<Option<&str>> = files.iter().map(|file| file.failed.as_deref()).collect();
    let absent = Some("fal did not say whether the file is gone");
    assert_eq!(failed, [None, Some("could not delete because of a timeout"), absent]);
    assert!(!format!("{files:?}").contains("planted"));
    let asked = &server.asked()[0];
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("DELETE", format!("/v1/models/requests/{ID}/payloads").as_str())
    );
    assert_eq!(asked.header("authorization"), "Key admin:planted");
}

#[tokio::test]
async fn without_an_admin_key_nothing_is_purged_and_nothing_is_sent() {
    let server = StandIn::start([]).await;
    let without = Fal::new(&FalConfig { admin_key: None, ..config(&server.url) }).unwrap();
    assert_eq!(without.purge(ID).await.err(), Some(FalError::NoAdminKey));
    assert_eq!(fal(&server.url).purge("../../keys").await.err(), Some(FalError::NotFound));
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_file_is_fetched_up_to_its_limit_and_without_our_key() {
    let say = |body: &str| Reply::Say(200, vec![("content-type", "image/png".into())], body.into());
    let server =
        StandIn::start([say("12345678"), say("123456789"), say("123456789"), Reply::BreakOff, Reply::BreakOff]).await;
    let fal = fal(&server.url);
    let link = server.url.clone() + "/files/a.png";
    let file = fal.download(&link, 8).await.unwrap();
    assert_eq!((&file.bytes[..], file.content_type.as_deref()), (&b"12345678"[..], Some("image/png")));
    assert_eq!(fal.download(&link, 8).await.err(), Some(FalError::TooLarge { most: 8 }));
    assert_eq!(fal.open(&link, 8).await.err(), Some(FalError::TooLarge { most: 8 }), "before a byte, by its length");
    assert_eq!(fal.download(&link, 4).await.err(), Some(FalError::TooLarge { most: 4 }), "without a stated length");
    assert!(matches!(fal.download(&link, 100).await.err(), Some(FalError::Unreachable { .. })));
    assert!(server.asked().iter().all(|asked| asked.header("authorization").is_empty()));
}

#[tokio::test]
async fn h9_a_file_elsewhere_is_not_fetched() {
    let server = StandIn::start([]).await;
    let elsewhere = Fal::new(&FalConfig { files_hosts: vec!["v3.fal.media".into()], ..config(&server.url) }).unwrap();
    let here = server.url.clone() + "/x";
    for link in
        [here.as_str(), "http://v3.fal.media/x", "https://v3.fal.media.example/x", "https://v3.fal.media:8443/x"]
    {
        assert_eq!(elsewhere.download(link, 9).await.err(), Some(FalError::ForeignLink), "{link}");
        assert_eq!(elsewhere.is_file_gone(link).await, Err(FalError::ForeignLink));
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_forbidden_file_is_opened_with_a_signed_link_that_is_no_way_out_either() {
    let server = StandIn::start([Reply::Say(403, vec![], String::new())]).await;
    let fal = fal(&server.url);
    let link = server.url.clone() + "/files/a.png";
    server.then(Reply::json(200, json!({"signed_url": format!("{link}?identity=1")})));
    server.then(Reply::Say(200, vec![], "image".into()));
    assert_eq!(&fal.download(&link, 100).await.unwrap().bytes[..], b"image");
    let asked = server.asked();
    assert_eq!(
        (asked[1].path.as_str(), asked[1].header("authorization")),
        ("/v1/storage/files/sign", "Key id:planted")
    );
    assert_eq!(asked[2].query, "identity=1");
    server.then(Reply::Say(403, vec![], String::new()));
    server.then(Reply::json(200, json!({"signed_url": "https://elsewhere.example/a.png"})));
    assert_eq!(fal.download(&link, 100).await.err(), Some(FalError::ForeignLink));
}

#[tokio::test]
async fn a_purged_file_is_gone_only_if_fal_says_there_is_none() {
    let server = StandIn::start([404, 410, 200, 500].map(|status| Reply::Say(status, vec![], String::new()))).await;
    let fal = fal(&server.url);
    let link = server.url.clone() + "/files/a.png";
    assert_eq!(fal.is_file_gone(&link).await, Ok(true));
    assert_eq!(fal.is_file_gone(&link).await, Ok(true));
    assert_eq!(fal.is_file_gone(&link).await, Ok(false));
    assert!(fal.is_file_gone(&link).await.is_err(), "a fault proves nothing");
    server.then(Reply::Say(403, vec![], String::new()));
    server.then(Reply::json(200, json!({"signed_url": format!("{link}?identity=1")})));
    server.then(Reply::Say(200, vec![], String::new()));
    assert_eq!(fal.is_file_gone(&link).await, Ok(false), "forbidden is not gone");
}
