//! The line between a worker and its Postgres: a TCP relay on the loopback that passes, delays, falls silent in one or both
//! directions, is cut, or leads somewhere else.
//!
//! Silent means half open: everything is taken and nothing comes out, not even the end of the connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Asking,
    Answering,
}

/// What the line does. Connections are numbered as they come.
#[derive(Debug, Clone, Copy)]
struct Weather {
    /// Connections below this number have no requests come out.
    deaf_below: u64,
    /// Connections below this number have no answers come out.
    mute_below: u64,
    /// Connections below this number are over.
    cut_below: u64,
    /// Nobody comes in.
    down: bool,
    /// Of each piece, in each direction.
    delay: Duration,
}

impl Weather {
    fn holds(&self, way: Way, number: u64) -> bool {
        number < if way == Way::Asking { self.deaf_below } else { self.mute_below }
    }
}

/// A line; dropped, it is cut.
pub struct Line {
    port: u16,
    target: Arc<AtomicU16>,
    next: Arc<AtomicU64>,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

impl Line {
    /// A line to a port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = listener.local_addr().expect("an address").port();
        let (target, next) = (Arc::new(AtomicU16::new(port)), Arc::new(AtomicU64::new(0)));
        let fair = Weather { deaf_below: 0, mute_below: 0, cut_below: 0, down: false, delay: Duration::ZERO };
        let (weather, seen) = watch::channel(fair);
        let task = tokio::spawn({
            let (target, next) = (target.clone(), next.clone());
            async move {
                while let Ok((near, _)) = listener.accept().await {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if !seen.borrow().down {
                        tokio::spawn(carry(near, target.load(Ordering::SeqCst), number, seen.clone()));
                    }
                }
            }
        });
        Self { port: own, target, next, weather, task }
    }

    /// A line to the server of this address, and the address with the line in between.
    pub async fn before(url: &str) -> (Self, String) {
        let url = url::Url::parse(url).expect("an address");
        let line = Self::to(url.port().expect("a port")).await;
        let own = line.instead(&url);
        (line, own)
    }

    fn instead(&self, url: &url::Url) -> String {
        let mut own = url.clone();
        own.set_port(Some(self.port)).expect("a port");
        own.to_string()
    }

    /// Where to come in.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who comes from now on comes out there.
    pub fn leads_to(&self, port: u16) {
        self.target.store(port, Ordering::SeqCst);
    }

    fn so_far(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    fn turns(&self, change: impl FnOnce(&mut Weather)) {
        self.weather.send_modify(change);
    }

    /// What is open now is half open from here on, for ever; new connections pass.
    pub fn open_ones_fall_silent(&self) {
        let below = self.so_far();
        self.turns(|weather| (weather.deaf_below, weather.mute_below) = (below, below));
    }

    /// What is open now is heard, and never answered; new connections pass.
    pub fn answers_of_open_ones_are_lost(&self) {
        let below = self.so_far();
        self.turns(|weather| weather.mute_below = below);
    }

    /// Nothing passes, whoever comes.
    pub fn falls_silent(&self) {
        self.turns(|weather| (weather.deaf_below, weather.mute_below) = (u64::MAX, u64::MAX));
    }

    /// What was held comes out, and all goes on.
    pub fn passes(&self) {
        self.turns(|weather| {
            (weather.deaf_below, weather.mute_below, weather.down) = (0, 0, false);
        });
    }

    /// What is open now ends.
    pub fn cut(&self) {
        let below = self.so_far();
        self.turns(|weather| weather.cut_below = below);
    }

    /// What is open ends, and nobody comes in until the line passes again.
    pub fn goes_down(&self) {
        self.turns(|weather| weather.down = true);
        self.cut();
    }

    /// Each piece takes this long, in each direction.
    pub fn takes(&self, delay: Duration) {
        self.turns(|weather| weather.delay = delay);
    }
}

async fn carry(near: TcpStream, port: u16, number: u64, weather: watch::Receiver<Weather>) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let mut over = weather.clone();
    tokio::select! {
        _ = over.wait_for(|weather| number < weather.cut_below) => {}
        () = async {
            tokio::join!(
                pump(near_in, far_out, Way::Asking, number, weather.clone()),
                pump(far_in, near_out, Way::Answering, number, weather.clone()),
            );
        } => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    number: u64,
    mut weather: watch::Receiver<Weather>,
) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let size = from.read(&mut piece).await.unwrap_or(0);
        let delay = weather.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if weather.wait_for(|weather| !weather.holds(way, number)).await.is_err() {
            return;
        }
        if size == 0 || to.write_all(&piece[..size]).await.is_err() {
            let _ = to.shutdown().await;
            return;
        }
    }
}
