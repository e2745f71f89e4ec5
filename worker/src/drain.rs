//! Run what is due, one job after the other, until nothing is: for tests and for one-off commands.
//!
//! The same claim, the same gates, the same verdicts and the same settling as in a pool; only the runtime is a loop. Jobs
//! that wait for later stay where they are.

use std::sync::Arc;

use safelight_jobs::{
    job::Queue,
    queue::{self, Bell, Claimed, Outcome, Verdict},
    registry,
    services::Services,
};

use tracing::Instrument;

use crate::{
    pools,
    verdict::{is_well, verdict},
};

/// What a drain did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drained {
    /// Stored names of the jobs that ran, in order.
    pub ran: Vec<String>,
}

/// Run due jobs of all queues until there are none. A job that fails is settled like any other and not run again before
/// its time.
pub async fn drain(pool: &sqlx::PgPool, services: &Arc<Services>, worker: &str) -> Result<Drained, sqlx::Error> {
    let mut drained = Drained::default();
    loop {
        let mut idle = true;
        for queue in Queue::ALL {
            for job in queue::claim(pool, queue, worker, 1, 60.0).await? {
                idle = false;
                perform(pool, services, &job).await?;
                drained.ran.push(job.kind);
            }
        }
        if idle {
            return Ok(drained);
        }
    }
}

/// Perform one claimed job and settle it: one attempt. Dropped before it ended, it is what a crash leaves.
pub async fn perform(pool: &sqlx::PgPool, services: &Arc<Services>, job: &Claimed) -> Result<(), sqlx::Error> {
    let verdict = if job.late {
        Some(Verdict::GiveUp { code: "deadline_over".to_owned() })
    } else {
        let span = pools::span(job);
        let performing = registry::perform(job, pool.clone(), Bell::default(), services.clone());
        let result = performing.instrument(span.clone()).await;
        span.in_scope(|| pools::log(&result));
        verdict(&job.kind, job.attempt, result)
    };
    let well = is_well(verdict.as_ref());
    if let Some(verdict) = verdict {
        queue::settle(pool, &[Outcome { lease: job.lease, verdict }]).await?;
    }
    match registry::known(&job.kind).and_then(|known| known.provider) {
        Some(provider) if well => queue::provider_is_well(pool, &[provider.as_str()]).await,
        _ => Ok(()),
    }
}
