//! A person who is signed in at Supabase uses their own rights, and nothing else.

use axum::http::{Method, StatusCode};
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id, Subject};
use safelight_sandbox::supabase::{Signature, UserToken};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::house::{Answer, House, POLICY, request};

/// Where a sign-in opens something.
pub(crate) const ROOT: &str = "/v1/me";

pub(crate) const ROUTES: &[(&str, &str)] = &[
    ("get", "/v1/me"),
    ("post", "/v1/me/consents"),
    ("post", "/v1/me/consents/withdraw"),
    ("post", "/v1/me/exports"),
    ("get", "/v1/me/exports/{artifact}"),
    ("post", "/v1/me/erase"),
];

/// A registered person with a user at Supabase.
pub(crate) struct SignedIn {
    subject: Id<Subject>,
    user: Uuid,
    email: String,
    pub(crate) jwt: String,
}

impl SignedIn {
    pub(crate) async fn at(house: &House, tenant: &str, name: &str) -> Self {
        let email = format!("{name}@example.org");
        let user = house.sandbox.supabase.create_user(&email).id;
        let backend = house.backend(tenant).await;
        let registered = house.post(&backend, "/v1/subjects", json!({ "email": email, "auth_user": user })).await;
        assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.text);
        let jwt = house.sandbox.supabase.mint_user_jwt(user, &email).expect("a sign-in");
        Self { subject: registered.id("subject"), user, email, jwt }
    }

    /// A sign-in of this user that says something else.
    pub(crate) fn sign_in(&self, house: &House, change: impl FnOnce(&mut UserToken)) -> String {
        let mut token = UserToken::of(self.user, &self.email);
        change(&mut token);
        house.sandbox.supabase.mint(&token).expect("a sign-in")
    }
}

pub(crate) fn agreeing(purpose: &str) -> Value {
    json!({ "purpose": purpose, "capture_point": "sign_up", "wording_sha256": "0".repeat(64), "policy_version": POLICY })
}

/// Every route, asked with this bearer.
async fn everything(house: &House, bearer: &str) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    for (method, path) in ROUTES {
        let verb: Method = method.to_uppercase().parse().expect("a method");
        let filled = path.replace("{artifact}", &Id::<id::Artifact>::new().to_string());
        let body = (*method == "post").then(|| json!({}));
        answers.push((format!("{method} {path}"), house.send(request(verb, &filled, bearer, body.as_ref())).await));
    }
    answers
}

#[tokio::test]
async fn a_signed_in_person_consents_withdraws_is_exported_and_erased_without_the_backend() {
    let house = House::build().await;
    let ann = SignedIn::at(&house, "koselfie", "ann").await;
    let me = house.get(&ann.jwt, "/v1/me").await;
    assert_eq!((me.status, &me.body["state"]), (StatusCode::OK, &json!("active")), "{}", me.text);
    assert_eq!(me.id::<id::Subject>("subject"), ann.subject);
    assert_eq!(me.body["consents"], json!([]));

    let given = house.post(&ann.jwt, "/v1/me/consents", agreeing("compare")).await;
    assert_eq!(given.status, StatusCode::CREATED, "{}", given.text);
    let by: String =
        sqlx::query_scalar("select actor from safelight.consents").fetch_one(&house.owner).await.expect("one");
    assert_eq!(by, "subject");
    let withdrawn = house.post(&ann.jwt, "/v1/me/consents/withdraw", json!({ "purpose": "compare" })).await;
    assert_eq!(withdrawn.status, StatusCode::ACCEPTED, "{}", withdrawn.text);
    let me = house.get(&ann.jwt, "/v1/me").await;
    assert_eq!(
        (me.body["consents"][0]["purpose"].as_str(), me.body["consents"][0]["event"].as_str()),
        (Some("compare"), Some("withdrawn"))
    );

    let backend = house.backend("koselfie").await;
    let path = format!("/v1/subjects/{}/objections", ann.subject);
    let noted = house.post(&backend, &path, json!({ "purpose": "observe" })).await;
    assert_eq!((noted.status, &noted.body["state"]), (StatusCode::CREATED, &json!("open")), "{}", noted.text);
    let me = house.get(&ann.jwt, "/v1/me").await;
    assert_eq!(
        (
            me.body["state"].as_str(),
            me.body["objections"][0]["purpose"].as_str(),
            me.body["objections"][0]["state"].as_str()
        ),
        (Some("restricted"), Some("observe"), Some("open"))
    );

    let export = house.post(&ann.jwt, "/v1/me/exports", json!({})).await;
    assert_eq!(export.status, StatusCode::ACCEPTED, "{}", export.text);
    let path = format!("/v1/me/exports/{}", export.body["export"].as_str().expect("an export"));
    assert_eq!(house.get(&ann.jwt, &path).await.body["state"], json!("making"));

    let erased = house.post(&ann.jwt, "/v1/me/erase", json!({})).await;
    assert_eq!(erased.status, StatusCode::ACCEPTED, "{}", erased.text);
    let again = house.post(&ann.jwt, "/v1/me/erase", json!({})).await;
    assert_eq!((&again.body["deletion"], &again.body["already"]), (&erased.body["deletion"], &json!(true)));
    assert_eq!(house.count("from safelight.jobs where kind = 'delete_data'").await, 2, "withdrawal and erasure");
}

