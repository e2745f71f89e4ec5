//! For every job the situation in which it is due: a real order, brought there by the jobs before it.

use std::time::Duration;

use safelight_jobs::{
    bulk,
    calls::resolve::{self, Resolution},
    expire_consents::ExpireConsents,
    id::{Id, Order},
    intake::{self, Correction},
    job::{Job, Queue},
    operate::{Act, Operator},
    policy::{CapturePoint, Policy, Purpose},
    policy_rows,
    prune_history::PruneHistory,
    queue::{self, By, Claimed, search::Wanted},
    reconcile_calls::ReconcileCalls,
    reconcile_money::ReconcileMoney,
    resolve_call,
    sweep_deletions::SweepDeletions,
    sweep_fiscal::SweepFiscal,
    sweep_orphans::SweepOrphans,
    sweep_retention::SweepRetention,
};
use safelight_sandbox::{Fault, Rule};
use serde_json::Value;
use uuid::Uuid;

use crate::app::{App, Person};

/// What an erased person means to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It asks, and then calls nobody.
    Asks,
    /// It takes away, looks, or delivers what was made behind other gates.
    HasNone,
}

/// A job that is due, and the world around it.
pub struct Situation {
    pub app: App,
    pub person: Person,
    pub order: Id<Order>,
    pub gate: Gate,
    pub job: Uuid,
    /// Images that were bought.
    pub images: usize,
    /// Trainings that the plan needs.
    pub trainings: usize,
    /// Mails that are sent by the end: one of the tenants tells its people in the product only.
    pub mails: usize,
}

/// A customer of KoSelfie who ticked the boxes for comparing, and an order of four images that was just paid.
async fn paid() -> (App, Person, Id<Order>) {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.grants(&ann, Purpose::Compare, CapturePoint::SignUp, None, None).await.expect("a grant");
    let (batch, _) = app.uploads(&ann, 3).await;
    app.grants(&ann, Purpose::Compare, CapturePoint::Upload, Some(batch), None).await.expect("a grant");
    let order = app.orders(&ann, batch, "basic", true).await;
    pays((app, ann, order)).await
}

/// The same with consent to train, and twelve images.
async fn paid_pro() -> (App, Person, Id<Order>) {
    let app = App::spawn().await;
    let (ann, order) = app.pro_order().await;
    pays((app, ann, order)).await
}

/// A customer of HaloProfile, whose every order trains a model, with four images.
async fn paid_halo() -> (App, Person, Id<Order>) {
    let app = App::spawn().await;
    let bob = app.person("haloprofile").await;
    let (batch, _) = app.uploads(&bob, 6).await;
    let order = app.orders(&bob, batch, "basic", true).await;
    pays((app, bob, order)).await
}

async fn pays(world: (App, Person, Id<Order>)) -> (App, Person, Id<Order>) {
    world.0.pays(world.2).await;
    world.0.sandbox.idle().await;
    world
}

