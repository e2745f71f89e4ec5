//! The deletion engine and its sweeps, killed at each of their statements: after it was carried out and nobody heard of it, which is
//! before the next one came to Postgres (N24). A process that is killed says nothing more, not even that it gives up. In the end everything is gone once,
//! each object has one line, and what was said of a step is what it did.
//!
//! The ordinary run kills at every third statement, from a first one that dice choose; `./dev races` at all of them.

use chrono::Duration;
use rand::Rng;
use safelight_jobs::{
    db::{self, Role},
    id::{Deletion, Id, Order},
    job::Queue,
    queue,
    sweep_deletions::SweepDeletions,
    sweep_retention::SweepRetention,
};
use safelight_sandbox::postgres::{Cut, Line};
use uuid::Uuid;

use crate::app::{App, Person};

/// The statements of this run: the first of them, and how far apart they are.
fn statements() -> (usize, usize) {
    let apart = if std::env::var_os("SAFELIGHT_RACES").is_some() { 1 } else { 3 };
    (rand::thread_rng().gen_range(1..=apart), apart)
}

impl App {
    /// A process of its own, over this line, takes the next job of the queue and performs it. None: it was killed.
    async fn lives_over(&self, line: &Line, queue: Queue) -> Option<()> {
        let pool = db::connect(line.url(), Role::Worker, 2).await.ok()?;
        let claimed = queue::claim(&pool, queue, "killed", 1, 60.0).await.ok()?.pop()?;
        safelight_worker::perform(&pool, &self.services, &claimed).await.ok()?;
        (!line.is_dead()).then_some(())
    }

    /// What the dead process held is given to others.
    async fn buries(&self) {
        sqlx::query("update safelight.jobs set lease_until = clock_timestamp() - interval '1 second' where state = 1")
            .execute(&self.db)
            .await
            .unwrap();
        queue::rescue(&self.worker, i16::MAX).await.unwrap();
        // No crash is one too many here: a job that is killed a hundred times would rest among the dead.
        sqlx::query("update safelight.jobs set crashes = 0, attempt = 0").execute(&self.db).await.unwrap();
    }

