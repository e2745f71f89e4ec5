//! Signing in to the console at an identity provider: who comes in, as whom, and what is not believed.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use safelight_api::{OperatorSignIn, tokens::Scope};
use safelight_jobs::providers::{
    Secret,
    oidc::{Oidc, OidcConfig},
};
use safelight_sandbox::{
    Fault,
    oidc::{Oidc as Provider, OidcDescription, Seated},
};
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    console::{look, sign_in},
    house::{Answer, House},
};

const ADDRESS: &str = "/console/sign-in/oidc";
const OPERATOR: &str = "8f1c-operator";

fn in_groups(groups: Value) -> Seated {
    Seated { subject: OPERATOR.to_owned(), claims: json!({ "groups": groups }) }
}

fn settings(known: &OidcDescription) -> OidcConfig {
    OidcConfig {
        issuer: known.issuer.clone(),
        client_id: known.client_id.clone(),
        client_secret: Some(Secret::new(known.client_secret.as_str())),
        redirect_url: format!("https://jobs.example.com{ADDRESS}"),
        groups_claim: "groups".to_owned(),
        scopes: vec!["groups".to_owned()],
        timeout: Duration::from_secs(5),
    }
}

async fn house_and_provider() -> (House, Provider) {
    let provider = Provider::start().await.expect("a provider");
    let oidc = Oidc::new(&settings(&provider.description())).expect("a client");
    let named = |group: &str| vec![group.to_owned()];
    let operators =
        OperatorSignIn::new(oidc, named("safelight-operators"), named("safelight-readers")).expect("groups");
    (House::with_operators(operators).await, provider)
}

/// The value of a cookie that was set, with its name.
fn set(answer: &Answer, name: &str) -> String {
    let all = answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let pairs = all.filter_map(|cookie| cookie.split(';').next());
    pairs.filter(|pair| pair.starts_with(&format!("{name}="))).map(str::to_owned).next().unwrap_or_default()
}

async fn begin(house: &House) -> Answer {
    begin_with(house, "why=on+call").await
}

async fn begin_with(house: &House, form: &str) -> Answer {
    let request = Request::builder()
        .method(Method::POST)
        .uri(ADDRESS)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(Body::from(form.to_owned()))
        .expect("a request");
    house.send(request).await
}

/// To the provider and back; answers the address that the browser comes back to, and its cookie.
async fn away_and_back(house: &House, provider: &Provider) -> (String, String) {
    let leaving = begin(house).await;
    assert_eq!(leaving.status, StatusCode::OK, "{}", leaving.text);
    let to = leaving.header("refresh").strip_prefix("0; url=").expect("it goes on").to_owned();
    let back = provider.visit(&to).await.expect("a way back");
    (back.strip_prefix("https://jobs.example.com").expect("our address").to_owned(), set(&leaving, "safelight_sign_in"))
}

async fn signs_in(house: &House, provider: &Provider) -> Answer {
    let (back, cookie) = away_and_back(house, provider).await;
    look(house, &back, &cookie).await
}

fn session(answer: &Answer) -> String {
    set(answer, "safelight_console")
}

/// Refused in these words, with a page that can be used again, and without a session.
fn assert_refused(answer: &Answer, status: StatusCode, words: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert!(
        answer.text.contains(words) && answer.text.contains("Sign in at your identity provider"),
        "{}",
        answer.text
    );
    assert_eq!(session(answer), "");
    assert!(
        !answer.text.contains("planted") && !answer.text.contains("@example"),
        "nothing of the provider's own text"
    );
}

