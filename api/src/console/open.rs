//! Opening a case from the page of cases or from a person's page, by the function of `safelight case open`: what was asked for by mail, in
//! the product or by letter, and when it came. For people of the house. Each form holds the id of the case that it opens, so that it
//! opens one however often it is sent. Never the words of a mail, and never a person's name.

use axum::{extract::State, response::Response};
use maud::{Markup, html};
use safelight_jobs::{
    id::{Case, Id, Subject},
    intake::{self, NewCase},
    queue,
    run::Tx,
};

use super::{
    Trouble,
    act::{self, Form},
    decisions::decides,
    jobs::instant,
    sign_in::Viewer,
};
use crate::{error::Error, state::ApiState};

/// Where it is sent to.
const ADDRESS: &str = "/console/cases";

/// On the page of cases, of somebody who may not be known.
pub(super) async fn of_anybody(state: &ApiState, viewer: &Viewer) -> Result<Markup, Error> {
    if !decides(viewer) {
        return Ok(html! {});
    }
    let tenants: Vec<String> =
        sqlx::query_scalar!("select id from safelight.tenants order by id").fetch_all(&state.pool).await?;
    let who = html! {
        (act::choice("tenant", "Of which tenant", &tenants))
        label { "Whom the sender says to be, if anybody knows"
        input name="subject" type="text" pattern="subject_[0-9a-f]{32}" placeholder="subject_…" spellcheck="false"; }
    };
    Ok(html! { div.acts { (button(viewer, "", &who)) } })
}

/// On a person's page.
pub(super) fn of_person(viewer: &Viewer, tenant: &str, subject: Id<Subject>) -> Markup {
    let who = html! {
        input type="hidden" name="tenant" value=(tenant);
        input type="hidden" name="subject" value=(subject);
        input type="hidden" name="page" value="person";
    };
    button(viewer, &format!("of {subject}"), &who)
}

fn button(viewer: &Viewer, about: &str, who: &Markup) -> Markup {
    let fields = html! {
        input type="hidden" name="case" value=(Id::<Case>::new());
        (act::choice("kind", "What is asked for", &intake::KINDS))
        (who)
        (act::choice("channel", "How it came", &intake::CHANNELS))
        label { "When it came, in UTC; empty: now" input name="received" type="datetime-local"; }
        p.small { "The month runs from then on, also while nobody knows who it is." }
    };
    act::button(viewer, ADDRESS, "Open a case", about, &fields)
}

/// Open it.
pub(super) async fn case(State(state): State<ApiState>, form: Form) -> Result<Response, Trouble> {
    form.viewer().of_the_house()?;
    let by = form.reason()?;
    let case: Id<Case> = form.id("case")?;
    let subject: Option<Id<Subject>> = form.field("subject").map(|_| form.id("subject")).transpose()?;
    let [tenant, kind, channel] = ["tenant", "kind", "channel"].map(|name| form.field(name).unwrap_or_default());
    let opened_by = form.viewer().code();
    let received_at = instant(form.field("received").unwrap_or_default())?;
    let new = NewCase { tenant, subject, kind, channel, received_at, by: &opened_by };
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    if intake::open_case_once(&mut tx, &new, case).await? {
        queue::keep_act(&mut tx, "case.opened", "open", &case.to_string(), by).await?;
    }
    tx.commit().await?;
    Ok(match (form.field("page"), subject) {
        (Some("person"), Some(subject)) => act::done(&format!("/console/subjects/{subject}"), "case_opened"),
        _ => act::done(ADDRESS, "case_opened"),
    })
}
