//! What is done about a person from their page: an export (Art. 15), restricting them and releasing them (Art. 18), noting what they
//! object to (Art. 21), deleting one photo and beginning their erasure (Art. 17), by the functions of `/v1/subjects/{subject}` and of
//! the command line. For people of the house. Sent twice, nothing is done twice: what is under way is there already, the others are
//! refused. Never hands an export out: its link is for the person, and no page shows one.

use axum::{
    extract::{Path, State},
    response::Response,
};
use maud::{Markup, html};
use safelight_jobs::{
    id::{Artifact, Id, Subject},
    intake::{self, Ground},
    queue::{self, By},
    run::Tx,
};

use super::{
    Trouble,
    act::{self, Form},
    decisions::decides,
    jobs::instant,
    open,
    sign_in::Viewer,
    told,
};
use crate::{error::Error, input::At, state::ApiState};

/// Of these a form is chosen; an objection restricts by itself when it is noted.
const GROUNDS: [&str; 3] = ["accuracy", "unlawful", "claims"];

fn address(subject: Id<Subject>, act: &str) -> String {
    format!("/console/subjects/{subject}/{act}")
}

/// What can be done about somebody who stands like this.
pub(super) async fn section(
    state: &ApiState,
    viewer: &Viewer,
    tenant: &str,
    subject: Id<Subject>,
    stands: &str,
) -> Result<Markup, Error> {
    if !decides(viewer) {
        return Ok(html! {});
    }
    let about = format!("of {subject}");
    let lives = matches!(stands, "active" | "restricted");
    let purposes = if lives { to_object_to(state, tenant, subject).await? } else { Vec::new() };
    let objects = html! {
        (act::choice("purpose", "To what", &purposes))
        p.small { "For what came by mail or letter, from somebody whose case is verified. They are restricted until it is decided." }
    };
    Ok(html! { section aria-label="What can be done" {
        h2 { "What can be done" span.aside { "about what came by mail or letter" } }
        div.acts {
            (open::of_person(viewer, tenant, subject))
            @if lives { (act::coded(viewer, &address(subject, "export"), "Ask for an export", &about, &html! {
                p.small { "A worker writes down everything that there is about them. Who hands it over reads its link with " code { "safelight export link" } "." }
            })) }
            @if !purposes.is_empty() { (act::button(viewer, &address(subject, "object"), "Note an objection", &about, &objects)) }
            @if stands == "active" { (act::button(viewer, &address(subject, "restrict"), "Restrict", &about, &grounds())) }
            @if stands == "restricted" { (act::button(viewer, &address(subject, "release"), "Release", &about, &release(state, subject).await?)) }
            @if lives { (act::button(viewer, &address(subject, "photo"), "Delete a photo", &about, &html! {
                label { "Which photo or image of theirs" input name="photo" type="text" required pattern="artifact_[0-9a-f]{32}" placeholder="artifact_…" autocapitalize="none" spellcheck="false"; }
                (act::sure("Delete it, with what rests on it. Nobody reads it from now on."))
            })) }
            @if lives { (act::button(viewer, &address(subject, "erase"), "Erase", &about, &html! {
                p.small { "Everything about this person goes, at every processor, and nothing takes it back. What runs stops at once." }
                (act::typed(&subject.to_string()))
            })) }
        }
    } })
}

fn grounds() -> Markup {
    html! {
        (act::choice("ground", "Why, by Art. 18(1)", &GROUNDS))
        label { "Of unlawful and claims: kept until, in UTC" input name="keep_until" type="datetime-local"; }
        p.small { "Their data are stored, and nothing is done with them: jobs are held, what runs stops at its next gate." }
    }
}

async fn release(state: &ApiState, subject: Id<Subject>) -> Result<Markup, Error> {
    let is_open = sqlx::query_scalar!(
        r#"select exists (select from safelight.objections where subject_id = $1 and state = 'open') as "is!""#,
        subject.uuid()
    )
    .fetch_one(&state.pool)
    .await?;
    Ok(html! {
        @if is_open { p.small { "An objection is open. With the decision about it the restriction ends by itself; released here, it is still to be decided." } }
        p.small { "Tell the person before: nobody is released who was not told." }
        (told::fields())
    })
}