/// The situation of a job. A new job is tested from the day on which it is listed: without an entry here nothing passes.
pub async fn situation(kind: &str) -> Situation {
    // Boxed, each of them: an unoptimised frame has room for every future that it awaits anywhere.
    let (gate, (app, person, order)) = match kind {
        "confirm_payment" | "generate_batch" | "collect_image" | "check_image" | "measure_selfies"
        | "compare_faces" | "send_notice" => (Gate::Asks, Box::pin(paid()).await),
        "train_model" => (Gate::Asks, Box::pin(paid_pro()).await),
        "collect_model" => (Gate::Asks, Box::pin(paid_halo()).await),
        "purge_call" => (Gate::HasNone, Box::pin(paid_halo()).await),
        "deliver_order" => {
            let (app, ann, order) = Box::pin(paid()).await;
            Box::pin(app.run_until_due("compare_faces")).await;
            Box::pin(app.withdraws(&ann, Purpose::Compare)).await;
            (Gate::HasNone, (app, ann, order))
        }
        "sweep_retention" => {
            let (app, ann, order) = Box::pin(paid_halo()).await;
            Box::pin(app.run_due_jobs()).await;
            app.turn_clock(chrono::Duration::hours(24 * 31)).await;
            Box::pin(app.enqueues(&SweepRetention { because: "a month later".to_owned() })).await;
            (Gate::HasNone, (app, ann, order))
        }
        "export_data" => {
            let (app, ann, order) = Box::pin(paid()).await;
            Box::pin(app.run_due_jobs()).await;
            let mut tx = app.tx().await;
            intake::ask_export(&mut tx, ann.tenant, ann.id).await.expect("an export");
            tx.commit().await.expect("a commit");
            (Gate::Asks, (app, ann, order))
        }
        "correct_sign_in" => {
            let (app, ann, order) = Box::pin(paid()).await;
            Box::pin(app.run_due_jobs()).await;
            let mut tx = app.tx().await;
            let correction = Correction { email: Some("new@mail.example".to_owned()), name: None };
            intake::rectify(&mut tx, &app.services.vault, ann.tenant, ann.id, &correction).await.expect("corrected");
            tx.commit().await.expect("a commit");
            (Gate::Asks, (app, ann, order))
        }
        "sweep_deletions" => {
            let (app, ann, order) = Box::pin(paid()).await;
            Box::pin(app.run_due_jobs()).await;
            Box::pin(app.enqueues(&SweepDeletions { because: "an hour".to_owned() })).await;
            (Gate::HasNone, (app, ann, order))
        }
        "sweep_orphans" => {
            let (app, ann, order) = Box::pin(paid()).await;
            Box::pin(app.run_due_jobs()).await;
            Box::pin(app.enqueues(&SweepOrphans { because: "six hours".to_owned(), most: None })).await;
            (Gate::HasNone, (app, ann, order))
        }
        "sweep_fiscal" => {
            let (app, ann, order) = Box::pin(paid()).await;
            Box::pin(app.run_due_jobs()).await;
            Box::pin(app.enqueues(&SweepFiscal { because: "a night".to_owned() })).await;
            (Gate::HasNone, (app, ann, order))
        }
        "reconcile_calls" => {
            let (app, ann, order) = Box::pin(paid_halo()).await;
            app.sandbox.fal.faults().always(Fault::DropWebhook);
            Box::pin(app.run_due_jobs()).await;
            app.sandbox.fal.faults().clear();
            Box::pin(app.enqueues(&ReconcileCalls { because: "no news".to_owned(), grace_seconds: Some(0) })).await;
            (Gate::HasNone, (app, ann, order))
        }
        "expire_consents" => {
            let app = App::spawn().await;
            let (ann, order) = Box::pin(app.pro_order()).await;
            app.turn_clock(chrono::Duration::hours(26)).await;
            Box::pin(app.enqueues(&ExpireConsents { because: "a day later".to_owned() })).await;
            (Gate::HasNone, (app, ann, order))
        }
        "close_checkout" => {
            let app = App::spawn().await;
            let (ann, order) = Box::pin(app.pro_order()).await;
            app.sandbox.stripe.expire(&app.session(order).await).expect("an open session");
            app.sandbox.idle().await;
            (Gate::HasNone, (app, ann, order))
        }
        "book_money" => {
            let (app, ann, order) = Box::pin(paid()).await;
            Box::pin(app.run_due_jobs()).await;
            app.sandbox.stripe.refund_part(&app.payment(order).await, 100).expect("a refund");
            app.sandbox.idle().await;
            (Gate::HasNone, (app, ann, order))
        }
        "refund_payment" => {
            let (app, ann, order) = Box::pin(paid()).await;
            Box::pin(app.run_due_jobs()).await;
            Box::pin(app.asks_refund(order, Some(100))).await.expect("a refund");
            (Gate::HasNone, (app, ann, order))
        }
        "reconcile_money" => {
            let app = App::spawn().await;
            let (ann, order) = Box::pin(app.basic_order(true)).await;
            app.sandbox.stripe.faults().always(Fault::DropWebhook);
            Box::pin(app.pays(order)).await;
            app.sandbox.stripe.faults().clear();
            Box::pin(app.enqueues(&ReconcileMoney { because: "no_news".to_owned(), hours: None })).await;
            (Gate::HasNone, (app, ann, order))
        }
        "act_on_jobs" => {
            let (app, ann, order) = Box::pin(paid()).await;
            Box::pin(app.holds_and_wants_released("confirm_payment")).await;
            (Gate::HasNone, (app, ann, order))
        }
        "resolve_call" => {
            let (app, bob, order) = Box::pin(paid_halo()).await;
            app.sandbox.fal.faults().add(Rule {
                fault: Fault::Unreachable,
                times: Some(1),
                on: Some("POST /fal-ai/flux-lora".to_owned()),
            });
            Box::pin(app.run_due_jobs()).await;
            Box::pin(app.hears_that_it_was_not_made()).await;
            (Gate::HasNone, (app, bob, order))
        }
        "prune_history" => {
            let (app, ann, order) = Box::pin(paid_halo()).await;
            Box::pin(app.run_due_jobs()).await;
            app.turn_clock(chrono::Duration::days(40)).await;
            Box::pin(app.enqueues(&PruneHistory { because: "a night".to_owned() })).await;
            (Gate::HasNone, (app, ann, order))
        }
        "tell_policies" => {
            let (app, ann, order) = Box::pin(paid()).await;
            Box::pin(app.run_due_jobs()).await;
            let koselfie = include_str!("../../policies/koselfie.toml").replacen("2026-05-25", "2026-07-31", 1);
            policy_rows::install(&app.db, &Policy::parse(&koselfie).expect("a policy"))
                .await
                .expect("the next version");
            policy_rows::announce_by_mail(&app.db, "koselfie", "2026-07-31", crate::app::OPS)
                .await
                .expect("told by mail");
            (Gate::HasNone, (app, ann, order))
        }
        "delete_data" => {
            let (app, ann, order) = Box::pin(paid()).await;
            Box::pin(app.run_due_jobs()).await;
            Box::pin(app.erases(&ann)).await;
            // Nobody writes late any more: the second look need not wait.
            app.turn_clock(chrono::Duration::minutes(125)).await;
            (Gate::HasNone, (app, ann, order))
        }
        other => panic!("`{other}` is listed and has no situation: add one here"),
    };
    let (images, trains): (i32, bool) =
        sqlx::query_as("select images_wanted, needs_model from safelight.orders where id = $1")
            .bind(order.uuid())
            .fetch_one(&app.db)
            .await
            .expect("an order");
    let (images, trainings) = (usize::try_from(images).expect("a number"), usize::from(trains));
    let mails = usize::from(person.tenant == "koselfie") + usize::from(matches!(kind, "tell_policies" | "delete_data"));
    let job = Box::pin(app.run_until_due(kind)).await;
    Situation { app, person, order, gate, job, images, trainings, mails }
}

