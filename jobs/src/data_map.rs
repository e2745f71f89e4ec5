//! The data map, `data-map.toml`: what every column, folder and copy at a processor holds of a person, and what becomes of it.
//!
//! From it come the completeness of an erasure's plan, the count of what an erasure has left, the export, and the register of
//! processing activities ([`crate::register`]). A test holds it against the catalog of a migrated database.
//! Never: knows how something is deleted. It names the step that does it; `deletion` carries it out.

use std::collections::BTreeMap;

use serde::Deserialize;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::{
    id::{Id, Subject},
    policy::{DataClass, Processor},
};

const BUNDLED: &str = include_str!("../../data-map.toml");

/// The map does not hold together.
#[derive(Debug, thiserror::Error)]
pub enum DataMapError {
    /// It cannot be read.
    #[error("the data map cannot be read: {0}")]
    Malformed(#[from] toml::de::Error),
    /// It contradicts itself.
    #[error("data map, {place}: {why}")]
    Contradiction {
        /// Which table, folder or copy.
        place: String,
        /// What is wrong, and what to write instead.
        why: String,
    },
}

/// The step of an erasure that takes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakenBy {
    /// What calls left at Fal.
    Calls,
    /// Objects in the store, their rows, and what hangs on these.
    Objects,
    /// Vectors.
    Embeddings,
    /// Scores.
    Verdicts,
    /// Notices.
    Notices,
    /// Orders and acts of uploading.
    Orders,
    /// The account's row.
    Account,
    /// The sign-in user.
    AuthUser,
    /// Finished and dead jobs, attempts, keys.
    Jobs,
    /// The person's key.
    Key,
}

impl TakenBy {
    /// The step in one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Objects => "objects",
            Self::Embeddings => "embeddings",
            Self::Verdicts => "verdicts",
            Self::Notices => "notices",
            Self::Orders => "orders",
            Self::Account => "account",
            Self::AuthUser => "auth_user",
            Self::Jobs => "jobs",
            Self::Key => "key",
        }
    }
}

/// Is it a part of what a person gets?
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Export {
    /// Given by the person or observed: access and portability (Art. 15 and 20).
    Given,
    /// About the person: access (Art. 15).
    About,
    /// No, for this reason.
    Not(String),
}

impl TryFrom<String> for Export {
    type Error = String;
    fn try_from(word: String) -> Result<Self, String> {
        match word.as_str() {
            "given" => Ok(Self::Given),
            "about" => Ok(Self::About),
            other => other
                .strip_prefix("not: ")
                .map(|reason| Self::Not(reason.to_owned()))
                .ok_or_else(|| format!("`{other}` is none of `given`, `about`, `not: because ...`")),
        }
    }
}

/// Columns that hold something of a person.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Personal {
    /// Their names.
    pub columns: Vec<String>,
    /// Which kinds of data; several where each row has its own.
    pub class: Vec<DataClass>,
}

/// One table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// With its schema.
    pub name: String,
    /// Which rows are a person's: a condition over the subject's id, $1.
    pub rows: Option<String>,
    /// The same after an erasure, without the rows of the erasure's own job.
    pub left: Option<String>,
    /// What takes the rows in an erasure.
    pub erased_by: Option<TakenBy>,
    /// Why they stay instead.
    pub stays: Option<String>,
    /// Does the person get it?
    pub export: Option<Export>,
    /// Columns that hold something of a person.
    #[serde(default)]
    pub personal: Vec<Personal>,
    /// Why a personal column is not sealed.
    #[serde(default)]
    pub clear: BTreeMap<String, String>,
    /// Columns that are not personal, by the reason.
    #[serde(default)]
    pub plain: BTreeMap<String, Vec<String>>,
}

impl Table {
    /// All its columns, personal or not.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        let personal = self.personal.iter().flat_map(|group| &group.columns);
        personal.chain(self.plain.values().flatten()).map(String::as_str)
    }
}

/// A folder in each person's part of the store.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// The third part of the key.
    pub class_word: String,
    /// What lies in it.
    pub class: Vec<DataClass>,
    /// What takes it in an erasure.
    pub erased_by: TakenBy,
    /// Does the person get it?
    pub export: Export,
}

/// A copy at a processor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessorCopy {
    /// Where.
    pub processor: Processor,
    /// What it is.
    pub what: String,
    /// Which kinds of data.
    pub class: Vec<DataClass>,
    /// What takes it in an erasure.
    pub erased_by: Option<TakenBy>,
    /// Why it stays instead, and how long.
    pub stays: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Protection {
    says: String,
}

/// All of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataMap {
    reason: BTreeMap<String, String>,
    table: Vec<Table>,
    folder: Vec<Folder>,
    copy: Vec<ProcessorCopy>,
    protection: Vec<Protection>,
}

/// Where something of a person was found, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The table.
    pub table: String,
    /// The step of an erasure that takes it.
    pub taken_by: TakenBy,
    /// How many rows.
    pub rows: i64,
}

impl DataMap {
    /// The map that the binary carries.
    ///
    /// # Errors
    /// [`DataMapError`]; a test keeps it from happening.
    pub fn bundled() -> Result<Self, DataMapError> {
        Self::parse(BUNDLED)
    }

    /// Read a map and look whether it holds together.
    ///
    /// # Errors
    /// [`DataMapError`], the first one that is found.
    pub fn parse(text: &str) -> Result<Self, DataMapError> {
        let map: Self = toml::from_str(text)?;
        for table in &map.table {
            let wrong = |why: String| DataMapError::Contradiction { place: table.name.clone(), why };
            map.check(table).map_err(wrong)?;
        }
        for copy in &map.copy {
            if copy.erased_by.is_some() == copy.stays.is_some() {
                return Err(DataMapError::Contradiction {
                    place: format!("{}: {}", copy.processor, copy.what),
                    why: "write either `erased_by` or `stays`".to_owned(),
                });
            }
        }
        Ok(map)
    }