#[tokio::test]
async fn an_operator_signs_in_at_the_provider_acts_under_their_id_there_and_leaves() {
    let (house, provider) = house_and_provider().await;
    provider.seat(Some(in_groups(json!(["everybody", "safelight-operators", "safelight-readers"]))));
    let door = look(&house, "/console/sign-in", "").await;
    assert!(door.text.contains("Sign in at your identity provider") && door.text.contains("or with a token"));
    let (back, cookie) = away_and_back(&house, &provider).await;
    let entered = look(&house, &back, &cookie).await;
    assert_eq!((entered.status, entered.header("refresh")), (StatusCode::OK, "0; url=/console"), "{}", entered.text);
    let session = session(&entered);
    assert_eq!(look(&house, "/console", &session).await.status, StatusCode::OK);
    assert_eq!(set(&entered, "safelight_sign_in"), "safelight_sign_in=", "the attempt is over");

    // They may act, and the trail says who.
    let browser = Browser::holding(&house, session.clone());
    let paused = browser.presses("/console/controls", "/console/controls/queue/training", "&act=pause").await;
    assert_eq!(paused.status, StatusCode::SEE_OTHER, "{}", paused.text);
    let by = format!("from safelight.operator_acts where actor = 'oidc:{OPERATOR}' and why = 'asked for'");
    assert_eq!(house.count(&by).await, 1);

    // A code is used once, and an attempt as well.
    assert_refused(&look(&house, &back, &cookie).await, StatusCode::FORBIDDEN, "refused the code (`invalid_grant`)");
    assert_refused(&look(&house, &back, "").await, StatusCode::FORBIDDEN, "began in another browser");

    // What a person is called at the provider is stored nowhere, and neither is anything that opens something.
    let stored = house.everything_stored().await;
    let code = back.split(['=', '&']).nth(1).expect("a code");
    for never in ["planted", "Planted", code, &session["safelight_console=".len()..]] {
        assert!(!stored.contains(never), "{never} is stored");
    }
    let leaving = Request::builder().method(Method::POST).uri("/console/sign-out").header("cookie", &session);
    house.send(leaving.body(Body::empty()).expect("a request")).await;
    assert_eq!(look(&house, "/console", &session).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_link_is_carried_to_the_provider_and_back_and_leads_to_a_page_of_the_console_only() {
    let (house, provider) = house_and_provider().await;
    provider.seat(Some(in_groups(json!(["safelight-readers"]))));
    let through = async |to: &str, tampered: Option<&str>| {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("why", "alert 17").append_pair("to", to);
        let leaving = begin_with(&house, &form.finish()).await;
        let back = provider.visit(leaving.header("refresh").strip_prefix("0; url=").expect("it goes on")).await;
        let back = back.expect("a way back").strip_prefix("https://jobs.example.com").expect("ours").to_owned();
        let mut cookie = set(&leaving, "safelight_sign_in");
        if let (Some(to), Some((kept, _))) = (tampered, cookie.rsplit_once('.')) {
            cookie = format!("{kept}.{}", hex::encode(to));
        }
        let entered = look(&house, &back, &cookie).await;
        assert_eq!(entered.header("referrer-policy"), "no-referrer", "its address holds a code");
        (entered.status.as_u16(), entered.header("refresh").to_owned())
    };
    let link = "/console/jobs?state=dead&kind=send_notice";
    assert_eq!(through(link, None).await, (200, format!("0; url={link}")));
    for elsewhere in ["https://evil.example", "//evil.example", "/console/..", "/console/sign-in", "/console\r\nx: y"] {
        assert_eq!(through(elsewhere, None).await, (200, "0; url=/console".to_owned()), "{elsewhere:?}");
        assert_eq!(through(link, Some(elsewhere)).await, (200, "0; url=/console".to_owned()), "{elsewhere:?}");
    }
    // What was typed and what was wanted are still there when the provider did not sign somebody in.
    provider.seat(None);
    let leaving = begin_with(&house, "why=alert+17&to=%2Fconsole%2Faudit").await;
    let back =
        provider.visit(leaving.header("refresh").strip_prefix("0; url=").expect("on")).await.expect("a way back");
    let back = back.strip_prefix("https://jobs.example.com").expect("ours");
    let refused = look(&house, back, &set(&leaving, "safelight_sign_in")).await;
    for kept in ["name=\"to\" value=\"/console/audit\"", "value=\"alert 17\""] {
        assert!(refused.text.contains(kept), "{kept}: {}", refused.text);
    }
}

#[tokio::test]
async fn a_reader_at_the_provider_looks_and_does_not_act_and_a_session_ends_as_every_other() {
    let (house, provider) = house_and_provider().await;
    provider.seat(Some(in_groups(json!(["safelight-readers"]))));
    let session = session(&signs_in(&house, &provider).await);
    assert!(look(&house, "/console", &session).await.text.contains("read only"));
    let browser = Browser::holding(&house, session.clone());
    let refused = browser.sends("/console/controls/queue/training", "why=night&act=pause", "same-origin").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    house.turn_clock_to("61 minutes").await;
    assert_eq!(look(&house, "/console", &session).await.status, StatusCode::SEE_OTHER, "an hour alone");
}

#[tokio::test]
async fn who_has_no_group_here_is_told_so() {
    let (house, provider) = house_and_provider().await;
    for groups in [json!([]), json!(["everybody"]), json!("safelight"), json!(7), Value::Null] {
        provider.seat(Some(in_groups(groups)));
        assert_refused(
            &signs_in(&house, &provider).await,
            StatusCode::FORBIDDEN,
            "no group of yours opens this console",
        );
    }
    assert_eq!(house.count("from safelight.console_sessions").await, 0);
}

#[tokio::test]
async fn an_answer_for_another_sign_in_is_not_taken() {
    let (house, provider) = house_and_provider().await;
    provider.seat(Some(in_groups(json!(["safelight-operators"]))));
    let (mine, my_cookie) = away_and_back(&house, &provider).await;
    let (others, _) = away_and_back(&house, &provider).await;
    let asked = provider.calls().len();
    assert_refused(&look(&house, &others, &my_cookie).await, StatusCode::FORBIDDEN, "belongs to another sign-in");
    let (code, _) = mine.split_once("&state=").expect("a state");
    assert_refused(&look(&house, code, &my_cookie).await, StatusCode::FORBIDDEN, "belongs to another sign-in");
    assert_eq!(provider.calls().len(), asked, "and its code was shown to nobody");
    // Somebody else's code under my own state: the verifier is not the one it was made for.
    let (_, state) = mine.split_once("&state=").expect("a state");
    let (code, _) = others.split_once("&state=").expect("a state");
    let mixed = look(&house, &format!("{code}&state={state}"), &my_cookie).await;
    assert_refused(&mixed, StatusCode::FORBIDDEN, "refused the code");
}

#[tokio::test]
async fn an_id_token_that_was_not_made_for_this_sign_in_is_not_believed() {
    let (house, provider) = house_and_provider().await;
    let now = chrono::Utc::now().timestamp();
    let cases = [
        (json!({ "nonce": "of somebody else" }), "made for another sign-in"),
        (json!({ "nonce": null }), "made for another sign-in"),
        (json!({ "aud": "another-client" }), "made for somebody else"),
        (json!({ "aud": ["safelight-console", "another-client"] }), "made for somebody else"),
        (json!({ "iss": "https://login.example.com" }), "comes from another issuer"),
        (json!({ "exp": now - 1 }), "it is over"),
        (json!({ "iat": now - 3600 }), "it is over"),
    ];
    let mut believed = Vec::new();
    for (claims, words) in cases {
        let mut seated = in_groups(json!(["safelight-operators"]));
        for (name, value) in claims.as_object().expect("claims") {
            seated.claims[name] = value.clone();
        }
        provider.seat(Some(seated));
        let answer = signs_in(&house, &provider).await;
        if answer.status == StatusCode::FORBIDDEN {
            assert_refused(&answer, StatusCode::FORBIDDEN, words);
        } else {
            believed.push(claims);
        }
    }
    assert!(believed.is_empty(), "{believed:?}");
}

#[tokio::test]
async fn a_strangers_key_is_not_believed_and_a_new_key_of_the_providers_is() {
    let (house, provider) = house_and_provider().await;
    provider.seat(Some(in_groups(json!(["safelight-operators"]))));
    assert_eq!(signs_in(&house, &provider).await.status, StatusCode::OK, "RS256");
    provider.sign_with_a_strangers_key(true).expect("a key");
    house.turn_clock_to("2 minutes").await;
    assert_refused(&signs_in(&house, &provider).await, StatusCode::FORBIDDEN, "not signed with a key of the provider");
    let asked = |provider: &Provider| provider.calls().iter().filter(|call| call.path.ends_with("/keys")).count();
    let before = asked(&provider);
    assert_refused(&signs_in(&house, &provider).await, StatusCode::FORBIDDEN, "its key is not known");
    assert_eq!(asked(&provider), before, "forgeries do not make us ask again and again");
    provider.sign_with_a_strangers_key(false).expect("a key");
    provider.rotate().expect("a key");
    house.turn_clock_to("4 minutes").await;
    assert_eq!(signs_in(&house, &provider).await.status, StatusCode::OK, "ES256, after a look at the new keys");
}

#[tokio::test]
async fn a_provider_that_refuses_or_is_away_leaves_the_token_as_a_way_in() {
    let (house, provider) = house_and_provider().await;
    provider.seat(None);
    assert_refused(&signs_in(&house, &provider).await, StatusCode::FORBIDDEN, "did not sign you in");
    provider.seat(Some(in_groups(json!(["safelight-operators"]))));
    let (back, cookie) = away_and_back(&house, &provider).await;
    provider.faults().once(Fault::ServerError { status: 503 });
    assert_refused(&look(&house, &back, &cookie).await, StatusCode::SERVICE_UNAVAILABLE, "a fault of its own");
    provider.take_down().await;
    assert_refused(&look(&house, &back, &cookie).await, StatusCode::SERVICE_UNAVAILABLE, "could not be asked");
    let token = house.token(None, &[Scope::Read]).await;
    assert_eq!(sign_in(&house, &token).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn without_a_provider_there_is_no_button_no_way_back_and_no_session_of_one() {
    let house = House::build().await;
    assert!(!look(&house, "/console/sign-in", "").await.text.contains("identity provider"));
    assert_eq!(begin(&house).await.status, StatusCode::NOT_FOUND);
    assert_eq!(look(&house, &format!("{ADDRESS}?code=1&state=2"), "").await.status, StatusCode::NOT_FOUND);
    let (with, provider) = house_and_provider().await;
    provider.seat(Some(in_groups(json!(["safelight-operators"]))));
    let session = session(&signs_in(&with, &provider).await);
    assert_eq!(look(&with, "/console", &session).await.status, StatusCode::OK);
    let off = House::on(&with.database_url(), |_| {}).await;
    assert_eq!(look(&off, "/console", &session).await.status, StatusCode::SEE_OTHER, "it ended with the settings");
}

#[tokio::test]
async fn a_foreign_page_starts_no_sign_in_and_a_reason_is_asked_for_here_too() {
    let (house, provider) = house_and_provider().await;
    for (site, body, words) in [
        ("cross-site", "why=on+call", "Sign in from this page"),
        ("same-origin", "why=", "Say in a few words"),
        ("same-origin", "why=ann@example.org", "Say in a few words"),
    ] {
        let request = Request::builder().method(Method::POST).uri(ADDRESS).header("sec-fetch-site", site);
        let answer = house.send(request.body(Body::from(body)).expect("a request")).await;
        assert_refused(&answer, StatusCode::FORBIDDEN, words);
        assert_eq!(set(&answer, "safelight_sign_in"), "");
    }
    assert!(provider.calls().is_empty());
}

#[test]
fn settings_that_would_let_nobody_in_or_go_over_plain_http_are_refused_at_the_start() {
    let known = OidcDescription {
        issuer: "https://login.example.com".to_owned(),
        client_id: "safelight-console".to_owned(),
        client_secret: String::new(),
    };
    let oidc = Oidc::new(&settings(&known)).expect("a client");
    assert!(OperatorSignIn::new(oidc, vec![" ".to_owned()], vec![]).is_err());
    let plain = OidcDescription { issuer: "http://login.example.com".to_owned(), ..known };
    assert!(Oidc::new(&settings(&plain)).is_err());
}
