//! Carry out what an operator wants done to all jobs that match a search.
//!
//! Life: enqueued by [`crate::bulk::ask`] -> the newest jobs that match, a batch at a time: done, and how far it came, in one commit
//! -> until nothing older matches -> an audit entry with the number, done.
//! Input: the row of the act in `bulk_acts`.  Output: jobs cancelled, held, released, retried or discarded, and the row's progress.
//! A crash loses no batch and does none twice: the next attempt goes on where the last commit was. A job that stands elsewhere when
//! it is its turn is passed over and counted.
//! No gate: it changes when jobs run, not what they may do; each of them asks its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    bulk,
    id::{Bulk, Id},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    run::Run,
    stop::{Done, Stop},
};

/// Jobs of one commit: their rows are locked for as long as it takes.
const BATCH: usize = 250;

/// One act on many jobs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActOnJobs {
    /// Which.
    pub bulk: Id<Bulk>,
}

impl Job for ActOnJobs {
    const NAME: &'static str = "act_on_jobs";
    const QUEUE: Queue = Queue::Sweeps;
    const RETRY: Retry = Retry { attempts: 10, first: Duration::from_secs(1), most: Duration::from_secs(60) };
    const EFFECT: Effect = Effect::Repeatable;
    const TIMEOUT: Duration = Duration::from_secs(3600);
    type Pass = ();

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.bulk])
    }

    fn scope(&self) -> Scope {
        Scope::System
    }

    async fn gate(&self, _run: &Run) -> Result<(), Stop> {
        Ok(())
    }

    async fn run(&self, (): (), run: &Run) -> Result<Done, Stop> {
        loop {
            let act = bulk::read(run.pool(), self.bulk, None).await?;
            let Some(act) = act.filter(|act| act.finished_at.is_none()) else { return Ok(Done::nothing_more()) };
            let (jobs, next) = act.next(run.pool(), BATCH).await?;
            let mut tx = run.begin().await?;
            let (done, rings) = bulk::carry_out(&mut tx, act.act, &jobs).await?;
            rings.iter().for_each(|queue| tx.ring(*queue));
            let passed_over = (jobs.len() as u64).saturating_sub(done);
            let all = bulk::advance(&mut tx, self.bulk, (done, passed_over), next).await?;
            if next.is_some() {
                tx.commit().await?;
                continue;
            }
            let mut entry =
                run.note("jobs.bulk", act.act.outcome()).code("bulk", self.bulk.to_string()).count("jobs", all);
            if let Some(tenant) = act.wanted.tenant {
                entry = entry.tenant(tenant);
            }
            entry.write(&mut tx).await?;
            return run.finish(tx).await;
        }
    }
}
