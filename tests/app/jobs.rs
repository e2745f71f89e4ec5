//! What a test of one job needs: is it enqueued, run just this one, let its attempt crash at a moment of its life.

use std::{pin::Pin, task::Poll};

use safelight_jobs::{
    job::Job,
    queue::{self, Claimed},
};
use uuid::Uuid;

use super::App;

/// A job that is stored and has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    pub id: Uuid,
    /// 0 ready, 1 running, 2 held, 3 scheduled, 4 set aside.
    pub state: i16,
    /// Attempts spent.
    pub attempt: i32,
}

impl App {
    /// The job of this wish, if it waits or runs.
    pub async fn enqueued<J: Job>(&self, job: &J) -> Option<Enqueued> {
        sqlx::query_as::<_, (Uuid, i16, i32)>(
            "select id, state, attempt from safelight.jobs where key = $1 and kind = $2",
        )
        .bind(job.key().as_str())
        .bind(J::NAME)
        .fetch_optional(&self.db)
        .await
        .expect("a look at the queue")
        .map(|(id, state, attempt)| Enqueued { id, state, attempt })
    }

    /// Run what is due until a job of this kind is.
    pub async fn run_up_to<J: Job>(&self) {
        let job = self.runs_up_to(J::NAME).await;
        queue::give_back(&self.worker, &[job.lease]).await.expect("a job that goes back");
    }

    /// State and spent attempts of a job that has not ended; the states are those of [`Enqueued`].
    pub async fn stands_at(&self, job: Uuid) -> (i16, i32) {
        sqlx::query_as("select state, attempt from safelight.jobs where id = $1")
            .bind(job)
            .fetch_one(&self.db)
            .await
            .expect("a job that has not ended")
    }

    /// Run the next due job of this kind, and no other, as a worker does. Answers its id.
    pub async fn performs_one<J: Job>(&self) -> Uuid {
        let job = self.takes_one::<J>().await;
        safelight_worker::perform(&self.worker, &self.services, &job).await.expect("an attempt");
        self.sandbox.idle().await;
        job.lease.job.uuid()
    }

    /// An attempt at the next due job of this kind crashes after so many steps, and its lease runs out. A step is what lies between two
    /// waits: a statement sent, an answer of a provider read. Answers whether it crashed; else it has ended before.
    pub async fn crashes_after_step<J: Job>(&self, step: usize) -> bool {
        let job = self.takes_one::<J>().await;
        let mut attempt = Box::pin(safelight_worker::perform(&self.worker, &self.services, &job));
        let ended = polled(&mut attempt, step).await.is_some();
        drop(attempt);
        self.sandbox.idle().await;
        if ended {
            return false;
        }
        // Behind the transaction that the attempt may have left open. Its last commit may have been on its way, too.
        let crashed = sqlx::query(
            "update safelight.jobs set lease_until = clock_timestamp() - interval '1 second' where id = $1 and state = 1",
        )
        .bind(job.lease.job.uuid())
        .execute(&self.db)
        .await
        .expect("a lease")
        .rows_affected()
            == 1;
        queue::rescue(&self.worker, i16::MAX).await.expect("a rescue");
        crashed
    }

    async fn takes_one<J: Job>(&self) -> Claimed {
        sqlx::query(
            "update safelight.jobs set rank = '2000-01-01', state = 0 where id = (select id from safelight.jobs
                where kind = $1 and state in (0, 3) and run_at <= safelight.now() order by rank, id limit 1)",
        )
        .bind(J::NAME)
        .execute(&self.db)
        .await
        .expect("the next job");
        let job = self.dequeues(J::QUEUE).await;
        assert_eq!(job.kind, J::NAME, "no {} is due", J::NAME);
        job
    }
}

/// Poll so many times, each when it was woken; none: it has not ended by then.
pub async fn polled<F: Future>(future: &mut Pin<Box<F>>, times: usize) -> Option<F::Output> {
    let mut left = times;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
