//! One listener of one stand-in: starts on 127.0.0.1, goes down as a crashed host does, comes back on the same port.
//!
//! It never listens on another interface. A connection can be cut from inside a request, so that an answer is lost
//! after the work was accepted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a request in work may take to end when its server goes down.
const GRACE: Duration = Duration::from_secs(2);

/// A listener with its routes.
pub(crate) struct Server {
    address: SocketAddr,
    router: Router,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: CancellationToken,
    down: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// Takes a port before the routes are known: their answers hold URLs with it.
pub(crate) async fn bind(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("listening on 127.0.0.1:{port}; is the port taken?"))
}

/// The base URL of a bound listener, without a slash at the end.
pub(crate) fn base_url(listener: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

impl Server {
    pub(crate) fn start(listener: TcpListener, router: Router) -> anyhow::Result<Server> {
        let address = listener.local_addr()?;
        let running = Mutex::new(Some(serve(listener, router.clone())));
        Ok(Server { address, router, running })
    }

    /// Closes the port and cuts every connection. Does nothing when down already.
    pub(crate) async fn take_down(&self) {
        let Some(running) = self.running.lock().await.take() else { return };
        running.down.store(true, Ordering::SeqCst);
        running.stop.cancel();
        let abort = running.task.abort_handle();
        if tokio::time::timeout(GRACE, running.task).await.is_err() {
            abort.abort();
        }
    }

    /// Listens again on the port it had. Does nothing when up already.
    pub(crate) async fn bring_up(&self) -> anyhow::Result<()> {
        let mut running = self.running.lock().await;
        if running.is_none() {
            let listener = bind(self.address.port()).await?;
            *running = Some(serve(listener, self.router.clone()));
        }
        Ok(())
    }
}

fn serve(listener: TcpListener, router: Router) -> Running {
    let stop = CancellationToken::new();
    let down = Arc::new(AtomicBool::new(false));
    let lines = Lines { inner: listener, down: down.clone() };
    let service = router.into_make_service_with_connect_info::<Cut>();
    let until = stop.clone().cancelled_owned();
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(lines, service).with_graceful_shutdown(until).await {
            tracing::warn!(%error, "a sandbox listener ended");
        }
    });
    Running { stop, down, task }
}

/// Cuts the connection of the request that holds it: not one more byte goes out.
#[derive(Clone)]
pub(crate) struct Cut(Arc<AtomicBool>);

impl Cut {
    pub(crate) fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Connected<IncomingStream<'_, Lines>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().cut.clone()
    }
}

pub(crate) struct Lines {
    inner: TcpListener,
    down: Arc<AtomicBool>,
}

impl Listener for Lines {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.inner).await;
        let line = Line { stream, cut: Cut(Arc::new(AtomicBool::new(false))), down: self.down.clone() };
        (line, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A TCP stream that fails once it is cut or its server is down.
pub(crate) struct Line {
    stream: TcpStream,
    cut: Cut,
    down: Arc<AtomicBool>,
}

impl Line {
    fn alive(&self) -> io::Result<()> {
        if self.cut.0.load(Ordering::SeqCst) || self.down.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::ConnectionReset));
        }
        Ok(())
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.alive()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.alive()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
