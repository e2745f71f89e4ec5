//! Why the jobs of one page that are set aside have no room: one word each, and one question to the database for all of them.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgPool;
use uuid::Uuid;

use super::{Job, State};

/// Jobs of one lane wait for each other and for nothing else.
const LANE: &str = "lane:";

/// What jobs are set aside for, as their code says it, and how that stands: `paused`, `in_trouble`, `rate` or `full`. A page holds
/// many jobs and few codes: of each code one job is asked about. What has room by now is not in the answer.
pub async fn why_aside(pool: &PgPool, jobs: &[Job]) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let aside = jobs.iter().filter(|job| job.state == State::SetAside.as_str());
    let one_each: HashMap<&str, Uuid> = aside.filter_map(|job| Some((job.code.as_deref()?, job.id))).collect();
    let (lanes, others): (Vec<_>, Vec<_>) = one_each.into_iter().partition(|(code, _)| code.starts_with(LANE));
    let mut known: BTreeMap<String, String> =
        lanes.into_iter().map(|(lane, _)| (lane.to_owned(), "full".to_owned())).collect();
    if others.is_empty() {
        return Ok(known);
    }
    let ids: Vec<Uuid> = others.iter().map(|(_, id)| *id).collect();
    let rows = sqlx::query!(
        r#"select j.id, e.code as "code!" from unnest($1::uuid[]) j(id) cross join lateral safelight.explain_job(j.id) e
        where e.state = 'set_aside'"#,
        &ids
    )
    .fetch_all(pool)
    .await?;
    let said: HashMap<Uuid, String> = rows.into_iter().filter_map(|row| Some((row.id?, row.code))).collect();
    known.extend(others.into_iter().filter_map(|(code, id)| {
        let dimension = code.split(':').next().unwrap_or_default();
        let word = said.get(&id)?.strip_prefix(dimension)?.strip_prefix('_')?;
        Some((code.to_owned(), word.to_owned()))
    }));
    Ok(known)
}
