//! Fal.ai's stand-in: queue, platform API, key set, file host and a handful of models, each host on a port of its own.
//!
//! What it keeps to: submit has no idempotency; status is 202, 202, 200; a failed request is COMPLETED with an error;
//! results live one hour, six minutes from 10 KB on; files die at their expiry or with a purge; webhooks come at least
//! once. The models really work: a training reads the zip it is given, a picture is made from the photos in the LoRA.
//! What it never does: ask a network outside, or keep request payloads when told `X-Fal-Store-IO: 0`.
//!
//! Sources: fal.ai/docs model-apis (queue, webhooks, errors, payloads, media-expiration) and platform-apis, and the
//! clients @fal-ai/client 1.10.1 and fal_client 1.0.3, read November 2026.

mod error;
mod files;
mod lora;
mod models;
mod platform;
mod queue;
mod record;
mod rest;
mod webhook;
mod work;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::busy::Busy;
use crate::calls::{Call, Calls};
use crate::clock::Clock;
use crate::faults::{Fault, Faults};
use crate::front::Front;
use crate::lock::lock;
use crate::server::{Server, base_url, bind};
use crate::token;
use crate::webhooks::{Courier, Delivery, Patience};

pub use files::StoredFile;
pub use record::Request;
pub use webhook::SignedHeaders;

/// The training model.
pub const TRAINER: &str = "fal-ai/flux-lora-portrait-trainer";
/// The older, cheaper training model.
pub const FAST_TRAINER: &str = "fal-ai/flux-lora-fast-training";
/// Pictures from a LoRA.
pub const FLUX_LORA: &str = "fal-ai/flux-lora";
/// Pictures from one photo.
pub const IMAGE_TO_IMAGE: &str = "fal-ai/flux-lora/image-to-image";
/// How unfit for work a picture is.
pub const NSFW: &str = "fal-ai/imageutils/nsfw";

/// Which pictures go wrong, counted from 1 over all pictures of one source: one LoRA file (by its content), or all
/// pictures of the image-to-image model together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Oddities {
    /// The picture with that number shows nobody: a background and no face.
    pub nobody_at: Option<u32>,
    /// The picture with that number is black and flagged, with HTTP 200, as Fal's safety checker does.
    pub nsfw_at: Option<u32>,
}

/// Where requests stop until released: to look at a state that is over too fast otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Nothing is held.
    #[default]
    Nowhere,
    /// New requests stay IN_QUEUE.
    InQueue,
    /// Requests start and stay IN_PROGRESS.
    InProgress,
}

/// How the stand-in starts.
#[derive(Debug, Clone)]
pub struct FalOptions {
    /// How long any work takes, from start to result.
    pub delay: Duration,
    /// Requests that may run at once; more wait IN_QUEUE. Fal: 2 for new accounts, up to 40.
    pub concurrency: usize,
    /// Which pictures go wrong.
    pub oddities: Oddities,
    /// Life of files whose request sent no lifecycle header; `None`: for ever.
    pub default_file_life: Option<Duration>,
    /// Ports of queue, rest, platform and files host; 0: any.
    pub ports: [u16; 4],
}

/// What a client needs to talk to this Fal.
#[derive(Debug, Clone, Serialize)]
pub struct FalDescription {
    /// In place of `https://queue.fal.run`.
    pub queue_url: String,
    /// In place of `https://rest.fal.ai`.
    pub rest_url: String,
    /// In place of `https://api.fal.ai/v1`.
    pub platform_url: String,
    /// In place of `https://v3.fal.media`.
    pub files_url: String,
    /// The key set that webhook signatures are checked with.
    pub jwks_url: String,
    /// For ordinary calls.
    pub key: String,
    /// Of ADMIN scope: for deletions.
    pub admin_key: String,
    /// Comes in `X-Fal-Webhook-User-Id`.
    pub user_id: String,
}

/// A handle on the stand-in; clones share it.
#[derive(Clone)]
pub struct Fal {
    state: Arc<State>,
    servers: Arc<[Server; 4]>,
}

/// What all routes share.
pub(crate) struct State {
    description: FalDescription,
    options: FalOptions,
    clock: Clock,
    faults: Faults,
    calls: Calls,
    busy: Busy,
    stop: CancellationToken,
    courier: Courier,
    http: reqwest::Client,
    hold: watch::Sender<Hold>,
    slots: Arc<Semaphore>,
    keys: Mutex<webhook::Keys>,
    book: Mutex<record::Book>,
    files: Mutex<files::Files>,
    oddities: Mutex<models::Counted>,
}

impl Fal {
    pub(crate) async fn start(options: FalOptions, clock: Clock, stop: CancellationToken) -> anyhow::Result<Fal> {
        let [queue, rest, platform, files] = options.ports;
        let listeners = [bind(queue).await?, bind(rest).await?, bind(platform).await?, bind(files).await?];
        let rest_url = base_url(&listeners[1])?;
        let description = FalDescription {
            queue_url: base_url(&listeners[0])?,
            jwks_url: format!("{rest_url}/.well-known/jwks.json"),
            rest_url,
            platform_url: format!("{}/v1", base_url(&listeners[2])?),
            files_url: base_url(&listeners[3])?,
            key: format!("{}:{}", uuid::Uuid::new_v4(), token::letters(32)),
            admin_key: format!("{}:{}", uuid::Uuid::new_v4(), token::letters(32)),
            user_id: token::prefixed("user_"),
        };
        let (faults, busy) = (Faults::default(), Busy::new());
        let patience = Patience { tries: 31, first_gap: Duration::from_millis(100), redirect_ends_it: true };
        let courier = Courier::new(clock.clone(), faults.clone(), patience, busy.clone(), stop.clone())?;
        let state = Arc::new(State {
            slots: Arc::new(Semaphore::new(options.concurrency.max(1))),
            oddities: Mutex::new(models::Counted::new(options.oddities)),
            http: crate::download::client()?,
            calls: Calls::default(),
            hold: watch::Sender::new(Hold::Nowhere),
            keys: Mutex::new(webhook::Keys::new()),
            book: Mutex::default(),
            files: Mutex::default(),
            description,
            options,
            clock,
            faults,
            busy,
            stop,
            courier,
        });
        let routers = [queue::router(), rest::router(), platform::router(), files::router()];
        let mut listeners = listeners.into_iter().zip(routers);
        let mut next = || -> anyhow::Result<Server> {
            let (listener, router) = listeners.next().ok_or_else(|| anyhow::anyhow!("a host of Fal has no routes"))?;
            Server::start(listener, state.behind_the_door(router))
        };
        let servers = Arc::new([next()?, next()?, next()?, next()?]);
        Ok(Fal { state, servers })
    }

