//! An audit entry's row, and what it is in the log. Never: reads or writes a table.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use safelight_evidence::Entry;
use sqlx::types::Json;
use uuid::Uuid;

/// An entry's row; also as the look at the raw tables reads it.
pub(super) struct Row {
    pub(super) row: i64,
    pub(super) at: DateTime<Utc>,
    pub(super) tenant: Option<String>,
    pub(super) actor: String,
    pub(super) action: String,
    pub(super) job_kind: Option<String>,
    pub(super) job_id: Option<Uuid>,
    pub(super) order_id: Option<Uuid>,
    pub(super) alias: Option<Uuid>,
    pub(super) purpose: Option<String>,
    pub(super) grants: Vec<Uuid>,
    pub(super) outcome: String,
    pub(super) counts: Json<serde_json::Value>,
    pub(super) codes: Json<serde_json::Value>,
    pub(super) policy_version: Option<String>,
    pub(super) commitment: Option<Vec<u8>>,
    pub(super) class: Option<String>,
    pub(super) processor: Option<String>,
    pub(super) deletion_id: Option<Uuid>,
}

/// The row of an audit entry from a record of a query that asks for all its columns; `$row` is the name of its number.
macro_rules! row {
    ($r:ident, $row:ident) => {
        $crate::sealer::row::Row {
            row: $r.$row,
            at: $r.at,
            tenant: $r.tenant,
            actor: $r.actor,
            action: $r.action,
            job_kind: $r.job_kind,
            job_id: $r.job_id,
            order_id: $r.order_id,
            alias: $r.alias,
            purpose: $r.purpose,
            grants: $r.grants,
            outcome: $r.outcome,
            counts: $r.counts,
            codes: $r.codes,
            policy_version: $r.policy_version,
            commitment: $r.commitment,
            class: $r.class,
            processor: $r.processor,
            deletion_id: $r.deletion_id,
        }
    };
}
pub(super) use row;

impl Row {
    /// As the log has it. A count that is no number becomes one that no entry has, so that the entry is seen as edited.
    pub(super) fn entry(self, seq: u64) -> Entry {
        let id = |id: Option<Uuid>| id.map(|id| id.to_string());
        Entry {
            action: self.action,
            actor: self.actor,
            alias: id(self.alias),
            at: self.at.to_rfc3339_opts(SecondsFormat::Micros, true),
            class: self.class,
            codes: codes(&self.codes.0),
            commitment: self.commitment.map(hex::encode),
            counts: counts(&self.counts.0),
            deletion_id: id(self.deletion_id),
            grants: self.grants.iter().map(ToString::to_string).collect(),
            job_id: id(self.job_id),
            job_kind: self.job_kind,
            order_id: id(self.order_id),
            outcome: self.outcome,
            policy_version: self.policy_version,
            processor: self.processor,
            purpose: self.purpose,
            seq,
            tenant: self.tenant,
        }
    }
}

fn counts(stored: &serde_json::Value) -> BTreeMap<String, u64> {
    match stored.as_object() {
        Some(counts) => counts.iter().map(|(name, value)| (name.clone(), value.as_u64().unwrap_or(u64::MAX))).collect(),
        None => BTreeMap::from([("not_counts".to_owned(), u64::MAX)]),
    }
}

/// What is no code is written as one that no entry has.
fn codes(stored: &serde_json::Value) -> BTreeMap<String, String> {
    let not_a_code = || "not a code".to_owned();
    match stored.as_object() {
        Some(codes) => codes
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().map_or_else(not_a_code, str::to_owned)))
            .collect(),
        None => BTreeMap::from([("not_codes".to_owned(), not_a_code())]),
    }
}
