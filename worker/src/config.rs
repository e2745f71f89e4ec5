//! How a worker process works. Every default suits one small machine.

use std::time::Duration;

use safelight_jobs::job::Queue;

use crate::reports::Reports;

/// Settings of one worker process.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Which queues it serves; all of them if empty.
    pub queues: Vec<Queue>,
    /// How many jobs of one queue run at once.
    pub concurrency: usize,
    /// How long a lease lasts without a heartbeat. A dead worker's jobs run again after this.
    pub lease: Duration,
    /// How long a waiting claimer sleeps when no bell rings.
    pub poll: Duration,
    /// How often a job may take its worker down with it.
    pub max_crashes: i16,
    /// How long a graceful stop waits for running jobs.
    pub drain: Duration,
    /// Whom failures are reported to; nobody if none.
    pub reports: Option<Reports>,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            queues: Vec::new(),
            concurrency: 8,
            lease: Duration::from_secs(12),
            poll: Duration::from_millis(500),
            max_crashes: 3,
            drain: Duration::from_secs(20),
            reports: None,
        }
    }
}

impl WorkerConfig {
    /// A third of the lease: two heartbeats may be lost.
    pub fn heartbeat(&self) -> Duration {
        self.lease / 3
    }
    /// The queues it serves.
    pub fn served(&self) -> Vec<Queue> {
        if self.queues.is_empty() { Queue::ALL.to_vec() } else { self.queues.clone() }
    }
}
