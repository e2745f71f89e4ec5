//! Sign-ins: tokens of persons at Supabase and the keys that they are checked with, and everything that an identity provider of
//! operators says: its description, its keys, its answer to a code, and the ID token in it.

use safelight_jobs::{
    id::{Id, Subject},
    providers::{
        auth::UserTokens,
        oidc::{Attempt, Oidc},
    },
};
use safelight_sandbox::{oidc::Seated, supabase::Signature};
use serde_json::{Value, json};

use super::{
    each_asked,
    house::{House, client, project},
    near, near_json,
    twister::Twister,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_token_near_a_good_one_opens_nothing_and_one_that_says_odd_things_is_answered() {
    let house = House::open().await;
    let supabase = &house.app.sandbox.supabase;
    let ann = house.app.person("koselfie").await;
    let jwt = supabase.mint_user_jwt(ann.auth_user, &ann.email).expect("a sign-in");
    let asks = async |token: &[u8]| {
        let value = reqwest::header::HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
        let (status, text) = house.send(house.from("/v1/me").header("authorization", value)).await;
        let body: Value = serde_json::from_str(&text).expect("JSON");
        assert!(status.is_success() || body["code"].is_string(), "{text}");
        Some((status, body))
    };
    let (status, me) = asks(jwt.as_bytes()).await.expect("a header");
    assert!(status.is_success(), "{me}");
    each_asked(near(vec![jwt.clone().into_bytes()]), 80, |token| {
        let (asks, jwt) = (&asks, &jwt);
        async move {
            let Some((status, _)) = asks(&token).await else { return };
            let same = token.trim_ascii() == jwt.as_bytes();
            assert_eq!(status.is_success(), same, "{}", String::from_utf8_lossy(&token));
        }
    });
    let claims = supabase.claims(ann.auth_user, &ann.email);
    each_asked(near_json(&[claims]), 80, |bytes| {
        let claims = serde_json::from_slice::<Value>(&bytes).ok();
        let token = claims.map(|claims| supabase.sign_claims(&claims).expect("a token"));
        let asks = &asks;
        async move {
            let Some(token) = token else { return };
            if let Some((status, me)) = asks(token.as_bytes()).await
                && status.is_success()
            {
                assert_eq!(me["subject"].as_str().and_then(|id| id.parse::<Id<Subject>>().ok()), Some(ann.id));
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projects_keys_near_good_ones_are_understood_or_refused_and_let_no_stranger_in() {
    let house = House::open().await;
    let supabase = &house.app.sandbox.supabase;
    let ann = house.app.person("koselfie").await;
    let there = supabase.description().url;
    let twister = Twister::before(&there).await;
    let mut config = project(&twister.at(&there));
    config.issuer = Some(supabase.description().issuer);
    let old = supabase.mint_user_jwt(ann.auth_user, &ann.email).expect("a sign-in");
    // The key that signed it is published nowhere any more.
    supabase.rotate_key(Signature::Es256).expect("a key");
    supabase.revoke_earlier_keys();
    let new = supabase.mint_user_jwt(ann.auth_user, &ann.email).expect("a sign-in");
    let now = chrono::Utc::now().timestamp();
    twister
        .tries(60, || async {
            let tokens = UserTokens::new(&config).expect("a client");
            assert!(tokens.verify_user_jwt(&old, now).await.is_err(), "a key of nobody");
            let user = tokens.verify_user_jwt(&new, now).await?;
            assert_eq!(user.sub, ann.auth_user);
            Ok::<_, safelight_jobs::providers::auth::TokenError>(user)
        })
        .await;
}

/// There and back once; the error says what the identity provider said, in words of ours.
async fn signs_in(house: &House, oidc: &Oidc) -> Result<String, safelight_jobs::providers::oidc::OidcError> {
    let (attempt, now) = (Attempt::begin(), chrono::Utc::now().timestamp());
    let page = oidc.authorize_url(&attempt, now).await?;
    // A twisted page may be anywhere; only the provider's own hands out codes.
    let Ok(back) = house.provider.visit(page.as_str()).await else { return Ok(String::new()) };
    let code = url::Url::parse(&back)
        .ok()
        .and_then(|url| url.query_pairs().find(|(name, _)| name == "code").map(|(_, code)| code.into_owned()));
    Ok(oidc.identify(&attempt, code.unwrap_or_default(), now).await?.subject)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_identity_provider_says_near_good_words_is_understood_or_refused_and_signs_nobody_else_in() {
    let house = House::open().await;
    let known = house.provider.description();
    let twister = Twister::before(&known.issuer).await;
    let issuer = twister.at(&known.issuer);
    let says = |claims: Value| {
        let mut over = json!({ "iss": issuer, "groups": ["ops"] });
        over.as_object_mut().expect("claims").extend(claims.as_object().expect("claims").clone());
        house.provider.seat(Some(Seated { subject: "8f1c-operator".to_owned(), claims: over }));
    };
    says(json!({}));
    for part in ["/.well-known/", "/keys", "/token"] {
        twister.only(part);
        twister
            .tries(40, || async {
                // A client of its own each time: what is known of a provider is kept for a while.
                let who = signs_in(&house, &client(&known, &issuer)).await?;
                assert!(who.is_empty() || who == "8f1c-operator", "{who} was signed in");
                Ok::<_, safelight_jobs::providers::oidc::OidcError>(())
            })
            .await;
    }
    // And ID tokens that are signed well and say odd things.
    let now = chrono::Utc::now().timestamp();
    let claims = json!({ "sub": "8f1c-operator", "aud": known.client_id, "iat": now, "exp": now + 300, "groups": ["ops"], "email": "x", "amr": ["pwd"] });
    let oidc = client(&known, &issuer);
    each_asked(near_json(&[claims]), 60, |bytes| {
        if let Ok(Value::Object(claims)) = serde_json::from_slice(&bytes) {
            says(Value::Object(claims));
        }
        let (house, oidc) = (&house, &oidc);
        async move { drop(signs_in(house, oidc).await) }
    });
}
