//! An intake for one test: own database, own stand-ins, a clock to turn. Requests go straight into the router.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use safelight_api::{
    ApiConfig, ApiState, OperatorSignIn,
    tokens::{self, Scope},
};
use safelight_jobs::{
    db::{self, Address, Pooler, Role},
    id::{Artifact, Id, Order, Subject},
    policy::Policy,
    policy_rows,
    providers::{
        Secret,
        auth::{UserTokens, UserTokensConfig},
        fal_webhook::{FalWebhook, FalWebhookConfig},
        storage::{S3Config, Storage},
    },
    queue::Bell,
    services::Policies,
    vault::Vault,
};
use safelight_sandbox::{
    Options, Sandbox,
    postgres::{self, PgBouncer, Postgres},
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::OnceCell;
use tower::ServiceExt;

/// Wraps the keys of persons in tests; opens nothing else.
const MASTER_KEY: &str = "5afe11947000000000000000000000000000000000000000000000000000cafe";
/// What the cron sends.
pub(crate) const SWEEP_SECRET: &str = "a cron's secret of more than sixteen characters";
/// The version of KoSelfie's policy.
pub(crate) const POLICY: &str = "2026-05-25";

static POSTGRES: OnceCell<Postgres> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A server with a migrated template.
pub(crate) async fn own_postgres() -> Postgres {
    let postgres =
        Postgres::start(postgres::Options { fast: true, ..Default::default() }).await.expect("a private Postgres");
    let template = postgres.create_database("template_api").await.expect("a template");
    let owner = db::connect(&template, Role::Owner, 1).await.expect("the owner");
    db::migrate(&owner).await.expect("migrations");
    for policy in Policy::bundled().expect("policies") {
        policy_rows::install(&owner, &policy).await.expect("a policy");
    }
    postgres::mutate(&owner).await.expect("a rule to take out");
    owner.close().await;
    postgres
}

async fn database() -> String {
    new_database(POSTGRES.get_or_init(own_postgres).await).await
}

pub(crate) async fn new_database(postgres: &Postgres) -> String {
    let name = format!("api_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    postgres.create_database_from(&name, "template_api").await.expect("a database")
}

/// The same database; with `SAFELIGHT_THROUGH_POOLER` set, through a real PgBouncer with two servers, so that every route can
/// be tried there (decision 0010).
async fn in_front_of(url: &str) -> Address {
    static POOLER: OnceCell<PgBouncer> = OnceCell::const_new();
    if std::env::var_os("SAFELIGHT_THROUGH_POOLER").is_none() {
        return url.into();
    }
    let postgres = POSTGRES.get_or_init(own_postgres).await;
    if !url.contains(&format!(":{}/", postgres.port())) {
        return url.into(); // a server of that test's own, which it takes away
    }
    let start = async || PgBouncer::start(postgres, 2).await.expect("PgBouncer");
    let name = url.rsplit('/').next().unwrap_or_default();
    Address::new(POOLER.get_or_init(start).await.url(name), Pooler::Transaction)
}

/// The intake and what stands around it.
pub(crate) struct House {
    /// May do everything in the database.
    pub(crate) owner: PgPool,
    /// The providers' stand-ins.
    pub(crate) sandbox: Sandbox,
    /// The intake.
    pub(crate) app: Router,
    /// What its routes hold.
    pub(crate) state: ApiState,
    folder: PathBuf,
    url: String,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
    /// The body's field, parsed.
    pub(crate) fn id<K: safelight_jobs::id::Kind>(&self, field: &str) -> Id<K> {
        let text = self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.text));
        text.parse().expect("an id")
    }
}