    /// URLs and keys.
    #[must_use]
    pub fn description(&self) -> FalDescription {
        self.state.description.clone()
    }

    /// What can be made to go wrong here.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// Every HTTP request to any of the hosts, in order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state.calls.all()
    }

    /// Every request that the queue accepted, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state.book).all()
    }

    /// How often a training was accepted: what would have been billed.
    #[must_use]
    pub fn trainings(&self) -> usize {
        self.accepted(&[TRAINER, FAST_TRAINER])
    }

    /// How often a generation was accepted, whatever the number of pictures.
    #[must_use]
    pub fn generations(&self) -> usize {
        self.accepted(&[FLUX_LORA, IMAGE_TO_IMAGE])
    }

    fn accepted(&self, endpoints: &[&str]) -> usize {
        self.requests().iter().filter(|request| endpoints.contains(&request.endpoint.as_str())).count()
    }

    /// Ids of the requests whose payloads a delete call named, in order of the calls.
    #[must_use]
    pub fn purged(&self) -> Vec<uuid::Uuid> {
        lock(&self.state.book).purged.clone()
    }

    /// Files that answer 200 now.
    #[must_use]
    pub fn files(&self) -> Vec<StoredFile> {
        lock(&self.state.files).alive(self.state.clock.now())
    }

    /// Files that a client uploaded as inputs. Safelight uploads none: this must stay empty.
    #[must_use]
    pub fn uploads(&self) -> Vec<StoredFile> {
        self.files().into_iter().filter(|file| file.request_id.is_none()).collect()
    }

    /// Every webhook try.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.state.courier.log()
    }

    /// Sends the webhook of a finished request once more, as Fal may at any time.
    ///
    /// # Errors
    /// When the request is unknown, unfinished or asked for no webhook.
    pub fn deliver_again(&self, request_id: uuid::Uuid) -> anyhow::Result<()> {
        self.state.deliver(request_id)
    }

    /// Signs a body as Fal does, for tests that post by hand. `timestamp`: unix seconds.
    #[must_use]
    pub fn sign(&self, body: &[u8], request_id: &str, timestamp: i64) -> SignedHeaders {
        lock(&self.state.keys).sign(body, request_id, &self.state.description.user_id, timestamp)
    }

    /// Signs with a new key from now on; the old one leaves the key set.
    pub fn rotate_key(&self) {
        *lock(&self.state.keys) = webhook::Keys::new();
    }

    /// Holds requests in a state, or lets them go.
    pub fn hold(&self, hold: Hold) {
        self.state.hold.send_replace(hold);
    }

    /// Which pictures go wrong from now on; the counts go on.
    pub fn set_oddities(&self, oddities: Oddities) {
        lock(&self.state.oddities).set(oddities);
    }

    /// Returns when no request is in work and no webhook under way.
    pub async fn idle(&self) {
        self.state.busy.idle().await;
    }

    /// Sends what waited for the clock; called when it is turned.
    pub(crate) fn look_at_the_clock(&self) {
        self.state.courier.look_at_the_clock();
    }

    /// All hosts go down, as in an outage; what runs inside goes on.
    pub async fn take_down(&self) {
        for server in self.servers.iter() {
            server.take_down().await;
        }
    }

    /// All hosts come back on their ports.
    ///
    /// # Errors
    /// When a port was taken meanwhile.
    pub async fn bring_up(&self) -> anyhow::Result<()> {
        for server in self.servers.iter() {
            server.bring_up().await?;
        }
        Ok(())
    }
}

impl State {
    fn behind_the_door(self: &Arc<Self>, router: Router<Arc<State>>) -> Router {
        let front = Front { calls: self.calls.clone(), faults: self.faults.clone(), refuse };
        front.before(router.with_state(self.clone()))
    }
}

/// Fal's infrastructure errors: `{"detail", "error_type"}` and a header with the type.
fn refuse(fault: Fault) -> Response {
    let (status, kind, text) = match fault {
        Fault::TooManyRequests { .. } => (429, "concurrent_requests_limit", "Too many concurrent requests."),
        Fault::PaymentRequired => (402, "payment_required", "User is locked. Reason: Exhausted balance."),
        Fault::ServerError { status: 503 } => (503, "runner_scheduling_failure", "No runner could be scheduled."),
        Fault::ServerError { status: 504 } => (504, "startup_timeout", "The runner did not start in time."),
        Fault::ServerError { status } => (status, "internal_error", "Internal error."),
        _ => (500, "internal_error", "Internal error."),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = axum::Json(json!({ "detail": text, "error_type": kind }));
    let mut response = (status, [("x-fal-error-type", kind)], body).into_response();
    if let Fault::TooManyRequests { retry_after_seconds: Some(seconds) } = fault {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}
