//! The newest entries of the audit log, each with how far its proof is: not sealed yet, sealed at which place, sworn to by which
//! checkpoint, and whether a checkpoint outside covers it.

use maud::{Markup, html};
use safelight_jobs::id::{self, Deletion, Id, Order};

use super::{overview::link, parts, words};
use crate::{error::Error, state::ApiState};

/// Rows of one page.
const MOST: i64 = 50;

/// The section; `before`: where the page before ended.
pub(super) async fn section(state: &ApiState, before: Option<i64>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select e.seq as "seq!", e.at as "at!", e.tenant, e.actor as "actor!", e.action as "action!", e.outcome as "outcome!", e.job_id, e.order_id,
            e.deletion_id, l.seq as "leaf?", c.size as "checkpoint?",
            (select string_agg(d.name, ', ' order by d.name) from safelight.audit_destinations d where d.delivered > l.seq) as outside
        from (select * from safelight.audit_entries where $1::bigint is null or seq < $1 order by seq desc limit $2) e
        left join lateral (select seq from safelight.audit_leaves where entry = e.seq) l on true
        left join lateral (select size from safelight.audit_checkpoints where size > l.seq order by size limit 1) c on true
        order by e.seq desc"#,
        before,
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let next = rows.get(MOST as usize - 1).map(|row| row.seq);
    Ok(html! {
        section {
            h2 { "Entries" span.aside { "newest first; whose they are they do not say" } }
            (parts::listed("None is that old, or there is none yet.", "Entries", &["#entry", "at", "tenant", "who", "did", "about", "proof"], &rows, |row| html! {
                td.n { (row.seq) } td { (words::time(row.at)) } td { (row.tenant.as_deref().unwrap_or("–")) } td { (row.actor) }
                td { (words::said(&row.action.replace('.', " "))) " " (words::state(&row.outcome)) }
                td { @match (row.deletion_id, row.order_id, row.job_id) {
                    (Some(deletion), ..) => (link("deletions", &Id::<Deletion>::from(deletion).to_string())),
                    (_, Some(order), _) => (link("orders", &Id::<Order>::from(order).to_string())),
                    (.., Some(job)) => (link("jobs", &Id::<id::Job>::from(job).to_string())),
                    _ => "–",
                } }
                td.proof { (proof(row.leaf, row.checkpoint, row.outside.as_deref())) }
            }))
            @if let Some(next) = next { p.after { a href={ "/console/audit?entries_before=" (next) } rel="next" { "Older entries" } } }
        }
    })
}

fn proof(leaf: Option<i64>, checkpoint: Option<i64>, outside: Option<&str>) -> Markup {
    html! {
        @match (leaf, checkpoint, outside) {
            (None, ..) => { (words::state("not_sealed")) },
            (Some(leaf), None, _) => { (words::state("sealed")) " as leaf " (leaf) span.small { ", under no checkpoint yet" } },
            (Some(leaf), Some(size), None) => { (words::state("sealed")) " as leaf " (leaf) ", under the checkpoint of " (size) span.small { ", not outside yet" } },
            (Some(leaf), Some(size), Some(places)) => { (words::state("sealed")) " as leaf " (leaf) ", under the checkpoint of " (size) span.small { ", outside at " (places) } },
        }
    }
}
