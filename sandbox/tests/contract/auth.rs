//! Supabase Auth: deletion of users, key set, tokens.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reqwest::{Method, Response};
use safelight_sandbox::Fault;
use safelight_sandbox::supabase::{Signature, UserToken};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::house::House;

async fn admin(house: &House, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let url = format!("{}/auth/v1/admin/users/{path}", house.sandbox.description().supabase.url);
    let mut request = house.http.request(method, url).json(&json!({ "should_soft_delete": false }));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn deleting_a_user_answers_an_empty_object_then_404_and_leaves_an_audit_row() {
    let house = House::open().await;
    let key = house.sandbox.description().supabase.secret_key;
    let keyed = [("apikey", key.as_str())];
    let user = house.sandbox.supabase.create_user("ann@safelight.test");
    let id = user.id.to_string();
    assert_eq!(admin(&house, Method::GET, &id, &keyed).await.status(), 200);
    let gone = admin(&house, Method::DELETE, &id, &keyed).await;
    assert_eq!(gone.status(), 200);
    assert_eq!(gone.json::<Value>().await.unwrap(), json!({}));
    assert!(house.sandbox.supabase.users().is_empty());

    let again = admin(&house, Method::DELETE, &id, &keyed).await;
    assert_eq!(
        (again.status().as_u16(), again.headers()["x-sb-error-code"].to_str().unwrap()),
        (404, "user_not_found")
    );
    let again: Value = again.json().await.unwrap();
    assert_eq!((&again["code"], &again["error_code"]), (&json!(404), &json!("user_not_found")));
    let versioned = [("apikey", key.as_str()), ("x-supabase-api-version", "2024-01-01")];
    let other: Value = admin(&house, Method::DELETE, &id, &versioned).await.json().await.unwrap();
    assert_eq!(other["code"], "user_not_found", "the newer shape");
    let strange: Value = admin(&house, Method::DELETE, "no-uuid", &keyed).await.json().await.unwrap();
    assert_eq!(strange["error_code"], "validation_failed");
    assert_eq!(house.sandbox.supabase.audit_log()[0].user_email, "ann@safelight.test");
}

#[tokio::test]
async fn an_address_is_changed_at_once_only_of_a_user_who_is_there_and_never_to_that_of_another() {
    let house = House::open().await;
    let supabase = house.sandbox.description().supabase;
    let (ann, eve) = (house.sandbox.supabase.create_user("ann@safelight.test"), "eve@safelight.test");
    let other = house.sandbox.supabase.create_user(eve);
    let put = |id: String, key: &str, body: &str| {
        let url = format!("{}/auth/v1/admin/users/{id}", supabase.url);
        let request = house.http.put(url).header("apikey", key).header("content-type", "application/json");
        let request = request.header("x-supabase-api-version", "2024-01-01").body(body.to_owned());
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let key = supabase.secret_key.as_str();
    let wish = r#"{"email":"New@Safelight.test","email_confirm":true}"#;
    let (status, changed) = put(ann.id.to_string(), key, wish).await;
    assert_eq!((status, &changed["email"], &changed["id"]), (200, &json!("new@safelight.test"), &json!(ann.id)));
    assert!(changed["email_confirmed_at"].is_string());
    for (id, key, body, expected) in [
        (ann.id.to_string(), supabase.publishable_key.as_str(), wish, (403, "not_admin")),
        (Uuid::new_v4().to_string(), key, wish, (404, "user_not_found")),
        ("no-uuid".to_owned(), key, wish, (404, "validation_failed")),
        (ann.id.to_string(), key, "{", (400, "bad_json")),
        (ann.id.to_string(), key, r#"{"email":"nobody"}"#, (400, "validation_failed")),
        (ann.id.to_string(), key, r#"{"email":"EVE@safelight.test"}"#, (500, "unexpected_failure")),
    ] {
        let (status, said) = put(id, key, body).await;
        assert_eq!((status, said["code"].as_str().unwrap()), expected, "{body}");
    }
    let mut there: Vec<_> = house.sandbox.supabase.users().into_iter().map(|user| (user.id, user.email)).collect();
    there.sort();
    let mut expected = [(ann.id, "new@safelight.test".to_owned()), (other.id, eve.to_owned())];
    expected.sort();
    assert_eq!(there, expected, "nobody was made, and nobody else was changed");
    assert_eq!(house.sandbox.supabase.audit_log()[0].action, "user_modified");
}

#[tokio::test]
async fn only_the_secret_key_deletes_and_only_in_its_own_header() {
    let house = House::open().await;
    let supabase = house.sandbox.description().supabase;
    let id = house.sandbox.supabase.create_user("bo@safelight.test").id.to_string();
    let secret = supabase.secret_key.as_str();
    assert_eq!(admin(&house, Method::DELETE, &id, &[]).await.status(), 401);
    assert_eq!(admin(&house, Method::DELETE, &id, &[("apikey", "sb_secret_wrong")]).await.status(), 401);
    assert_eq!(admin(&house, Method::DELETE, &id, &[("apikey", &supabase.publishable_key)]).await.status(), 403);
    let browser = [("apikey", secret), ("user-agent", "Mozilla/5.0")];
    assert_eq!(admin(&house, Method::DELETE, &id, &browser).await.status(), 401);
    let mixed = [("apikey", secret), ("authorization", "Bearer something-else")];
    assert_eq!(admin(&house, Method::DELETE, &id, &mixed).await.status(), 403);
    house.sandbox.supabase.faults().once(Fault::UserDeletionFails);
    assert_eq!(admin(&house, Method::DELETE, &id, &[("apikey", secret)]).await.status(), 500);
    assert_eq!(house.sandbox.supabase.users().len(), 1);
}

#[tokio::test]
async fn a_users_token_stands_up_to_the_key_set_also_after_the_user_is_gone() {
    let house = House::open().await;
    let description = house.sandbox.description().supabase;
    let user = house.sandbox.supabase.create_user("cy@safelight.test");
    let token = house.sandbox.supabase.mint_user_jwt(user.id, &user.email).unwrap();
    admin(&house, Method::DELETE, &user.id.to_string(), &[("apikey", &description.secret_key)]).await;

    let keys: JwkSet = house.http.get(&description.jwks_url).send().await.unwrap().json().await.unwrap();
    let check = |token: &str| {
        let kid = decode_header(token).unwrap().kid.unwrap();
        let key = keys.find(&kid).and_then(|jwk| DecodingKey::from_jwk(jwk).ok());
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&["authenticated"]);
        validation.set_issuer(&[&description.issuer]);
        decode::<Value>(token, &key?, &validation).ok().map(|data| data.claims)
    };
    assert_eq!(check(&token).unwrap()["sub"], json!(user.id));
    let stale = UserToken { expires_at: 1_700_000_000, ..UserToken::of(Uuid::new_v4(), "") };
    assert!(check(&house.sandbox.supabase.mint(&stale).unwrap()).is_none());
    let other = UserToken { audience: "somebody".to_owned(), ..UserToken::of(Uuid::new_v4(), "") };
    assert!(check(&house.sandbox.supabase.mint(&other).unwrap()).is_none());
    house.sandbox.supabase.rotate_key(Signature::Es256).unwrap();
    let newer = house.sandbox.supabase.mint_user_jwt(user.id, "").unwrap();
    assert!(check(&newer).is_none(), "not by the key set of before");
    let set = async || house.http.get(&description.jwks_url).send().await.unwrap().json::<JwkSet>().await.unwrap();
    let kid = |token: &str| decode_header(token).unwrap().kid.unwrap();
    let both = set().await;
    assert!(both.find(&kid(&token)).is_some() && both.find(&kid(&newer)).is_some(), "a key is revoked by hand");
    house.sandbox.supabase.revoke_earlier_keys();
    let one = set().await;
    assert!(one.find(&kid(&token)).is_none() && one.find(&kid(&newer)).is_some());
}
