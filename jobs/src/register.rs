//! The register of processing activities (GDPR Art. 30) of one tenant, drawn from its policy and the data map.
//!
//! Nothing is written by hand: what the gates enforce, what the retention clocks count and what an erasure takes is what the
//! register says. Never holds anything about a person.

use serde::Serialize;

use crate::{
    data_map::{DataMap, Export},
    policy::{DataClass, Policy, Retention},
};

/// The register of one tenant.
#[derive(Debug, Clone, Serialize)]
pub struct Register {
    /// Id of the tenant.
    pub tenant: String,
    /// Who answers for the processing.
    pub controller: String,
    /// Where to write.
    pub contact: String,
    /// Which policy it was drawn from.
    pub policy_version: String,
    /// From when on that policy counts.
    pub effective_at: chrono::DateTime<chrono::Utc>,
    /// Categories of persons.
    pub persons: &'static str,
    /// What is done, for what, and why that is lawful.
    pub activities: Vec<Activity>,
    /// Which data, where it lies, how long, and what an erasure does.
    pub data: Vec<Data>,
    /// Who gets it.
    pub recipients: Vec<Recipient>,
    /// What is done although the published text does not list it, and who answers for that.
    pub accepted_gaps: Vec<String>,
    /// Technical and organisational measures.
    pub measures: Vec<String>,
}

/// One purpose.
#[derive(Debug, Clone, Serialize)]
pub struct Activity {
    /// The purpose.
    pub purpose: &'static str,
    /// GDPR Art. 6.
    pub basis: &'static str,
    /// Where consent is asked for; empty where none is needed.
    pub consent_at: Vec<&'static str>,
    /// By whom, with which kinds of data.
    pub by: Vec<By>,
}

/// One processor's part in a purpose.
#[derive(Debug, Clone, Serialize)]
pub struct By {
    /// The processor; `self` is the service.
    pub processor: &'static str,
    /// Kinds of data.
    pub classes: Vec<&'static str>,
}

/// One kind of data.
#[derive(Debug, Clone, Serialize)]
pub struct Data {
    /// The kind.
    pub class: &'static str,
    /// Special category (Art. 9)?
    pub special_category: bool,
    /// How long it stays.
    pub kept: String,
    /// Where it lies: columns, folders, copies.
    pub places: Vec<Place>,
}

/// One place.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    /// A column, a folder of the store, or a copy at a processor.
    pub place: String,
    /// At whom.
    pub processor: &'static str,
    /// Sealed under the person's key?
    pub sealed: bool,
    /// Does the person get it in an export?
    pub exported: bool,
    /// What an erasure does with it.
    pub erasure: String,
}

/// A processor.
#[derive(Debug, Clone, Serialize)]
pub struct Recipient {
    /// The word that rules use.
    pub processor: &'static str,
    /// Who that is.
    pub name: String,
    /// Where the data is.
    pub region: String,
    /// What protects it there (Art. 44 to 49).
    pub safeguards: String,
    /// Entry of the processing agreement.
    pub agreement: String,
    /// Its date.
    pub agreed_on: String,
}

impl Register {
    /// Draw it.
    #[must_use]
    pub fn draw(policy: &Policy, map: &DataMap) -> Self {
        Self {
            tenant: policy.tenant().to_owned(),
            controller: policy.controller().to_owned(),
            contact: policy.contact().to_owned(),
            policy_version: policy.version().to_owned(),
            effective_at: policy.effective_at(),
            persons: "customers who upload photos of their own face",
            activities: activities(policy),
            data: DataClass::ALL.iter().filter_map(|class| data(policy, map, *class)).collect(),
            recipients: policy
                .processors()
                .map(|(processor, entry)| Recipient {
                    processor: processor.as_str(),
                    name: entry.name.clone(),
                    region: entry.region.clone(),
                    safeguards: entry.safeguards.clone(),
                    agreement: entry.agreement.clone(),
                    agreed_on: entry.agreed_on.map(|day| day.to_string()).unwrap_or_default(),
                })
                .collect(),
            accepted_gaps: policy.accepted_gaps().iter().map(ToString::to_string).collect(),
            measures: map.protection().map(str::to_owned).collect(),
        }
    }
}