impl App {
    /// An operator says that the one call whose outcome nobody knows was never made.
    async fn hears_that_it_was_not_made(&self) {
        let unknown = resolve::unknown(&self.db, None, 1000).await.expect("calls");
        assert_eq!(unknown.len(), 1);
        let operator = Operator { by: By { actor: "test", why: "looked_at_fal" }, tenant: None };
        let mut tx = self.tx().await;
        let word = Resolution::NotMade;
        resolve_call::ask(&mut tx, unknown[0].id, word, "ops_1", operator).await.expect("asked for");
        tx.commit().await.expect("a commit");
    }

    /// An operator held all jobs of a kind, and wants them to go on.
    async fn holds_and_wants_released(&self, kind: &str) {
        let held: Vec<Uuid> = sqlx::query_scalar("select id from safelight.jobs where kind = $1")
            .bind(kind)
            .fetch_all(&self.db)
            .await
            .expect("jobs");
        let mut tx = self.tx().await;
        assert!(queue::hold_all(&mut tx, &held, "by_operator").await.expect("held") > 0);
        tx.commit().await.expect("a commit");
        let mut tx = self.tx().await;
        let wanted = Wanted { kind: Some(kind.to_owned()), ..Wanted::default() };
        let operator = Operator { by: By { actor: "ops_1", why: "it is over" }, tenant: None };
        bulk::ask(&mut tx, &self.db, Act::Release, wanted, operator).await.expect("an act");
        tx.commit().await.expect("a commit");
    }

