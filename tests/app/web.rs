//! What a web backend, a provider and a slow worker do in a test, and how a test looks at everything.

use chrono::{DateTime, Duration, Utc};
use safelight_api::tokens::{self, Scope};
use safelight_jobs::{
    gate::{self, Allowed, Ask, Closed, For},
    id::{Artifact, Batch, Id, Order, Subject},
    job::{Job, Queue},
    policy::{CapturePoint, Purpose},
    queue::{self, Claimed},
    registry,
    stop::{Done, Stop},
    sweep_retention::SweepRetention,
};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{App, Person};

/// Answer of the intake: status and body.
pub type Answered = (u16, Value);

impl App {
    /// A token of a tenant's web backend.
    pub async fn token(&self, tenant: &str) -> String {
        let made = tokens::create(&self.db, Some(tenant), "backend", &[Scope::Enqueue, Scope::Read]).await;
        made.expect("a token").expose().to_owned()
    }

    pub async fn post(&self, token: &str, path: &str, body: Value) -> Answered {
        answered(self.http.post(format!("{}{path}", self.url)).bearer_auth(token).json(&body)).await
    }

    pub async fn get(&self, token: &str, path: &str) -> Answered {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(token);
        answered(request.header("accept", "application/json")).await
    }

    /// An event of Stripe, as somebody posts it.
    pub async fn stripe_says(&self, body: &str, signature: &str) -> Answered {
        let request =
            self.http.post(format!("{}/webhooks/stripe", self.url)).header("content-type", "application/json");
        answered(request.header("stripe-signature", signature).body(body.to_owned())).await
    }

    /// The sweep, as cron asks for it, and what follows from it.
    pub async fn sweeps(&self) {
        let mut tx = self.tx().await;
        tx.enqueue(&SweepRetention { because: Uuid::new_v4().to_string() }).await.expect("a sweep");
        tx.commit().await.expect("a commit");
        self.run_due_jobs().await;
    }

    /// Enqueue a job.
    pub async fn wants<J: Job>(&self, job: &J) -> Uuid {
        let mut tx = self.tx().await;
        let enqueued = tx.enqueue(job).await.expect("a job");
        tx.commit().await.expect("a commit");
        enqueued.id.uuid()
    }

    /// Take one due job of a queue, as a worker does, and do nothing with it yet.
    pub async fn dequeues(&self, queue: Queue) -> Claimed {
        queue::claim(&self.worker, queue, "slow", 1, 60.0).await.expect("a claim").pop().expect("a due job")
    }

    /// Run a job that was taken before.
    pub async fn performs(&self, claimed: &Claimed) -> Result<Done, Stop> {
        let ran = registry::perform(claimed, self.worker.clone(), self.bell(), self.services.clone()).await;
        ran.expect("a known job")
    }

    /// Ask a gate in a worker's role. The error is the code.
    pub async fn gate<P: For>(&self, ask: Ask<'_>) -> Result<Allowed<P>, &'static str> {
        let mut tx = safelight_jobs::db::begin(&self.worker).await.expect("a transaction");
        match gate::pass::<P>(&mut tx, ask).await {
            Ok(allowed) => Ok(allowed),
            Err(Closed::Refused(refusal)) => Err(refusal.code),
            Err(Closed::Database(error)) => panic!("the gate did not answer: {error}"),
        }
    }

    /// The house's clock.
    pub async fn now(&self) -> DateTime<Utc> {
        sqlx::query_scalar("select safelight.now()").fetch_one(&self.db).await.expect("a time")
    }

    /// Turn the clock to this instant.
    pub async fn turn_clock_to(&self, at: DateTime<Utc>) {
        let by = at - self.now().await;
        self.turn_clock(by).await;
    }

    /// One value of one row.
    pub async fn of<T>(&self, sql: &'static str, id: Uuid) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(sql).bind(id).fetch_one(&self.db).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Ids of what is stored of an order or a batch, of one class, by position.
    pub async fn artifacts(&self, class: &str, of: Uuid) -> Vec<Id<Artifact>> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "select id from safelight.artifacts where class = $1 and (order_id = $2 or batch_id = $2 or subject_id = $2) order by position, id",
        )
        .bind(class)
        .bind(of)
        .fetch_all(&self.db)
        .await
        .expect("ids");
        ids.into_iter().map(Id::from).collect()
    }

    /// May it be read at this instant?
    pub async fn readable(&self, artifact: Id<Artifact>) -> bool {
        self.of("select safelight.readable(a) from safelight.artifacts a where id = $1", artifact.uuid()).await
    }

    /// Is there a row of it?
    pub async fn has_row(&self, artifact: Id<Artifact>) -> bool {
        self.of("select exists (select from safelight.artifacts where id = $1)", artifact.uuid()).await
    }

