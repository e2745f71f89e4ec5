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
#[serde(from = "Stored", into = "Stored")]
pub struct ActOnJobs {
    /// Which.
    pub bulk: Id<Bulk>,
    /// It is narrowed to a queue.
    pub of_a_queue: bool,
}

/// Its payload. Versions before acts could be narrowed to a queue do it to all queues: they must not be able to read such a one, and
/// leave it to a version that can.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Any { bulk: Id<Bulk> },
    OfAQueue { bulk_of_a_queue: Id<Bulk> },
}

impl From<Stored> for ActOnJobs {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Any { bulk } => Self { bulk, of_a_queue: false },
            Stored::OfAQueue { bulk_of_a_queue } => Self { bulk: bulk_of_a_queue, of_a_queue: true },
        }
    }
}

impl From<ActOnJobs> for Stored {
    fn from(job: ActOnJobs) -> Self {
        if job.of_a_queue { Self::OfAQueue { bulk_of_a_queue: job.bulk } } else { Self::Any { bulk: job.bulk } }
    }
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

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    /// As versions before acts on a queue read it.
    #[derive(Deserialize)]
    struct Before {
        #[expect(dead_code, reason = "only whether it is read counts")]
        bulk: Id<Bulk>,
    }

    #[test]
    fn a_version_that_knows_no_act_on_a_queue_cannot_read_one_and_reads_every_other() {
        let bulk = Id::<Bulk>::new();
        for (of_a_queue, before_reads) in [(false, true), (true, false)] {
            let payload = to_value(ActOnJobs { bulk, of_a_queue }).unwrap();
            assert_eq!(from_value::<Before>(payload.clone()).is_ok(), before_reads, "{payload}");
            let read: ActOnJobs = from_value(payload).unwrap();
            assert_eq!((read.bulk, read.of_a_queue), (bulk, of_a_queue));
        }
        assert!(from_value::<ActOnJobs>(json!({})).is_err());
    }
}
