//! `safelight bench intake`: how fast the intake answers while many come a second.
//!
//! `--route webhooks`: genuine, signed events of payments of existing orders, each another one, so that each stores a row and
//! enqueues a job. `--route fal`: genuine reports about calls that were made, each of another one. `--route jobs`: typed jobs of a
//! backend, each with another key. Sent at a steady rate over the loopback; an answer's time counts from the moment at which its
//! request was due, so that a queue before the intake is not hidden. The
//! tables of the database are the domain's: a private Postgres, or one of its own.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use safelight_api::{
    ApiConfig, ApiState,
    tokens::{self, Scope},
};
use safelight_jobs::{
    db::{self, Role},
    id::{self, Id},
    policy::Policy,
    policy_rows,
    providers::{
        Secret,
        fal_webhook::{FalWebhook, FalWebhookConfig},
        storage::{S3Config, Storage},
    },
    queue::Bell,
    services::Policies,
    vault::Vault,
};
use safelight_sandbox::{Options, Sandbox};
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{Place, machine::Server, working::percentile};
use crate::process::say;

/// Orders that requests are about.
const ORDERS: u64 = 500;
/// Wraps keys that nothing is sealed with.
const MASTER_KEY: &str = "5afe11947000000000000000000000000000000000000000000000000000be9c";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Route {
    /// `POST /webhooks/stripe`
    Webhooks,
    /// `POST /webhooks/fal/{token}`
    Fal,
    /// `POST /v1/jobs`
    Jobs,
}

#[derive(Debug, Args)]
pub(crate) struct Intake {
    /// What is asked
    #[arg(long, value_enum, default_value_t = Route::Webhooks)]
    route: Route,
    /// Requests a second
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Seconds
    #[arg(long, default_value_t = 30)]
    secs: u32,
    #[command(flatten)]
    place: Place,
}

impl Intake {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let server = Server::at(self.place.database_url.clone()).await?;
        let owner = db::connect(server.url(), Role::Owner, 4).await?;
        db::migrate(&owner).await?;
        for policy in Policy::bundled()? {
            policy_rows::install(&owner, &policy).await?;
        }
        orders(&owner).await?;
        if self.route == Route::Fal {
            calls(&owner, i64::from(self.rate) * i64::from(self.secs)).await?;
        }
        let folder = std::env::temp_dir().join(format!("safelight-bench-{}", std::process::id()));
        let sandbox = Sandbox::start(Options::new(&folder)).await?;
        let stop = CancellationToken::new();
        let url = intake(server.url(), &sandbox, stop.clone()).await?;
        let route = self.route;
        // Written beforehand: the sender must not be what is measured.
        let bodies = self.bodies(&owner, &sandbox).await?;
        let token = tokens::create(&owner, Some("koselfie"), "bench", &[Scope::Enqueue]).await?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let request = |number: u32, body: String| {
            let request = match route {
                Route::Webhooks => http
                    .post(format!("{url}/webhooks/stripe"))
                    .header("stripe-signature", sandbox.stripe.sign_now(body.as_bytes())),
                Route::Fal => {
                    let asked = request_id(u64::from(number));
                    let signed = sandbox.fal.sign(body.as_bytes(), &asked, chrono::Utc::now().timestamp());
                    let request = http.post(format!("{url}/webhooks/fal/bench{number}"));
                    signed.pairs().into_iter().fold(request, |request, (name, value)| request.header(name, value))
                }
                Route::Jobs => http
                    .post(format!("{url}/v1/jobs"))
                    .header("content-type", "application/json")
                    .bearer_auth(token.expose()),
            };
            request.body(body)
        };
        let answers = sends(self.rate, bodies, request).await?;
        let jobs: i64 = sqlx::query_scalar("select count(*) from safelight.jobs").fetch_one(&owner).await?;
        let at = |part: f64| percentile(&answers.waits, part).map_or(0.0, |wait| wait.as_secs_f64() * 1000.0);
        say(json!({
            "test": "intake", "route": format!("{route:?}").to_lowercase(), "rate": self.rate, "n": answers.waits.len(),
            "secs": answers.took.as_secs_f64(), "refused": answers.refused, "jobs": jobs,
            "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99), "max_ms": at(1.0),
        }));
        stop.cancel();
        sandbox.stop().await;
        let _ = std::fs::remove_dir_all(folder);
        Ok(())
    }
}

impl Intake {
    /// One a request.
    async fn bodies(&self, owner: &PgPool, sandbox: &Sandbox) -> anyhow::Result<Vec<String>> {
        let orders: Vec<uuid::Uuid> =
            sqlx::query_scalar("select id from safelight.orders order by id").fetch_all(owner).await?;
        let body = |number: u64| {
            match self.route {
            Route::Webhooks => {
                let session =
                    json!({ "id": session(number % ORDERS), "object": "checkout.session", "payment_status": "paid" });
                sandbox.stripe.event("checkout.session.completed", session).to_string()
            }
            Route::Fal => json!({
                "request_id": request_id(number), "gateway_request_id": request_id(number), "status": "OK", "error": null,
                "payload": { "images": [{ "url": format!("https://v3.fal.media/files/bench/{number}.png"), "content_type": "image/png" }] },
            })
            .to_string(),
            Route::Jobs => {
                let order = orders[usize::try_from(number).unwrap_or(0) % orders.len()];
                let payload = json!({ "order": Id::<id::Order>::from(order), "event": format!("evt_{number}") });
                json!({ "kind": "confirm_payment", "payload": payload }).to_string()
            }
        }
        };
        Ok((0..u64::from(self.rate) * u64::from(self.secs)).map(body).collect())
    }
}