    /// Its key in the store.
    pub async fn key_of(&self, artifact: Id<Artifact>) -> String {
        self.of("select storage_key from safelight.artifacts where id = $1", artifact.uuid()).await
    }

    /// Code of the dead letter or of the wait of a job.
    pub async fn why(&self, job: Uuid) -> String {
        self.of(
            "select coalesce((select code from safelight.dead_letters where id = $1), (select why from safelight.jobs where id = $1), 'done')",
            job,
        )
        .await
    }

    /// Every value of every row of every table, as text.
    pub async fn everything_stored(&self) -> String {
        let tables: Vec<String> = sqlx::query_scalar(
            "select format('%I.%I', table_schema, table_name) from information_schema.tables
            where table_schema in ('safelight', 'safelight_fiscal', 'public') and table_type = 'BASE TABLE'",
        )
        .fetch_all(&self.db)
        .await
        .expect("the tables");
        assert!(tables.len() > 25, "all tables are looked at");
        let mut all = String::new();
        for table in tables {
            // The policies' own words are no one's data.
            if table == "safelight.policy_versions" {
                continue;
            }
            let rows: Option<String> =
                sqlx::query_scalar(AssertSqlSafe(format!("select string_agg(t::text, E'\\n') from {table} t")))
                    .fetch_one(&self.db)
                    .await
                    .expect("its rows");
            all.push_str(&format!("\n{table}\n{}", rows.unwrap_or_default()));
        }
        all
    }

    /// Where a word stands: lines of [`App::everything_stored`].
    pub async fn lines_with(&self, word: &str) -> Vec<String> {
        self.everything_stored().await.lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
    }

    /// Tick both boxes for comparing faces.
    pub async fn agrees_to_compare(&self, person: &Person, batch: Id<Batch>) {
        self.grants(person, Purpose::Compare, CapturePoint::SignUp, None, None).await.expect("a grant");
        self.grants(person, Purpose::Compare, CapturePoint::Upload, Some(batch), None).await.expect("a grant");
    }

    /// A customer of KoSelfie with a small order (three photos, four images, no model) that is ready to be paid.
    pub async fn basic_order(&self, compare: bool) -> (Person, Id<Order>) {
        let ann = self.person("koselfie").await;
        let (batch, _) = self.uploads(&ann, 3).await;
        if compare {
            self.agrees_to_compare(&ann, batch).await;
        }
        let order = self.orders(&ann, batch, "basic", true).await;
        (ann, order)
    }

    /// A customer of KoSelfie who has a model trained and did not agree to comparing: no face is measured.
    pub async fn model_order(&self) -> (Person, Id<Order>) {
        let ann = self.person("koselfie").await;
        let (batch, _) = self.uploads(&ann, 10).await;
        let order = self.orders(&ann, batch, "pro", true).await;
        (ann, order)
    }

    /// A customer of HaloProfile with a small order: six photos, a model, four images.
    pub async fn small_halo_order(&self) -> (Person, Id<Order>) {
        let bob = self.person("haloprofile").await;
        let (batch, _) = self.uploads(&bob, 6).await;
        let order = self.orders(&bob, batch, "basic", true).await;
        (bob, order)
    }

    /// Paid, and what can begin has begun, once: Fal works on it for as long as its stand-in holds.
    pub async fn begins(&self, order: Id<Order>) {
        self.pays(order).await;
        self.sandbox.stripe.idle().await;
        safelight_worker::drain(&self.worker, &self.services, "test").await.expect("a drain");
    }

    /// Paid, and everything that follows is done.
    pub async fn fulfils(&self, order: Id<Order>) {
        self.pays(order).await;
        self.run_due_jobs().await;
        assert_eq!(self.order_state(order).await, ("delivered".to_owned(), None));
    }

    /// The batch of an order.
    pub async fn batch_of(&self, order: Id<Order>) -> Id<Batch> {
        let batch: Uuid = self.of("select batch_id from safelight.orders where id = $1", order.uuid()).await;
        batch.into()
    }

    /// Read an image over HTTP, as a web backend does.
    pub async fn reads_image(&self, token: &str, subject: Id<Subject>, image: Id<Artifact>) -> u16 {
        let (status, body) = self.get(token, &format!("/v1/subjects/{subject}/images/{image}")).await;
        let Some(url) = body["url"].as_str() else { return status };
        let got = self.http.get(url).send().await.expect("an answer of the store");
        got.status().as_u16()
    }

    /// All stand-ins are down.
    pub async fn providers_go_down(&self) {
        self.sandbox.stripe.take_down().await;
        self.sandbox.fal.take_down().await;
        self.sandbox.supabase.take_down().await;
        self.sandbox.resend.take_down().await;
    }
}

async fn answered(request: reqwest::RequestBuilder) -> Answered {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(json!(null)))
}

/// A day's hours, times thirty.
pub fn term() -> Duration {
    Duration::hours(720)
}
