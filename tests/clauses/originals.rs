//! Originals: a private bucket, a folder a person, and links that read one object for a short while.

use std::time::Duration;

use safelight_jobs::keys;

use crate::app::App;

/// The longest that a link may work which a job hands to a processor.
const LONGEST_LINK_SECONDS: u64 = 2 * 3600;

/// Every address in a value.
fn links(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) if text.starts_with("http") => found.push(text.clone()),
        serde_json::Value::Array(all) => all.iter().for_each(|one| links(one, found)),
        serde_json::Value::Object(fields) => fields.values().for_each(|one| links(one, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h11_k5_nobody_reads_an_original_without_a_link_and_a_link_reads_that_one_object_only() {
    let app = App::spawn().await;
    let (bob, eve) = (app.person("haloprofile").await, app.person("haloprofile").await);
    let (_, of_bob) = app.uploads(&bob, 1).await;
    let (_, of_eve) = app.uploads(&eve, 1).await;
    let (his, hers) = (app.key_of(of_bob[0]).await, app.key_of(of_eve[0]).await);
    let there = app.sandbox.description().supabase.clone();
    for address in [
        format!("{}/safelight/{his}", there.s3_endpoint),
        format!("{}/storage/v1/object/safelight/{his}", there.url),
        format!("{}/storage/v1/object/public/safelight/{his}", there.url),
    ] {
        let status = app.http.get(&address).send().await.unwrap().status();
        assert!(status.is_client_error(), "{address}: {status}");
    }
    let link = app.services.storage.signed_get(&keys::stored(&his).unwrap(), Duration::from_secs(60)).await.unwrap();
    let link = link.expose();
    assert_eq!(app.http.get(link).send().await.unwrap().status(), 200);
    for bent in [
        link.replace(&his, &hers),
        link.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"),
        link.split('?').next().unwrap().to_owned(),
    ] {
        assert_ne!(bent, link);
        let status = app.http.get(&bent).send().await.unwrap().status();
        assert!(status.is_client_error(), "{bent}: {status}");
    }
    assert!(
        app.http.put(link).body("x").send().await.unwrap().status().is_client_error(),
        "it reads, and writes nothing"
    );
    // Nor is there an address of the intake that hands one out.
    let token = app.token("haloprofile").await;
    for path in [
        format!("/v1/subjects/{}/images/{}", bob.id, of_bob[0]),
        format!("/v1/subjects/{}/exports/{}", bob.id, of_bob[0]),
    ] {
        assert_eq!(app.get(&token, &path).await.0, 404, "{path}");
    }
}

/// What Fal is given: our own links, each to something of this person, none for longer than a training may take to begin.
#[tokio::test(flavor = "multi_thread")]
async fn h11_h8_a_processor_is_given_links_that_end_soon_and_lead_to_this_persons_folder_only() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    let own = format!("/haloprofile/{}/", bob.id.uuid().simple());
    let endpoint = app.sandbox.description().supabase.s3_endpoint.clone();
    let mut given = Vec::new();
    for request in app.sandbox.fal.requests() {
        links(&request.input, &mut given);
    }
    assert!(given.len() >= 5, "a training and four images: {given:?}");
    for link in given {
        assert!(link.starts_with(&endpoint) && link.contains(&own), "{link}");
        let url = url::Url::parse(&link).unwrap();
        let life: u64 = url.query_pairs().find(|(name, _)| name == "X-Amz-Expires").unwrap().1.parse().unwrap();
        assert!(life <= LONGEST_LINK_SECONDS, "{life} seconds");
        assert!(!link.contains("/upload/"), "no single original leaves the house: {link}");
    }
}