impl House {
    pub(crate) async fn build() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ApiConfig)) -> Self {
        Self::on(&database().await, change).await
    }

    pub(crate) async fn on(url: &str, change: impl FnOnce(&mut ApiConfig)) -> Self {
        Self::on_with(url, change, None).await
    }

    /// One whose console is opened by an identity provider, too.
    pub(crate) async fn with_operators(operators: OperatorSignIn) -> Self {
        Self::on_with(&database().await, |_| {}, Some(operators)).await
    }

    async fn on_with(url: &str, change: impl FnOnce(&mut ApiConfig), operators: Option<OperatorSignIn>) -> Self {
        let folder = std::env::temp_dir().join(format!("safelight-api-test-{}", uuid::Uuid::new_v4().simple()));
        let sandbox = Sandbox::start(Options::new(&folder)).await.expect("the sandbox");
        let mut config = ApiConfig {
            stripe_webhook_secrets: vec![Secret::new(sandbox.description().stripe.webhook_secret.clone())],
            sweep_secret: Some(Secret::new(SWEEP_SECRET)),
            ..ApiConfig::default()
        };
        change(&mut config);
        let owner = db::connect(url, Role::Owner, 3).await.expect("the owner");
        let pool = db::connect(in_front_of(url).await, Role::Api, 12).await.expect("the intake's role");
        let bell = Bell::start(pool.clone());
        let state = intake(&sandbox, pool, bell, config).with_operators(operators);
        Self { owner, sandbox, app: safelight_api::router(state.clone()), state, folder, url: url.to_owned() }
    }

    /// Another intake on the same database, over an address of the test's own. It has one connection and rings no bell.
    pub(crate) async fn over(&self, url: &str) -> Result<Router, db::DbError> {
        let pool = db::connect(url, Role::Api, 1).await?;
        let config = ApiConfig {
            stripe_webhook_secrets: vec![Secret::new(self.sandbox.description().stripe.webhook_secret.clone())],
            ..ApiConfig::default()
        };
        Ok(safelight_api::router(intake(&self.sandbox, pool, Bell::default(), config)))
    }

    /// Where its database is: another intake can be built on it.
    pub(crate) fn database_url(&self) -> String {
        self.url.clone()
    }

    pub(crate) async fn token(&self, tenant: Option<&str>, scopes: &[Scope]) -> String {
        tokens::create(&self.owner, tenant, "test", scopes).await.expect("a token").expose().to_owned()
    }

    /// A token of a web backend.
    pub(crate) async fn backend(&self, tenant: &str) -> String {
        self.token(Some(tenant), &[Scope::Enqueue, Scope::Read]).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 4 * 1024 * 1024).await.expect("a body");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, text, body }
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(request(Method::GET, path, token, None)).await
    }

    /// Look, and say what for.
    pub(crate) async fn looks(&self, token: &str, path: &str, why: &str) -> Answer {
        let mut request = request(Method::GET, path, token, None);
        request.headers_mut().insert("safelight-why", why.parse().expect("a header"));
        self.send(request).await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send(request(Method::POST, path, token, Some(&body))).await
    }

    /// With an idempotency key.
    pub(crate) async fn post_once(&self, token: &str, key: &str, path: &str, body: Value) -> Answer {
        let mut request = request(Method::POST, path, token, Some(&body));
        request.headers_mut().insert("idempotency-key", key.parse().expect("a key"));
        self.send(request).await
    }

    /// Until a request that waits for news has taken its seat.
    pub(crate) async fn somebody_waits(&self) {
        while self.state.waiting() == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Until a session of this database waits for a lock.
    pub(crate) async fn somebody_is_blocked(&self) {
        let blocked = "from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        while self.count(blocked).await == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Until an answer is remembered under a key, or its place is free again.
    pub(crate) async fn no_key_is_in_flight(&self) {
        let free = async {
            while self.count("from safelight.idempotent_answers where status is null").await > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), free).await.expect("an answer under the key");
    }

    /// A number that the database answers with.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(format!("select count(*) {sql}")))
            .fetch_one(&self.owner)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(crate) async fn run(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&self.owner)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Turn the clock to this long after the start.
    pub(crate) async fn turn_clock_to(&self, shift: &str) {
        let sql = format!(
            "insert into safelight.clock (shift) values (interval '{shift}') on conflict (only_row) do update set shift = excluded.shift"
        );
        self.run(&sql).await;
    }

    /// Every value of every row, as text.
    pub(crate) async fn everything_stored(&self) -> String {
        let tables: Vec<String> = sqlx::query_scalar(
            "select format('%I.%I', table_schema, table_name) from information_schema.tables
            where table_schema in ('safelight', 'safelight_fiscal') and table_type = 'BASE TABLE'",
        )
        .fetch_all(&self.owner)
        .await
        .expect("the tables");
        assert!(tables.len() > 20, "all tables are looked at");
        let mut all = String::new();
        for table in tables {
            let rows: Option<String> =
                sqlx::query_scalar(AssertSqlSafe(format!("select string_agg(t::text, E'\\n') from {table} t")))
                    .fetch_one(&self.owner)
                    .await
                    .expect("its rows");
            all.push_str(&rows.unwrap_or_default());
        }
        all
    }

    pub(crate) async fn person(&self, token: &str) -> Id<Subject> {
        let email = format!("ann+{}@example.org", NUMBER.fetch_add(1, Ordering::Relaxed));
        let answer = self.post(token, "/v1/subjects", json!({ "email": email })).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.id("subject")
    }

    /// Upload a photo as a customer does, and answer what was said about its arrival.
    pub(crate) async fn upload(&self, token: &str, batch: &str, bytes: Vec<u8>) -> (Id<Artifact>, Answer) {
        let slot = self.post(token, &format!("/v1/batches/{batch}/uploads"), json!({})).await;
        assert_eq!(slot.status, StatusCode::CREATED, "{}", slot.text);
        let artifact: Id<Artifact> = slot.id("artifact");
        let key: String = sqlx::query_scalar("select storage_key from safelight.artifacts where id = $1")
            .bind(artifact.uuid())
            .fetch_one(&self.owner)
            .await
            .expect("its key");
        self.sandbox.supabase.put("safelight", &key, "image/png", bytes.into()).await.expect("stored");
        (artifact, self.post(token, &format!("/v1/uploads/{artifact}/arrived"), json!({})).await)
    }

    /// A placed order of the plan `basic`, with a session of that name.
    pub(crate) async fn order(&self, token: &str, subject: Id<Subject>, session: &str) -> Id<Order> {
        self.order_of(token, subject, session, "basic", 6).await
    }

    pub(crate) async fn order_of(
        &self,
        token: &str,
        subject: Id<Subject>,
        session: &str,
        plan: &str,
        photos: usize,
    ) -> Id<Order> {
        let batch = self.post(token, &format!("/v1/subjects/{subject}/batches"), json!({})).await;
        let batch = batch.body["batch"].as_str().expect("a batch").to_owned();
        for _ in 0..photos {
            let (_, arrived) = self.upload(token, &batch, photo()).await;
            assert_eq!(arrived.status, StatusCode::OK, "{}", arrived.text);
        }
        let order = self.post(token, "/v1/orders", json!({ "subject": subject, "batch": batch, "plan": plan })).await;
        assert_eq!(order.status, StatusCode::CREATED, "{}", order.text);
        let order: Id<Order> = order.id("order");
        let checkout = self.post(token, &format!("/v1/orders/{order}/checkout"), json!({ "session": session })).await;
        assert_eq!(checkout.status, StatusCode::OK, "{}", checkout.text);
        order
    }
}

