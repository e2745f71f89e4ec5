use jsonwebtoken::{EncodingKey, Header, encode};

use super::{super::testing::*, *};

const NOW: i64 = 1_700_000_000;

fn vectors() -> Value {
    let all: Value = serde_json::from_str(include_str!("../../../specs/webhook-and-jwt-vectors.json")).unwrap();
    all["supabase_jwt"].clone()
}

fn config(url: &str, key: &str) -> AuthConfig {
    AuthConfig { project_url: url.to_owned(), service_key: Secret::new(key), timeout: Duration::from_secs(5) }
}

fn believed(url: &str) -> UserTokensConfig {
    UserTokensConfig {
        project_url: url.to_owned(),
        legacy_jwt_secret: None,
        issuer: Some("https://projectref.supabase.co/auth/v1".into()),
        timeout: Duration::from_secs(5),
    }
}

fn shared() -> String {
    vectors()["hs256"]["secret"].as_str().unwrap().to_owned()
}

fn with_shared_secret(url: &str) -> UserTokens {
    UserTokens::new(&UserTokensConfig { legacy_jwt_secret: Some(Secret::new(shared())), ..believed(url) }).unwrap()
}

async fn with_published_keys(keys: Value) -> (StandIn, UserTokens) {
    let server = StandIn::start([Reply::json(200, keys)]).await;
    let tokens = UserTokens::new(&believed(&server.url)).unwrap();
    (server, tokens)
}

/// The vector's claims with some changed, signed with the shared secret.
fn token(changes: Value) -> String {
    let mut claims = vectors()["claims"].clone();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    encode(&Header::default(), &claims, &EncodingKey::from_secret(shared().as_bytes())).unwrap()
}

#[tokio::test]
async fn a_user_is_deleted_for_good_and_deleting_again_is_no_failure() {
    let server = StandIn::start([
        Reply::json(200, json!({})),
        Reply::json(404, json!({"code": "user_not_found", "message": "User not found"})),
        Reply::json(404, json!({"code": 404, "error_code": "user_not_found", "msg": "User not found"})),
    ])
    .await;
    let auth = Auth::new(&config(&server.url, "sb_secret_planted")).unwrap();
    let user = Uuid::now_v7();
    assert_eq!(auth.delete_user(user).await, Ok(UserDeletion::Deleted));
    assert_eq!(auth.delete_user(user).await, Ok(UserDeletion::AlreadyGone));
    assert_eq!(auth.delete_user(user).await, Ok(UserDeletion::AlreadyGone));
    let asked = &server.asked()[0];
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("DELETE", format!("/auth/v1/admin/users/{user}").as_str())
    );
    assert_eq!(asked.json(), json!({"should_soft_delete": false}));
}

#[tokio::test]
async fn k39_a_corrected_address_is_told_and_taken_as_told_only_when_the_answer_has_it() {
    let user = Uuid::now_v7();
    let unchanged = |code: &str| Err(AuthError::Unchanged { code: code.into() });
    let bad = |code: &str, status| Err(AuthError::BadAddress { code: code.into(), status });
    let cases = [
        (Reply::json(200, json!({"id": user, "email": "planted@mail.example"})), Ok(AddressChange::Changed)),
        (Reply::json(200, json!({"id": user, "email": "old@mail.example"})), unchanged("other_address")),
        (Reply::json(200, json!({})), unchanged("other_address")),
        (Reply::json(404, json!({"code": "user_not_found"})), Ok(AddressChange::NoSuchUser)),
        (
            Reply::json(404, json!({"code": "validation_failed"})),
            Err(AuthError::Refused { code: "validation_failed".into(), status: 404 }),
        ),
        // What Auth answers today to an address that another user has, and what it means to answer.
        (Reply::json(500, json!({"code": "unexpected_failure"})), unchanged("unexpected_failure")),
        (Reply::json(422, json!({"code": "email_exists"})), bad("email_exists", 422)),
        (Reply::json(400, json!({"code": "validation_failed"})), bad("validation_failed", 400)),
        (
            Reply::json(401, json!({"code": "no_authorization"})),
            Err(AuthError::NotAllowed { code: "no_authorization".into(), status: 401 }),
        ),
        (Reply::BreakOff, Err(AuthError::Unreachable { why: "the answer broke off" })),
    ];
    for (reply, expected) in cases {
        let server = StandIn::start([reply]).await;
        let auth = Auth::new(&config(&server.url, "sb_1")).unwrap();
        let heard = auth.put_address(user, &Secret::new("Planted@Mail.example")).await;
        assert!(heard.as_ref().err().is_none_or(|error| !error.to_string().to_lowercase().contains("planted")));
        assert_eq!(heard, expected);
        let asked = &server.asked()[0];
        assert_eq!((asked.method.as_str(), asked.path.clone()), ("PUT", format!("/auth/v1/admin/users/{user}")));
        assert_eq!(asked.json(), json!({"email": "Planted@Mail.example", "email_confirm": true}));
    }
}

