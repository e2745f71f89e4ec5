//! The queues: what stands in each, how long the first has been due, how soon jobs start, and what holds all of it back; with the
//! acts that pause, limit and resume one.

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::{Markup, html};
use safelight_jobs::{
    job::Queue,
    queue::{self, Control, QueueNumbers, Scope},
};

use super::{
    Page, Trouble, act,
    controls::View,
    job::Done,
    overview::{count, jobs_of},
    page as framed,
    sign_in::Viewer,
    words,
};
use crate::{
    numbers::{self, Pickup},
    state::ApiState,
};

/// Where it is.
pub(super) const ADDRESS: &str = "/console/queues";

/// The page. A tenant sees its own jobs; only the house acts on a queue.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(done): Query<Done>,
) -> Result<Response, Trouble> {
    let queues = queue::numbers(&state.pool, viewer.tenant()).await?;
    let pickup = numbers::pickup(&state.pool, viewer.tenant()).await?;
    let controls = queue::controls(&state.pool).await?;
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let view = View { viewer: &viewer, controls: &controls, breakers: &[], now, page: ADDRESS };
    let names: Vec<String> = Queue::ALL.iter().map(|queue| queue.as_str().to_owned()).collect();
    let body = html! {
        h1 { "Queues" }
        (act::said(done.done.as_deref()))
        p.lead { "Ready jobs start as soon as a worker of the queue has room. What is set aside waits for a pause, a limit, a rate, a breaker or a lane." }
        section aria-label="Numbers" {
            div.scroll tabindex="0" role="region" aria-label="Queues" { table {
                thead { tr { th scope="col" { "queue" } th.n scope="col" { "ready" } th.n scope="col" { "later" } th.n scope="col" { "set aside" }
                    th.n scope="col" { "running" } th.n scope="col" { "held" } th.n scope="col" { "oldest ready" } th.n scope="col" { "half start within" }
                    th.n scope="col" { "19 of 20 within" } th.n scope="col" { "at once" } } }
                tbody { @for queue in &queues { (row(queue, &pickup, &controls)) } }
            } }
            p.after { "How soon: first attempts among the newest jobs that ended within ten minutes. Counts stop at " (queue::COUNTED) "." }
        }
        @if viewer.tenant().is_none() { (view.list(Scope::Queue, "Pause and limit", &names)) }
    };
    Ok(framed("Queues", Page::Queues, &viewer, &body))
}

fn row(queue: &QueueNumbers, pickup: &[Pickup], controls: &[Control]) -> Markup {
    let soon = pickup.iter().find(|one| one.queue == queue.name);
    let most = controls.iter().find(|c| c.scope == Scope::Queue.as_str() && c.name == queue.name).and_then(|c| c.most);
    html! { tr {
        th scope="row" { (jobs_of(queue.name)) @if queue.paused { " " (words::state("paused")) } }
        (count(queue.ready)) (count(queue.waiting)) (count(queue.aside)) (count(queue.running)) (count(queue.held))
        td.n { (or_none(queue.oldest_seconds.map(words::age))) }
        td.n { (or_none(soon.map(|soon| words::pause(soon.p50)))) } td.n { (or_none(soon.map(|soon| words::pause(soon.p95)))) }
        td.n { (or_none(most.map(|most| most.to_string()))) }
    } }
}

fn or_none(text: Option<String>) -> Markup {
    html! { @match text { Some(text) => (text), None => span.none { "–" } } }
}