/// What the routes of an intake hold, with the stand-ins around it.
fn intake(sandbox: &Sandbox, pool: PgPool, bell: Bell, config: ApiConfig) -> ApiState {
    let described = sandbox.description();
    let fal = FalWebhook::new(&FalWebhookConfig {
        keys_url: described.fal.rest_url.clone(),
        account: None,
        timeout: Duration::from_secs(5),
    })
    .expect("fal's keys");
    let storage = Storage::s3(&S3Config {
        endpoint: described.supabase.s3_endpoint.clone(),
        region: described.supabase.s3_region.clone(),
        bucket: "safelight".to_owned(),
        access_key: Secret::new(described.supabase.s3_access_key_id.clone()),
        secret_key: Secret::new(described.supabase.s3_secret_access_key.clone()),
        timeout: Duration::from_secs(5),
    })
    .expect("a store");
    let policies = Policies::new(Policy::bundled().expect("policies"));
    let vault = Vault::new(MASTER_KEY).expect("a vault");
    let sign_in = UserTokens::new(&UserTokensConfig {
        project_url: described.supabase.url.clone(),
        legacy_jwt_secret: Some(Secret::new(described.supabase.jwt_secret.clone())),
        issuer: None,
        timeout: Duration::from_secs(5),
    })
    .expect("the project's sign-ins");
    ApiState::new(pool, bell, vault, policies, storage, Some(fal), config).with_sign_in(Some(sign_in))
}

/// A small real PNG.
pub(crate) fn photo() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(96, 96, |x, y| image::Rgb([(x * 2) as u8, (y * 2) as u8, 90]))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("a PNG");
    bytes.into_inner()
}

pub(crate) fn request(method: Method, path: &str, token: &str, body: Option<&Value>) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(path);
    if !token.is_empty() {
        builder = builder.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    match body {
        Some(body) => builder.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())),
        None => builder.body(Body::empty()),
    }
    .expect("a request")
}