#[tokio::test]
async fn a_new_key_is_no_bearer_and_an_old_one_is_both() {
    let server = StandIn::start([Reply::json(200, json!({})), Reply::json(200, json!({}))]).await;
    for key in ["sb_secret_planted", "eyJ.old.key"] {
        Auth::new(&config(&server.url, key)).unwrap().delete_user(Uuid::nil()).await.unwrap();
    }
    let asked = server.asked();
    assert_eq!((asked[0].header("apikey"), asked[0].header("authorization")), ("sb_secret_planted", ""));
    assert_eq!((asked[1].header("apikey"), asked[1].header("authorization")), ("eyJ.old.key", "Bearer eyJ.old.key"));
}

#[tokio::test]
async fn n27_a_user_that_a_foreign_key_holds_is_not_reported_gone() {
    let unreachable = |why| AuthError::Unreachable { why };
    let refused = |code: &str, status| AuthError::Refused { code: code.into(), status };
    let cases = [
        (
            Reply::json(500, json!({"code": "unexpected_failure", "message": "planted"})),
            AuthError::Kept { code: "unexpected_failure".into() },
        ),
        (Reply::json(404, json!({"code": "validation_failed"})), refused("validation_failed", 404)),
        (Reply::Say(404, vec![], "<html>".into()), refused("http_404", 404)),
        (
            Reply::json(401, json!({"code": "no_authorization"})),
            AuthError::NotAllowed { code: "no_authorization".into(), status: 401 },
        ),
        (
            Reply::json(403, json!({"code": 403, "error_code": "not_admin"})),
            AuthError::NotAllowed { code: "not_admin".into(), status: 403 },
        ),
        (
            Reply::Say(429, vec![("retry-after", "3".into())], String::new()),
            AuthError::Busy { after: Duration::from_secs(3) },
        ),
        (Reply::Say(502, vec![], String::new()), unreachable("Supabase answered with a fault of its own")),
        (Reply::Say(301, vec![], String::new()), refused("http_301", 301)),
        (Reply::BreakOff, unreachable("the answer broke off")),
    ];
    for (reply, expected) in cases {
        let server = StandIn::start([reply]).await;
        let heard = Auth::new(&config(&server.url, "sb_1")).unwrap().delete_user(Uuid::nil()).await.unwrap_err();
        assert_eq!(heard, expected);
        assert!(!heard.to_string().contains("planted"));
    }
}

#[tokio::test]
async fn tokens_of_both_kinds_are_accepted() {
    let vectors = vectors();
    let user: Uuid = vectors["claims"]["sub"].as_str().unwrap().parse().unwrap();
    let expected = Ok(UserClaims { sub: user, exp: 4_102_444_800 });
    let old = with_shared_secret("http://127.0.0.1:9");
    assert_eq!(old.verify_user_jwt(vectors["hs256"]["token"].as_str().unwrap(), NOW).await, expected);
    let (server, new) = with_published_keys(vectors["es256"]["jwks"].clone()).await;
    for _ in 0..2 {
        assert_eq!(new.verify_user_jwt(vectors["es256"]["token"].as_str().unwrap(), NOW).await, expected);
    }
    assert_eq!(server.asked().len(), 1, "keys are kept");
    assert_eq!(server.asked()[0].path, "/auth/v1/.well-known/jwks.json");
}

