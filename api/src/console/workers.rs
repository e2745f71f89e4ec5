//! Worker processes: where they run, what they serve, what they hold, and who is silent.

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::html;
use serde::Deserialize;

use super::{
    Page, Trouble, page as framed,
    parts::{self, MOST},
    sign_in::Viewer,
    words,
};
use crate::state::ApiState;

/// A worker that said nothing for longer than this is taken for dead, in seconds.
const SILENT: i32 = 60;
/// Before the name of a worker in an address.
const IS_SILENT: &str = "silent.";

/// Which part of them.
#[derive(Deserialize)]
pub(super) struct Part {
    /// The last of the page before, behind `silent.` if it was silent then: it may have spoken, or be forgotten, by now.
    after: Option<String>,
}

/// The page. For people of the house.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(part): Query<Part>,
) -> Result<Response, Trouble> {
    viewer.of_the_house()?;
    let seen = sqlx::query!(
        r#"select count(*) filter (where seen_at >= statement_timestamp() - make_interval(secs => $1)) as "alive!",
            count(*) filter (where seen_at < statement_timestamp() - make_interval(secs => $1)) as "silent!" from safelight.workers"#,
        f64::from(SILENT)
    )
    .fetch_one(&state.pool)
    .await?;
    let last =
        part.after.as_deref().map(|last| last.strip_prefix(IS_SILENT).map_or((false, last), |name| (true, name)));
    let (was_silent, name) = last.unzip();
    // By name, because it stays: when each was last seen changes between one page and the next.
    let rows = sqlx::query!(
        r#"select w.name, host, pid, queues, version, w.started_at, silent as "silent!",
            floor(extract(epoch from statement_timestamp() - seen_at))::bigint as "seconds!",
            (select count(*) from safelight.jobs j where j.state = 1 and j.worker = w.name) as "running!"
        from safelight.workers w, lateral (select w.seen_at < statement_timestamp() - make_interval(secs => $1) as silent) s
        where $2::text is null or (silent, w.name) > ($3::boolean, $2) order by silent, w.name limit $4"#,
        f64::from(SILENT),
        name,
        was_silent,
        parts::one_more(MOST)
    )
    .fetch_all(&state.pool)
    .await?;
    let (rows, next) =
        parts::page(rows, MOST, |row| format!("{}{}", if row.silent { IS_SILENT } else { "" }, encoded(&row.name)));
    let body = html! {
        h1 { "Workers" }
        p.lead { (seen.alive) " seen within a minute, " (seen.silent) " silent. Jobs of a dead one run elsewhere when their lease is over." }
        section {
            @if rows.is_empty() { p.none { "No worker has been seen. Start one with " code { "safelight worker" } "." } } @else {
                (parts::table("Workers", &["worker", "state", "#running", "#last seen", "host", "#process", "version", "queues", "since"], &rows, |row| html! {
                    th scope="row" { code { (row.name) } }
                    td { (words::state(if row.silent { "silent" } else { "alive" })) }
                    td.n { (row.running) } td.n { (words::age(row.seconds)) " ago" }
                    td { (row.host) } td.n { (row.pid) } td { (row.version) } td.free { (row.queues.join(", ")) } td { (words::time(row.started_at)) }
                }))
            }
            (parts::more(next, "/console/workers?after=", "", "More workers"))
        }
    };
    Ok(framed("Workers", Page::Workers, &viewer, &body))
}

/// A name as it may stand in an address: a host's name is the host's own.
fn encoded(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect()
}
