//! What every route holds: the database, the clients it needs, and the settings. Made once, when the process starts.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use safelight_jobs::{
    policy::Policy,
    providers::{Secret, auth::UserTokens, fal_webhook::FalWebhook, storage::Storage},
    queue::Bell,
    services::Policies,
    vault::Vault,
};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{error::Error, operators::OperatorSignIn, rates::Rates, waiting};

/// Settings of the intake. An unset secret refuses.
#[derive(Clone, Default)]
pub struct ApiConfig {
    /// Secrets of Stripe's webhook endpoint; more than one while one is replaced. None: every delivery is refused.
    pub stripe_webhook_secrets: Vec<Secret>,
    /// What a cron sends as its bearer to `/sweeps/…`.
    pub sweep_secret: Option<Secret>,
    /// What `/metrics` asks for; open if none: it shows numbers only.
    pub metrics_secret: Option<Secret>,
    /// Stripe's mode: events of the other mode are ignored.
    pub livemode: bool,
    /// Requests of one token a minute in this process, where the token has no number of its own; 6000 if none.
    pub token_per_minute: Option<u32>,
    /// Mark the console's cookie `Secure`: set it wherever the console is reached over https.
    pub secure_cookies: bool,
}

/// What every route holds; cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Inner>);

/// The parts of [`ApiState`].
pub struct Inner {
    /// In the role of the intake.
    pub pool: PgPool,
    /// Rung after a commit that enqueued.
    pub bell: Bell,
    /// Keys of persons.
    pub vault: Vault,
    /// The tenants' policies.
    pub policies: Policies,
    /// Where objects lie: signs links, and looks at what arrived.
    pub storage: Storage,
    /// Checks what comes from fal; none: every delivery is sent away to come again.
    pub fal_webhook: Option<FalWebhook>,
    /// Checks sign-ins of persons; none: nobody acts without the tenant's backend.
    pub sign_in: Option<UserTokens>,
    /// Signs operators in to the console at an identity provider; none: they sign in with tokens only.
    pub operators: Option<OperatorSignIn>,
    /// What the process has counted; none: only what the database says is shown.
    pub metrics: Option<PrometheusHandle>,
    /// Settings.
    pub config: ApiConfig,
    /// How often each token may ask.
    pub(crate) rates: Rates,
    /// Seats of requests that wait for news.
    pub(crate) waiters: Arc<Semaphore>,
}

impl ApiState {
    /// Of its parts. `pool` acts in the role [`safelight_jobs::db::Role::Api`].
    pub fn new(
        pool: PgPool,
        bell: Bell,
        vault: Vault,
        policies: Policies,
        storage: Storage,
        fal_webhook: Option<FalWebhook>,
        config: ApiConfig,
    ) -> Self {
        let (rates, waiters) = (Rates::new(config.token_per_minute), Arc::new(Semaphore::new(waiting::MOST)));
        Self(Arc::new(Inner {
            pool,
            bell,
            vault,
            policies,
            storage,
            fal_webhook,
            sign_in: None,
            operators: None,
            metrics: None,
            config,
            rates,
            waiters,
        }))
    }

    /// Show what this recorder counted at `/metrics`. Call it before the state is shared; later it does nothing.
    #[must_use]
    pub fn with_metrics(mut self, handle: PrometheusHandle) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.metrics = Some(handle);
        }
        self
    }

    /// Let persons who are signed in use their own rights. Call it before the state is shared; later it does nothing.
    #[must_use]
    pub fn with_sign_in(mut self, tokens: Option<UserTokens>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.sign_in = tokens;
        }
        self
    }

    /// Let operators sign in to the console at an identity provider. Call it before the state is shared; later it does nothing.
    #[must_use]
    pub fn with_operators(mut self, operators: Option<OperatorSignIn>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.operators = operators;
        }
        self
    }

    /// When this stops, nobody waits for news any more: who does is answered as things stand. Call it inside the runtime.
    #[must_use]
    pub fn with_stop(self, stop: CancellationToken) -> Self {
        let waiters = Arc::clone(&self.waiters);
        tokio::spawn(async move {
            stop.cancelled().await;
            waiters.close();
        });
        self
    }

    /// How many requests wait for news in this process now.
    pub fn waiting(&self) -> usize {
        waiting::MOST - self.waiters.available_permits()
    }

    pub(crate) fn policy(&self, tenant: &str) -> Result<&Policy, Error> {
        Ok(self.policies.of(tenant)?)
    }
}

impl std::ops::Deref for ApiState {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}
