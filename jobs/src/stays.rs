//! What a deletion does not take, where that is, and why: the part of an answer that the steps do not give.
//!
//! Drawn from the data map, for a tenant's own processors: the tables that stay, and the copies that no call of ours reaches. It says
//! what may be there, for everybody alike; what tax law keeps of one person's orders is a step of its own, with its law and its day.
//! Never: asks a provider, or reads a row about a person.

use std::collections::BTreeSet;

use serde::Serialize;
use sqlx::PgConnection;

use crate::{
    data_map::{DataMap, DataMapError},
    id::{Deletion, Id},
    policy::{DataClass, Processor},
};

/// Something that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stays {
    /// Which kinds of data; none: it names nobody.
    pub classes: Vec<DataClass>,
    /// A table, or what the copy is.
    pub place: String,
    /// At whom.
    pub processor: Processor,
    /// Why, and until when.
    pub why: String,
}

/// What stays is not known.
#[derive(Debug, thiserror::Error)]
pub enum StaysError {
    /// The database did not answer.
    #[error("it could not be read what a deletion was about: {0}")]
    Database(#[from] sqlx::Error),
    /// The bundled map does not hold together; a test keeps it from happening.
    #[error(transparent)]
    Map(#[from] DataMapError),
}

/// What stays after this deletion. Of an erasure it is all that the map lets stay; of a part, what holds the kinds of data that it was
/// about, and backups. Nothing for a deletion that does not exist.
///
/// # Errors
/// [`StaysError`].
pub async fn after(connection: &mut PgConnection, deletion: Id<Deletion>) -> Result<Vec<Stays>, StaysError> {
    let known = sqlx::query!(
        r#"select d.trigger = 'erasure' as "whole!",
            array(select distinct s.class from safelight.deletion_steps s where s.deletion_id = d.id) as "classes!",
            array(select distinct r.processor from safelight.policy_rules r
                where r.tenant = d.tenant and r.version = safelight.policy_in_force(d.tenant)) as "processors!"
        from safelight.deletions d where d.id = $1"#,
        deletion.uuid()
    )
    .fetch_optional(connection)
    .await?;
    let Some(known) = known else { return Ok(Vec::new()) };
    let classes: BTreeSet<&str> = known.classes.iter().map(String::as_str).collect();
    let processors: BTreeSet<&str> = known.processors.iter().map(String::as_str).collect();
    Ok(of(&DataMap::bundled()?, (!known.whole).then_some(&classes), &processors))
}

/// `about`: the kinds of data of a part; none: all of them.
fn of(map: &DataMap, about: Option<&BTreeSet<&str>>, processors: &BTreeSet<&str>) -> Vec<Stays> {
    let concerns = |classes: &[DataClass]| {
        about.is_none_or(|about| {
            classes.iter().any(|class| *class == DataClass::Backup || about.contains(class.as_str()))
        })
    };
    let tables = map.tables().iter().filter_map(|table| {
        let mut classes: Vec<DataClass> = table.personal.iter().flat_map(|group| group.class.iter().copied()).collect();
        classes.sort_unstable();
        classes.dedup();
        Some(Stays { classes, place: table.name.clone(), processor: Processor::Supabase, why: table.stays.clone()? })
    });
    let copies = map.copies().iter().filter_map(|copy| {
        Some(Stays {
            classes: copy.class.clone(),
            place: copy.what.clone(),
            processor: copy.processor,
            why: copy.stays.clone()?,
        })
    });
    let has = |processor: Processor| processor == Processor::SelfHosted || processors.contains(processor.as_str());
    tables.chain(copies).filter(|one| concerns(&one.classes) && has(one.processor)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(about: Option<&[&str]>, processors: &[&str]) -> Vec<String> {
        let about = about.map(|about| about.iter().copied().collect());
        of(&DataMap::bundled().unwrap(), about.as_ref(), &processors.iter().copied().collect())
            .into_iter()
            .map(|one| format!("{}: {}", one.processor, one.place))
            .collect()
    }

    #[test]
    fn a_tenant_without_a_processor_is_not_told_of_copies_there() {
        let with = places(None, &["supabase", "stripe", "resend"]);
        assert!(with.iter().any(|place| place.starts_with("resend: mails")), "{with:?}");
        assert!(with.iter().any(|place| place.contains("safelight.consents")), "{with:?}");
        let without = places(None, &["supabase", "stripe"]);
        assert_eq!(without.len() + 1, with.len());
        assert!(!without.iter().any(|place| place.starts_with("resend")), "{without:?}");
    }

    #[test]
    fn a_deletion_of_photos_is_not_told_of_mails_and_payments_but_of_backups() {
        let said = places(Some(&["upload", "embedding"]), &["supabase", "stripe", "resend"]);
        assert!(said.iter().any(|place| place == "self: backups of the database"), "{said:?}");
        assert!(!said.iter().any(|place| place.starts_with("resend") || place.starts_with("stripe")), "{said:?}");
    }
}
