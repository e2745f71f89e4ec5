//! What runs at set times, when it was looked at last, and pausing it.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use maud::html;
use safelight_jobs::{operate, run::Tx, schedule};

use super::{
    Page, Trouble,
    act::{self, Form},
    job::Done,
    needs, page as framed,
    sign_in::Viewer,
    words,
};
use crate::{error::Error, state::ApiState};

/// The page. For people of the house.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(done): Query<Done>,
) -> Result<Response, Trouble> {
    viewer.of_the_house()?;
    let rows = schedule::list(&state.pool).await?;
    let behind = schedule::behind(&state.pool).await?;
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let body = html! {
        h1 { "Schedules" }
        (act::said(done.done.as_deref()))
        @if behind.seconds > needs::BEHIND {
            p.verdict.lit { "Nobody has looked at the schedule for " (words::age(behind.seconds)) ". Start " code { "safelight cron" } ", or a worker with " code { "--with-cron" } "." }
        }
        p.lead { "Promises do not depend on these: what is due stands on rows, and the next look finds it." }
        section aria-label="Schedules" {
            @if !behind.never.is_empty() { p.none { "Nobody has ever looked at "
                @for (n, name) in behind.never.iter().enumerate() { @if n > 0 { ", " } (words::said(name)) } "." } }
            ul.controls { @for row in &rows {
                li class={ "control" @if row.paused { " lit" } } {
                    div.control-says {
                        strong { (words::said(&row.name)) } @if row.paused { " " (words::state("paused")) }
                        p.small { code { (row.cron) } " (sec min hour day month weekday) · " (if row.catch_up == "each" { "a job for each missed tick" } else { "one job for all missed ticks" }) " · looked at until " (words::distance(now, row.last_tick))
                            @if let Some(next) = row.next() { " · next " (words::distance(now, next)) } }
                        @if row.paused { p.small { "Paused by " (row.actor) @if let Some(why) = &row.why { ": " (why) } } }
                    }
                    div.acts {
                        @let address = format!("/console/schedules/{}", row.name);
                        @let act = if row.paused { "resume" } else { "pause" };
                        (act::button(&viewer, &address, if row.paused { "Resume" } else { "Pause" }, &row.name, &html! { input type="hidden" name="act" value=(act); }))
                    }
                }
            } }
        }
        p.after { "What the sweeps found: " a href="/console/sweeps" { "Sweeps" } "." }
    };
    Ok(framed("Schedules", Page::Schedules, &viewer, &body))
}

/// Pause or resume one.
pub(super) async fn change(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    form: Form,
) -> Result<Response, Trouble> {
    let (paused, outcome) = match form.field("act") {
        Some("pause") => (true, "paused"),
        Some("resume") => (false, "resumed"),
        _ => return Err(Error::NoRoute.into()),
    };
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    operate::on_schedule(&mut tx, &name, paused, form.operator()).await?;
    tx.commit().await?;
    Ok(act::done("/console/schedules", outcome))
}
