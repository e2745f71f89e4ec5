//! What keeps a policy from being used: everything at once, so that it is corrected in one go.

use std::collections::BTreeSet;

use super::document::{Document, Plan, Retention};
use super::names::{Basis, DataClass, Processor, Purpose};

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// H10: retention is a decision, never an accident.
    #[error("class `{0}` has no retention rule")]
    NoRetention(DataClass),
    /// Something ends before it began.
    #[error("class `{0}` has a retention rule of zero length")]
    NoTime(DataClass),
    /// Nothing makes it lawful.
    #[error("purpose `{0}` has no basis")]
    NoBasis(Purpose),
    /// Consent that is asked for nowhere is never given.
    #[error("purpose `{0}` rests on consent and names no capture point")]
    NoCapturePoint(Purpose),
    /// A consent must say how far it reaches.
    #[error("purpose `{0}` rests on consent and names no scope")]
    NoScope(Purpose),
    /// A question whose answer changes nothing misleads.
    #[error("purpose `{0}` does not rest on consent and names a capture point or a scope")]
    NeedlessConsent(Purpose),
    /// H22: no contract, no call.
    #[error("processor `{0}` has no agreement reference and date")]
    NoAgreement(Processor),
    /// K36, K37: where the data is, and what protects it there.
    #[error("processor `{0}` has no region or no safeguards")]
    NoSafeguards(Processor),
    /// A rule speaks of what the policy does not have.
    #[error("a rule allows `{purpose}` to `{processor}`, and {missing}")]
    DanglingRule {
        /// For what.
        purpose: Purpose,
        /// By whom.
        processor: Processor,
        /// What is missing.
        missing: &'static str,
    },
    /// A rule that allows nothing, most likely forgotten.
    #[error("a rule of `{purpose}` by `{processor}` names no class")]
    EmptyRule {
        /// For what.
        purpose: Purpose,
        /// By whom.
        processor: Processor,
    },
    /// A class that never exists and is processed.
    #[error("class `{0}` never exists for this tenant, and a rule allows it")]
    NeverAndYet(DataClass),
    /// D7: a gap is somebody's decision.
    #[error("the accepted gap {0} does not say who accepted it and why")]
    NobodysGap(String),
    /// The text lists it after all.
    #[error("the accepted gap {0} opens what a rule allows already: remove one of them")]
    NeedlessGap(String),
    /// Nobody would see it.
    #[error("notice_display_hours is not a positive number of hours")]
    NoNotice,
    /// Not a hash.
    #[error("text_sha256 is not 64 digits of hex in small letters")]
    NotAHash,
    /// An id that rows and paths cannot hold.
    #[error("tenant `{0}` is not a small letter and then small letters and digits, 2 to 31 in all")]
    TenantId(String),
    /// Nothing to print.
    #[error("`{0}` is empty")]
    Empty(&'static str),
    /// K3: who has a question must have somewhere to write.
    #[error("contact `{0}` is no mailbox")]
    NoMailbox(String),
    /// Sales records need a law.
    #[error("a fiscal rule has no country of two capital letters, no years or no legal reference")]
    FiscalRule,
    /// Two laws for one country.
    #[error("country `{0}` has two fiscal rules")]
    TwoFiscalRules(String),
    /// A plan that cannot be kept.
    #[error("plan `{plan}` {why}")]
    Plan {
        /// Which one.
        plan: String,
        /// Why.
        why: String,
    },
    /// Labelling and its model come together.
    #[error("purpose `nsfw` and a model for it need each other, and its threshold is between 0 and 1")]
    NsfwModel,
}

pub(super) fn findings(document: &Document) -> Vec<Finding> {
    let mut found = Vec::new();
    header(document, &mut found);
    retention(document, &mut found);
    purposes(document, &mut found);
    processors(document, &mut found);
    rules(document, &mut found);
    gaps(document, &mut found);
    fiscal(document, &mut found);
    plans(document, &mut found);
    found
}

fn header(document: &Document, found: &mut Vec<Finding>) {
    if document.notice_display_hours.is_some_and(|hours| hours <= 0) {
        found.push(Finding::NoNotice);
    }
    let id = document.tenant.as_bytes();
    let fits = (2..=31).contains(&id.len())
        && id[0].is_ascii_lowercase()
        && id.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !fits {
        found.push(Finding::TenantId(document.tenant.clone()));
    }
    let hash = document.text_sha256.as_bytes();
    if hash.len() != 64 || !hash.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)) {
        found.push(Finding::NotAHash);
    }
    let texts = [("controller", &document.controller), ("contact", &document.contact), ("version", &document.version)];
    found.extend(texts.into_iter().filter(|(_, text)| text.trim().is_empty()).map(|(name, _)| Finding::Empty(name)));
    let contact = document.contact.trim();
    let is_mailbox = contact.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    if !contact.is_empty() && !is_mailbox {
        found.push(Finding::NoMailbox(contact.to_owned()));
    }
}

fn retention(document: &Document, found: &mut Vec<Finding>) {
    for class in DataClass::ALL {
        match document.retention.get(class) {
            None => found.push(Finding::NoRetention(*class)),
            Some(
                Retention::Term { hours: 0, .. } | Retention::Rolling { hours: 0 } | Retention::Proof { years: 0 },
            ) => {
                found.push(Finding::NoTime(*class));
            }
            Some(_) => {}
        }
    }
}