    /// One photo, one vector, one order that was sold.
    async fn small_life(&self) -> Person {
        let ann = self.person("koselfie").await;
        let (batch, photos) = self.uploads(&ann, 1).await;
        self.agrees_to_compare(&ann, batch).await;
        let order = Id::<Order>::new();
        sqlx::query(
            "with o as (insert into safelight.orders (id, tenant, subject_id, batch_id, plan, needs_model, images_wanted, amount_cents, currency,
                    state, checkout_session, checkout_at, paid_at)
                values ($1, 'koselfie', $2, $3, 'basic', false, 4, 1900, 'eur', 'delivered', 'cs_' || $1::text, safelight.now(), safelight.now())
                returning *)
            insert into safelight_fiscal.sales (tenant, order_id, stripe_session, amount_cents, currency, country, status, sold_at, rule, keep_until)
            select tenant, id, checkout_session, 1900, 'eur', 'DE', 'paid', paid_at, 'a law', paid_at + interval '10 years' from o",
        )
        .bind(order.uuid())
        .bind(ann.id.uuid())
        .bind(batch.uuid())
        .execute(&self.db)
        .await
        .unwrap();
        sqlx::query(
            "insert into safelight.embeddings (subject_id, upload_id, order_id, model_name, model_sha256, dimension, vector_sealed, grants)
            select $1, $2, $3, 'm', 'h', 4, '\\x00', array(select id from safelight.consents where subject_id = $1)",
        )
        .bind(ann.id.uuid())
        .bind(photos[0].uuid())
        .bind(order.uuid())
        .execute(&self.db)
        .await
        .unwrap();
        ann
    }

    /// What is said of a finished erasure is what was done, and nothing is said twice.
    async fn is_told_once(&self, deletion: Id<Deletion>, at: &str) {
        let steps: Vec<(String, String, String, i32, i32)> = sqlx::query_as(
            "select class || ' at ' || processor, state, evidence, planned, deleted from safelight.deletion_steps where deletion_id = $1 order by seq",
        )
        .bind(deletion.uuid())
        .fetch_all(&self.db)
        .await
        .unwrap();
        let of = |what: &str| steps.iter().find(|step| step.0 == what && step.3 > 0).unwrap();
        assert_eq!(
            (of("upload at supabase").4, of("embedding at self").1.as_str()),
            (1, "verified"),
            "{at}: {steps:?}"
        );
        let (_, state, said, ..) = of("order at self");
        assert!(
            state == "retained_by_law" && said.contains("1 until") && said.contains("(a law)"),
            "{at}: {state}: {said}"
        );
        for (action, times) in [("deletion.object", 1), ("deletion.planned", 1), ("deletion.complete", 1)] {
            let lines: i64 = sqlx::query_scalar(
                "select count(*) from safelight.audit_entries where deletion_id = $1 and action = $2",
            )
            .bind(deletion.uuid())
            .bind(action)
            .fetch_one(&self.db)
            .await
            .unwrap();
            assert_eq!(lines, times, "{at}: {action}");
        }
        let said: i64 = sqlx::query_scalar(
            "select count(*) from safelight.audit_entries where deletion_id = $1 and action = 'deletion.step'",
        )
        .bind(deletion.uuid())
        .fetch_one(&self.db)
        .await
        .unwrap();
        assert_eq!(said, i64::try_from(steps.len()).unwrap(), "{at}: one line a step");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n24_every_statement_of_an_erasure_may_be_its_last() {
    let app = App::spawn().await;
    let mut killed = 0;
    let (first, apart) = statements();
    for statement in (first..).step_by(apart) {
        assert!(statement < 600, "it never came through");
        let ann = app.small_life().await;
        let deletion = app.erases(&ann).await;
        // One of its own: what an earlier process left behind would be counted, too.
        let line = Line::to(&app.database_url).await.unwrap();
        line.cut_at(statement, Cut::After);
        let first = app.lives_over(&line, Queue::Deletion).await;
        app.turn_clock(Duration::minutes(125)).await;
        if first.is_some() {
            app.lives_over(&line, Queue::Deletion).await;
        }
        let dead = line.is_dead();
        drop(line);
        app.buries().await;
        app.run_due_jobs().await;
        app.waits_out_late_writers().await;
        let at = format!("statement {statement}");
        assert_eq!(app.deletion_state(deletion).await, "complete", "{at}");
        assert_eq!(app.stored_keys().len(), 0, "{at}");
        app.is_told_once(deletion, &at).await;
        if !dead {
            break;
        }
        killed += 1;
    }
    assert!(killed * apart > 60, "{killed} statements in all");
}

/// The same of a sweep: each due photo is taken on by one deletion, and each deletion that lost its job gets one.
#[tokio::test(flavor = "multi_thread")]
async fn n24_every_statement_of_the_sweeps_may_be_their_last() {
    let app = App::spawn().await;
    let mut killed = 0;
    let (first, apart) = statements();
    for statement in (first..).step_by(apart) {
        assert!(statement < 300, "it never came through");
        let ann = app.person("koselfie").await;
        app.uploads(&ann, 1).await;
        app.turn_clock(Duration::hours(721)).await;
        let line = Line::to(&app.database_url).await.unwrap();
        line.cut_at(statement, Cut::After);
        app.wants(&SweepRetention { because: Uuid::new_v4().to_string() }).await;
        if app.lives_over(&line, Queue::Sweeps).await.is_some() {
            sqlx::query("delete from safelight.jobs where kind = 'delete_data'").execute(&app.db).await.unwrap();
            app.wants(&SweepDeletions { because: Uuid::new_v4().to_string() }).await;
            app.lives_over(&line, Queue::Sweeps).await;
        }
        let dead = line.is_dead();
        drop(line);
        app.buries().await;
        app.run_due_jobs().await;
        app.wants(&SweepDeletions { because: Uuid::new_v4().to_string() }).await;
        app.run_due_jobs().await;
        let taken = "select count(*) from safelight.deletions where subject_id = $1 and state = 'complete'";
        assert_eq!(app.of::<i64>(taken, ann.id.uuid()).await, 1, "statement {statement}");
        assert_eq!(app.stored_keys().len(), 0, "statement {statement}");
        if !dead {
            break;
        }
        killed += 1;
    }
    assert!(killed * apart > 15, "{killed} statements in all");
}