/// Purposes that rest on a legitimate interest here, and to which this person has not objected, or was not right to.
async fn to_object_to(state: &ApiState, tenant: &str, subject: Id<Subject>) -> Result<Vec<String>, Error> {
    let purposes = sqlx::query_scalar!(
        r#"select p.purpose from safelight.policy_purposes p
        where p.tenant = $1 and p.version = safelight.policy_in_force($1) and p.basis = 'legitimate_interest'
            and not exists (select from safelight.objections o
                where o.subject_id = $2 and o.purpose = p.purpose and o.state in ('open', 'upheld'))
        order by p.purpose"#,
        tenant,
        subject.uuid()
    );
    Ok(purposes.fetch_all(&state.pool).await?)
}

/// Do it.
pub(super) async fn act(
    State(state): State<ApiState>,
    subject: Result<At<Subject>, Error>,
    Path((_, verb)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Trouble> {
    let At(subject) = subject?;
    form.viewer().of_the_house()?;
    let by = form.reason()?;
    let code = form.viewer().code();
    let tenant = sqlx::query_scalar!("select tenant from safelight.subjects where id = $1", subject.uuid())
        .fetch_optional(&state.pool)
        .await?
        .ok_or_else(|| Error::not_found(subject))?;
    let told = if verb == "release" { told::read(&state, &form).await? } else { None };
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    let (kept, said) = match verb.as_str() {
        "restrict" => {
            let ground = ground(&form)?;
            intake::restrict(&mut tx, &tenant, subject, ground, Some(&code)).await?;
            (Some(("subject.restricted", ground.as_str())), "restricted")
        }
        "release" => {
            intake::release(&mut tx, &tenant, subject, told, Some(&code)).await?;
            (Some(("subject.released", "active")), "released")
        }
        "object" => object(&mut tx, &tenant, subject, &form).await?,
        "export" => {
            let asked = intake::ask_export_for(&mut tx, subject, By { actor: &code, why: form.code()? }).await?;
            if asked.already {
                (None, "nothing_it_is_being_made")
            } else {
                // About the export, whose list shows it.
                queue::keep_act(&mut tx, "export.asked", "enqueued", &asked.export.to_string(), by).await?;
                (None, "asked_for")
            }
        }
        "photo" => photo(&mut tx, subject, &form, &code).await?,
        "erase" => {
            form.typed(&subject.to_string())?;
            let begun = intake::erase(&mut tx, &tenant, subject, Some(&code)).await?;
            ((!begun.already).then_some(("erasure.asked", "fenced")), "the_erasure_has_begun")
        }
        _ => return Err(Error::NoRoute.into()),
    };
    if let Some((action, outcome)) = kept {
        queue::keep_act(&mut tx, action, outcome, &subject.to_string(), by).await?;
    }
    tx.commit().await?;
    Ok(act::done(&format!("/console/subjects/{subject}"), said))
}

/// What is kept of an act, if it changed something, and what the page says.
type Did = (Option<(&'static str, &'static str)>, &'static str);

async fn object(tx: &mut Tx, tenant: &str, subject: Id<Subject>, form: &Form) -> Result<Did, Error> {
    let none = || Error::BadBody { why: "`purpose` is missing, or is none".to_owned() };
    let purpose = form.field("purpose").and_then(|word| word.parse().ok()).ok_or_else(none)?;
    let noted = intake::object(tx, tenant, subject, purpose, Some(&form.viewer().code())).await?;
    Ok(match (noted.upheld, noted.already) {
        (true, _) => (None, "nothing_it_was_upheld_before"),
        (_, true) => (None, "noted_and_to_be_decided"),
        _ => (Some(("objection.noted", "restricted")), "noted_and_to_be_decided"),
    })
}

async fn photo(tx: &mut Tx, subject: Id<Subject>, form: &Form, by: &str) -> Result<Did, Error> {
    let photo: Id<Artifact> = form.id("photo")?;
    form.confirmed()?;
    let theirs = sqlx::query_scalar!(
        r#"select exists (select from safelight.artifacts where id = $1 and subject_id = $2) as "it!""#,
        photo.uuid(),
        subject.uuid()
    );
    if !theirs.fetch_one(&mut **tx).await? {
        return Err(Error::not_found(photo));
    }
    let begun = intake::delete_photo(tx, None, photo, Some(by)).await?;
    Ok(((!begun.already).then_some(("photo.deletion_asked", "fenced")), "its_deletion_has_begun"))
}

fn ground(form: &Form) -> Result<Ground, Error> {
    let until = instant(form.field("keep_until").unwrap_or_default())?;
    let unfit = || {
        Error::BadBody {
        why: "`ground` is missing, or `keep_until` does not go with it: it belongs to `unlawful` and `claims`, and only to them"
            .to_owned(),
    }
    };
    form.field("ground").and_then(|word| Ground::stored(word, until)).ok_or_else(unfit)
}
