//! Deletions: the open ones by their legal deadline, and the finished ones, newest first.

use axum::{
    extract::{Query, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use safelight_jobs::{
    delete_data::DeleteData,
    id::{Deletion, Id},
    job::{Job, JobKey},
};
use serde::Deserialize;
use uuid::Uuid;

use super::{Page, Trouble, certificate, overview::link, page as framed, parts, sign_in::Viewer, waits, words};
use crate::{error::Error, state::ApiState};

/// Rows of one list.
const MOST: i64 = 50;

/// Which part of the finished ones, and of the open ones.
#[derive(Deserialize)]
pub(super) struct Wanted {
    before: Option<String>,
    open_after: Option<String>,
}

/// The page.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Trouble> {
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let named = |id: Option<String>| id.and_then(|id| id.parse::<Id<Deletion>>().ok()).map(Id::uuid);
    let (before, after) = (named(wanted.before), named(wanted.open_after));
    let body = html! {
        h1 { "Deletions" }
        p.lead { "Complete only when each step was seen to be done, or is kept by law. The deadline is the law's: one month." }
        @if before.is_none() { (open(&state, viewer.tenant(), now, after).await?) }
        @if after.is_none() { (finished(&state, viewer.tenant(), now, before).await?) }
    };
    Ok(framed("Deletions", Page::Deletions, &viewer, &body))
}

fn key(deletion: Id<Deletion>) -> JobKey {
    DeleteData { deletion }.key()
}

async fn open(
    state: &ApiState,
    tenant: Option<&str>,
    now: DateTime<Utc>,
    after: Option<Uuid>,
) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select d.id, d.tenant, d.trigger, d.state, d.requested_at, d.answer_due,
            (select count(*) from safelight.deletion_steps s where s.deletion_id = d.id) as "steps!",
            (select count(*) from safelight.deletion_steps s where s.deletion_id = d.id
                and s.state in ('verified', 'retained_by_law')) as "settled!",
            (select string_agg(distinct s.class || ' ' || s.state || coalesce(' ' || s.code, ''), ', ') from safelight.deletion_steps s
                where s.deletion_id = d.id and s.state in ('stuck', 'waiting_provider', 'held')) as waits
        from safelight.deletions d where d.state <> 'complete' and ($1::text is null or d.tenant = $1)
            and ($2::uuid is null or (d.answer_due, d.id) > (select a.answer_due, a.id from safelight.deletions a where a.id = $2))
        order by d.answer_due, d.id limit $3"#,
        tenant,
        after,
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let keys: Vec<JobKey> = rows.iter().map(|row| key(row.id.into())).collect();
    let waiting = waits::of(&state.pool, &keys, tenant).await?;
    let next = rows.get(MOST as usize - 1).map(|row| Id::<Deletion>::from(row.id));
    Ok(html! {
        section {
            h2 { "Open" span.aside { "the nearest deadline first" } }
            (parts::listed("None is open.", "Open deletions", &["deletion", "#legal deadline", "state", "#steps seen", "waits for", "because of", "#requested", "tenant"], &rows, |row| html! {
                td { (link("deletions", &Id::<Deletion>::from(row.id).to_string())) } td.n { (words::distance(now, row.answer_due)) }
                td { @if row.answer_due < now { (words::state("late")) " " } (words::state(&row.state)) }
                td.n { (row.settled) " of " (row.steps) }
                td.free { (waits::said(waiting.get(key(row.id.into()).as_str()), "the sweep of deletions drives it again within the hour"))
                    @if let Some(steps) = &row.waits { span.small { "; " (words::said(steps)) } } }
                td { (words::said(&row.trigger)) } td.n { (words::distance(now, row.requested_at)) } td { (row.tenant) }
            }))
            @if let Some(next) = next { p.after { a href={ "/console/deletions?open_after=" (next) } rel="next" { "Later deadlines" } } }
        }
    })
}

async fn finished(
    state: &ApiState,
    tenant: Option<&str>,
    now: DateTime<Utc>,
    before: Option<Uuid>,
) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        // Rows are compared whole, so that only the index of what is finished serves: by id alone it would stand behind all that is stuck.
        r#"select d.id as "id!", d.tenant as "tenant!", d.trigger as "trigger!", d.requested_at as "requested_at!", d.answer_due as "answer_due!",
            d.completed_at as "at!",
            exists (select from safelight.deletion_certificates c where c.deletion_id = d.id and c.document is not null) as "certified!"
        from safelight.tenants t, lateral (select x.* from safelight.deletions x
            where (x.tenant, x.id) >= (t.id, '00000000-0000-0000-0000-000000000000')
                and (x.tenant, x.id) < (t.id, coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)) and x.state = 'complete'
            order by x.tenant desc, x.id desc limit $3) d
        where $1::text is null or t.id = $1 order by d.id desc limit $3"#,
        tenant,
        before,
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let next = rows.get(MOST as usize - 1).map(|row| Id::<Deletion>::from(row.id));
    let awaited = certificate::awaited(&state.pool, now).await?;
    Ok(html! {
        section {
            h2 { "Finished" }
            (parts::listed("None yet.", "Finished deletions", &["deletion", "tenant", "because of", "#complete", "#took", "certificate"], &rows, |row| html! {
                td { (link("deletions", &Id::<Deletion>::from(row.id).to_string())) } td { (row.tenant) } td { (words::said(&row.trigger)) }
                td.n { (words::distance(now, row.at)) }
                td.n { (words::age((row.at - row.requested_at).num_seconds())) @if row.at > row.answer_due { " " (words::state("late")) } }
                td.free { @if row.certified { a href={ "/console/deletions/" (Id::<Deletion>::from(row.id)) "/certificate" } { "read" span.hidden { " of " (Id::<Deletion>::from(row.id)) } } } @else { (awaited.said(row.at, tenant)) } }
            }))
            @if let Some(next) = next { p.after { a href={ "/console/deletions?before=" (next) } rel="next" { "Older" } } }
        }
    })
}
