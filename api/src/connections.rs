//! Connections: takes them, ends those whose request does not come or whose answer is not read, and stops in good order. Never
//! looks into a request, and never speaks anything but HTTP/1: what is encrypted ends in front of this, and a proxy asks with it.

mod flow;
mod limits;
mod open;

use std::{future::Future, io, io::Write, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::Service;

use self::{
    flow::Flow,
    open::{Open, Place},
};
use crate::request;

pub use self::limits::Limits;

/// Answer until `stop`, with the usual limits; then take no more and let what is under way come to its end.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    serve_within(listener, router, stop, Limits::default()).await
}

/// The same with these limits.
///
/// # Errors
/// The listener failed.
pub async fn serve_within(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    limits: Limits,
) -> io::Result<()> {
    // Reading which version it is would have no limit, and one connection of HTTP/2 is as good as a hundred.
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.head);
    let under_way = GracefulShutdown::new();
    let open = Open::new(limits.connections, limits.spare);
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
        let Some(place) = open.take() else {
            send_away(stream);
            continue;
        };
        let (one, router) = (Arc::clone(&place.one), router.clone());
        let service = tower::service_fn(move |request| Arc::clone(&one).answers(router.clone().call(request)));
        let stream = TokioIo::new(Flow::new(stream, limits.unread));
        let connection = http.serve_connection(stream, TowerToHyperService::new(service)).into_owned();
        tokio::spawn(carry(under_way.watch(connection), place, limits.first));
    }
    drop(listener);
    if tokio::time::timeout(limits.grace, under_way.shutdown()).await.is_err() {
        let connections = open.cut_all();
        tracing::warn!(connections, "stopped without waiting any longer for what was under way");
    }
    Ok(())
}

/// One connection until it ends by itself, is cut, or has asked nothing in time.
async fn carry(connection: impl Future, place: Place, first: Duration) {
    let late = async {
        tokio::time::sleep(first).await;
        if place.one.has_asked() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = connection => {}
        () = place.one.cut.cancelled() => {}
        () = late => metrics::counter!("safelight_http_connections_cut_total", "why" => "nothing_asked").increment(1),
    }
}

/// Each that is open has a request: say so, as far as it can be said without waiting for anybody.
fn send_away(stream: TcpStream) {
    metrics::counter!("safelight_http_connections_refused_total").increment(1);
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(request::overloaded().as_bytes());
    }
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
mod tests;
