//! What is paused, limited or left alone: queues, kinds, tenants and providers, with the acts that change it; what is set first, the
//! others folded up by what they are. What is said here counts for every process at its next claim.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use safelight_jobs::{
    job::Queue,
    operate,
    queue::{self, Breaker, Change, Control, Scope},
    registry,
    run::Tx,
    schedule,
};

use super::{
    Page, Trouble,
    act::{self, Form},
    job::Done,
    page as framed, queues,
    sign_in::Viewer,
    words,
};
use crate::{error::Error, state::ApiState};

/// The page. People of one tenant see and change the control of that tenant only.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(done): Query<Done>,
) -> Result<Response, Trouble> {
    let controls = queue::controls(&state.pool).await?;
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let lists = match viewer.tenant() {
        Some(own) => {
            let view = View { viewer: &viewer, controls: &controls, breakers: &[], now, page: "/console/controls" };
            view.list(Scope::Tenant, "Your tenant", &[own.to_owned()])
        }
        None => of_all(&state, &viewer, &controls, now).await?,
    };
    let body = html! {
        h1 { "Controls" }
        (act::said(done.done.as_deref()))
        p.lead { "A pause lets running attempts end; what waits spends nothing." }
        (lists)
    };
    Ok(framed("Controls", Page::Controls, &viewer, &body))
}

async fn of_all(state: &ApiState, viewer: &Viewer, controls: &[Control], now: DateTime<Utc>) -> Result<Markup, Error> {
    let breakers = queue::breakers(&state.pool).await?;
    let tenants: Vec<String> =
        sqlx::query_scalar!("select id from safelight.tenants order by id").fetch_all(&state.pool).await?;
    let mut kinds: Vec<String> = registry::ALL.iter().map(|known| known.name.to_owned()).collect();
    kinds.sort_unstable();
    let queues: Vec<String> = Queue::ALL.iter().map(|queue| queue.as_str().to_owned()).collect();
    let view = View { viewer, controls, breakers: &breakers, now, page: "/console/controls" };
    let mut schedules = schedule::list(&state.pool).await?;
    schedules.retain(|row| row.paused);
    let groups = [
        (Scope::Provider, "Providers", providers()),
        (Scope::Queue, "Queues", queues),
        (Scope::Tenant, "Tenants", tenants),
        (Scope::Kind, "Kinds", kinds),
    ];
    Ok(view.set_first(&groups, &schedules))
}

/// Whom jobs ask, by name.
fn providers() -> Vec<String> {
    let mut names: Vec<String> =
        registry::ALL.iter().filter_map(|known| known.provider).map(|provider| provider.as_str().to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What the lists of a page are made of.
pub(super) struct View<'a> {
    pub(super) viewer: &'a Viewer,
    pub(super) controls: &'a [Control],
    pub(super) breakers: &'a [Breaker],
    pub(super) now: DateTime<Utc>,
    /// Where an act of it leads back to.
    pub(super) page: &'static str,
}

impl View<'_> {
    /// Several of one scope.
    pub(super) fn list(&self, scope: Scope, title: &str, names: &[String]) -> Markup {
        html! {
            section {
                h2 { (title) }
                ul.controls { @for name in names { (self.one(scope, name, &html! {})) } }
            }
        }
    }

    /// All groups: what is set under one heading, with the schedules that are paused; the others of each group folded up.
    fn set_first(&self, groups: &[(Scope, &str, Vec<String>)], schedules: &[schedule::Row]) -> Markup {
        let all = groups.iter().flat_map(|(scope, _, names)| names.iter().map(move |name| (*scope, name)));
        let set: Vec<_> = all.filter(|(scope, name)| self.is_set(*scope, name)).collect();
        html! {
            section {
                h2 { "Set" span.aside { "paused, limited, or left alone after failures" } }
                @if set.is_empty() && schedules.is_empty() { p.none { "Nothing is set." } } @else {
                    ul.controls {
                        @for (scope, name) in &set { (self.one(*scope, name, &html! { p.small { (scope.as_str()) } })) }
                        @for row in schedules { (paused_schedule(row)) }
                    }
                }
            }
            section {
                h2 { "Not set" }
                @for (scope, title, names) in groups {
                    @let others: Vec<_> = names.iter().filter(|name| !self.is_set(*scope, name)).collect();
                    @if !others.is_empty() { details.fold {
                        summary { (title) " " span.aside { (others.len()) } }
                        ul.controls { @for name in others { (self.one(*scope, name, &html! {})) } }
                    } }
                }
            }
        }
    }

    /// Does something hold its jobs back?
    fn is_set(&self, scope: Scope, name: &str) -> bool {
        let control = self.controls.iter().find(|c| c.scope == scope.as_str() && c.name == name);
        control.is_some_and(|c| c.paused || c.most.is_some() || c.per_second.is_some())
            || self.breaker(scope, name).is_some()
    }

    /// Its breaker, where it is not closed.
    fn breaker(&self, scope: Scope, name: &str) -> Option<&Breaker> {
        self.breakers.iter().find(|b| scope == Scope::Provider && b.provider == name && b.state != "closed")
    }

    /// One control with its acts, and what more there is to say of it.
    pub(super) fn one(&self, scope: Scope, name: &str, more: &Markup) -> Markup {
        let control = self.controls.iter().find(|c| c.scope == scope.as_str() && c.name == name);
        let breaker = self.breaker(scope, name);
        let paused = control.is_some_and(|control| control.paused);
        let address = format!("/console/controls/{}/{name}", scope.as_str());
        let back = html! { input type="hidden" name="page" value=(self.page); };
        let wants = |act: &str, more: Markup| html! { input type="hidden" name="act" value=(act); (back) (more) };
        html! {
            li class={ "control" @if paused || breaker.is_some() { " lit" } } {
                div.control-says {
                    strong { (words::said(name)) }
                    @if paused { " " (words::state("paused")) }
                    @if let Some(breaker) = breaker { " " (words::state("in_trouble")) span.small { " failed " (breaker.failures) " times; one job looks "
                        @match breaker.probe_at { Some(at) if at > self.now => (words::distance(self.now, at)), _ => "at the next claim" } } }
                    @if let Some(control) = control {
                        @if let Some(most) = control.most { span.small { " · " (most) " at once" } }
                        @if let (Some(rate), Some(burst)) = (control.per_second, control.burst) { span.small { " · " (rate) " a second, " (burst) " in one go" } }
                        p.small { (words::distance(self.now, control.changed_at)) " by " (control.actor) @if let Some(why) = &control.why { ": " (why) } }
                    }
                    (more)
                }
                div.acts {
                    @if paused { (act::button(self.viewer, &address, "Resume", name, &wants("resume", html! {}))) }
                    @else { (act::button(self.viewer, &address, "Pause", name, &wants("pause", html! {}))) }
                    (act::button(self.viewer, &address, "Limit", name, &wants("limit", html! {
                        label { "How many at once; empty lifts it" input name="most" type="number" min="1" inputmode="numeric" value=[control.and_then(|c| c.most)]; }
                    })))
                    @if scope == Scope::Provider { (act::button(self.viewer, &address, "Rate", name, &wants("rate", html! {
                        label { "Starts a second; empty lifts it" input name="per_second" type="number" min="0.01" step="0.01" inputmode="decimal" value=[control.and_then(|c| c.per_second)]; }
                        label { "Starts in one go" input name="burst" type="number" min="1" inputmode="numeric" value=[control.and_then(|c| c.burst)]; }
                    }))) }
                    @if breaker.is_some() { (act::button(self.viewer, &format!("/console/breakers/{name}/close"), "Close breaker", name, &back)) }
                }
            }
        }
    }
}

