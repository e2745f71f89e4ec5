//! Worker processes: where they run, what they serve, what they hold, and who is silent.

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::html;
use safelight_jobs::queue::{self, SILENT_SECONDS};
use serde::Deserialize;

use super::{
    Page, Trouble, page as framed,
    parts::{self, MOST},
    sign_in::Viewer,
    words,
};
use crate::state::ApiState;

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
        f64::from(SILENT_SECONDS)
    )
    .fetch_one(&state.pool)
    .await?;
    let last =
        part.after.as_deref().map(|last| last.strip_prefix(IS_SILENT).map_or((false, last), |name| (true, name)));
    let rows = queue::workers(&state.pool, last, parts::one_more(MOST)).await?;
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
                    td.n { (row.running) } td.n { (words::age(row.seen_seconds_ago)) " ago" }
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