#[tokio::test]
async fn n27_a_sign_in_that_outlives_its_person_is_answered_by_the_persons_state() {
    let house = House::build().await;
    let ann = SignedIn::at(&house, "koselfie", "ann").await;
    house.post(&ann.jwt, "/v1/me/erase", json!({})).await;
    let me = house.get(&ann.jwt, "/v1/me").await;
    assert_eq!(me.body["state"], json!("erasing"), "the sign-in still holds, and the person is leaving: {}", me.text);
    assert!(me.body["erasure"].is_string() && me.body["answer_due"].is_string(), "{}", me.text);
    let consent = house.post(&ann.jwt, "/v1/me/consents", agreeing("compare")).await;
    assert_eq!((consent.status, consent.code()), (StatusCode::CONFLICT, "subject_erased"), "{}", consent.text);
    let export = house.post(&ann.jwt, "/v1/me/exports", json!({})).await;
    assert_eq!((export.status, export.code()), (StatusCode::CONFLICT, "subject_erased"), "{}", export.text);
    assert_eq!(house.count("from safelight.consents").await, 0);

    // The account row goes before the user at Supabase does; the token is good until its end all the same.
    house.run("delete from safelight.accounts").await;
    for (route, answer) in everything(&house, &ann.jwt).await {
        assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, "sign_in_unknown"), "{route}");
    }
}

#[tokio::test]
async fn n27_a_sign_in_that_is_not_this_projects_opens_nothing_and_changes_nothing() {
    let house = House::build().await;
    let ann = SignedIn::at(&house, "koselfie", "ann").await;
    let elsewhere = House::build().await;
    let slt = house.token(Some("koselfie"), &Scope::ALL).await;
    let others_secret =
        elsewhere.sandbox.supabase.mint_legacy(&UserToken::of(ann.user, &ann.email)).expect("a sign-in");
    let stranger = house.sandbox.supabase.create_user("eve@example.org").id;
    let unknown = house.sandbox.supabase.mint_user_jwt(stranger, "eve@example.org").expect("a sign-in");
    let before = house.everything_stored().await.len();
    for (bearer, code) in [
        (String::new(), "sign_in_refused"),
        (slt, "sign_in_refused"),
        (ann.sign_in(&elsewhere, |_| ()), "sign_in_refused"),
        (others_secret, "sign_in_refused"),
        (ann.sign_in(&house, |token| token.audience = "another".to_owned()), "sign_in_refused"),
        (ann.sign_in(&house, |token| token.role = "service_role".to_owned()), "sign_in_refused"),
        (ann.sign_in(&house, |token| token.expires_at -= 2 * 3600), "sign_in_refused"),
        (ann.sign_in(&house, |token| token.not_before = Some(token.issued_at + 600)), "sign_in_refused"),
        (unknown, "sign_in_unknown"),
    ] {
        for (route, answer) in everything(&house, &bearer).await {
            assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, code), "{route}: {}", answer.text);
        }
    }
    assert_eq!(house.everything_stored().await.len(), before);
    // An hour later, by the database's clock, a good one has ended.
    assert_eq!(house.get(&ann.jwt, "/v1/me").await.status, StatusCode::OK);
    house.turn_clock_to("62 minutes").await;
    assert_eq!(house.get(&ann.jwt, "/v1/me").await.code(), "sign_in_refused");
}

#[tokio::test]
async fn h24_a_sign_in_opens_no_route_of_the_backend_and_no_one_elses_things() {
    let house = House::build().await;
    let ann = SignedIn::at(&house, "koselfie", "ann").await;
    let ben = SignedIn::at(&house, "haloprofile", "ben").await;
    let export = house.post(&ben.jwt, "/v1/me/exports", json!({})).await;
    let path = format!("/v1/me/exports/{}", export.body["export"].as_str().expect("an export"));
    assert_eq!(house.get(&ben.jwt, &path).await.status, StatusCode::OK);
    assert_eq!(house.get(&ann.jwt, &path).await.code(), "not_found");
    for path in ["/v1/jobs/kinds", "/v1/controls"] {
        let answer = house.get(&ann.jwt, path).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, "bad_token"), "{path}");
    }
    let answer = house.post(&ann.jwt, &format!("/v1/subjects/{}/erase", ben.subject), json!({})).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, "bad_token"));
    assert_eq!(house.count("from safelight.subjects where state <> 'active'").await, 0);
}

