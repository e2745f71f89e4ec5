//! Saying what became of a call whose outcome nobody knows: the two words that can be said, and what has become of one that was. The
//! intake changes no call: a worker carries the word out, by the function of `safelight provider resolve`. No provider is asked.

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use safelight_jobs::{
    calls::resolve::{NotResolved, Resolution},
    id::{self, Id, Intent},
    queue::{self, Enqueued},
    resolve_call::{self, NotAsked},
    run::Tx,
};
use sqlx::PgPool;

use super::{
    Trouble,
    act::{self, Form},
    overview::link,
    sign_in::Viewer,
    words,
};
use crate::{error::Error, input::At, state::ApiState};

/// The words about one call; nothing for who may only look.
pub(super) fn buttons(viewer: &Viewer, call: Id<Intent>) -> Markup {
    let (address, about) = (format!("/console/calls/{call}/resolve"), call.to_string());
    let outcome = |word: &str| html! { input type="hidden" name="outcome" value=(word); };
    let accepted = html! {
        (outcome("accepted"))
        p.small { "The provider took it: it goes on as if the answer had come. Look at the provider first: this is believed." }
        label { "The provider's id of the request"
            input name="request" type="text" required pattern="[A-Za-z0-9\\-]{8,128}" title="8 to 128 letters, digits and dashes" autocapitalize="none" spellcheck="false"; }
    };
    let not_made = html! {
        (outcome("not_made"))
        p.small { "The provider never took it: one new attempt is made. Look at the provider first: this is believed." }
        (act::sure("Ask the provider once more. If it was made, it is paid twice."))
    };
    html! { div.acts {
        (act::coded(viewer, &address, "It was accepted", &about, &accepted))
        (act::coded(viewer, &address, "It was not made", &about, &not_made))
    } }
}

/// Say it.
pub(super) async fn say(
    State(state): State<ApiState>,
    call: Result<At<Intent>, Error>,
    form: Form,
) -> Result<Response, Trouble> {
    let At(call) = call?;
    form.code()?;
    let resolution = match (form.field("outcome"), form.field("request")) {
        (Some("accepted"), Some(request)) => Resolution::Accepted(request.to_owned()),
        (Some("accepted"), None) => return Err(refusal(NotResolved::BadRequest).into()),
        (Some("not_made"), _) => {
            form.confirmed()?;
            Resolution::NotMade
        }
        _ => return Err(Error::NoRoute.into()),
    };
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    let by = form.viewer().code();
    let Enqueued { id: job, .. } = match resolve_call::ask(&mut tx, call, resolution, &by, form.operator()).await {
        Ok(asked) => asked,
        // Its news came, or somebody was faster: nothing is left to say, and nothing was changed.
        Err(NotAsked::Word(NotResolved::Known { .. })) => {
            return Ok(act::done("/console/providers", "nothing_its_outcome_is_known"));
        }
        Err(NotAsked::Word(error)) => return Err(refusal(error).into()),
        Err(NotAsked::Operator(error)) => return Err(Error::from(error).into()),
    };
    tx.commit().await?;
    Ok(Redirect::to(&format!("/console/providers?said={job}")).into_response())
}

fn refusal(error: NotResolved) -> Error {
    let invalid = |why: &str| Error::Invalid { code: "value_refused", why: why.to_owned() };
    match error {
        NotResolved::NoSuchCall(call) => Error::not_found(call),
        NotResolved::NotACode { .. } => Error::Invalid { code: "not_a_code", why: error.to_string() },
        NotResolved::Enqueue(error) => error.into(),
        NotResolved::Database(error) => error.into(),
        NotResolved::RequestTaken { .. } => {
            invalid("this request is another call's of ours: look again at the provider")
        }
        NotResolved::BadRequest | NotResolved::Known { .. } => invalid(&error.to_string()),
    }
}

/// What has become of a word that was said a moment ago.
pub(super) async fn said(pool: &PgPool, job: Option<&str>) -> Result<Markup, Error> {
    let Some(job) = job.and_then(|job| job.parse::<Id<id::Job>>().ok()) else { return Ok(html! {}) };
    let outcome = sqlx::query!(
        r#"select outcome, codes ->> 'call' as call from safelight.audit_entries
        where job_id = $1 and action in ('call.said', 'call.word') order by seq desc limit 1"#,
        job.uuid()
    )
    .fetch_optional(pool)
    .await?;
    let Some(word) = outcome else { return Ok(html! {}) };
    let explained = queue::explain(pool, job, None).await?;
    Ok(html! { p.done role="status" {
        "Said of " code { (word.call.as_deref().unwrap_or_default()) } ": "
        (match word.outcome.as_str() {
            "accepted" => "the provider took it; a worker carries that out",
            "not_made" => "the provider never took it; a worker carries that out",
            "goes_on" => "it goes on: its result is collected when it is there",
            "purged" => "nobody may have its result any more: it is cancelled and purged",
            "another_attempt" => "one new attempt is made",
            "nobody_waits" => "nobody waits for it any more: no new attempt is made",
            _ => "its outcome was known by then, and nothing was changed",
        })
        ". " (link("jobs", &job.to_string()))
        @if let Some(known) = explained { " " (words::said(&known.code)) ": " (known.detail) "." }
        " " a href={ "/console/providers?said=" (job) } { "Look again" } "."
    } })
}
