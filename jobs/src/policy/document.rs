//! The shape of a policy file. Keys that it does not know are refused; what is missing is found by [`super::check`].

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::names::{Basis, CapturePoint, DataClass, Processor, Purpose, Scope};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) tenant: String,
    pub(super) controller: String,
    pub(super) contact: String,
    pub(super) version: String,
    pub(super) date: NaiveDate,
    pub(super) effective_at: DateTime<Utc>,
    pub(super) text_sha256: String,
    /// Hours that the notice of this version is on display in the product before it counts (K48).
    // Not stored where it is not said: what is installed keeps its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) notice_display_hours: Option<i32>,
    #[serde(default)]
    pub(super) retention: BTreeMap<DataClass, Retention>,
    pub(super) fiscal: Fiscal,
    #[serde(default)]
    pub(super) purpose: BTreeMap<Purpose, PurposeEntry>,
    #[serde(default)]
    pub(super) processor: BTreeMap<Processor, ProcessorEntry>,
    #[serde(default)]
    pub(super) rule: Vec<RuleEntry>,
    #[serde(default)]
    pub(super) accepted_gap: Vec<AcceptedGap>,
    pub(super) nsfw: Option<NsfwModel>,
    #[serde(default)]
    pub(super) plan: Vec<Plan>,
}

/// How long a class of data stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Retention {
    /// So many hours from a stored instant; unreadable from then on. What never had that instant has no term: it goes at once.
    Term {
        /// 720, not "30 days": a day is not always 24 hours.
        hours: u32,
        /// Counted from.
        from: TermStart,
    },
    /// Until the person is erased.
    UntilErasure,
    /// As long as what it was made from or describes.
    WithSource,
    /// Right after it was collected at the processor.
    AfterCollection,
    /// As the fiscal rule of the buyer's country says.
    Fiscal,
    /// As proof, so many years after the processing ended.
    Proof {
        /// Full years.
        years: u32,
    },
    /// Replaced in turn: nothing is older than this.
    Rolling {
        /// Greatest age.
        hours: u32,
    },
    /// It never exists for this tenant.
    Never,
}

impl Retention {
    /// The rule in one word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Term { .. } => "term",
            Self::UntilErasure => "until_erasure",
            Self::WithSource => "with_source",
            Self::AfterCollection => "after_collection",
            Self::Fiscal => "fiscal",
            Self::Proof { .. } => "proof",
            Self::Rolling { .. } => "rolling",
            Self::Never => "never",
        }
    }

    /// Hours and start of a [`Retention::Term`].
    #[must_use]
    pub fn term(&self) -> Option<(u32, TermStart)> {
        if let Self::Term { hours, from } = self { Some((*hours, *from)) } else { None }
    }
}

/// What a term is counted from; written once, by the database clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TermStart {
    /// When the upload was complete.
    UploadedAt,
    /// The first commit that made it readable by the buyer (D2).
    DeliveredAt,
}

impl TermStart {
    /// The column's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UploadedAt => "uploaded_at",
            Self::DeliveredAt => "delivered_at",
        }
    }
}

/// How long sales records are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fiscal {
    /// When the years begin.
    pub from: FiscalStart,
    /// By country; one that is in none of them is not guessed.
    pub rule: Vec<FiscalRule>,
}

/// When fiscal years begin to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FiscalStart {
    /// With the end of the calendar year of the sale.
    EndOfYear,
}

/// The fiscal rule of some countries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FiscalRule {
    /// ISO 3166-1 codes of two letters.
    pub countries: Vec<String>,
    /// How many years.
    pub years: u32,
    /// Which law says so.
    pub legal: String,
}

/// What a purpose rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurposeEntry {
    /// Why it is lawful. A checked policy has it.
    pub basis: Option<Basis>,
    /// Where consent is asked for; all of them are needed.
    #[serde(default)]
    pub capture_points: Vec<CapturePoint>,
    /// How far the narrowest of those consents reaches.
    pub scope: Option<Scope>,
    /// Rows of the clause list that say so.
    #[serde(default)]
    pub clauses: Vec<String>,
}

/// Whom the controller has a contract with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessorEntry {
    /// Who that is.
    pub name: String,
    /// Entry of the processing agreement in the controller's register.
    #[serde(default)]
    pub agreement: String,
    /// Date of the agreement.
    pub agreed_on: Option<NaiveDate>,
    /// Where the data is.
    #[serde(default)]
    pub region: String,
    /// What protects it there.
    #[serde(default)]
    pub safeguards: String,
}

/// Purpose x processor x classes, as the published text lists them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleEntry {
    pub(super) purpose: Purpose,
    pub(super) processor: Processor,
    pub(super) classes: Vec<DataClass>,
    #[serde(default)]
    pub(super) clauses: Vec<String>,
}

/// A rule that the published text does not list, and who answers for having it all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedGap {
    /// Which decision.
    pub decision: String,
    /// Who accepted it: a role with a name.
    pub who: String,
    /// On which day.
    pub when: NaiveDate,
    /// Why.
    pub why: String,
    /// For what.
    pub purpose: Purpose,
    /// By whom.
    pub processor: Processor,
    /// Of which data.
    pub classes: Vec<DataClass>,
}

impl std::fmt::Display for AcceptedGap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, accepted by {} on {}: {}", self.decision, self.who, self.when, self.why)
    }
}

/// How images are labelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NsfwModel {
    /// Id of the model at the provider.
    pub model: String,
    /// From which probability on an image is withheld.
    pub threshold: f32,
}

/// One thing that is sold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Stored with the order.
    pub id: String,
    /// Shown at checkout.
    pub name: String,
    /// Price in the currency's smallest unit.
    pub price_cents: u32,
    /// ISO 4217 in small letters.
    pub currency: String,
    /// How many images are made.
    pub images: u16,
    /// Is a personal model trained first?
    pub needs_model: bool,
    /// Fewest photos.
    pub photos_min: usize,
    /// Most photos.
    pub photos_max: usize,
    /// Purposes without whose consent this plan is not sold.
    #[serde(default)]
    pub consents: Vec<Purpose>,
    /// From which cosine on an image counts as alike; only where faces are compared.
    pub similarity_threshold: Option<f32>,
    /// How the model is trained.
    pub training: Option<TrainingEntry>,
    /// How the images are made.
    pub generation: Generation,
}

/// How a model is trained; provider ids and settings are data, because models change faster than code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingEntry {
    /// Id of the trainer at the provider.
    pub model: String,
    /// The word that stands for the person in prompts; never their name.
    pub trigger: String,
    /// The trainer's other settings, under its own names.
    #[serde(default)]
    pub parameters: Map<String, Value>,
}

/// How images are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Id of the model at the provider.
    pub model: String,
    /// What every prompt begins with.
    pub prompt: String,
    /// The model's other settings, under its own names.
    #[serde(default)]
    pub parameters: Map<String, Value>,
}
