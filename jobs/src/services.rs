//! The clients and settings that jobs work with: made once, when a process starts.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use safelight_faces::{Embedding, FaceEngine, Limits, ModelId, NoVerdict};
use tokio::sync::Semaphore;

use crate::{
    policy::Policy,
    providers::{auth::Auth, fal::Fal, ledger::Ledger, mail::Mailer, storage::Storage, stripe::Stripe},
    stop::Stop,
    vault::Vault,
};

/// Everything a job may use.
pub struct Services {
    /// Payments.
    pub stripe: Stripe,
    /// Training and inference.
    pub fal: Fal,
    /// Where objects lie.
    pub storage: Storage,
    /// Mail.
    pub mail: Mailer,
    /// Sign-in users.
    pub auth: Auth,
    /// The face model, in process.
    pub faces: Faces,
    /// Keys of persons.
    pub vault: Vault,
    /// Where erasures and withdrawals are noted outside the database.
    pub ledger: Option<Ledger>,
    /// The tenants' policies.
    pub policies: Policies,
    /// Where providers call back: scheme, host and path without a slash at the end.
    pub public_url: String,
    /// `Name <address>` of outgoing mail.
    pub mail_from: String,
    /// Stripe's mode: a session of the other mode pays nothing.
    pub livemode: bool,
}

/// The policies of all tenants.
#[derive(Debug, Clone)]
pub struct Policies(Arc<BTreeMap<String, Policy>>);

impl Policies {
    /// By tenant.
    pub fn new(policies: impl IntoIterator<Item = Policy>) -> Self {
        Self(Arc::new(policies.into_iter().map(|policy| (policy.tenant().to_owned(), policy)).collect()))
    }
    /// The policy of one tenant; a job of an unknown tenant can do nothing.
    pub fn of(&self, tenant: &str) -> Result<&Policy, Stop> {
        self.0.get(tenant).ok_or_else(|| Stop::give_up("no_policy", format!("tenant `{tenant}` has no policy here")))
    }
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.0.values()
    }
}

/// The verdict on bytes that are no picture that can be read.
pub const UNREADABLE: &str = "unreadable";

/// Measures faces, blocking. The engine does, and what tests put before it.
pub trait Measure: Send + Sync {
    /// The registered model.
    fn model(&self) -> &ModelId;

    /// The one face on an encoded photo, or the code that says why there is no vector.
    ///
    /// # Errors
    /// [`Stop`] to try again, when the model failed and not the photo.
    fn measure(&self, photo: &[u8]) -> Result<Result<Embedding, &'static str>, Stop>;
}

impl Measure for FaceEngine {
    fn model(&self) -> &ModelId {
        self.model()
    }

    fn measure(&self, photo: &[u8]) -> Result<Result<Embedding, &'static str>, Stop> {
        let Ok(photo) = safelight_faces::decode(photo, &Limits::default()) else { return Ok(Err(UNREADABLE)) };
        match self.the_face(&photo) {
            Ok(face) => self.embed(&photo, &face).map(Ok).map_err(|error| Stop::retry("face_model", error)),
            Err(NoVerdict::Engine(error)) => Err(Stop::retry("face_model", error)),
            Err(verdict) => Ok(Err(verdict.code())),
        }
    }
}

/// What measures faces and a bound on how many measurements run at once. Clones share both.
#[derive(Clone)]
pub struct Faces {
    engine: Arc<dyn Measure>,
    permits: Arc<Semaphore>,
}

impl Faces {
    /// One measurement a core.
    pub fn new(engine: impl Measure + 'static) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { engine: Arc::new(engine), permits: Arc::new(Semaphore::new(cores)) }
    }

    /// The registered model.
    pub fn model(&self) -> &ModelId {
        self.engine.model()
    }

    /// The one face on a photo, or the code that says why there is no vector.
    pub async fn measure(&self, photo: Bytes) -> Result<Result<Embedding, &'static str>, Stop> {
        let engine = self.engine.clone();
        let permit = self.permits.clone().acquire_owned().await.map_err(|error| Stop::retry("shutting_down", error))?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            engine.measure(&photo)
        })
        .await
        .map_err(|error| Stop::retry("face_model", error))?
    }
}