#[tokio::test]
async fn sign_ins_are_neither_believed_nor_refused_while_the_projects_keys_cannot_be_fetched() {
    let house = House::build().await;
    let ann = SignedIn::at(&house, "koselfie", "ann").await;
    house.sandbox.supabase.take_down().await;
    for (route, answer) in everything(&house, &ann.jwt).await {
        assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, "keys_unavailable"), "{route}");
        assert_eq!(answer.header("retry-after"), "5");
    }
}

#[tokio::test]
async fn a_sign_in_is_believed_by_each_kind_of_signature_that_supabase_has() {
    let house = House::build().await;
    let ann = SignedIn::at(&house, "koselfie", "ann").await;
    assert_eq!(house.get(&ann.jwt, "/v1/me").await.status, StatusCode::OK, "ES256");
    let legacy = house.sandbox.supabase.mint_legacy(&UserToken::of(ann.user, &ann.email)).expect("a sign-in");
    assert_eq!(house.get(&legacy, "/v1/me").await.status, StatusCode::OK, "HS256");
    house.sandbox.supabase.rotate_key(Signature::Rs256).expect("a key");
    house.turn_clock_to("1 minute").await;
    assert_eq!(house.get(&ann.sign_in(&house, |_| ()), "/v1/me").await.status, StatusCode::OK, "RS256");
}

#[tokio::test]
async fn a_key_that_rotates_signs_nobody_out_and_one_that_is_revoked_signs_out_its_own() {
    let house = House::build().await;
    let ann = SignedIn::at(&house, "koselfie", "ann").await;
    let status = async |jwt: &str| house.get(jwt, "/v1/me").await.status;
    let fetched = || house.sandbox.supabase.calls().iter().filter(|call| call.path.ends_with("/jwks.json")).count();
    assert_eq!(status(&ann.jwt).await, StatusCode::OK);
    house.sandbox.supabase.rotate_key(Signature::Es256).expect("a key");
    house.turn_clock_to("1 minute").await;
    let newer = ann.sign_in(&house, |_| ());
    assert_eq!((status(&newer).await, fetched()), (StatusCode::OK, 2), "the unknown key made us look again");
    assert_eq!((status(&ann.jwt).await, fetched()), (StatusCode::OK, 2), "the earlier one is still published");

    house.sandbox.supabase.revoke_earlier_keys();
    assert_eq!(status(&ann.jwt).await, StatusCode::OK, "a key set is kept for ten minutes, as Supabase says it may be");
    house.turn_clock_to("12 minutes").await;
    let refused = house.get(&ann.jwt, "/v1/me").await;
    assert_eq!((refused.status, refused.code()), (StatusCode::UNAUTHORIZED, "sign_in_refused"), "{}", refused.text);
    assert_eq!(status(&newer).await, StatusCode::OK);
}

#[tokio::test]
async fn a_sign_in_of_a_new_key_is_neither_believed_nor_refused_while_supabase_is_away() {
    let house = House::build().await;
    let ann = SignedIn::at(&house, "koselfie", "ann").await;
    assert_eq!(house.get(&ann.jwt, "/v1/me").await.status, StatusCode::OK);
    house.sandbox.supabase.rotate_key(Signature::Es256).expect("a key");
    let newer = ann.sign_in(&house, |_| ());
    house.turn_clock_to("1 minute").await;
    house.sandbox.supabase.take_down().await;
    for _ in 0..2 {
        let answer = house.get(&newer, "/v1/me").await;
        assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, "keys_unavailable"));
        assert_eq!(house.get(&ann.jwt, "/v1/me").await.status, StatusCode::OK, "known keys hold until they are old");
    }
    house.sandbox.supabase.bring_up().await.expect("the same port");
    house.turn_clock_to("66 seconds").await;
    assert_eq!(house.get(&newer, "/v1/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn one_persons_loop_is_refused_before_it_is_everybodys_outage() {
    let house = House::build().await;
    let ann = SignedIn::at(&house, "koselfie", "ann").await;
    let ben = SignedIn::at(&house, "koselfie", "ben").await;
    let mut refused = 0;
    for _ in 0..130 {
        refused += usize::from(house.get(&ann.jwt, "/v1/me").await.code() == "rate_limited");
    }
    assert!(refused > 0, "120 a minute are let in");
    assert_eq!(house.get(&ben.jwt, "/v1/me").await.status, StatusCode::OK);
}

#[test]
fn no_route_of_a_person_is_missing_here() {
    let document = serde_json::to_value(safelight_api::openapi()).expect("a document");
    let mut described: Vec<(String, String)> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .filter(|(path, _)| path.starts_with(ROOT))
        .flat_map(|(path, methods)| methods.as_object().expect("methods").keys().map(|m| (m.clone(), path.clone())))
        .collect();
    let mut known: Vec<(String, String)> = ROUTES.iter().map(|(m, p)| ((*m).to_owned(), (*p).to_owned())).collect();
    described.sort();
    known.sort();
    assert_eq!(described, known);
    for (method, path) in ROUTES {
        assert!(document["paths"][path][method]["security"][0]["sign_in"].is_array(), "{method} {path}");
    }
}
