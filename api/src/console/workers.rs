//! Worker processes: where they run, what they serve, what they hold, and who is silent.

use axum::{extract::State, response::Response};
use maud::html;

use super::{Page, Trouble, page as framed, sign_in::Viewer, words};
use crate::state::ApiState;

/// A worker that said nothing for longer than this is taken for dead, in seconds.
const SILENT: i64 = 60;

/// The page. For people of the house.
pub(super) async fn page(State(state): State<ApiState>, viewer: Viewer) -> Result<Response, Trouble> {
    viewer.of_the_house()?;
    let rows = sqlx::query!(
        r#"select w.name, host, pid, queues, version, w.started_at,
            floor(extract(epoch from clock_timestamp() - seen_at))::bigint as "silent!",
            (select count(*) from safelight.jobs j where j.state = 1 and j.worker = w.name) as "running!"
        from safelight.workers w order by seen_at desc, w.name limit 200"#
    )
    .fetch_all(&state.pool)
    .await?;
    let alive = rows.iter().filter(|row| row.silent <= SILENT).count();
    let body = html! {
        h1 { "Workers" }
        p.lead { (alive) " seen within a minute. Jobs of a dead one run elsewhere when their lease is over." }
        section {
            @if rows.is_empty() { p.none { "No worker has been seen. Start one with " code { "safelight worker" } "." } } @else {
                div.scroll tabindex="0" role="region" aria-label="Workers" { table {
                    thead { tr { th scope="col" { "worker" } th scope="col" { "state" } th.n scope="col" { "running" } th.n scope="col" { "last seen" } th scope="col" { "host" } th.n scope="col" { "process" } th scope="col" { "version" } th scope="col" { "queues" } th scope="col" { "since" } } }
                    tbody { @for row in &rows { tr {
                        th scope="row" { code { (row.name) } }
                        td { (words::state(if row.silent <= SILENT { "alive" } else { "silent" })) }
                        td.n { (row.running) } td.n { (words::age(row.silent)) " ago" }
                        td { (row.host) } td.n { (row.pid) } td { (row.version) } td { (row.queues.join(", ")) } td { (words::time(row.started_at)) }
                    } } }
                } }
            }
        }
    };
    Ok(framed("Workers", Page::Workers, &viewer, &body))
}
