//! Sweeps: what is due by its clock now and in the next days, what the last runs found, did and left, and starting one now.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use maud::{Markup, html};
use safelight_jobs::{
    audit::Entry,
    due::{self, Due},
    id::{self, Id},
    queue,
    run::Tx,
    sweeps::Sweep,
};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Page, Trouble,
    act::{self, Form},
    overview::count,
    page as framed, parts,
    sign_in::Viewer,
    words,
};
use crate::{error::Error, state::ApiState};

/// Runs of the list.
const MOST: i64 = 50;

/// Which part of the runs.
#[derive(Deserialize)]
pub(super) struct Wanted {
    before: Option<Uuid>,
}

/// The page.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Trouble> {
    let due = due::due(&state.pool, viewer.tenant(), due::COUNTED).await?;
    let body = html! {
        h1 { "Sweeps" }
        p.lead { "A sweep asks the rows what is due; a late one changes nothing for readers, and a missed one is made up by the next." }
        (table(&due))
        (last(&state).await?)
        (start(&viewer))
        @if viewer.tenant().is_none() { (runs(&state, wanted.before).await?) }
    };
    Ok(framed("Sweeps", Page::Sweeps, &viewer, &body))
}

fn table(due: &[Due]) -> Markup {
    html! {
        section {
            h2 { "Due by its clock" span.aside { "unreadable from its instant on; the sweep comes every minute" } }
            @if due.is_empty() { p.none { "Nothing is due now or in the next seven days." } } @else { div.scroll tabindex="0" role="region" aria-label="Due" { table {
                thead { tr { th scope="col" { "tenant" } th scope="col" { "class" } th.n scope="col" { "now" } @for day in 1..=due::DAYS { th.n scope="col" { "day " (day) } } } }
                tbody { @for line in due { tr {
                    th scope="row" { (line.tenant) } td { (words::said(&line.class)) } (due_count(line.now)) @for day in line.days { (due_count(day)) }
                } } }
            } } }
        }
    }
}

fn due_count(number: i64) -> Markup {
    if number >= i64::from(due::COUNTED) {
        html! { td.n { (due::COUNTED) " or more" } }
    } else {
        count(number)
    }
}

async fn last(state: &ApiState) -> Result<Markup, Error> {
    // Kind by kind along the index, however many runs there are.
    let rows = sqlx::query!(
        r#"with recursive kinds as (
            (select kind from safelight.sweeps order by kind limit 1)
            union all
            select (select s.kind from safelight.sweeps s where s.kind > k.kind order by s.kind limit 1) from kinds k where k.kind is not null
        )
        select l.kind, l.finished_at as "at!", l.found, l.acted, l.residue, safelight.now() as "now!" from kinds cross join lateral (
            select s.kind, s.finished_at, s.found, s.acted, s.residue from safelight.sweeps s
            where s.kind = kinds.kind and s.finished_at is not null order by s.finished_at desc limit 1) l order by l.kind"#
    )
    .fetch_all(&state.pool)
    .await?;
    Ok(html! {
        section #sweeps {
            h2 { "The last run of each" span.aside { "what was left is what was still there afterwards" } }
            (parts::listed("None has run.", "Last runs", &["sweep", "#ended", "#found", "#acted", "#left"], &rows, |row| html! {
                th scope="row" { (words::said(&row.kind)) } td.n { (words::distance(row.now, row.at)) }
                (numbers(row.found, row.acted, row.residue))
            }))
        }
    })
}

fn numbers(found: Option<i32>, acted: Option<i32>, residue: Option<i32>) -> Markup {
    html! {
        (count(found.map_or(0, i64::from))) (count(acted.map_or(0, i64::from)))
        @match residue { Some(residue) => (count(i64::from(residue))), None => td.n { (words::state("could_not_check")) } }
    }
}

async fn runs(state: &ApiState, before: Option<Uuid>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select id, kind, asked_by, started_at, finished_at, found, acted, residue from safelight.sweeps
        where $1::uuid is null or id < $1 order by id desc limit $2"#,
        before,
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let next = rows.get(MOST as usize - 1).map(|row| row.id);
    Ok(html! {
        section {
            h2 { "Runs" span.aside { "newest first" } }
            (parts::listed("None has run.", "Runs", &["sweep", "asked by", "began", "ended", "#found", "#acted", "#left"], &rows, |row| html! {
                th scope="row" { (words::said(&row.kind)) } td { code { (row.asked_by) } } td { (words::time(row.started_at)) } td { (words::maybe_time(row.finished_at)) }
                (numbers(row.found, row.acted, row.residue))
            }))
            @if let Some(next) = next { p.after { a href={ "/console/sweeps?before=" (next) } rel="next" { "Older runs" } } }
        }
    })
}

/// The sweeps, each with a form that starts it now; nothing for who may only look. Felt by every tenant: for people of the house.
fn start(viewer: &Viewer) -> Markup {
    html! { @if viewer.operates() && viewer.tenant().is_none() {
        section aria-label="Start a sweep now" {
            h2 { "Start one now" span.aside { "beside its times; two of one kind do no harm" } }
            ul.controls { @for sweep in Sweep::ALL {
                li.control {
                    div.control-says { strong { (sweep.as_str()) } p.small { (sweep.looks_for()) } }
                    div.acts { (act::button(viewer, &format!("/console/sweeps/{}", sweep.as_str()), "Start", sweep.as_str(), &html! {
                        input type="hidden" name="sweep" value=(Id::<id::Sweep>::new());
                    })) }
                }
            } }
        }
    } }
}

/// Start one; the job that it became is shown. A form that is sent twice starts one.
pub(super) async fn ask(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    form: Form,
) -> Result<Response, Trouble> {
    form.viewer().of_the_house()?;
    let by = form.reason()?;
    let sweep = Sweep::named(&name).ok_or_else(|| Error::not_found("this sweep"))?;
    let run = form.field("sweep").and_then(|id| id.parse::<Id<id::Sweep>>().ok());
    let run = run.ok_or_else(|| Error::BadBody { why: "`sweep` is missing, or is none".to_owned() })?;
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    let asked = sweep.ask(&mut tx, format!("console:{run}"), None).await?;
    if !asked.already {
        let entry = Entry::new("operator", "sweep.asked", "enqueued")
            .code("sweep", sweep.as_str())
            .code("job", asked.id.to_string());
        queue::note_act(&mut tx, "sweep.asked", sweep.as_str(), &asked.id.to_string(), by, entry).await?;
    }
    tx.commit().await?;
    Ok(act::done(&format!("/console/jobs/{}", asked.id), &format!("{}_started", sweep.as_str())))
}
