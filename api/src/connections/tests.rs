use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

use super::*;

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(50);
/// Nothing is ended for its own sake.
const PATIENT: Limits = Limits { connections: 100, first: LONG, head: LONG, unread: LONG, spare: LONG, grace: LONG };
const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// A listener that answers `done`, or more than any socket holds, with these limits.
struct Intake {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    /// Cancelled when `/much` was asked for.
    reached: CancellationToken,
    server: JoinHandle<io::Result<()>>,
}

impl Intake {
    async fn with(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, reached) = (CancellationToken::new(), CancellationToken::new());
        let asked = reached.clone();
        let much = move || async move {
            asked.cancel();
            "much".repeat(16 << 20)
        };
        let router = Router::new().route("/", get(|| async { "done" })).route("/much", get(much));
        let server = tokio::spawn(serve_within(listener, router, stop.clone(), limits));
        Self { address, stop, reached, server }
    }

    async fn connect(&self, sent: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream
    }

    /// Stop it, while somebody is connected.
    async fn stops(self) {
        self.stop.cancel();
        soon(self.server).await.unwrap().unwrap();
    }
}

/// It happens, and nobody has to wait for the sake of who is connected.
async fn soon<T>(happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), happens).await.expect("it happens soon")
}

/// Everything until the connection is over, however it ended.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

async fn answered(stream: &mut TcpStream) {
    let mut status = [0; 12];
    soon(stream.read_exact(&mut status)).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    let mut last = Vec::new();
    while !last.ends_with(b"done") {
        last.push(soon(stream.read_u8()).await.unwrap());
    }
}

#[tokio::test]
async fn who_connects_and_asks_nothing_loses_the_connection() {
    let intake = Intake::with(Limits { first: SHORT, ..PATIENT }).await;
    for sent in [&b""[..], b"P", b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        assert_eq!(rest(intake.connect(sent).await).await, "");
    }
    intake.stops().await;
}

#[tokio::test]
async fn who_has_asked_may_be_silent_until_the_next_head_is_late() {
    let intake = Intake::with(Limits { first: SHORT, head: SHORT * 6, ..PATIENT }).await;
    let mut stream = intake.connect(ASK).await;
    answered(&mut stream).await;
    let began = std::time::Instant::now();
    assert_eq!(rest(stream).await, "");
    assert!(began.elapsed() > SHORT * 4, "it was the head's time: {:?}", began.elapsed());
    intake.stops().await;
}

#[tokio::test]
async fn who_speaks_http_2_is_not_listened_to() {
    let intake = Intake::with(PATIENT).await;
    let whole = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for preface in [&whole[..], &whole[..16]] {
        let answer = rest(intake.connect(preface).await).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    intake.stops().await;
}

#[tokio::test]
async fn where_there_are_too_many_a_new_one_is_told_so() {
    let intake = Intake::with(Limits { connections: 1, grace: SHORT, ..PATIENT }).await;
    let mut first = intake.connect(ASK).await;
    answered(&mut first).await;
    let refused = rest(intake.connect(b"").await).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    let problem: serde_json::Value = serde_json::from_str(refused.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&problem["code"], problem["request_id"].is_string()), (&"overloaded".into(), true));
    first.write_all(ASK).await.unwrap();
    answered(&mut first).await;
    drop(first);
    // As soon as its end is seen.
    soon(async { while rest(intake.connect(b"GET / HTTP/1.0\r\n\r\n").await).await.contains(" 503 ") {} }).await;
    intake.stops().await;
}

#[tokio::test]
async fn where_there_are_too_many_the_one_without_a_request_gives_way() {
    let intake = Intake::with(Limits { connections: 2, spare: Duration::ZERO, grace: SHORT, ..PATIENT }).await;
    let busy = intake.connect(b"GET /much HTTP/1.1\r\nhost: x\r\n\r\n").await;
    intake.reached.cancelled().await;
    let mut silent = intake.connect(ASK).await;
    answered(&mut silent).await;
    let mut third = intake.connect(ASK).await;
    answered(&mut third).await;
    drop(busy);
    intake.stops().await;
}

#[test]
fn the_one_that_has_been_without_a_request_the_longest_gives_way_and_one_with_a_request_never() {
    let open = Open::new(2, Duration::ZERO);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let pending = |place: &Place| {
            Box::pin(Arc::clone(&place.one).answers(std::future::pending::<Result<axum::response::Response, ()>>()))
        };
        let first = open.take().unwrap();
        tokio::time::advance(SHORT).await;
        let second = open.take().unwrap();
        let third = open.take().unwrap();
        assert!(first.one.cut.is_cancelled() && !second.one.cut.is_cancelled());
        drop(first);
        let (mut asks, mut asks_too) = (pending(&second), pending(&third));
        assert!(futures::poll!(&mut asks).is_pending());
        tokio::time::advance(SHORT).await;
        let fourth = open.take().unwrap();
        assert!(third.one.cut.is_cancelled() && !second.one.cut.is_cancelled());
        let mut asks_last = pending(&fourth);
        assert!(futures::poll!(&mut asks_last).is_pending() && futures::poll!(&mut asks_too).is_pending());
        assert!(open.take().is_none(), "each has a request");
    });
}

#[tokio::test]
async fn who_does_not_read_the_answer_loses_the_connection() {
    let intake = Intake::with(Limits { unread: SHORT, ..PATIENT }).await;
    let _unread = intake.connect(b"GET /much HTTP/1.1\r\nhost: x\r\n\r\n").await;
    intake.reached.cancelled().await;
    intake.stops().await;
}

#[tokio::test]
async fn a_stop_waits_for_nobody_longer_than_its_time() {
    for sent in [&b"GET /much HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ", b""] {
        let intake = Intake::with(Limits { grace: SHORT, ..PATIENT }).await;
        let _stays = intake.connect(sent).await;
        if sent.starts_with(b"GET /much") {
            intake.reached.cancelled().await;
        }
        intake.stops().await;
    }
}

#[tokio::test]
async fn stopping_lets_what_is_under_way_end_and_takes_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, reached) = (CancellationToken::new(), CancellationToken::new());
    let (asked, goes_on) = (reached.clone(), CancellationToken::new());
    let wait = goes_on.clone();
    let slow = move || async move {
        asked.cancel();
        wait.cancelled().await;
        "done"
    };
    let server = tokio::spawn(serve(listener, Router::new().route("/", get(slow)), stop.clone()));
    let mut under_way = TcpStream::connect(address).await.unwrap();
    under_way.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    reached.cancelled().await;
    stop.cancel();
    goes_on.cancel();
    let mut answer = String::new();
    under_way.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    server.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
