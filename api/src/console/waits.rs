//! Why work that belongs to something is not done yet: what its job waits for, found by the job's key or by its order.

use std::collections::BTreeMap;

use maud::{Markup, html};
use safelight_jobs::{
    held::holders,
    id::{self, Id},
    job::JobKey,
    queue::Explanation,
};
use sqlx::PgPool;
use uuid::Uuid;

use super::{overview::link, words};

/// What one job waits for.
pub(super) struct Waits {
    job: Id<id::Job>,
    code: String,
    detail: String,
}

/// By key, for jobs that are there.
pub(super) async fn of(
    pool: &PgPool,
    keys: &[JobKey],
    tenant: Option<&str>,
) -> Result<BTreeMap<String, Waits>, sqlx::Error> {
    let keys: Vec<String> = keys.iter().map(|key| key.as_str().to_owned()).collect();
    let rows = sqlx::query!(
        r#"select k.key, k.job_id, e.code as "code!", e.detail as "detail!" from unnest($1::text[]) wanted(key)
        join safelight.job_keys k on k.key = wanted.key cross join lateral safelight.explain_job(k.job_id) e"#,
        &keys
    )
    .fetch_all(pool)
    .await?;
    let held = holders(pool, &rows.iter().map(|row| row.job_id).collect::<Vec<_>>()).await?;
    let waits = |job: Uuid, code: String, detail| {
        let detail = held.told(job, Explanation::told(&code, detail, tenant), tenant);
        Waits { job: job.into(), code, detail }
    };
    Ok(rows.into_iter().map(|row| (row.key, waits(row.job_id, row.code, row.detail))).collect())
}

/// What the first job of each order waits for, for orders that [`may_wait`].
pub(super) async fn of_orders(pool: &PgPool, orders: Vec<Uuid>) -> Result<BTreeMap<Uuid, String>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select w.order_id as "order_id!", e.code as "code!" from unnest($1::uuid[]) w(order_id)
        cross join lateral (select j.id from safelight.jobs j where j.order_id = w.order_id order by j.state = 1 desc, j.run_at, j.id limit 1) j
        cross join lateral safelight.explain_job(j.id) e"#,
        &orders
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.order_id, row.code)).collect())
}

/// May work of an order in this state wait for something? Also before it is paid: the job that looks whether it is may stand still.
pub(super) fn may_wait(state: &str) -> bool {
    state == "placed" || is_under_way(state)
}

/// Is work of an order in this state under way?
fn is_under_way(state: &str) -> bool {
    matches!(state, "paid" | "training" | "generating")
}

/// The problem of an order, or what it waits for: where it is under way and no job of it is there, it waits for a provider.
pub(super) fn order_said(state: &str, problem: Option<&str>, waits: Option<&String>) -> Markup {
    html! {
        @match (problem, waits) {
            (Some(problem), _) => (words::said(problem)),
            (None, Some(code)) => { span.small { "waits: " (words::said(code)) } },
            (None, None) => { @if is_under_way(state) { span.small { "waits: a provider works" } } },
        }
    }
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
