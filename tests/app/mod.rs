//! A whole Safelight for one test: own database, own stand-ins, the intake on a real port, a clock to turn. Jobs run when
//! the test says so.

mod jobs;
mod money;
mod people;
mod remembering;
mod web;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

pub use jobs::polled;
pub use people::{Person, WORDING, photos};
use remembering::Remembering;
use safelight_api::{ApiConfig, ApiState};
use safelight_faces::{FaceEngine, ModelFiles};
use safelight_jobs::{
    db::{self, Role},
    policy::Policy,
    policy_rows,
    providers::{
        Secret,
        auth::{Auth, AuthConfig, UserTokens, UserTokensConfig},
        fal::{Fal, FalConfig, FileAccess},
        fal_webhook::{FalWebhook, FalWebhookConfig},
        mail::{MailConfig, Mailer},
        storage::{S3Config, Storage},
        stripe::{Stripe, StripeConfig},
    },
    queue::Bell,
    services::{Faces, Policies, Services},
    vault::Vault,
};
use safelight_sandbox::{Options, Sandbox, postgres, postgres::Postgres};
use sqlx::PgPool;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
pub use web::term;

/// Wraps the keys of persons in tests; opens nothing else.
pub const MASTER_KEY: &str = "5afe11947000000000000000000000000000000000000000000000000000cafe";
/// Whoever acts where a test does not ask who.
pub const OPS: safelight_jobs::queue::By<'static> = safelight_jobs::queue::By { actor: "cli:ops_1", why: "a test" };
const CALL: Duration = Duration::from_secs(20);

static POSTGRES: OnceCell<Postgres> = OnceCell::const_new();
static FACES: OnceLock<Faces> = OnceLock::new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// One server for all tests of this program; it dies with it.
pub async fn postgres() -> &'static Postgres {
    POSTGRES
        .get_or_init(|| async {
            // The races ask which of two commits came first.
            let settings = vec![("track_commit_timestamp".to_owned(), "on".to_owned())];
            let postgres = Postgres::start(postgres::Options { fast: true, settings, ..Default::default() })
                .await
                .expect("a private Postgres");
            migrated(&postgres, "template_safelight").await;
            postgres
        })
        .await
}

/// Makes a migrated database with both policies; answers its address.
pub async fn migrated(postgres: &Postgres, name: &str) -> String {
    let url = postgres.create_database(name).await.expect("a database");
    let owner = db::connect(&url, Role::Owner, 1).await.expect("the owner");
    prepare(&owner).await;
    owner.close().await;
    url
}

/// What `safelight migrate` does.
pub async fn prepare(owner: &PgPool) {
    db::migrate(owner).await.expect("migrations");
    for policy in Policy::bundled().expect("policies") {
        policy_rows::install(owner, &policy).await.expect("a policy");
    }
    postgres::mutate(owner).await.expect("a rule to take out");
}

/// A migrated database of its own, with both policies.
pub async fn database() -> String {
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    postgres().await.create_database_from(&name, "template_safelight").await.expect("a database")
}

fn faces() -> Faces {
    FACES
        .get_or_init(|| {
            let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
            let engine = FaceEngine::load(&ModelFiles::bundled(&models)).expect("the face model");
            Faces::new(Remembering { engine, seen: Mutex::default() })
        })
        .clone()
}

/// The whole.
pub struct App {
    pub database_url: String,
    /// As the owner: tests look at everything.
    pub db: PgPool,
    /// As a worker: what jobs may do.
    pub worker: PgPool,
    pub sandbox: Sandbox,
    pub services: Arc<Services>,
    /// Where the intake listens.
    pub url: String,
    pub http: reqwest::Client,
    pub cron_secret: String,
    stop: CancellationToken,
    _folder: Folder,
}

struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(postgres) = POSTGRES.get() {
            postgres.drop_later(&self.database_url);
        }
    }
}

impl App {
    pub async fn spawn() -> Self {
        Box::pin(Self::spawn_with(|_| {})).await
    }

    pub async fn spawn_with(change: impl FnOnce(&mut Options)) -> Self {
        // Large: not on the stack of whoever asks.
        Box::pin(Self::spawn_at(database().await, change)).await
    }

