//! What one connection may cost, and how many there may be at once.

use std::time::Duration;

/// Limits of a listener's connections. Each is there for a client that does not mean well, and wide enough for one that does.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once. Below the 1024 files that a process may have open on most hosts: one that has no file left can
    /// take no connection, read no certificate and reach no database.
    pub connections: usize,
    /// How long a new connection may take until the head of its first request is there, whatever it sends meanwhile.
    pub first: Duration,
    /// How long the head of a later request may take, and a connection be idle between two. Longer than clients keep one that is
    /// idle, so that it is they who close it. Who sends a letter a minute holds a socket so long, and never one of the seats.
    pub head: Duration,
    /// How long an answer may lie without one more byte of it being read.
    pub unread: Duration,
    /// How long a connection has been without a request when it gives way to a new one, where there are too many.
    pub spare: Duration,
    /// How long a stop waits for what is under way. As long as a request may last, and shorter than the forty seconds after which
    /// systemd kills.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 800,
            first: Duration::from_secs(10),
            head: Duration::from_secs(120),
            unread: Duration::from_secs(20),
            spare: Duration::from_secs(1),
            grace: Duration::from_secs(30),
        }
    }
}