/// What came back.
struct Answers {
    /// From when each request was due to its answer, sorted.
    waits: Vec<Duration>,
    /// How many were no success.
    refused: u64,
    took: Duration,
}

/// Send these at a steady rate.
async fn sends(
    rate: u32,
    bodies: Vec<String>,
    request: impl Fn(u32, String) -> reqwest::RequestBuilder,
) -> anyhow::Result<Answers> {
    let gap = Duration::from_secs(1) / rate.max(1);
    let began = Instant::now();
    let mut sent = tokio::task::JoinSet::new();
    for (number, body) in (0_u32..).zip(bodies) {
        let due = began + gap * number;
        tokio::time::sleep_until(due.into()).await;
        let request = request(number, body);
        sent.spawn(async move {
            let answer = request.send().await;
            (answer.is_ok_and(|answer| answer.status().is_success()), due.elapsed())
        });
    }
    let (mut waits, mut refused) = (Vec::new(), 0_u64);
    while let Some(answer) = sent.join_next().await {
        let (taken, wait) = answer?;
        refused += u64::from(!taken);
        waits.push(wait);
    }
    waits.sort();
    Ok(Answers { waits, refused, took: began.elapsed() })
}

fn session(number: u64) -> String {
    format!("cs_test_bench{number}")
}

fn request_id(number: u64) -> String {
    uuid::Uuid::from_u128(u128::from(number)).to_string()
}

/// Calls that fal took, one a report: their tokens are `bench0`, `bench1`, and so on.
async fn calls(owner: &PgPool, n: i64) -> anyhow::Result<()> {
    sqlx::query(
        "insert into safelight.provider_calls (id, tenant, subject_id, generation, order_id, position, job_id, purpose, processor, model, wish,
            token_sha256, state, request_id, policy_version)
        select gen_random_uuid(), o.tenant, o.subject_id, 1, o.id, 0, gen_random_uuid(), 'generate', 'fal', 'a model', 'image:' || n,
            sha256(convert_to('bench' || n, 'UTF8')), 'submitted', lpad(to_hex(n), 32, '0')::uuid::text, safelight.policy_in_force(o.tenant)
        from generate_series(0, $1 - 1) n, lateral (select * from safelight.orders order by id offset n % $2 limit 1) o",
    )
    .bind(n)
    .bind(i64::try_from(ORDERS)?)
    .execute(owner)
    .await?;
    Ok(())
}

/// Placed orders with a payment page, of one person.
async fn orders(owner: &PgPool) -> anyhow::Result<()> {
    sqlx::raw_sql(
        "insert into safelight.subjects (id, tenant) values ('00000000-0000-4000-8000-00000000b001', 'koselfie') on conflict do nothing;
        insert into safelight.upload_batches (id, tenant, subject_id)
            values ('00000000-0000-4000-8000-00000000b002', 'koselfie', '00000000-0000-4000-8000-00000000b001') on conflict do nothing;",
    )
    .execute(owner)
    .await?;
    sqlx::query(
        "insert into safelight.orders (id, tenant, subject_id, batch_id, plan, needs_model, images_wanted, amount_cents, currency, checkout_session, checkout_at)
        select gen_random_uuid(), 'koselfie', '00000000-0000-4000-8000-00000000b001', '00000000-0000-4000-8000-00000000b002', 'basic', false, 4,
            1900, 'eur', 'cs_test_bench' || n, safelight.now() from generate_series(0, $1 - 1) n on conflict do nothing",
    )
    .bind(i64::try_from(ORDERS)?)
    .execute(owner)
    .await?;
    Ok(())
}

/// The intake as `safelight api` runs it, on a port of its own. Answers its address.
async fn intake(database: &str, sandbox: &Sandbox, stop: CancellationToken) -> anyhow::Result<String> {
    let there = sandbox.description();
    let pool = db::connect(database, Role::Api, 12).await?;
    let storage = Storage::s3(&S3Config {
        endpoint: there.supabase.s3_endpoint.clone(),
        region: there.supabase.s3_region.clone(),
        bucket: there.supabase.buckets.first().cloned().unwrap_or_default(),
        access_key: Secret::new(there.supabase.s3_access_key_id.as_str()),
        secret_key: Secret::new(there.supabase.s3_secret_access_key.as_str()),
        timeout: Duration::from_secs(5),
    })?;
    let config = ApiConfig {
        stripe_webhook_secrets: vec![Secret::new(there.stripe.webhook_secret.as_str())],
        token_per_minute: Some(u32::MAX),
        ..ApiConfig::default()
    };
    let fal = FalWebhook::new(&FalWebhookConfig {
        keys_url: there.fal.rest_url.clone(),
        account: Some(there.fal.user_id.clone()),
        timeout: Duration::from_secs(5),
    })?;
    let (bell, vault, policies) =
        (Bell::start(pool.clone()), Vault::new(MASTER_KEY)?, Policies::new(Policy::bundled()?));
    let state = ApiState::new(pool, bell, vault, policies, storage, Some(fal), config);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr().context("no address")?;
    tokio::spawn(safelight_api::serve(listener, safelight_api::router(state), stop));
    Ok(format!("http://{address}"))
}
