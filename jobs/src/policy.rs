//! The rules of one tenant, as data: purposes and their basis, who may process what, how long it stays, what is sold.
//!
//! One file a tenant, `policies/<tenant>.toml`; a third tenant is a third file and no code. A tenant's name never decides
//! anything in code: gates and jobs ask here. What no rule allows is forbidden, and a rule that the published text does not
//! list exists only as an accepted gap, with who accepted it, when and why.
//!
//! Never: a default for what is missing. [`Policy::check`] lists everything that keeps a policy from being used;
//! [`Policy::load_dir`] and [`Policy::bundled`] give out checked policies only.

mod check;
pub mod diff;
mod document;
mod error;
mod names;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, Utc};
use sha2::{Digest, Sha256};

pub use check::Finding;
use document::Document;
pub use document::{
    AcceptedGap, Fiscal, FiscalRule, FiscalStart, Generation, NsfwModel, Plan, ProcessorEntry, PurposeEntry, Retention,
    TermStart,
};
pub use error::{NotInPolicy, PolicyError};
pub use names::{Basis, CapturePoint, DataClass, Processor, Purpose, Scope, UnknownName};

/// How long the notice of a change is on display, where a policy does not say: two weeks.
const DISPLAY_HOURS: i32 = 336;

/// Policies that the binary carries: file name and content.
const BUNDLED: [(&str, &str); 2] = [
    ("haloprofile.toml", include_str!("../../policies/haloprofile.toml")),
    ("koselfie.toml", include_str!("../../policies/koselfie.toml")),
];

/// One version of one tenant's policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    document: Document,
    /// Every allowed triple, with the gap that opened it where the text does not list it.
    allowed: BTreeMap<(Purpose, Processor, DataClass), Option<usize>>,
}

/// One triple that is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule<'a> {
    /// For what.
    pub purpose: Purpose,
    /// By whom.
    pub processor: Processor,
    /// Of which data.
    pub class: DataClass,
    /// The gap that opened it, where the published text does not list it.
    pub accepted_gap: Option<&'a AcceptedGap>,
}

/// How a model is trained for one plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// Id of the trainer at the provider.
    pub model: String,
    /// The word that stands for the person in prompts.
    pub trigger: String,
    /// The trainer's other settings, under its own names.
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Fewest photos to start with.
    pub photos_min: usize,
    /// Most photos to send.
    pub photos_max: usize,
}