    pub async fn enqueues<J: Job>(&self, job: &J) -> Uuid {
        let mut tx = self.tx().await;
        let id = tx.enqueue(job).await.expect("a job").id;
        tx.commit().await.expect("a commit");
        id.uuid()
    }

    /// Run other jobs, one at a time, until one of this kind is due.
    pub async fn run_until_due(&self, kind: &str) -> Uuid {
        for _ in 0..500 {
            let due = "select id, kind from safelight.jobs where state in (0, 3) and run_at <= safelight.now()
                order by kind <> $1, queue, priority, run_at, id limit 1";
            let next: Option<(Uuid, String)> =
                sqlx::query_as(due).bind(kind).fetch_optional(&self.db).await.expect("the next job");
            match next {
                Some((id, next)) if next == kind => return id,
                Some((id, _)) => {
                    let claimed = self.claims_this(id).await.expect("it is due");
                    safelight_worker::perform(&self.worker, &self.services, &claimed).await.expect("an attempt");
                }
                None => {
                    self.sandbox.idle().await;
                    let due = self
                        .count(
                            "select count(*) from safelight.jobs where state in (0, 3) and run_at <= safelight.now()",
                        )
                        .await;
                    assert!(due > 0, "nothing is due any more, and no `{kind}` was");
                }
            }
        }
        panic!("500 jobs and no `{kind}`")
    }

    /// Claim one job before all others, also if it waits; none if it has ended.
    pub async fn claims_this(&self, job: Uuid) -> Option<Claimed> {
        let queue: Option<String> = sqlx::query_scalar(
            "update safelight.jobs set state = 0, rank = '2000-01-01', run_at = least(run_at, safelight.now())
            where id = $1 and state in (0, 3) returning queue",
        )
        .bind(job)
        .fetch_optional(&self.db)
        .await
        .expect("a job");
        let queue = Queue::named(&queue?).expect("a queue");
        let mut claimed = queue::claim(&self.worker, queue, "a worker", 1, 60.0).await.expect("a claim");
        let claimed = claimed.pop().expect("a due job");
        assert_eq!(claimed.lease.job.uuid(), job);
        Some(claimed)
    }

    /// One attempt after the other, until the job has ended.
    pub async fn runs_to_its_end(&self, job: Uuid) {
        for _ in 0..20 {
            let Some(claimed) = self.claims_this(job).await else { return };
            safelight_worker::perform(&self.worker, &self.services, &claimed).await.expect("an attempt");
            self.sandbox.idle().await;
        }
        panic!("the job does not end: {}", self.row(job).await.unwrap_or_default());
    }

    /// A job's row, if it has not ended.
    pub async fn row(&self, job: Uuid) -> Option<Value> {
        sqlx::query_scalar("select to_jsonb(j) from safelight.jobs j where id = $1")
            .bind(job)
            .fetch_optional(&self.db)
            .await
            .expect("a row")
    }

    /// Put a job back as it was, as a crash before its end was written would leave it.
    pub async fn puts_back(&self, row: &Value) {
        for table in ["jobs", "jobs_archive", "dead_letters"] {
            sqlx::query(sqlx::AssertSqlSafe(format!("delete from safelight.{table} where id = ($1 ->> 'id')::uuid")))
                .bind(row)
                .execute(&self.db)
                .await
                .expect("a row that goes");
        }
        sqlx::query("insert into safelight.jobs select * from jsonb_populate_record(null::safelight.jobs, $1)")
            .bind(row)
            .execute(&self.db)
            .await
            .expect("a row that comes back");
    }

