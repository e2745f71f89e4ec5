//! One deletion: its steps, what was seen, and the legal deadline.

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::html;
use safelight_jobs::{
    delete_data::DeleteData,
    id::{self, Deletion, Id, Subject},
    job::Job,
    look, queue,
};

use super::{
    Page, Trouble, act, certificate, job::Done, overview::link, refresh::Again, sign_in::Viewer, watched, words,
};
use crate::{
    error::Error,
    input::At,
    routes::{certificates, deletions::what_stays},
    state::ApiState,
};

/// How often a deletion that is under way is looked at, in seconds.
const EVERY: u32 = 10;

/// The page.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    deletion: Result<At<Deletion>, Error>,
    Query(done): Query<Done>,
) -> Result<Response, Trouble> {
    let At(deletion) = deletion?;
    let row = sqlx::query!(
        r#"select tenant, subject_id, trigger, purpose, state, requested_at, answer_due, completed_at, safelight.now() as "now!"
        from safelight.deletions where id = $1 and ($2::text is null or tenant = $2)"#,
        deletion.uuid(),
        viewer.tenant()
    )
    .fetch_optional(&state.pool)
    .await?
    .ok_or_else(|| Error::not_found(deletion))?;
    let entry = look::entry().deletion(deletion).tenant(&row.tenant);
    viewer.looks_at(&state, &deletion.to_string(), entry).await?;
    let steps = sqlx::query!(
        r#"select seq, class, processor, state, planned, deleted, evidence, tries, code, verified_at
        from safelight.deletion_steps where deletion_id = $1 order by seq"#,
        deletion.uuid()
    )
    .fetch_all(&state.pool)
    .await?;
    let certified = sqlx::query_scalar!(
        r#"select exists (select from safelight.deletion_certificates where deletion_id = $1 and document is not null) as "it!""#,
        deletion.uuid()
    )
    .fetch_one(&state.pool)
    .await?;
    let key = DeleteData { deletion }.key();
    let job = sqlx::query_scalar!("select job_id from safelight.job_keys where key = $1", key.as_str())
        .fetch_optional(&state.pool)
        .await?
        .map(Id::<id::Job>::from);
    let waits = match job {
        Some(job) if row.completed_at.is_none() => {
            queue::explain(&state.pool, job, viewer.tenant()).await?.map(|known| (job, known))
        }
        _ => None,
    };
    let awaited = certificate::awaited(&state.pool, row.now).await?;
    let stays = what_stays(&state, deletion).await?;
    let late = row.completed_at.is_none() && row.answer_due < row.now;
    let head = html! {
        p.eyebrow { a href="/console/deletions" { "Deletions" } " / deletion" }
        h1.id { (deletion) }
        (act::said(done.done.as_deref()))
    };
    let body = html! {
        p.lead { @if late { (words::state("late")) " " } (words::state(&row.state)) }
        @if let Some((job, known)) = &waits { p.after { "Its job " (link("jobs", &job.to_string())) ": " strong { (words::said(&known.code)) } ", " (known.detail) "." } }
        @else if row.completed_at.is_none() { p.after { "Nobody works on it: the sweep of deletions drives it again within the hour." } }
        dl.facts {
            div { dt { "tenant" } dd { (row.tenant) } }
            div { dt { "because of" } dd { (words::said(&row.trigger)) @if let Some(purpose) = &row.purpose { " for " (purpose) } } }
            div { dt { "requested" } dd { (words::time(row.requested_at)) } }
            div { dt { "legal deadline" } dd { (words::time(row.answer_due)) @if row.completed_at.is_none() { " " span.small { (words::distance(row.now, row.answer_due)) } } } }
            div { dt { "complete" } dd { (words::maybe_time(row.completed_at)) } }
            @if certified { div { dt { "certificate" } dd { a href={ "/console/deletions/" (deletion) "/certificate" } { "Read or print" } } } }
            @else if let Some(ended) = row.completed_at { div { dt { "certificate" } dd { (awaited.said(ended, viewer.tenant())) } } }
            div.wide { dt { "subject" } dd { (link("subjects", &Id::<Subject>::from(row.subject_id).to_string())) } }
        }
        section {
            h2 { "Steps" span.aside { "complete only when each is verified or retained by law" } }
            @if steps.is_empty() { p.none { "Not planned yet." } } @else { ol.line {
                @for step in &steps { li {
                    span.when { (words::said(&step.class)) span.small { " at " (step.processor) } }
                    span.what {
                        // What comes after the step that is stuck has not been tried.
                        (words::state(if step.state == "stuck" && step.tries == 0 && step.code.is_none() { "not_reached" } else { &step.state })) " "
                        strong { (step.deleted) } " of " (step.planned) " deleted"
                        span.small {
                            @if let Some(evidence) = &step.evidence { " · " (evidence) }
                            @if let Some(code) = &step.code { " · " (words::said(code)) }
                            @if step.tries > 1 { " · " (step.tries) " tries" }
                            @if let Some(at) = step.verified_at { " · " (words::time(at)) }
                        }
                    }
                } }
            } }
        }
        section {
            h2 { "What no step takes" span.aside { "what may be there, for everybody alike" } }
            @if stays.is_empty() { p.none { "Nothing." } } @else { dl.facts {
                @for one in &stays { div.wide { dt { (one.place) span.small { " at " (one.processor) } } dd { (one.why) } } }
            } }
        }
    };
    let again = row.completed_at.is_none().then_some(Again { seconds: EVERY, now: row.now });
    Ok(watched("Deletion", Page::Deletions, &viewer, &head, &body, again))
}

/// Its certificate, as a page to print.
pub(super) async fn print(
    State(state): State<ApiState>,
    viewer: Viewer,
    deletion: Result<At<Deletion>, Error>,
) -> Result<Response, Trouble> {
    let At(deletion) = deletion?;
    let signed = certificates::issued(&state, deletion, viewer.tenant()).await?;
    let entry = look::entry().deletion(deletion).tenant(&signed.certificate.tenant);
    viewer.looks_at(&state, &deletion.to_string(), entry).await?;
    Ok(certificates::page(&signed))
}
