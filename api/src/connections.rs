//! Connections: takes them, ends those whose request does not come, and stops in good order. Never looks into a request.

use std::{io, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long the head of a request may take, and a connection be idle between two. Longer than clients keep one that is idle, so
/// that it is they who close it. Who sends a letter a minute holds a socket so long, and never one of the seats.
const HEAD_LIFE: Duration = Duration::from_secs(120);

/// Answer until `stop`; then take no more and let what is under way come to its end.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    serve_with(listener, router, stop, HEAD_LIFE).await
}

pub(crate) async fn serve_with(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    head_life: Duration,
) -> io::Result<()> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(head_life);
    http.http2().timer(TokioTimer::new()).keep_alive_interval(head_life);
    let under_way = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            taken = listener.accept() => match taken {
                Ok((stream, _)) => stream,
                Err(error) => {
                    no_connection(&error).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::spawn(under_way.watch(connection));
    }
    drop(listener);
    under_way.shutdown().await;
    Ok(())
}

/// One that broke while it was taken is the caller's affair. Any other error is this process's: too many open files, mostly, which
/// asking again at once would not mend.
async fn no_connection(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset) {
        tracing::error!(%error, "no connection can be taken");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    #[tokio::test]
    async fn a_request_whose_head_does_not_end_loses_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "done" }));
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve_with(listener, router, stop.clone(), Duration::from_millis(50)));
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
        let mut answer = Vec::new();
        let ends = tokio::time::timeout(Duration::from_secs(20), slow.read_to_end(&mut answer)).await;
        ends.expect("the intake closes it").unwrap();
        stop.cancel();
        server.await.unwrap().unwrap();
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
}
