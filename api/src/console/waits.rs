//! Why work that belongs to something is not done yet: what its job waits for, found by the job's key.

use std::collections::BTreeMap;

use maud::{Markup, html};
use safelight_jobs::{
    id::{self, Id},
    job::JobKey,
};
use sqlx::PgPool;

use super::{overview::link, words};

/// What one job waits for.
pub(super) struct Waits {
    job: Id<id::Job>,
    code: String,
    detail: String,
}

/// By key, for jobs that are there.
pub(super) async fn of(pool: &PgPool, keys: &[JobKey]) -> Result<BTreeMap<String, Waits>, sqlx::Error> {
    let keys: Vec<String> = keys.iter().map(|key| key.as_str().to_owned()).collect();
    let rows = sqlx::query!(
        r#"select k.key, k.job_id, e.code as "code!", e.detail as "detail!" from unnest($1::text[]) wanted(key)
        join safelight.job_keys k on k.key = wanted.key cross join lateral safelight.explain_job(k.job_id) e"#,
        &keys
    )
    .fetch_all(pool)
    .await?;
    let waits = |job: uuid::Uuid, code, detail| Waits { job: job.into(), code, detail };
    Ok(rows.into_iter().map(|row| (row.key, waits(row.job_id, row.code, row.detail))).collect())
}

/// In words, with the job; `none` where there is no such job.
pub(super) fn said(waits: Option<&Waits>, none: &str) -> Markup {
    html! {
        @match waits {
            Some(known) => { (words::said(&known.code)) span.small { " " (known.detail) ", " (link("jobs", &known.job.to_string())) } },
            None => (none),
        }
    }
}
