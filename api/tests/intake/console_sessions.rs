//! Sessions of the console: what they end with, and what whoever signs in has to say.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use safelight_api::tokens::{self, Scope};

use crate::{
    console::{cookie, look, sign_in},
    house::{Answer, House},
};

#[tokio::test]
async fn a_session_ends_with_its_token_and_with_signing_out() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Operate]).await;
    let entered = sign_in(&house, &token).await;
    for word in ["HttpOnly", "SameSite=Strict", "Path=/console"] {
        assert!(entered.header("set-cookie").contains(word), "{}", entered.header("set-cookie"));
    }
    let first = cookie(&entered);
    assert_eq!(look(&house, "/console", &first).await.status, StatusCode::OK);
    let leaving = Request::builder().method(Method::POST).uri("/console/sign-out").header("cookie", &first);
    house.send(leaving.body(Body::empty()).expect("a request")).await;
    assert_eq!(look(&house, "/console", &first).await.status, StatusCode::SEE_OTHER);
    let second = cookie(&sign_in(&house, &token).await);
    let known = tokens::list(&house.owner).await.expect("a list");
    tokens::revoke(&house.owner, known[0].id).await.expect("revoked");
    assert_eq!(look(&house, "/console", &second).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_session_shows_no_more_than_its_token_may_see_now() {
    let house = House::build().await;
    let session = cookie(&sign_in(&house, &house.token(None, &[Scope::Read]).await).await);
    assert_eq!(look(&house, "/console", &session).await.status, StatusCode::OK);
    house.run("update safelight.tokens set scopes = '{enqueue}'").await;
    let refused = look(&house, "/console", &session).await;
    assert!(refused.status == StatusCode::FORBIDDEN && refused.text.contains("scope_missing"), "{}", refused.text);
}

/// Ends at the sign-in form.
fn is_over(answer: &Answer) -> bool {
    answer.status == StatusCode::SEE_OTHER && answer.header("location").starts_with("/console/sign-in")
}

#[tokio::test]
async fn a_session_that_is_used_all_day_ends_eight_hours_after_it_began() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Operate]).await;
    let entered = sign_in(&house, &token).await;
    assert!(entered.header("set-cookie").contains("; Max-Age=28800"), "{}", entered.header("set-cookie"));
    let session = cookie(&entered);
    // Never left alone for an hour.
    for half_hours in 1..16 {
        house.turn_clock_to(&format!("{} minutes", 30 * half_hours)).await;
        assert_eq!(look(&house, "/console", &session).await.status, StatusCode::OK, "{half_hours} half hours");
    }
    house.turn_clock_to("7 hours 59 minutes").await;
    assert_eq!(look(&house, "/console", &session).await.status, StatusCode::OK);
    house.turn_clock_to("8 hours 1 minute").await;
    assert!(is_over(&look(&house, "/console", &session).await), "eight hours, however busy");
    let acts =
        Request::builder().method(Method::POST).uri("/console/controls/queue/training").header("cookie", &session);
    let form = acts.header("sec-fetch-site", "same-origin").body(Body::from("why=x&act=pause")).expect("a request");
    assert!(is_over(&house.send(form).await), "and for what acts, too");
    // The next sign-in forgets it.
    assert_eq!(sign_in(&house, &token).await.status, StatusCode::SEE_OTHER);
    assert_eq!(house.count("from safelight.console_sessions").await, 1);
}

#[tokio::test]
async fn a_session_that_is_left_alone_for_an_hour_is_over() {
    let house = House::build().await;
    let session = cookie(&sign_in(&house, &house.token(None, &[Scope::Operate]).await).await);
    house.turn_clock_to("59 minutes").await;
    assert_eq!(look(&house, "/console", &session).await.status, StatusCode::OK);
    house.turn_clock_to("1 hour 58 minutes").await;
    assert_eq!(look(&house, "/console", &session).await.status, StatusCode::OK, "it was used an hour ago");
    house.turn_clock_to("3 hours").await;
    assert!(is_over(&look(&house, "/console", &session).await));
}

#[tokio::test]
async fn nobody_signs_in_with_a_token_without_saying_what_for_or_by_naming_somebody() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Operate]).await;
    let long = "x".repeat(301);
    let enters = async |why: Option<&str>| {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("token", &token);
        if let Some(why) = why {
            form.append_pair("why", why);
        }
        let request =
            Request::builder().method(Method::POST).uri("/console/sign-in").header("sec-fetch-site", "same-origin");
        house.send(request.body(Body::from(form.finish())).expect("a request")).await
    };
    let bad = [None, Some(""), Some("   "), Some("for ann@example.org"), Some("on\u{7}call"), Some(long.as_str())];
    for why in bad.into_iter().chain([Some(token.as_str())]) {
        let refused = enters(why).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{why:?}");
        assert!(refused.text.contains("Say in a few words what for, without a mail address or a token."), "{why:?}");
        assert_eq!(refused.header("set-cookie"), "", "{why:?}");
        assert!(!refused.text.contains("ann@") && !refused.text.contains("slt_"), "{why:?} is not said back");
    }
    assert_eq!(house.count("from safelight.console_sessions").await, 0);
    assert_eq!(enters(Some(" ticket 1234 ")).await.status, StatusCode::SEE_OTHER);
    assert_eq!(house.count("from safelight.console_sessions where why = 'ticket 1234'").await, 1);
}
