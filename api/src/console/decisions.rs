//! Decisions about people from the page of cases, by the functions of `safelight case` and `safelight objection`: who a case is of, that it
//! is answered, refused or takes longer, and what an objection comes to. For people of the house, as the commands are. Ids and codes
//! only; never the words of a mail, and never a person's name.

use axum::{
    extract::{Path, State},
    response::Response,
};
use maud::{Markup, html};
use safelight_jobs::{
    id::{Case, Id, Subject},
    intake::{self, CaseRow, ObjectionRow},
    policy::Purpose,
    queue,
    run::Tx,
};

use super::{
    Trouble,
    act::{self, Form},
    sign_in::Viewer,
    told,
};
use crate::{error::Error, input::At, state::ApiState};

const PAGE: &str = "/console/cases";

/// May they decide? Only people of the house.
pub(super) fn decides(viewer: &Viewer) -> bool {
    viewer.operates() && viewer.tenant().is_none()
}

/// What can be done about an open case.
pub(super) fn of_case(viewer: &Viewer, case: &CaseRow) -> Markup {
    if !decides(viewer) || case.state != "open" {
        return html! {};
    }
    let (about, address) = (case.case.to_string(), |act: &str| format!("{PAGE}/{}/{act}", case.case));
    let who = html! {
        @match case.subject {
            Some(subject) => { input type="hidden" name="subject" value=(subject); p.small { "You know that it is " code { (subject) } "." } }
            None => label { "Of whom" input name="subject" type="text" required pattern="subject_[0-9a-f]{32}" placeholder="subject_…" spellcheck="false"; }
        }
        @if case.kind == "erasure" { (act::sure("It is of this person. With that everything about them is erased.")) }
    };
    let refused = html! { p.small { "Tell the person why, and that they may complain to an authority." } };
    let longer = html! { p.small { "Two months more, once. Tell the person why before the first month is over." } };
    html! { div.acts {
        @if case.identity == "verified" { (act::button(viewer, &address("answer"), "Answered", &about, &html! {})) }
        @else { (act::button(viewer, &address("verify"), "Verify", &about, &who)) }
        (act::coded(viewer, &address("refuse"), "Refuse", &about, &refused))
        @if !case.late { (act::coded(viewer, &address("extend"), "Take longer", &about, &longer)) }
    } }
}

/// Say it of a case.
pub(super) async fn case(
    State(state): State<ApiState>,
    case: Result<At<Case>, Error>,
    Path((_, verb)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Trouble> {
    let At(case) = case?;
    form.viewer().of_the_house()?;
    let by = form.reason()?;
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    let outcome = match verb.as_str() {
        "verify" => match verify(&mut tx, case, &form).await? {
            Verified::Before => return Ok(act::done(PAGE, "verified")),
            Verified::Now => "verified",
            Verified::Erases => "verified_and_its_erasure_has_begun",
        },
        "answer" => {
            intake::close_case(&mut tx, case, None).await?;
            "answered"
        }
        "refuse" => {
            intake::close_case(&mut tx, case, Some(form.code()?)).await?;
            "refused"
        }
        "extend" => {
            intake::extend_case(&mut tx, case, form.code()?).await?;
            "extended"
        }
        _ => return Err(Error::NoRoute.into()),
    };
    queue::keep_act(&mut tx, "case.decided", outcome, &case.to_string(), by).await?;
    tx.commit().await?;
    Ok(act::done(PAGE, outcome))
}

enum Verified {
    /// It was said before, and nothing was changed.
    Before,
    Now,
    /// And everything about the person is erased.
    Erases,
}

async fn verify(tx: &mut Tx, case: Id<Case>, form: &Form) -> Result<Verified, Error> {
    let subject: Id<Subject> = form.id("subject")?;
    let before = sqlx::query!("select kind, identity from safelight.cases where id = $1 for update", case.uuid())
        .fetch_optional(&mut **tx)
        .await?
        .ok_or_else(|| Error::not_found(case))?;
    if before.kind == "erasure" {
        form.confirmed()?;
    }
    let deletion = intake::verify_case(tx, case, subject, &form.viewer().code()).await?;
    Ok(match deletion {
        _ if before.identity == "verified" => Verified::Before,
        Some(_) => Verified::Erases,
        None => Verified::Now,
    })
}

/// The decision about an open objection.
pub(super) fn of_objection(viewer: &Viewer, objection: &ObjectionRow) -> Markup {
    if !decides(viewer) || objection.state != "open" {
        return html! {};
    }
    let address = format!("/console/objections/{}/{}", objection.subject, objection.purpose);
    let about = format!("{} {}", objection.subject, objection.purpose);
    let fields = html! {
        label { "Who is right" select name="decision" required {
            option value="" { "–" }
            option value="upheld" { "The person: nothing is done for this purpose any more, and what was done for it goes" }
            option value="overridden" { "The controller's grounds are compelling: everything goes on" }
        } }
        p.small { "Tell the person before, with the reason, and that they may complain to an authority: with the last decision the restriction ends, and nobody is released who was not told." }
        (told::fields())
    };
    html! { div.acts { (act::coded(viewer, &address, "Decide", &about, &fields)) } }
}

/// Decide it. Sent twice, the second finds no open objection.
pub(super) async fn objection(
    State(state): State<ApiState>,
    subject: Result<At<Subject>, Error>,
    Path((_, purpose)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Trouble> {
    let At(subject) = subject?;
    form.viewer().of_the_house()?;
    let why = form.code()?;
    let purpose: Purpose = purpose.parse().map_err(|_| Error::NoRoute)?;
    let upheld = match form.field("decision") {
        Some("upheld") => true,
        Some("overridden") => false,
        _ => return Err(Error::BadBody { why: "`decision` is missing, or is none".to_owned() }.into()),
    };
    let by = form.viewer().code();
    let told = told::read(&state, &form).await?;
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    let done = intake::decide_objection(&mut tx, subject, purpose, upheld, &by, why, told).await?;
    let outcome = if upheld { "upheld" } else { "overridden" };
    let about = format!("{subject} {purpose}");
    queue::keep_act(&mut tx, "objection.decided", outcome, &about, form.operator().by).await?;
    tx.commit().await?;
    let said = format!("{outcome}{}", if done.released { "" } else { "_and_restricted_as_before" });
    Ok(act::done(PAGE, &said))
}