impl Policy {
    /// Read a policy. It may still be unusable: see [`Policy::check`].
    ///
    /// # Errors
    /// [`PolicyError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let document: Document = toml::from_str(text)
            .map_err(|error| PolicyError::Malformed { file: "the text".to_owned(), why: error.to_string() })?;
        Ok(Self::of(document))
    }

    /// Read a policy in the form in which it is stored with its version.
    ///
    /// # Errors
    /// Those of `serde_json`.
    pub fn from_json(stored: serde_json::Value) -> Result<Self, serde_json::Error> {
        Ok(Self::of(serde_json::from_value(stored)?))
    }

    fn of(document: Document) -> Self {
        let mut allowed = BTreeMap::new();
        for (number, gap) in document.accepted_gap.iter().enumerate() {
            for class in &gap.classes {
                allowed.insert((gap.purpose, gap.processor, *class), Some(number));
            }
        }
        for rule in &document.rule {
            for class in &rule.classes {
                allowed.insert((rule.purpose, rule.processor, *class), None);
            }
        }
        Self { document, allowed }
    }

    /// All policies of a folder, checked, by tenant.
    ///
    /// # Errors
    /// Every [`PolicyError`]; the first one that is found.
    pub fn load_dir(path: impl AsRef<Path>) -> Result<Vec<Self>, PolicyError> {
        let path = path.as_ref();
        let unreadable = |source| PolicyError::Unreadable { path: path.to_owned(), source };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if file.extension().is_some_and(|end| end == "toml") {
                files.push(file);
            }
        }
        files.sort();
        let read = |file: PathBuf| match std::fs::read_to_string(&file) {
            Ok(text) => Self::checked(&file.file_name().unwrap_or_default().to_string_lossy(), &text),
            Err(source) => Err(PolicyError::Unreadable { path: file, source }),
        };
        let policies = files.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if policies.is_empty() { Err(PolicyError::Empty { path: path.to_owned() }) } else { Ok(policies) }
    }

    /// The policies that the binary carries, checked, by tenant.
    ///
    /// # Errors
    /// As [`Policy::load_dir`]; a test keeps them from happening.
    pub fn bundled() -> Result<Vec<Self>, PolicyError> {
        BUNDLED.iter().map(|(file, text)| Self::checked(file, text)).collect()
    }

    fn checked(file: &str, text: &str) -> Result<Self, PolicyError> {
        let policy = Self::parse(text).map_err(|error| match error {
            PolicyError::Malformed { why, .. } => PolicyError::Malformed { file: file.to_owned(), why },
            other => other,
        })?;
        let tenant = policy.tenant().to_owned();
        if file != format!("{tenant}.toml") {
            return Err(PolicyError::Misnamed { file: file.to_owned(), tenant });
        }
        policy.check().map_err(|findings| PolicyError::Refused { tenant, findings })?;
        Ok(policy)
    }

    /// Everything that keeps this policy from being used.
    ///
    /// # Errors
    /// One finding for each thing that is missing or contradicts another.
    pub fn check(&self) -> Result<(), Vec<Finding>> {
        let findings = check::findings(&self.document);
        if findings.is_empty() { Ok(()) } else { Err(findings) }
    }

    /// Id of the tenant.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.document.tenant
    }

    /// Who answers for the data; printed in receipts, exports and evidence.
    #[must_use]
    pub fn controller(&self) -> &str {
        &self.document.controller
    }

    /// Where to write.
    #[must_use]
    pub fn contact(&self) -> &str {
        &self.document.contact
    }

    /// The version that grants and calls name.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.document.version
    }

    /// The date on the published text.
    #[must_use]
    pub fn date(&self) -> NaiveDate {
        self.document.date
    }

    /// From when on it counts.
    #[must_use]
    pub fn effective_at(&self) -> DateTime<Utc> {
        self.document.effective_at
    }

    /// How long its notice is on display before it counts, in hours. The first version of a tenant has nobody to tell.
    #[must_use]
    pub fn display_hours(&self) -> i32 {
        self.document.notice_display_hours.unwrap_or(DISPLAY_HOURS)
    }

    /// SHA-256 of the published text, in hex.
    #[must_use]
    pub fn text_sha256(&self) -> &str {
        &self.document.text_sha256
    }

    /// May this processor use this class for this purpose?
    #[must_use]
    pub fn allows(&self, purpose: Purpose, processor: Processor, class: DataClass) -> bool {
        self.allowed.contains_key(&(purpose, processor, class))
    }

    /// Everything that is allowed, sorted.
    pub fn rules(&self) -> impl Iterator<Item = Rule<'_>> {
        self.allowed.iter().map(|(&(purpose, processor, class), gap)| {
            let accepted_gap = gap.and_then(|number| self.document.accepted_gap.get(number));
            Rule { purpose, processor, class, accepted_gap }
        })
    }

    /// What is done although the published text does not list it; to be shown wherever evidence is.
    #[must_use]
    pub fn accepted_gaps(&self) -> &[AcceptedGap] {
        &self.document.accepted_gap
    }

    /// All purposes, with basis, capture points and scope.
    pub fn purposes(&self) -> impl Iterator<Item = (Purpose, &PurposeEntry)> {
        self.document.purpose.iter().map(|(purpose, entry)| (*purpose, entry))
    }

    /// One purpose; none if this tenant does not process for it.
    #[must_use]
    pub fn purpose(&self, purpose: Purpose) -> Option<&PurposeEntry> {
        self.document.purpose.get(&purpose)
    }

    /// The registered processors, without ourselves.
    pub fn processors(&self) -> impl Iterator<Item = (Processor, &ProcessorEntry)> {
        self.document.processor.iter().map(|(processor, entry)| (*processor, entry))
    }

    /// How long this class stays. A checked policy has an answer for every class.
    #[must_use]
    pub fn retention(&self, class: DataClass) -> Option<&Retention> {
        self.document.retention.get(&class)
    }

    /// For how many years after the processing ended proof of consent is kept; none: not by years.
    #[must_use]
    pub fn proof_years(&self) -> Option<u32> {
        match self.retention(DataClass::Consent) {
            Some(Retention::Proof { years }) => Some(*years),
            _ => None,
        }
    }

    /// How long sales records of a country are kept. `None` for a country that nobody has looked up: it is not guessed,
    /// it is reported.
    #[must_use]
    pub fn fiscal(&self, country: &str) -> Option<&FiscalRule> {
        self.document
            .fiscal
            .rule
            .iter()
            .find(|rule| rule.countries.iter().any(|known| known.eq_ignore_ascii_case(country)))
    }

    /// What is sold.
    #[must_use]
    pub fn plans(&self) -> &[Plan] {
        &self.document.plan
    }

    /// One plan.
    ///
    /// # Errors
    /// [`NotInPolicy`].
    pub fn plan(&self, id: &str) -> Result<&Plan, NotInPolicy> {
        self.document.plan.iter().find(|plan| plan.id == id).ok_or_else(|| self.lacks(format!("plan `{id}`")))
    }

    /// How the model of a plan is trained.
    ///
    /// # Errors
    /// [`NotInPolicy`]: no such plan, or one without a model.
    pub fn training(&self, plan: &str) -> Result<Training, NotInPolicy> {
        let plan = self.plan(plan)?;
        let entry = plan.training.as_ref().ok_or_else(|| self.lacks(format!("training in plan `{}`", plan.id)))?;
        Ok(Training {
            model: entry.model.clone(),
            trigger: entry.trigger.clone(),
            parameters: entry.parameters.clone(),
            photos_min: plan.photos_min,
            photos_max: plan.photos_max,
        })
    }

    /// How the images of a plan are made.
    ///
    /// # Errors
    /// [`NotInPolicy`].
    pub fn generation(&self, plan: &str) -> Result<&Generation, NotInPolicy> {
        Ok(&self.plan(plan)?.generation)
    }

    /// How images are labelled.
    ///
    /// # Errors
    /// [`NotInPolicy`]: this tenant does not label.
    pub fn nsfw(&self) -> Result<&NsfwModel, NotInPolicy> {
        self.document.nsfw.as_ref().ok_or_else(|| self.lacks("model for purpose `nsfw`".to_owned()))
    }

    /// Every model of a provider that this policy names, some of them more than once.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        let of_plans = self.document.plan.iter().flat_map(|plan| {
            let training = plan.training.as_ref().map(|training| training.model.as_str());
            training.into_iter().chain([plan.generation.model.as_str()])
        });
        of_plans.chain(self.document.nsfw.as_ref().map(|nsfw| nsfw.model.as_str()))
    }

    /// From which cosine on an image of this plan counts as alike.
    ///
    /// # Errors
    /// [`NotInPolicy`]: no such plan, or a tenant that does not compare.
    pub fn similarity_threshold(&self, plan: &str) -> Result<f32, NotInPolicy> {
        let plan = self.plan(plan)?;
        plan.similarity_threshold.ok_or_else(|| self.lacks(format!("similarity threshold in plan `{}`", plan.id)))
    }

    /// The whole policy as JSON, as it is stored with its version.
    ///
    /// # Errors
    /// Those of `serde_json`; a number that is not finite, which TOML allows and JSON does not.
    pub fn to_json(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(&self.document)
    }

    /// SHA-256 over [`Policy::to_json`], in hex: another content under the same version is refused by this.
    ///
    /// # Errors
    /// As [`Policy::to_json`].
    pub fn sha256(&self) -> Result<String, serde_json::Error> {
        Ok(hex::encode(Sha256::digest(serde_json::to_vec(&self.to_json()?)?)))
    }

    fn lacks(&self, what: String) -> NotInPolicy {
        NotInPolicy { tenant: self.tenant().to_owned(), version: self.version().to_owned(), what }
    }
}
