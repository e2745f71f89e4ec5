//! What a host in front of us writes down of every request: method, path and query. No word of a person, no key of an object
//! and no secret has a place there.

use axum::http::{Method, StatusCode};
use safelight_api::tokens::Scope;
use serde_json::{Value, json};

use crate::{
    house::{House, SWEEP_SECRET, request},
    log,
};

/// Parts of a path that are random ids of ours.
const IDS: [&str; 7] = ["artifact", "batch", "bulk", "deletion", "job", "order", "subject"];
/// Parts of a path that are one of a few words of the house's own.
const WORDS: [&str; 6] = ["act", "fate", "name", "provider", "scope", "sweep"];
/// What a query may ask: codes, states, times, numbers, and where a list goes on.
const QUERIES: [&str; 14] = [
    "act", "code", "cursor", "from", "job", "kind", "limit", "order", "queue", "state", "subject", "tenant", "until",
    "wait",
];
/// A mail address, an object's key and a secret, as an address would carry them.
const MARKERS: [&str; 3] = ["ann.planted%40mail.example", "koselfie%2F0190a%2Fupload%2Fplanted", "sl_planted_secret"];

/// Fal sends no header of ours back, so the name of a call stands in the address that Fal calls. It opens nothing: only what
/// Fal has signed is read.
fn names_a_call(path: &str, part: &str) -> bool {
    path == "/webhooks/fal/{token}" && part == "token"
}

/// What an operation takes, and where: said at it, or once for all.
fn parts<'a>(said: &'a Value, document: &'a Value) -> Vec<(&'a str, &'a str)> {
    let all = said["parameters"].as_array().into_iter().flatten();
    let told = all.map(|part| match part["$ref"].as_str().and_then(|at| at.strip_prefix('#')) {
        Some(at) => document.pointer(at).expect("it is said there"),
        None => part,
    });
    told.map(|part| (part["name"].as_str().expect("a name"), part["in"].as_str().expect("a place"))).collect()
}

#[tokio::test]
async fn k34_no_address_of_the_intake_has_a_place_for_a_word_of_a_person_a_key_or_a_secret() {
    log::keep();
    let house = House::build().await;
    let token = house.token(None, &Scope::ALL).await;
    let document = serde_json::to_value(safelight_api::openapi()).expect("a document");
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, said) in methods.as_object().expect("methods") {
            let parts = parts(said, &document);
            for (part, place) in &parts {
                let known = match *place {
                    "path" => IDS.contains(part) || WORDS.contains(part) || names_a_call(path, part),
                    "query" => QUERIES.contains(part),
                    // No part of an address, and no log of ours or of a proxy takes it along.
                    "header" => ["safelight-why", "idempotency-key", "if-none-match"].contains(part),
                    other => panic!("{method} {path} takes {part} in {other}"),
                };
                assert!(known, "{method} {path} has a new part `{part}`: say here what it may hold");
            }
            let in_path: Vec<&str> =
                parts.iter().filter(|(_, place)| *place == "path").map(|(part, _)| *part).collect();
            for marker in MARKERS.iter().filter(|_| !in_path.is_empty()) {
                let filled =
                    in_path.iter().fold(path.clone(), |path, part| path.replace(&format!("{{{part}}}"), marker));
                let method: Method = method.to_uppercase().parse().expect("a method");
                let answer = house.send(request(method, &filled, &token, Some(&json!({ "why": "x" })))).await;
                assert!(answer.status.is_client_error(), "{filled}: {} {}", answer.status, answer.text);
                tried += 1;
            }
        }
    }
    assert!(tried > 60, "{tried} addresses were tried");
    // And our own log names the route's pattern instead.
    let logged = log::kept();
    assert!(logged.contains("/v1/orders/{order}"), "the log was captured");
    assert!(!logged.contains("planted"), "what stood in an address is logged");
    assert!(!house.everything_stored().await.contains("planted"));
}

#[tokio::test]
async fn k34_h24_a_secret_in_a_query_opens_nothing() {
    let house = House::build().await;
    let token = house.token(None, &Scope::ALL).await;
    let sweep = SWEEP_SECRET.replace(' ', "%20").replace('\'', "%27");
    for name in ["token", "access_token", "authorization", "apikey", "secret", "bearer"] {
        for (path, secret) in [("/v1/controls", &token), ("/v1/dead-letters", &token), ("/sweeps/retention", &sweep)] {
            for form in [secret.clone(), format!("Bearer%20{secret}")] {
                let answer = house.get("", &format!("{path}?{name}={form}")).await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}?{name}");
            }
        }
        // The console sends whoever is not signed in to its form, and takes no more of the address along than what a search asks.
        let console = house.get("", &format!("/console?{name}={token}")).await;
        assert!(!console.status.is_success(), "/console?{name}: {}", console.status);
        assert!(!console.header("location").contains(&token) && !console.text.contains(&token));
    }
    assert_eq!(house.count("from safelight.jobs").await, 0);
}
