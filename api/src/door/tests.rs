use std::time::Duration;

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::{behind, layered, serve};

const LONG: Duration = Duration::from_secs(3600);

/// Routes of these names behind a door. What is posted is read to its end and answered with its length.
fn intake(door: Door) -> Router {
    let length = async |body: Bytes| body.len().to_string();
    let routes = Router::new()
        .route("/webhooks/stripe", post(length))
        .route("/v1/jobs", get(async || "jobs").post(length))
        .route("/ready", get(async || "ready"));
    layered(behind(routes, door), LONG)
}

/// The same on a port of its own.
async fn at_a_port(door: Door) -> (std::net::SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(serve(listener, intake(door), stop.clone()));
    (address, stop)
}

/// Send this, and read what comes until the connection is closed.
async fn asked(address: std::net::SocketAddr, sent: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let ends = tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await;
    ends.expect("it is answered soon").unwrap();
    answer
}

#[tokio::test]
async fn who_sends_a_body_and_does_not_go_on_holds_no_seat() {
    let (address, stop) = at_a_port(Door::of(Seats::of(1, 1, 1), Duration::from_millis(300))).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut one = TcpStream::connect(address).await.unwrap();
        let head = "POST /webhooks/stripe HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\nexpect: 100-continue\r\n\r\n";
        one.write_all(head.as_bytes()).await.unwrap();
        let mut begun = [0; 25];
        one.read_exact(&mut begun).await.unwrap();
        assert_eq!(&begun, b"HTTP/1.1 100 Continue\r\n\r\n", "its body is being read");
        one.write_all(b"x").await.unwrap();
        slow.push(one);
    }
    for path in ["/v1/jobs", "/ready"] {
        let answer = asked(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    for mut one in slow {
        let mut answer = String::new();
        one.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
    }
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_letter_by_letter_ends_when_its_time_is_over() {
    let letters = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), ()))
    });
    let request = Request::builder().method("POST").uri("/v1/jobs").body(Body::from_stream(letters)).unwrap();
    let began = tokio::time::Instant::now();
    let status = intake(Door::default()).oneshot(request).await.unwrap().status();
    assert_eq!((status, began.elapsed()), (StatusCode::REQUEST_TIMEOUT, BODY_LIFE));
}

#[tokio::test]
async fn who_says_that_the_body_is_too_long_is_refused_before_it_is_read() {
    let (address, stop) = at_a_port(Door::of(Seats::default(), LONG)).await;
    for (path, most) in [("/v1/jobs", 64), ("/webhooks/stripe", 256)] {
        let length = most * 1024 + 1;
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n\r\n");
        let answer = asked(address, &head).await;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{path}: {answer}");
    }
    stop.cancel();
}

#[tokio::test]
async fn who_does_not_say_how_long_the_body_is_is_read_no_further_than_the_route_takes() {
    let sends = |bytes: usize| {
        let part = || Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 1024]));
        let body = Body::from_stream(futures::stream::iter(std::iter::repeat_with(part).take(bytes / 1024)));
        let request = Request::builder().method("POST").uri("/v1/jobs").body(body).unwrap();
        intake(Door::default()).oneshot(request)
    };
    assert_eq!(sends(64 * 1024).await.unwrap().status(), StatusCode::OK);
    assert_eq!(sends(65 * 1024).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn bodies_that_are_under_way_fill_no_more_than_their_room() {
    let door = Door { unread: Semaphore::new(1024), ..Door::default() };
    let most = |bytes: usize| {
        let part = Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; bytes]));
        Body::from_stream(futures::stream::iter([part]))
    };
    assert!(matches!(door.whole(most(1025), 4096).await, Err(Error::Overloaded)));
    assert_eq!(door.whole(most(1024), 4096).await.unwrap().len(), 1024);
    assert_eq!(door.unread.available_permits(), 1024, "what was read holds no room");
}

#[tokio::test]
async fn news_leave_seats_to_who_has_a_token_and_who_watches_finds_one_in_any_case() {
    let seats = Seats::of(2, 1, 1);
    let news = seats.take("/webhooks/stripe").unwrap();
    assert!(seats.take("/webhooks/fal/{token}").is_err(), "news took what they may take");
    let job = seats.take("/v1/jobs").unwrap();
    assert!(seats.take("/v1/jobs").is_err());
    for path in ["/ready", "/metrics", "/health"] {
        assert!(seats.take(path).is_ok(), "{path}");
    }
    let watching = seats.take("/metrics").unwrap();
    assert!(seats.take("/ready").is_err());
    assert!(seats.take("/health").is_ok());
    drop((news, job, watching));
    assert!(seats.take("/webhooks/stripe").is_ok(), "the seats are free again");
}

#[tokio::test]
async fn where_a_get_acts_a_head_is_refused_before_anything_is_done() {
    let acted = Arc::new(Semaphore::new(0));
    let acts = || {
        let acted = acted.clone();
        get(move || async move {
            acted.add_permits(1);
            "done"
        })
    };
    let routes = Router::new().route(GET_ACTS[0], acts()).route(GET_ACTS[1], acts()).route("/v1/jobs", acts());
    let router = layered(behind(routes, Door::default()), LONG);
    for (path, status, times) in [
        ("/sweeps/retention", StatusCode::METHOD_NOT_ALLOWED, 0),
        ("/console/sign-in/oidc", StatusCode::METHOD_NOT_ALLOWED, 0),
        ("/v1/jobs", StatusCode::OK, 1),
    ] {
        let request = Request::builder().method("HEAD").uri(path).body(Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), status, "{path}");
        assert_eq!(acted.available_permits(), times, "{path}");
    }
}
