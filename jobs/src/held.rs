//! Who holds a job, and why. A job's row says only that an operator holds it; the act that held it says the rest.

use std::collections::BTreeMap;

use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    id::{self, Id},
    operate::BY_OPERATOR,
    queue::{self, Explanation},
};

/// Who holds each of some jobs, and why. A job that nobody holds by hand is not in here.
#[derive(Debug, Default)]
pub struct Holders(BTreeMap<Uuid, String>);

/// For those of these jobs that an operator holds by an act on that very job. Of an act on many jobs its own page tells.
///
/// # Errors
/// Those of the database.
pub async fn holders(pool: &PgPool, jobs: &[Uuid]) -> Result<Holders, sqlx::Error> {
    if jobs.is_empty() {
        return Ok(Holders::default());
    }
    // An act on many jobs leaves no word about each: where one released jobs since, another may hold this one by now.
    let rows = sqlx::query!(
        r#"select j.id, a.actor, a.why from safelight.jobs j
        cross join lateral (select o.at, o.actor, o.why, o.outcome from safelight.operator_acts o
            where o.about = 'job_' || replace(j.id::text, '-', '') and o.action = 'job.control' order by o.id desc limit 1) a
        where j.id = any ($1) and j.state = 2 and j.why = $2 and a.outcome = 'held'
            and not exists (select from safelight.bulk_acts b where b.act = 'release' and b.asked_at >= a.at)"#,
        jobs,
        BY_OPERATOR
    )
    .fetch_all(pool)
    .await?;
    Ok(Holders(rows.into_iter().map(|row| (row.id, format!("held by {}: {}", row.actor, row.why))).collect()))
}

impl Holders {
    /// What a job waits for, with who holds it. A tenant is told the bare word: who of the house acted, and why, is the house's matter.
    #[must_use]
    pub fn told(&self, job: Uuid, detail: String, tenant: Option<&str>) -> String {
        match self.0.get(&job) {
            Some(held) if tenant.is_none() => format!("{held}, {detail}"),
            _ => detail,
        }
    }
}

/// As [`queue::explain`] for the house, with who holds the job.
///
/// # Errors
/// Those of the database.
pub async fn explain(pool: &PgPool, job: Id<id::Job>) -> Result<Option<Explanation>, sqlx::Error> {
    let Some(known) = queue::explain(pool, job, None).await? else { return Ok(None) };
    let holders = holders(pool, &[job.uuid()]).await?;
    Ok(Some(Explanation { detail: holders.told(job.uuid(), known.detail, None), ..known }))
}
