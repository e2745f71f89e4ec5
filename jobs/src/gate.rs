//! Gates: the checks that hand a proof to the code that needs it.
//!
//! A proof is made here and nowhere else, is not serialisable, and names what it was given for. A provider client that
//! demands `&Allowed<Train>` cannot be called without one: it does not compile.

mod confirmation;

use std::{marker::PhantomData, time::Duration};

pub use confirmation::MayConfirm;
pub(crate) use confirmation::pass_confirmation;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    id::{Artifact, Batch, Id, Order, Subject},
    policy::{DataClass, Processor, Purpose},
    stop::Stop,
};

/// A purpose as a type.
pub trait For: Send + Sync + 'static {
    /// The same purpose as a value.
    const PURPOSE: Purpose;
}

macro_rules! purposes {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub enum $name {}
        impl For for $name { const PURPOSE: Purpose = Purpose::$name; }
    )*};
}

purposes! {
    /// Train a personal model.
    Train,
    /// Make images that the person ordered.
    Generate,
    /// Measure how alike selfies and images are.
    Compare,
    /// Label images that are not safe for work.
    Nsfw,
    /// Take and confirm a payment.
    Pay,
    /// Tell the person something by mail or in the product.
    Notify,
    /// Keep the person's data in the database and the store.
    Host,
    /// Watch for errors of the person's jobs.
    Observe,
}

/// The proof that a gate let one subject's data pass for one purpose, a moment ago. Ask again for every attempt.
#[derive(Debug)]
pub struct Allowed<P> {
    subject: Id<Subject>,
    generation: i32,
    grants: Vec<Uuid>,
    policy_version: String,
    purpose: PhantomData<P>,
}

impl<P: For> Allowed<P> {
    /// Whose data may pass.
    pub fn subject(&self) -> Id<Subject> {
        self.subject
    }
    /// The subject's generation at the time of the check.
    pub fn generation(&self) -> i32 {
        self.generation
    }
    /// The consent events that cover it; empty where the basis is not consent.
    pub fn grants(&self) -> &[Uuid] {
        &self.grants
    }
    /// The policy version that allowed it.
    pub fn policy_version(&self) -> &str {
        &self.policy_version
    }
}

/// What is asked of a gate.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// Whose data.
    pub subject: Id<Subject>,
    /// Who will process it.
    pub processor: Processor,
    /// What will be read, sent or made.
    pub classes: &'a [DataClass],
    /// For which order.
    pub order: Option<Id<Order>>,
    /// Of which act of uploading; the order's own if none.
    pub batch: Option<Id<Batch>>,
    /// Objects that will be read: each must be live, of this person and of this order.
    pub objects: &'a [Id<Artifact>],
    /// The generation that the work started under.
    pub generation: Option<i32>,
}

impl<'a> Ask<'a> {
    /// About one person's data.
    pub fn of(subject: Id<Subject>, processor: Processor, classes: &'a [DataClass]) -> Self {
        Self { subject, processor, classes, order: None, batch: None, objects: &[], generation: None }
    }
    /// For one order.
    #[must_use]
    pub fn order(mut self, order: Id<Order>) -> Self {
        self.order = Some(order);
        self
    }
    /// Reading these objects.
    #[must_use]
    pub fn objects(mut self, objects: &'a [Id<Artifact>]) -> Self {
        self.objects = objects;
        self
    }
    /// Going on with work that started under this generation.
    #[must_use]
    pub fn generation(mut self, generation: i32) -> Self {
        self.generation = Some(generation);
        self
    }
}

/// A gate was closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}{}{detail}", if .detail.is_empty() { "" } else { ": " })]
pub struct Refusal {
    /// Stable code.
    pub code: &'static str,
    /// Which consent, which class, which rule; never personal data.
    pub detail: String,
}

macro_rules! codes {
    ($($code:literal,)*) => {
        /// Every code that a gate answers with.
        pub const CODES: &[&str] = &[$($code),*];
        fn known(code: &str) -> &'static str {
            match code { $($code => $code,)* _ => "gate_closed" }
        }
    };
}

codes! {
    "subject_unknown",
    "subject_erased",
    "subject_restricted",
    "no_policy",
    "purpose_not_allowed",
    "purpose_objected",
    "plan_without_training",
    "order_foreign",
    "order_stopped",
    "order_unpaid",
    "consent_missing",
    "consent_withdrawn",
    "consent_after_checkout",
    "consent_not_asked_for",
    "object_gone",
    "object_foreign",
}

impl Refusal {
    pub(crate) fn new(code: &str, detail: Option<&str>) -> Self {
        Self { code: known(code), detail: detail.unwrap_or_default().to_owned() }
    }

    /// The refusal inside a database error: functions that record personal data raise it with SQLSTATE `SL002`.
    pub fn from_database(error: &sqlx::Error) -> Option<Self> {
        let error = error.as_database_error()?.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?;
        (error.code() == "SL002").then(|| Self::new(error.message(), error.detail()))
    }

    /// Is it the person's own objection to the purpose, which was upheld?
    pub fn is_an_objection(&self) -> bool {
        self.code == "purpose_objected"
    }

    /// Is it about consent?
    pub fn is_about_consent(&self) -> bool {
        matches!(self.code, "consent_missing" | "consent_withdrawn" | "consent_after_checkout")
    }
}

/// Early: wait. Over: give up.
impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        match refusal.code {
            "consent_missing" | "order_unpaid" | "subject_restricted" => {
                Self::wait(Duration::from_secs(15 * 60), refusal.to_string())
            }
            code => Self::give_up(code, refusal.to_string()),
        }
    }
}

/// The gate did not open.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// It answered no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It did not answer.
    #[error("the gate did not answer")]
    Database(#[from] sqlx::Error),
}

impl From<Closed> for Stop {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Refused(refusal) => refusal.into(),
            Closed::Database(error) => error.into(),
        }
    }
}

/// Ask the gate of one purpose, inside a short transaction of the caller. The subject stays locked in share mode until
/// that transaction ends, so what is recorded in it was allowed when it was recorded.
pub async fn pass<P: For>(tx: &mut PgConnection, ask: Ask<'_>) -> Result<Allowed<P>, Closed> {
    let classes: Vec<String> = ask.classes.iter().map(|class| class.as_str().to_owned()).collect();
    let objects: Vec<Uuid> = ask.objects.iter().map(|object| object.uuid()).collect();
    let answer = sqlx::query!(
        "select code, detail, generation, grants, policy_version from safelight.pass_gate($1, $2, $3, $4, $5, $6, $7, $8)",
        ask.subject.uuid(),
        P::PURPOSE.as_str(),
        ask.processor.as_str(),
        &classes,
        ask.order.map(Id::uuid),
        ask.batch.map(Id::uuid),
        &objects,
        ask.generation,
    )
    .fetch_one(tx)
    .await?;
    if let Some(code) = answer.code {
        return Err(Refusal::new(&code, answer.detail.as_deref()).into());
    }
    Ok(Allowed {
        subject: ask.subject,
        generation: answer.generation.unwrap_or_default(),
        grants: answer.grants.unwrap_or_default(),
        policy_version: answer.policy_version.unwrap_or_default(),
        purpose: PhantomData,
    })
}
