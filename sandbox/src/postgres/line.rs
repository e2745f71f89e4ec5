//! A line to Postgres that goes dead at a chosen statement, as when the process at its end is killed there.
//!
//! Statements are counted over all connections of the line: each point at which the client waits for an answer (a `Sync` or a
//! simple query of the wire protocol). Dead, every connection is closed and no new one is let through, until it is mended.
//!
//! Never: changes what passes, or stands between the server and anybody else.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::lock::lock;

/// What Postgres knows of the statement at which the line went dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It never came.
    Before,
    /// It was carried out, and nobody heard the answer.
    After,
}

/// The line. It ends with its handle.
#[derive(Debug)]
pub struct Line {
    url: String,
    state: Arc<State>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct State {
    /// Statements until the cut, and how it is.
    cut: Mutex<Option<(usize, Cut)>>,
    /// Of all connections since the line was mended.
    life: Mutex<CancellationToken>,
}

impl Line {
    /// A line to the server of this address.
    ///
    /// # Errors
    /// The address names no port, or none is free here.
    pub async fn to(address: &str) -> Result<Self> {
        let mut url = url::Url::parse(address).context("the address")?;
        let target = url.port().context("an address with a port")?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a port")?;
        url.set_port(Some(listener.local_addr()?.port())).map_err(|()| anyhow::anyhow!("an address with a port"))?;
        let state = Arc::new(State { cut: Mutex::new(None), life: Mutex::new(CancellationToken::new()) });
        let lines = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let life = lock(&lines.life).clone();
                if life.is_cancelled() {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else { continue };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                tokio::spawn(connection(near, far, lines.clone(), life));
            }
        });
        Ok(Self { url: url.to_string(), state, accepting: accepting.abort_handle() })
    }

    /// The address of the database over this line.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Go dead at this statement, counted from now; the first is 1.
    pub fn cut_at(&self, statement: usize, how: Cut) {
        *lock(&self.state.cut) = Some((statement, how));
    }

    /// Is it dead?
    #[must_use]
    pub fn is_dead(&self) -> bool {
        lock(&self.state.life).is_cancelled()
    }

    /// Let new connections through, and cut none of them.
    pub fn mend(&self) {
        *lock(&self.state.cut) = None;
        *lock(&self.state.life) = CancellationToken::new();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
        lock(&self.state.life).cancel();
    }
}

impl State {
    /// One statement more. Answers how the line is cut at it.
    fn counts(&self) -> Option<Cut> {
        let mut cut = lock(&self.cut);
        let (left, how) = (*cut)?;
        *cut = (left > 1).then_some((left - 1, how));
        (left <= 1).then_some(how)
    }
}

/// One connection, until one of its ends closes or the line goes dead. Dropping the halves closes them.
async fn connection(near: TcpStream, far: TcpStream, state: Arc<State>, life: CancellationToken) {
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let last = AtomicBool::new(false);
    tokio::select! {
        _ = ask(near_in, far_out, &state, &life, &last) => {}
        _ = answer(far_in, near_out, &life, &last) => {}
        () = life.cancelled() => {}
    }
    // Whoever asked the last statement may go without waiting for its answer.
    if last.load(Ordering::SeqCst) {
        life.cancel();
    }
}

async fn ask(
    mut near: OwnedReadHalf,
    mut far: OwnedWriteHalf,
    state: &State,
    life: &CancellationToken,
    last: &AtomicBool,
) -> io::Result<()> {
    let (mut pending, mut batch, mut started) = (Vec::new(), Vec::new(), false);
    let mut part = vec![0; 16 * 1024];
    loop {
        let read = near.read(&mut part).await?;
        if read == 0 {
            return Ok(());
        }
        pending.extend_from_slice(part.get(..read).unwrap_or_default());
        while let Some(length) = first_message(&pending, started) {
            let message: Vec<u8> = pending.drain(..length).collect();
            let kind = message.first().copied().filter(|_| started);
            started = started || is_startup(&message);
            batch.extend(message);
            match kind {
                // Parse, bind, describe, execute, close: they belong to the sync that follows.
                Some(b'P' | b'B' | b'D' | b'E' | b'C') => continue,
                Some(b'S' | b'Q') => match state.counts() {
                    Some(Cut::Before) => {
                        life.cancel();
                        return Ok(());
                    }
                    Some(Cut::After) => last.store(true, Ordering::SeqCst),
                    None => {}
                },
                _ => {}
            }
            far.write_all(&batch).await?;
            batch.clear();
        }
    }
}

async fn answer(
    mut far: OwnedReadHalf,
    mut near: OwnedWriteHalf,
    life: &CancellationToken,
    last: &AtomicBool,
) -> io::Result<()> {
    let mut part = vec![0; 16 * 1024];
    loop {
        let read = far.read(&mut part).await?;
        if read == 0 {
            return Ok(());
        }
        if last.load(Ordering::SeqCst) {
            life.cancel();
            return Ok(());
        }
        near.write_all(part.get(..read).unwrap_or_default()).await?;
    }
}

/// The length of the first message, if it is whole. Before the start of a session messages have no kind.
fn first_message(bytes: &[u8], started: bool) -> Option<usize> {
    let head = usize::from(started);
    let length = i32::from_be_bytes(bytes.get(head..head + 4)?.try_into().ok()?);
    let whole = head + usize::try_from(length).ok()?;
    (bytes.len() >= whole).then_some(whole)
}

/// Version 3 of the protocol; what asks for encryption or a cancel has other numbers there.
fn is_startup(message: &[u8]) -> bool {
    message.get(4..6) == Some(&[0, 3])
}