#[tokio::test]
async fn a_token_for_somebody_or_something_else_is_refused() {
    let tokens = with_shared_secret("http://127.0.0.1:9");
    for (changes, expected) in [
        (json!({}), None),
        (json!({"aud": ["other", "authenticated"]}), None),
        (json!({"aud": "anon"}), Some(TokenError::Forged)),
        (json!({"aud": null}), Some(TokenError::Forged)),
        (json!({"iss": "https://other.supabase.co/auth/v1"}), Some(TokenError::Forged)),
        (json!({"iss": null}), Some(TokenError::Forged)),
        (json!({"sub": "not-a-uuid"}), Some(TokenError::Forged)),
        (json!({"role": "anon"}), Some(TokenError::NotAUser)),
        (json!({"role": "service_role"}), Some(TokenError::NotAUser)),
        (json!({"role": null}), Some(TokenError::NotAUser)),
        (json!({"exp": NOW - 59}), None),
        (json!({"exp": NOW - 60}), Some(TokenError::Expired)),
    ] {
        let heard = tokens.verify_user_jwt(&token(changes.clone()), NOW).await;
        assert_eq!(heard.err(), expected, "{changes}");
    }
}

#[tokio::test]
async fn a_token_cannot_choose_how_it_is_checked() {
    let vectors = vectors();
    let set = vectors["es256"]["jwks"].clone();
    // Signed with the public key set's text as if it were a secret.
    let confused =
        encode(&Header::default(), &vectors["claims"], &EncodingKey::from_secret(set.to_string().as_bytes())).unwrap();
    let (_server, new) = with_published_keys(set).await;
    assert_eq!(new.verify_user_jwt(&confused, NOW).await, Err(TokenError::Malformed));
    let old = with_shared_secret("http://127.0.0.1:9");
    assert_eq!(old.verify_user_jwt(&confused, NOW).await, Err(TokenError::Forged));
    let body = token(json!({})).split('.').nth(1).unwrap().to_owned();
    for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzM4NCJ9"] {
        let heard = old.verify_user_jwt(&format!("{header}.{body}."), NOW).await;
        assert_eq!(heard, Err(TokenError::Malformed), "none and HS384");
    }
    for bad in ["", "a.b.c", "sb_secret_x", &"x".repeat(20_000)] {
        assert_eq!(old.verify_user_jwt(bad, NOW).await, Err(TokenError::Malformed));
    }
}

#[tokio::test]
async fn a_project_without_published_keys_refuses_and_an_unreachable_one_says_so() {
    let token = vectors()["es256"]["token"].as_str().unwrap().to_owned();
    let (_server, empty) = with_published_keys(json!({"keys": []})).await;
    assert_eq!(empty.verify_user_jwt(&token, NOW).await, Err(TokenError::Forged));
    let nobody = UserTokens::new(&believed(&nobody().await)).unwrap();
    assert_eq!(nobody.verify_user_jwt(&token, NOW).await, Err(TokenError::NoKeys));
}

#[test]
fn h23_neither_a_key_in_the_open_nor_a_guessable_secret_is_taken() {
    assert!(matches!(Auth::new(&config("http://ref.supabase.co", "sb_1")), Err(ConfigError::PlainHttp { .. })));
    assert!(matches!(Auth::new(&config("https://ref.supabase.co", "")), Err(ConfigError::BadSecret { .. })));
    let short = UserTokensConfig { legacy_jwt_secret: Some(Secret::new("")), ..believed("https://ref.supabase.co") };
    assert!(matches!(UserTokens::new(&short), Err(ConfigError::BadSetting { .. })));
}