    /// On a database that somebody else made.
    pub async fn spawn_at(database_url: String, change: impl FnOnce(&mut Options)) -> Self {
        // Quiet, unless somebody looks for something: RUST_LOG=safelight_worker=debug.
        if let Ok(filter) = std::env::var("RUST_LOG") {
            let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        }
        let folder = std::env::temp_dir().join(format!("safelight-test-{}", uuid::Uuid::new_v4().simple()));
        let mut options = Options::new(&folder);
        options.fal_delay = Duration::from_millis(5);
        change(&mut options);
        let sandbox = Sandbox::start(options).await.expect("stand-ins");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        sandbox.stripe.set_webhook_url(Some(format!("{url}/webhooks/stripe")));

        let db = db::connect(&database_url, Role::Owner, 4).await.expect("the owner");
        let worker = db::connect(&database_url, Role::Worker, 6).await.expect("a worker");
        let services = Arc::new(services(&sandbox, &url));
        let stop = CancellationToken::new();
        let cron_secret = "cron-secret-of-a-test".to_owned();
        let there = sandbox.description();
        let fal = FalWebhook::new(&FalWebhookConfig {
            keys_url: there.fal.rest_url.clone(),
            account: Some(there.fal.user_id.clone()),
            timeout: CALL,
        })
        .expect("fal's keys");
        let config = ApiConfig {
            stripe_webhook_secrets: vec![Secret::new(there.stripe.webhook_secret.as_str())],
            sweep_secret: Some(Secret::new(cron_secret.as_str())),
            ..ApiConfig::default()
        };
        let sign_in = UserTokens::new(&UserTokensConfig {
            project_url: there.supabase.url.clone(),
            legacy_jwt_secret: None,
            issuer: None,
            timeout: CALL,
        })
        .expect("sign-ins");
        let intake = db::connect(&database_url, Role::Api, 6).await.expect("the intake");
        let state = ApiState::new(
            intake,
            Bell::default(),
            services.vault.clone(),
            services.policies.clone(),
            services.storage.clone(),
            Some(fal),
            config,
        )
        .with_sign_in(Some(sign_in));
        tokio::spawn(safelight_api::serve(listener, safelight_api::router(state), stop.clone()));
        Self {
            database_url,
            db,
            worker,
            sandbox,
            services,
            url,
            http: reqwest::Client::new(),
            cron_secret,
            stop,
            _folder: Folder(folder),
        }
    }

    /// Run jobs, let the stand-ins finish and call back, until nothing happens any more. Answers what ran.
    pub async fn run_due_jobs(&self) -> Vec<String> {
        let mut ran = Vec::new();
        let mut rounds_without = 0;
        loop {
            let drained = safelight_worker::drain(&self.worker, &self.services, "test").await.expect("a drain");
            let idle = drained.ran.is_empty();
            ran.extend(drained.ran);
            self.sandbox.idle().await;
            if idle && self.due_jobs().await == 0 {
                return ran;
            }
            rounds_without = if idle { rounds_without + 1 } else { 0 };
            assert!(rounds_without < 500, "jobs are due and nobody takes them");
            assert!(ran.len() < 5000, "jobs run in a circle: {:?}", &ran[ran.len() - 20..]);
        }
    }

    async fn due_jobs(&self) -> i64 {
        sqlx::query_scalar("select count(*) from safelight.jobs where state in (0, 3) and run_at <= safelight.now()")
            .fetch_one(&self.db)
            .await
            .expect("a count")
    }

    /// Turn the clock of the whole house and of the stand-ins.
    pub async fn turn_clock(&self, by: chrono::Duration) {
        sqlx::query(
            "insert into safelight.clock (shift) values (make_interval(secs => $1))
             on conflict (only_row) do update set shift = safelight.clock.shift + excluded.shift",
        )
        .bind(by.num_milliseconds() as f64 / 1000.0)
        .execute(&self.db)
        .await
        .expect("the clock");
        self.sandbox.turn_clock(by);
    }

    pub fn bell(&self) -> Bell {
        Bell::default()
    }

    /// One number by SQL.
    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.db).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Keys of all objects that the store holds.
    pub fn stored_keys(&self) -> Vec<String> {
        self.sandbox.supabase.objects("safelight").into_iter().map(|object| object.key).collect()
    }
}

fn services(sandbox: &Sandbox, url: &str) -> Services {
    let there = sandbox.description();
    let authority = |url: &str| url::Url::parse(url).expect("a url").authority().to_owned();
    Services {
        stripe: Stripe::new(&StripeConfig {
            base_url: there.stripe.url.clone(),
            secret_key: Secret::new(there.stripe.secret_key.as_str()),
            timeout: CALL,
        })
        .expect("stripe"),
        fal: Fal::new(&FalConfig {
            queue_url: there.fal.queue_url.clone(),
            platform_url: there.fal.platform_url.clone(),
            files_hosts: vec![authority(&there.fal.files_url)],
            key: Secret::new(there.fal.key.as_str()),
            admin_key: Some(Secret::new(there.fal.admin_key.as_str())),
            file_life: Duration::from_secs(3600),
            file_access: FileAccess::Anyone,
            timeout: CALL,
            download_timeout: CALL,
        })
        .expect("fal"),
        storage: Storage::s3(&S3Config {
            endpoint: there.supabase.s3_endpoint.clone(),
            region: there.supabase.s3_region.clone(),
            bucket: "safelight".to_owned(),
            access_key: Secret::new(there.supabase.s3_access_key_id.as_str()),
            secret_key: Secret::new(there.supabase.s3_secret_access_key.as_str()),
            timeout: CALL,
        })
        .expect("storage"),
        mail: Mailer::new(&MailConfig {
            base_url: there.resend.url.clone(),
            api_key: Secret::new(there.resend.api_key.as_str()),
            timeout: CALL,
        })
        .expect("mail"),
        auth: Auth::new(&AuthConfig {
            project_url: there.supabase.url.clone(),
            service_key: Secret::new(there.supabase.secret_key.as_str()),
            timeout: CALL,
        })
        .expect("auth"),
        faces: faces(),
        vault: Vault::new(MASTER_KEY).expect("a vault"),
        ledger: None,
        policies: Policies::new(Policy::bundled().expect("policies")),
        public_url: url.to_owned(),
        mail_from: "Photo service <hello@photos.example>".to_owned(),
        livemode: false,
    }
}