    /// What jobs bring about: in the database, in the store, at providers. Not how often they looked.
    pub async fn effects(&self) -> Value {
        let mut effects: Value = sqlx::query_scalar(
            "select jsonb_build_object(
                'orders', (select jsonb_agg(jsonb_build_array(id, state, problem, paid_at, delivered_at, selfies_measured_at) order by id) from safelight.orders),
                'calls', (select jsonb_agg(jsonb_build_array(wish, state, request_id, purge) order by id) from safelight.provider_calls),
                'artifacts', (select jsonb_agg(jsonb_build_array(id, class, position, state, sha256, delivered_at, delete_after) order by id) from safelight.artifacts),
                'embeddings', (select count(*) from safelight.embeddings),
                'similarities', (select jsonb_agg(s order by image_id) from safelight.similarities s),
                'checks', (select jsonb_agg(c order by image_id) from safelight.image_checks c),
                'notices', (select jsonb_agg(n order by id) from safelight.notices n),
                'consents', (select count(*) from safelight.consents),
                'deletions', (select jsonb_agg(d order by id) from safelight.deletions d),
                'deletion_steps', (select jsonb_agg(jsonb_build_array(deletion_id, seq, state, deleted) order by deletion_id, seq) from safelight.deletion_steps),
                'sales', (select jsonb_agg(s order by order_id) from safelight_fiscal.sales s),
                'wishes', (select count(*) from safelight.job_keys where key not like 'reconcile_calls:%'))",
        )
        .fetch_one(&self.db)
        .await
        .expect("effects");
        let mut keys = self.stored_keys();
        keys.sort();
        effects["stored"] = keys.into();
        effects["outside"] = self.asked_for().into();
        effects
    }

    /// What providers accepted: what would have been billed, sent or taken away.
    pub fn asked_for(&self) -> Vec<usize> {
        vec![
            self.sandbox.fal.requests().len(),
            self.sandbox.fal.trainings(),
            self.sandbox.fal.generations(),
            self.sandbox.resend.mails().len(),
            self.sandbox.supabase.users().len(),
        ]
    }

    /// Every request that reached any provider.
    pub fn calls(&self) -> [usize; 4] {
        [
            self.sandbox.fal.calls().len(),
            self.sandbox.stripe.calls().len(),
            self.sandbox.resend.calls().len(),
            self.sandbox.supabase.calls().len(),
        ]
    }

    /// Kind, key, code and attempts of every dead letter.
    pub async fn dead_letters(&self) -> Vec<Value> {
        sqlx::query_scalar("select jsonb_build_array(kind, key, code, attempt, crashes) from safelight.dead_letters")
            .fetch_all(&self.db)
            .await
            .expect("dead letters")
    }

    /// Take a job out of the queue, if its end is not committed. False: an open transaction of its attempt holds it.
    pub async fn cancels_unless_locked(&self, job: Uuid) -> bool {
        let mut tx = self.tx().await;
        sqlx::query("set local lock_timeout = '20ms'").execute(&mut *tx).await.expect("a setting");
        match queue::cancel(&mut tx, job.into(), "asked_for").await {
            Ok(_) => {
                tx.commit().await.expect("a commit");
                true
            }
            Err(_) => false,
        }
    }

    /// Leases run out, and a rescue looks. None: an open transaction of the attempt still holds the job.
    pub async fn loses_its_lease(&self) -> bool {
        self.leases_run_out().await;
        queue::rescue(&self.worker, i16::MAX).await.expect("a rescue") > 0
    }

    /// The same for an attempt that was dropped: its transaction ends soon.
    pub async fn rescues(&self) {
        for _ in 0..1000 {
            if self.loses_its_lease().await
                || self.count("select count(*) from safelight.jobs where state = 1").await == 0
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("nobody may rescue the job");
    }
}
