//! Audit entries: written in the transaction of the effect, by insert only, without personal data.

use std::collections::BTreeMap;

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use crate::{
    id,
    id::{Deletion, Id, Order, Subject},
    policy::Purpose,
};

/// One entry before it is written. `action` and `outcome` are codes of small letters; free text has no place here.
#[derive(Debug, Clone)]
pub struct Entry {
    actor: &'static str,
    action: &'static str,
    outcome: &'static str,
    tenant: Option<String>,
    subject: Option<Id<Subject>>,
    order: Option<Id<Order>>,
    job: Option<(String, Id<id::Job>)>,
    purpose: Option<Purpose>,
    grants: Vec<Uuid>,
    policy_version: Option<String>,
    counts: BTreeMap<&'static str, u64>,
    codes: BTreeMap<&'static str, String>,
    class: Option<String>,
    processor: Option<String>,
    deletion: Option<Id<Deletion>>,
    commitment: Option<Vec<u8>>,
}

impl Entry {
    /// `actor` says whose role acted: `worker`, `intake`, `operator`, `cron`, `provider`.
    pub fn new(actor: &'static str, action: &'static str, outcome: &'static str) -> Self {
        Self {
            actor,
            action,
            outcome,
            tenant: None,
            subject: None,
            order: None,
            job: None,
            purpose: None,
            grants: Vec::new(),
            policy_version: None,
            counts: BTreeMap::new(),
            codes: BTreeMap::new(),
            class: None,
            processor: None,
            deletion: None,
            commitment: None,
        }
    }
    /// Of which tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }
    /// About whom; stored as the subject's pseudonym.
    #[must_use]
    pub fn subject(mut self, subject: Id<Subject>) -> Self {
        self.subject = Some(subject);
        self
    }
    /// About which order.
    #[must_use]
    pub fn order(mut self, order: Id<Order>) -> Self {
        self.order = Some(order);
        self
    }
    /// By which job.
    #[must_use]
    pub fn job(mut self, kind: &str, job: Id<id::Job>) -> Self {
        self.job = Some((kind.to_owned(), job));
        self
    }
    /// For what, on which consents, under which policy.
    #[must_use]
    pub fn allowed<P: crate::gate::For>(mut self, pass: &crate::gate::Allowed<P>) -> Self {
        self.purpose = Some(P::PURPOSE);
        self.grants = pass.grants().to_vec();
        self.policy_version = Some(pass.policy_version().to_owned());
        self
    }
    /// For what.
    #[must_use]
    pub fn purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = Some(purpose);
        self
    }
    /// A number. What is below zero or beyond a `u64` is written as zero: no entry of ours counts such a thing.
    #[must_use]
    pub fn count(mut self, name: &'static str, number: impl TryInto<u64>) -> Self {
        self.counts.insert(name, number.try_into().unwrap_or(0));
        self
    }
    /// What else is to be said, as a code or an id; free text is refused by the table.
    #[must_use]
    pub fn code(mut self, name: &'static str, code: impl Into<String>) -> Self {
        self.codes.insert(name, code.into());
        self
    }
    /// Of which class of data, at which processor.
    #[must_use]
    pub fn data(mut self, class: &str, processor: &str) -> Self {
        self.class = Some(class.to_owned());
        self.processor = Some(processor.to_owned());
        self
    }
    /// As a part of which deletion.
    #[must_use]
    pub fn deletion(mut self, deletion: Id<Deletion>) -> Self {
        self.deletion = Some(deletion);
        self
    }
    /// On what: a salted hash ([`crate::vault::SubjectKey::commit`]), whose salt is destroyed with the subject.
    #[must_use]
    pub fn target(mut self, commitment: Option<Vec<u8>>) -> Self {
        self.commitment = commitment;
        self
    }

    /// Write it in the caller's transaction.
    pub async fn write(self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        let targets = [self.commitment.clone()];
        self.write_each(tx, &targets).await
    }

    /// Write one entry for each of these targets, in the caller's transaction.
    pub async fn write_each(self, tx: &mut PgConnection, targets: &[Option<Vec<u8>>]) -> Result<(), sqlx::Error> {
        let (kind, job) = self.job.map_or((None, None), |(kind, job)| (Some(kind), Some(job.uuid())));
        sqlx::query!(
            r#"insert into safelight.audit_entries (tenant, actor, action, job_kind, job_id, order_id, alias, purpose, grants, outcome, counts,
                policy_version, class, processor, deletion_id, codes, commitment)
            select coalesce($1, (select tenant from safelight.subjects where id = $6)), $2, $3, $4, $5, $7,
                (select alias from safelight.subject_keys where subject_id = $6), $8, $9, $10, $11, $12, $13, $14, $15, $16, target
            from unnest($17::bytea[]) target"#,
            self.tenant,
            self.actor,
            self.action,
            kind,
            job,
            self.subject.map(Id::uuid),
            self.order.map(Id::uuid),
            self.purpose.map(Purpose::as_str),
            &self.grants,
            self.outcome,
            Json(self.counts) as _,
            self.policy_version,
            self.class,
            self.processor,
            self.deletion.map(Id::uuid),
            Json(self.codes) as _,
            targets as &[Option<Vec<u8>>],
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}