fn activities(policy: &Policy) -> Vec<Activity> {
    let activity = |(purpose, entry): (crate::policy::Purpose, &crate::policy::PurposeEntry)| {
        let mut by: Vec<By> = Vec::new();
        for rule in policy.rules().filter(|rule| rule.purpose == purpose) {
            match by.last_mut().filter(|last| last.processor == rule.processor.as_str()) {
                Some(last) => last.classes.push(rule.class.as_str()),
                None => by.push(By { processor: rule.processor.as_str(), classes: vec![rule.class.as_str()] }),
            }
        }
        Activity {
            purpose: purpose.as_str(),
            basis: entry.basis.map_or("", |basis| basis.as_str()),
            consent_at: entry.capture_points.iter().map(|point| point.as_str()).collect(),
            by,
        }
    };
    policy.purposes().map(activity).collect()
}

/// None: this tenant never has it.
fn data(policy: &Policy, map: &DataMap, class: DataClass) -> Option<Data> {
    let retention = policy.retention(class)?;
    if *retention == Retention::Never {
        return None;
    }
    Some(Data {
        class: class.as_str(),
        special_category: matches!(class, DataClass::Embedding | DataClass::Model),
        kept: kept(policy, retention),
        places: places(map, class),
    })
}

fn places(map: &DataMap, class: DataClass) -> Vec<Place> {
    let mut places = Vec::new();
    let erasure = |taken: Option<crate::data_map::TakenBy>, stays: Option<&String>| match (taken, stays) {
        (Some(step), _) => format!("erased (step {})", step.as_str()),
        (None, Some(why)) => format!("stays: {why}"),
        (None, None) => String::new(),
    };
    let exported = |export: &Export| !matches!(export, Export::Not(_));
    for table in map.tables() {
        for column in
            table.personal.iter().filter(|group| group.class.contains(&class)).flat_map(|group| &group.columns)
        {
            places.push(Place {
                place: format!("{}.{column}", table.name),
                processor: "supabase",
                sealed: column.ends_with("_sealed"),
                exported: table.export.as_ref().is_some_and(exported),
                erasure: erasure(table.erased_by, table.stays.as_ref()),
            });
        }
    }
    for folder in map.folders().iter().filter(|folder| folder.class.contains(&class)) {
        places.push(Place {
            place: format!("store: tenant/person/{}/", folder.class_word),
            processor: "supabase",
            sealed: false,
            exported: exported(&folder.export),
            erasure: erasure(Some(folder.erased_by), None),
        });
    }
    for copy in map.copies().iter().filter(|copy| copy.class.contains(&class)) {
        places.push(Place {
            place: copy.what.clone(),
            processor: copy.processor.as_str(),
            sealed: false,
            exported: false,
            erasure: erasure(copy.erased_by, copy.stays.as_ref()),
        });
    }
    places
}

fn kept(policy: &Policy, retention: &Retention) -> String {
    match retention {
        Retention::Term { hours, from } => format!("{hours} hours from {}", from.as_str()),
        Retention::UntilErasure => "until the person is erased".to_owned(),
        Retention::WithSource => "as long as what it was made from or describes".to_owned(),
        Retention::AfterCollection => "purged right after it was collected".to_owned(),
        Retention::Fiscal => {
            let example = policy
                .fiscal("DE")
                .map(|rule| format!(", {} years from the end of the year ({})", rule.years, rule.legal));
            format!("as tax law asks for{}", example.unwrap_or_default())
        }
        Retention::Proof { years } => format!("as proof, {years} years after the processing ended"),
        Retention::Rolling { hours } => format!("replaced in turn, never older than {hours} hours"),
        Retention::Never => "never exists".to_owned(),
    }
}