    fn check(&self, table: &Table) -> Result<(), String> {
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = table.columns().find(|column| !seen.insert(*column)) {
            return Err(format!("column `{twice}` stands there twice"));
        }
        if let Some(reason) = table.plain.keys().find(|reason| !self.reason.contains_key(*reason)) {
            return Err(format!("`{reason}` is no reason: [reason] has them"));
        }
        for column in table.personal.iter().flat_map(|group| &group.columns) {
            if column.ends_with("_sealed") == table.clear.contains_key(column) {
                return Err(format!("`{column}` is either sealed and named so, or `clear` says why it is not"));
            }
        }
        if let Some(column) = table.clear.keys().find(|column| !seen.contains(column.as_str())) {
            return Err(format!("`clear` names `{column}`, which is not a column here"));
        }
        let holds = !table.personal.is_empty() || table.rows.is_some();
        if holds && table.erased_by.is_some() == table.stays.is_some() {
            return Err("write either `erased_by` or `stays`".to_owned());
        }
        if holds && table.export.is_none() {
            return Err("say whether it is exported".to_owned());
        }
        if table.erased_by.is_some() && table.rows.is_none() {
            return Err("what an erasure takes must be found: write `rows`".to_owned());
        }
        Ok(())
    }

    /// All tables.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.table
    }

    /// All folders.
    #[must_use]
    pub fn folders(&self) -> &[Folder] {
        &self.folder
    }

    /// All copies at processors.
    #[must_use]
    pub fn copies(&self) -> &[ProcessorCopy] {
        &self.copy
    }

    /// What protects all of it, one sentence each.
    pub fn protection(&self) -> impl Iterator<Item = &str> {
        self.protection.iter().map(|one| one.says.as_str())
    }

    /// What the database holds of a person that an erasure takes.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn holds(&self, connection: &mut PgConnection, subject: Id<Subject>) -> Result<Vec<Found>, sqlx::Error> {
        self.found(connection, subject, |table| table.rows.as_deref()).await
    }

    /// What the database still holds of a person after an erasure, beyond the erasure's own job.
    ///
    /// # Errors
    /// Those of the database: then nothing is known, which is not the same as nothing left.
    pub async fn left(&self, connection: &mut PgConnection, subject: Id<Subject>) -> Result<Vec<Found>, sqlx::Error> {
        self.found(connection, subject, |table| table.left.as_deref().or(table.rows.as_deref())).await
    }

    /// How many tables the two questions above look into.
    #[must_use]
    pub fn taken_tables(&self) -> usize {
        self.table.iter().filter(|table| table.erased_by.is_some()).count()
    }

    async fn found(
        &self,
        connection: &mut PgConnection,
        subject: Id<Subject>,
        question: impl Fn(&Table) -> Option<&str>,
    ) -> Result<Vec<Found>, sqlx::Error> {
        let asked: Vec<(&Table, TakenBy, &str)> =
            self.table.iter().filter_map(|table| Some((table, table.erased_by?, question(table)?))).collect();
        let sql: Vec<String> = asked
            .iter()
            .enumerate()
            .map(|(place, (table, _, condition))| {
                format!("select {place}::integer, count(*) from {} where {condition}", table.name)
            })
            .collect();
        // Made of the bundled map alone.
        let counts: Vec<(i32, i64)> =
            sqlx::query_as(AssertSqlSafe(sql.join(" union all "))).bind(subject.uuid()).fetch_all(connection).await?;
        let found = counts.into_iter().filter(|(_, rows)| *rows > 0).filter_map(|(place, rows)| {
            let (table, taken_by, _) = asked.get(usize::try_from(place).ok()?)?;
            Some(Found { table: table.name.clone(), taken_by: *taken_by, rows })
        });
        Ok(found.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(table: &str) -> Result<DataMap, DataMapError> {
        DataMap::parse(&format!(
            "table = [{{ name = \"s.t\", {table} }}]\nfolder = []\ncopy = []\nprotection = []\n[reason]\nid = \"x\"\n"
        ))
    }

    #[test]
    fn a_map_that_says_nothing_of_encryption_erasure_or_export_is_refused() {
        let personal = "personal = [{ columns = [\"email\"], class = [\"account\"] }]";
        for (table, why) in [
            (format!("{personal}, erased_by = \"account\", rows = \"true\", export = \"given\""), "is either sealed"),
            (format!("{personal}, clear = {{ email = \"x\" }}, export = \"given\""), "`erased_by` or `stays`"),
            (format!("{personal}, clear = {{ email = \"x\" }}, stays = \"x\""), "whether it is exported"),
            (
                format!("{personal}, clear = {{ email = \"x\" }}, erased_by = \"account\", export = \"given\""),
                "write `rows`",
            ),
            ("plain = { mood = [\"a\"] }".to_owned(), "is no reason"),
            ("plain = { id = [\"a\", \"a\"] }".to_owned(), "twice"),
            ("plain = { id = [\"a\"] }, clear = { b = \"x\" }".to_owned(), "not a column"),
        ] {
            let said = with(&table).map(|_| ()).unwrap_err().to_string();
            assert!(said.contains(why), "{table}: {said}");
        }
        assert!(with("plain = { id = [\"a\"] }").is_ok());
    }

    #[test]
    fn every_word_of_the_bundled_map_is_known() {
        let map = DataMap::bundled().unwrap();
        assert!(map.taken_tables() > 10);
        for folder in map.folders() {
            assert!(!folder.class.is_empty(), "{}", folder.class_word);
        }
    }
}