/// A schedule that somebody paused; it is resumed on the page of the schedules.
fn paused_schedule(row: &schedule::Row) -> Markup {
    html! {
        li.control.lit {
            div.control-says {
                strong { (words::said(&row.name)) } " " (words::state("paused"))
                p.small { "by " (row.actor) @if let Some(why) = &row.why { ": " (why) } }
                p.small { "schedule" }
            }
            div.acts { a href="/console/schedules" { "Schedules" span.hidden { ": " (row.name) } } }
        }
    }
}

/// The page that the form stood on.
fn page_of(form: &Form) -> &'static str {
    match form.field("page") {
        Some("/console/providers") => "/console/providers",
        Some(queues::ADDRESS) => queues::ADDRESS,
        _ => "/console/controls",
    }
}

/// Change a control.
pub(super) async fn change(
    State(state): State<ApiState>,
    Path((scope, name)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Trouble> {
    let scope = Scope::named(&scope).ok_or(Error::NoRoute)?;
    let (change, outcome) = match form.field("act") {
        Some("pause") => (Change { paused: Some(true), ..Change::default() }, "paused"),
        Some("resume") => (Change { paused: Some(false), ..Change::default() }, "resumed"),
        Some("limit") => (Change { most: Some(form.number("most")?), ..Change::default() }, "limit_stored"),
        Some("rate") => {
            let per_second: Option<f64> = form.number("per_second")?;
            let burst: Option<i32> = form.number("burst")?;
            let rate = per_second.map(|rate| (rate, burst.unwrap_or((rate.ceil() as i32).max(1))));
            (Change { rate: Some(rate), ..Change::default() }, "rate_stored")
        }
        _ => return Err(Error::NoRoute.into()),
    };
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    operate::on_control(&mut tx, scope, &name, change, form.operator()).await?;
    Queue::ALL.into_iter().for_each(|queue| tx.ring(queue));
    tx.commit().await?;
    Ok(act::done(page_of(&form), outcome))
}

/// Close a breaker.
pub(super) async fn close_breaker(
    State(state): State<ApiState>,
    Path(provider): Path<String>,
    form: Form,
) -> Result<Response, Trouble> {
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    operate::close_breaker(&mut tx, &provider, form.operator()).await?;
    Queue::ALL.into_iter().for_each(|queue| tx.ring(queue));
    tx.commit().await?;
    Ok(act::done(page_of(&form), "breaker_closed"))
}
