//! Waiting for news, how often a token may ask, and the trace that a request belongs to.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use futures::StreamExt;
use safelight_api::tokens::{self, Scope, Terms};
use safelight_jobs::id::{self, Id};
use serde_json::json;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::house::{Answer, House, request};

async fn asks(house: &House, token: &str, path: &str, known: &str) -> Answer {
    let mut request = request(Method::GET, path, token, None);
    if !known.is_empty() {
        request.headers_mut().insert("if-none-match", known.parse().expect("a tag"));
    }
    house.send(request).await
}

#[tokio::test]
async fn an_answer_waits_until_there_is_news_and_says_304_where_there_is_none() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_wait").await;
    let path = format!("/v1/orders/{order}");
    let first = asks(&house, &token, &path, "").await;
    let tag = first.header("etag").to_owned();
    assert_eq!((first.status, tag.len()), (StatusCode::OK, 34), "{tag}");
    assert_eq!(asks(&house, &token, &path, &tag).await.status, StatusCode::NOT_MODIFIED);
    let began = Instant::now();
    let quiet = asks(&house, &token, &format!("{path}?wait=1"), &tag).await;
    assert_eq!((quiet.status, quiet.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
    assert!(began.elapsed() >= Duration::from_secs(1), "it waited");

    let path_that_waits = format!("{path}?wait=25");
    let waits = asks(&house, &token, &path_that_waits, &tag);
    let happens = async {
        house.somebody_waits().await;
        house.run("update safelight.orders set state = 'refused', problem = 'session_foreign'").await;
    };
    let began = Instant::now();
    let (news, ()) = tokio::join!(waits, happens);
    assert_eq!((news.status, &news.body["state"]), (StatusCode::OK, &json!("refused")), "{}", news.text);
    assert!(began.elapsed() < Duration::from_secs(20), "as soon as it is there");
    let over = asks(&house, &token, &path_that_waits, news.header("etag")).await;
    assert_eq!(over.status, StatusCode::NOT_MODIFIED, "what has ended is not waited for");
    let other = house.backend("koselfie").await;
    assert_eq!(asks(&house, &other, &path_that_waits, "").await.status, StatusCode::NOT_FOUND);
    let unread = asks(&house, &token, &format!("{path}?wait=long"), "").await;
    assert_eq!((unread.status, unread.code()), (StatusCode::BAD_REQUEST, "bad_query"));
}

#[tokio::test]
async fn a_job_is_waited_for_until_it_has_ended() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_job").await;
    let wish = json!({ "kind": "confirm_payment", "payload": { "order": order, "event": "evt_1" } });
    let job: Id<id::Job> = house.post(&token, "/v1/jobs", wish).await.id("job");
    let path = format!("/v1/jobs/{job}?wait=25");
    let happens = async {
        house.somebody_waits().await;
        let operator = house.token(None, &[Scope::Operate]).await;
        house.post(&operator, &format!("/v1/jobs/{job}/cancel"), json!({ "why": "a test" })).await
    };
    let (ended, cancelled) = tokio::join!(asks(&house, &token, &path, ""), happens);
    assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.text);
    assert_eq!(ended.body["state"], "cancelled", "{}", ended.text);
}

#[tokio::test]
async fn an_orders_progress_is_followed_and_nothing_is_sent_twice() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_follow").await;
    let follow = async |known: &str| {
        let mut request = request(Method::GET, &format!("/v1/orders/{order}/events"), &token, None);
        if !known.is_empty() {
            request.headers_mut().insert("last-event-id", known.parse().expect("an id"));
        }
        let response = house.app.clone().oneshot(request).await.expect("an answer");
        if response.status() == StatusCode::NO_CONTENT {
            return "do not come back".to_owned();
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body().into_data_stream();
        let mut events = String::new();
        while let Some(bytes) = body.next().await {
            events.push_str(std::str::from_utf8(&bytes.expect("a stream")).expect("text"));
            // Its first event is there: now something happens.
            if known.is_empty() && events.matches("event: order").count() == 1 {
                house.run("update safelight.orders set state = 'refused', problem = 'session_foreign'").await;
            }
        }
        events
    };
    let events = follow("").await;
    assert_eq!(events.matches("event: order").count(), 2, "as it was, and the change: {events}");
    assert!(events.contains("\"state\":\"placed\"") && events.contains("\"state\":\"refused\""), "{events}");
    let last = events.rsplit("id: ").next().and_then(|rest| rest.lines().next()).expect("an id").to_owned();
    assert_eq!(follow(&last).await, "do not come back", "known, and over");
    let other = house.backend("koselfie").await;
    assert_eq!(house.get(&other, &format!("/v1/orders/{order}/events")).await.code(), "not_found");
}

