//! Audit entries: written in the transaction of the effect, by insert only, without personal data.

use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    id,
    id::{Id, Order, Subject},
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
    counts: Map<String, Value>,
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
            counts: Map::new(),
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
    /// A number.
    #[must_use]
    pub fn count(mut self, name: &str, number: impl Into<Value>) -> Self {
        self.counts.insert(name.to_owned(), number.into());
        self
    }

    /// Write it in the caller's transaction.
    pub async fn write(self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (kind, job) = self.job.map_or((None, None), |(kind, job)| (Some(kind), Some(job.uuid())));
        sqlx::query!(
            r#"insert into safelight.audit_entries (tenant, actor, action, job_kind, job_id, order_id, alias, purpose, grants, outcome, counts, policy_version)
            values (coalesce($1, (select tenant from safelight.subjects where id = $6)), $2, $3, $4, $5, $7,
                (select alias from safelight.subject_keys where subject_id = $6), $8, $9, $10, $11, $12)"#,
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
            Value::Object(self.counts),
            self.policy_version,
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}
