//! The books of a test, and how time passes for jobs that wait.

use chrono::Duration;
use safelight_jobs::{
    id::{Id, Order},
    queue::{self, Claimed, Outcome, Verdict},
    reconcile_calls::ReconcileCalls,
    reconcile_money::ReconcileMoney,
};
use uuid::Uuid;

use super::App;

/// One sale as the books hold it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Sale {
    pub status: String,
    pub review: Option<String>,
    pub amount_cents: i64,
    pub refunded_cents: i64,
    pub disputed_cents: i64,
    pub kept_cents: i64,
}

impl App {
    /// What the books say of one checkout session.
    pub async fn sale(&self, session: &str) -> Option<Sale> {
        sqlx::query_as(
            "select status, review, amount_cents, refunded_cents, disputed_cents, kept_cents from safelight_fiscal.balance where stripe_session = $1",
        )
        .bind(session)
        .fetch_optional(&self.db)
        .await
        .expect("the books")
    }

    /// The sale's word.
    pub async fn sale_status(&self, session: &str) -> String {
        self.sale(session).await.expect("a sale").status
    }

    /// The sweep of the minute, and what follows.
    pub async fn reconciles(&self) {
        self.wants(&ReconcileCalls { because: Uuid::new_v4().simple().to_string(), grace_seconds: Some(0) }).await;
        self.run_due_jobs().await;
    }

    /// The comparison of the books, and what follows. Answers what differs then, by code.
    pub async fn compares_money(&self) -> Vec<String> {
        self.wants(&ReconcileMoney { because: Uuid::new_v4().simple().to_string(), hours: Some(960) }).await;
        self.run_due_jobs().await;
        self.differences().await
    }

    /// Codes of all open differences.
    pub async fn differences(&self) -> Vec<String> {
        sqlx::query_scalar("select code from safelight.differences where resolved_at is null order by code, object")
            .fetch_all(&self.db)
            .await
            .expect("differences")
    }

    /// Time passes in steps; after each what is due runs.
    pub async fn lives_on(&self, steps: usize, step: Duration) {
        for _ in 0..steps {
            self.turn_clock(step).await;
            self.run_due_jobs().await;
        }
    }

    /// Run due jobs one by one until the first of this kind, which is taken and answered.
    pub async fn runs_up_to(&self, kind: &str) -> Claimed {
        let mut quiet = 0;
        while quiet < 2 {
            let mut idle = true;
            for queue in safelight_jobs::job::Queue::ALL {
                for job in queue::claim(&self.worker, queue, "test", 1, 60.0).await.expect("a claim") {
                    idle = false;
                    if job.kind == kind {
                        return job;
                    }
                    safelight_worker::perform(&self.worker, &self.services, &job).await.expect("an attempt");
                }
            }
            // What the stand-ins tell meanwhile may be what it waits for.
            self.sandbox.idle().await;
            quiet = if idle { quiet + 1 } else { 0 };
        }
        panic!("no {kind} is due");
    }

    /// A job ends as a dead letter, as one that has spent its attempts does.
    pub async fn dies(&self, job: &Claimed, code: &str) -> Uuid {
        let verdict = Verdict::GiveUp { code: code.to_owned() };
        let settled = queue::settle(&self.worker, &[Outcome { lease: job.lease, verdict }]).await.expect("a verdict");
        assert_eq!(settled, 1);
        job.lease.job.uuid()
    }

    /// An operator gives a dead letter another life.
    pub async fn redrives(&self, job: Uuid) {
        let mut tx = self.tx().await;
        assert!(queue::redrive(&mut tx, job).await.expect("a redrive"), "it is a dead letter");
        tx.commit().await.expect("a commit");
    }

    /// Where an order stands.
    pub async fn stands(&self, order: Id<Order>, state: &str, problem: Option<&str>) {
        assert_eq!(self.order_state(order).await, (state.to_owned(), problem.map(str::to_owned)));
    }
}