#[tokio::test]
async fn when_the_process_stops_nobody_waits_for_news_any_more() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_stop").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}/v1/orders/{order}", listener.local_addr().expect("an address"));
    let stop = CancellationToken::new();
    let router = safelight_api::router(house.state.clone().with_stop(stop.clone()));
    let server = tokio::spawn(safelight_api::serve(listener, router, stop.clone()));
    let began = Instant::now();
    let asks = |path: &str| {
        let line = format!("curl -sS -H 'authorization: Bearer {token}' '{address}{path}'");
        Command::new("bash").arg("-c").arg(line).stdout(Stdio::piped()).spawn().expect("curl").wait_with_output()
    };
    let (waits, follows) = (tokio::spawn(asks("?wait=25")), tokio::spawn(asks("/events")));
    while house.state.waiting() < 2 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    for one in [waits, follows] {
        let output = one.await.expect("a task").expect("an answer");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("\"state\":\"placed\""), "{text}");
    }
    server.await.expect("it ends").expect("well");
    assert!(began.elapsed() < Duration::from_secs(15), "nobody was waited for: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_token_that_asks_too_often_is_told_when_to_come_back_and_others_are_not_held_up() {
    let house = House::with(|config| config.token_per_minute = Some(3)).await;
    let (hasty, calm) = (house.backend("koselfie").await, house.backend("koselfie").await);
    for left in ["2", "1", "0"] {
        let answer = house.get(&hasty, "/v1/jobs/kinds").await;
        let told = (answer.status, answer.header("ratelimit-limit"), answer.header("ratelimit-remaining"));
        assert_eq!(told, (StatusCode::OK, "3", left));
    }
    let refused = house.post(&hasty, "/v1/subjects", json!({ "email": "a@example.org" })).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    let seconds: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=21).contains(&seconds), "{seconds}");
    assert_eq!(
        (refused.header("ratelimit-remaining"), refused.header("ratelimit-reset")),
        ("0", refused.header("retry-after"))
    );
    assert_eq!(house.count("from safelight.subjects").await, 0);
    assert_eq!(house.get(&calm, "/v1/jobs/kinds").await.status, StatusCode::OK);
    let terms = Terms { per_minute: Some(100), ..Terms::default() };
    let own =
        tokens::create_with(&house.owner, Some("koselfie"), "busy", &[Scope::Read], terms).await.expect("a token");
    assert_eq!(house.get(own.expose(), "/v1/jobs/kinds").await.header("ratelimit-limit"), "100");
}

#[tokio::test]
async fn a_replaced_token_opens_until_its_hours_are_over_and_the_new_one_is_like_it() {
    let house = House::build().await;
    let old = house.backend("koselfie").await;
    let id = tokens::list(&house.owner).await.expect("a list")[0].id;
    let new = tokens::rotate(&house.owner, id, 24).await.expect("rotated").expect("a token");
    assert_eq!(house.get(&old, "/v1/jobs/kinds").await.status, StatusCode::OK);
    assert_eq!(house.get(new.expose(), "/v1/jobs/kinds").await.status, StatusCode::OK);
    let again = tokens::rotate(&house.owner, id, 24).await.map(|_| ()).expect_err("it has its successor");
    let successor = tokens::id_of(&new).expect("an id");
    assert!(matches!(again, tokens::TokenError::Replaced(by) if by == successor), "{again}");
    let known = tokens::list(&house.owner).await.expect("a list");
    assert_eq!(known.len(), 2);
    let like = |token: &tokens::Known| (token.tenant.clone(), token.name.clone(), token.scopes.clone());
    assert_eq!(like(&known[0]), like(&known[1]));
    house.turn_clock_to("25 hours").await;
    assert_eq!(house.get(&old, "/v1/jobs/kinds").await.code(), "bad_token");
    assert_eq!(house.get(new.expose(), "/v1/jobs/kinds").await.status, StatusCode::OK);
    assert!(tokens::rotate(&house.owner, id, 0).await.expect("asked").is_none(), "what does not hold is not replaced");
    let kept =
        "from safelight.audit_entries where action in ('token.create', 'token.rotate') and codes->>'token' is not null";
    assert_eq!(house.count(kept).await, 3);
}

#[tokio::test]
async fn a_token_that_replaces_one_of_a_day_ends_with_that_day() {
    let house = House::build().await;
    let terms = Terms { days: Some(1), ..Terms::default() };
    tokens::create_with(&house.owner, Some("koselfie"), "a night", &[Scope::Read], terms).await.expect("a token");
    let id = tokens::list(&house.owner).await.expect("a list")[0].id;
    let new = tokens::rotate(&house.owner, id, 0).await.expect("rotated").expect("a token");
    assert_eq!(house.get(new.expose(), "/v1/jobs/kinds").await.status, StatusCode::OK);
    let known = tokens::list(&house.owner).await.expect("a list");
    assert!(known.iter().all(|token| token.expires_at.is_some()), "{known:?}");
    house.turn_clock_to("25 hours").await;
    assert_eq!(house.get(new.expose(), "/v1/jobs/kinds").await.code(), "bad_token");
}

#[tokio::test]
async fn a_callers_trace_stands_on_the_jobs_that_it_enqueues_and_a_strange_one_does_not() {
    let house = House::build().await;
    let token = house.backend("haloprofile").await;
    let subject = house.person(&token).await;
    let order = house.order(&token, subject, "cs_test_trace").await;
    let carried = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (trace, event) in [(carried, "evt_1"), ("ann@example.org", "evt_2"), ("", "evt_3")] {
        let body = json!({ "kind": "confirm_payment", "payload": { "order": order, "event": event } }).to_string();
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/jobs")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("traceparent", trace)
            .body(Body::from(body))
            .expect("a request");
        assert_eq!(house.send(request).await.status, StatusCode::ACCEPTED);
    }
    let traces: Vec<String> =
        sqlx::query_scalar("select traceparent from safelight.jobs where kind = 'confirm_payment' order by id")
            .fetch_all(&house.owner)
            .await
            .expect("traces");
    assert_eq!(traces[0], carried);
    for new in &traces[1..] {
        assert!(new.len() == 55 && new != carried && !new.contains('@'), "a trace of its own: {new}");
    }
    let exported = house.post(&token, &format!("/v1/subjects/{subject}/exports"), json!({})).await;
    assert_eq!(exported.status, StatusCode::ACCEPTED, "{}", exported.text);
    assert_eq!(house.count("from safelight.jobs where kind = 'export_data' and traceparent is not null").await, 1);
    let erased = house.post(&token, &format!("/v1/subjects/{subject}/erase"), json!({})).await;
    assert_eq!(erased.status, StatusCode::ACCEPTED, "{}", erased.text);
    assert_eq!(house.count("from safelight.jobs where kind = 'delete_data' and traceparent is not null").await, 1);
}