fn purposes(document: &Document, found: &mut Vec<Finding>) {
    for (purpose, entry) in &document.purpose {
        match entry.basis {
            None => found.push(Finding::NoBasis(*purpose)),
            Some(Basis::Consent) => {
                if entry.capture_points.is_empty() {
                    found.push(Finding::NoCapturePoint(*purpose));
                }
                if entry.scope.is_none() {
                    found.push(Finding::NoScope(*purpose));
                }
            }
            Some(_) if !entry.capture_points.is_empty() || entry.scope.is_some() => {
                found.push(Finding::NeedlessConsent(*purpose));
            }
            Some(_) => {}
        }
    }
    let threshold = document.nsfw.as_ref().map(|nsfw| nsfw.threshold);
    if document.purpose.contains_key(&Purpose::Nsfw) != threshold.is_some_and(|t| t > 0.0 && t <= 1.0) {
        found.push(Finding::NsfwModel);
    }
}

fn processors(document: &Document, found: &mut Vec<Finding>) {
    for (processor, entry) in &document.processor {
        if entry.agreement.trim().is_empty() || entry.agreed_on.is_none() {
            found.push(Finding::NoAgreement(*processor));
        }
        if entry.region.trim().is_empty() || entry.safeguards.trim().is_empty() {
            found.push(Finding::NoSafeguards(*processor));
        }
    }
}

fn rules(document: &Document, found: &mut Vec<Finding>) {
    let listed = document.rule.iter().map(|rule| (rule.purpose, rule.processor, &rule.classes));
    let opened = document.accepted_gap.iter().map(|gap| (gap.purpose, gap.processor, &gap.classes));
    for (purpose, processor, classes) in listed.chain(opened) {
        if !document.purpose.contains_key(&purpose) {
            found.push(Finding::DanglingRule { purpose, processor, missing: "this tenant has no such purpose" });
        }
        if processor != Processor::SelfHosted && !document.processor.contains_key(&processor) {
            found.push(Finding::DanglingRule { purpose, processor, missing: "the processor is not registered" });
        }
        if classes.is_empty() {
            found.push(Finding::EmptyRule { purpose, processor });
        }
        let never = classes.iter().filter(|class| document.retention.get(class) == Some(&Retention::Never));
        found.extend(never.map(|class| Finding::NeverAndYet(*class)));
    }
}

fn gaps(document: &Document, found: &mut Vec<Finding>) {
    for gap in &document.accepted_gap {
        if [&gap.decision, &gap.who, &gap.why].into_iter().any(|text| text.trim().is_empty()) {
            found.push(Finding::NobodysGap(gap.decision.clone()));
        }
        let needless = document.rule.iter().any(|rule| {
            (rule.purpose, rule.processor) == (gap.purpose, gap.processor)
                && rule.classes.iter().any(|class| gap.classes.contains(class))
        });
        if needless {
            found.push(Finding::NeedlessGap(gap.decision.clone()));
        }
    }
}

fn fiscal(document: &Document, found: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    for rule in &document.fiscal.rule {
        let codes = rule.countries.iter().all(|code| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()));
        if !codes || rule.countries.is_empty() || rule.years == 0 || rule.legal.trim().is_empty() {
            found.push(Finding::FiscalRule);
        }
        let twice = rule.countries.iter().filter(|code| !seen.insert((*code).clone()));
        found.extend(twice.map(|code| Finding::TwoFiscalRules(code.clone())));
    }
}

fn plans(document: &Document, found: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    for plan in &document.plan {
        let mut say = |why: String| found.push(Finding::Plan { plan: plan.id.clone(), why });
        if plan.id.is_empty() || !seen.insert(&plan.id) {
            say("has no id of its own".to_owned());
        }
        if !(1..=200).contains(&plan.images) || plan.photos_min == 0 || plan.photos_min > plan.photos_max {
            say("needs 1 to 200 images, and photos_min from 1 to photos_max".to_owned());
        }
        if plan.currency.len() != 3 || !plan.currency.bytes().all(|b| b.is_ascii_lowercase()) {
            say("has no currency of three small letters".to_owned());
        }
        if plan.needs_model != plan.training.is_some() {
            say("needs a model and says how it is trained, or neither".to_owned());
        }
        let compares = document.purpose.contains_key(&Purpose::Compare);
        if compares != plan.similarity_threshold.is_some_and(|t| t > -1.0 && t < 1.0) {
            say("has a similarity threshold between -1 and 1 exactly where faces are compared".to_owned());
        }
        for purpose in &plan.consents {
            if document.purpose.get(purpose).and_then(|entry| entry.basis) != Some(Basis::Consent) {
                say(format!("asks for consent to `{purpose}`, which does not rest on consent"));
            }
        }
        for (purpose, class) in needs(plan) {
            let rule = document.rule.iter().map(|r| (r.purpose, r.processor, &r.classes));
            let gap = document.accepted_gap.iter().map(|g| (g.purpose, g.processor, &g.classes));
            if !rule.chain(gap).any(|(p, by, classes)| (p, by) == (purpose, Processor::Fal) && classes.contains(&class))
            {
                say(format!("needs `{purpose}` of `{class}` by `fal`, which no rule allows"));
            }
        }
    }
}

/// What a plan lets the provider of models do. One that cannot be carried out must not be sold.
fn needs(plan: &Plan) -> Vec<(Purpose, DataClass)> {
    let source = if plan.needs_model { DataClass::Model } else { DataClass::Upload };
    let mut needs = vec![(Purpose::Generate, source), (Purpose::Generate, DataClass::Prompt)];
    if plan.needs_model {
        needs.push((Purpose::Train, DataClass::Upload));
    }
    needs
}
