//! The operators' console: one file a page. Server-rendered, and whole without scripts; a form acts through the same functions as the
//! HTTP routes and the command line. Where something is under way, one script of ours shows it again ([`refresh`]).
//!
//! Only ids, codes, numbers and times appear: never a face, a mail address, a link to an image, or a prompt. A tenant's
//! token sees that tenant; a token of the house sees all.

mod act;
mod audit;
mod bulk;
mod cases;
mod certificate;
mod charts;
mod controls;
mod dead;
mod decisions;
mod deletion;
mod deletions;
mod door;
mod entries;
mod find;
mod findings;
mod job;
mod jobs;
mod late;
mod money;
mod needs;
mod oidc;
mod open;
mod order;
mod orders;
mod overview;
mod parts;
mod policies;
mod providers;
mod queues;
mod refresh;
mod refund;
mod resolve;
mod rest;
mod review;
mod rights;
mod schedules;
mod sign_in;
mod stands;
mod subject;
mod sweeps;
mod tokens;
mod told;
mod trouble;
mod waits;
mod way;
mod words;
mod workers;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use maud::{DOCTYPE, Markup, html};

use refresh::Again;
use sign_in::Viewer;
use trouble::Trouble;

use crate::state::ApiState;

/// Nothing but our own style sheet and forms to ourselves.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Where something is under way: our own script as well, which asks us and nobody else.
const WATCHED: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The largest form, in bytes.
const MOST_FORM: usize = 4 * 1024;

/// All pages.
pub(crate) fn router() -> Router<ApiState> {
    Router::new()
        .route("/console", get(overview::page))
        .route("/console/find", get(find::open))
        .route("/console/jobs", get(jobs::page))
        .route("/console/jobs/{job}", get(job::page))
        .route("/console/jobs/{job}/{act}", post(job::act))
        .route("/console/jobs/{job}/payload", post(job::payload))
        .route("/console/bulk", get(bulk::list).post(bulk::ask))
        .route("/console/bulk/preview", get(bulk::preview))
        .route("/console/bulk/{bulk}", get(bulk::page))
        .route("/console/dead", get(dead::page))
        .route("/console/dead/{fate}", post(dead::act))
        .route("/console/orders", get(orders::page))
        .route("/console/orders/late", get(late::page))
        .route("/console/orders/{order}", get(order::page))
        .route("/console/orders/{order}/refund", post(refund::ask))
        .route("/console/orders/{order}/delete", post(rest::delete))
        .route("/console/orders/erased/refund", post(refund::ask_erased))
        .route("/console/deletions", get(deletions::page))
        .route("/console/deletions/{deletion}", get(deletion::page))
        .route("/console/deletions/{deletion}/certificate", get(deletion::print))
        .route("/console/cases", get(cases::page).post(open::case))
        .route("/console/cases/{case}/{act}", post(decisions::case))
        .route("/console/objections/{subject}/{purpose}", post(decisions::objection))
        .route("/console/subjects/{subject}", get(subject::page))
        .route("/console/subjects/{subject}/{act}", post(rights::act))
        .route(queues::ADDRESS, get(queues::page))
        .route("/console/providers", get(providers::page))
        .route("/console/calls/{intent}/resolve", post(resolve::say))
        .route("/console/sweeps", get(sweeps::page))
        .route("/console/findings", get(findings::page))
        .route("/console/sweeps/{sweep}", post(sweeps::ask))
        .route("/console/policies", get(policies::page))
        .route("/console/controls", get(controls::page))
        .route("/console/controls/{scope}/{name}", post(controls::change))
        .route("/console/breakers/{provider}/close", post(controls::close_breaker))
        .route("/console/schedules", get(schedules::page))
        .route("/console/schedules/{name}", post(schedules::change))
        .route("/console/workers", get(workers::page))
        .route("/console/audit", get(audit::page))
        .route("/console/tokens", get(tokens::page))
        .route("/console/tokens/{token}/revoke", post(tokens::revoke))
        .route("/console/sign-in", get(door::page).post(sign_in::enter))
        .route(oidc::ADDRESS, get(oidc::back).post(oidc::begin))
        .route("/console/sign-out", post(sign_in::leave))
        .route("/console/style.css", get(style))
        .route(refresh::ADDRESS, get(refresh::script))
        .route("/console/", any(trouble::nowhere))
        .route("/console/{*nowhere}", any(trouble::nowhere))
        .method_not_allowed_fallback(trouble::no_method)
        .layer(middleware::from_fn(trouble::around))
        .layer(DefaultBodyLimit::max(MOST_FORM))
}

async fn style() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, include_str!("style.css")).into_response()
}

/// Where a page stands in the menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Overview,
    Queues,
    Jobs,
    Dead,
    Orders,
    Deletions,
    Cases,
    Sweeps,
    Findings,
    Providers,
    Controls,
    Schedules,
    Workers,
    Policies,
    Audit,
    Tokens,
}

impl Page {
    /// Address, name, and whether it is for people of the house only.
    const ALL: [(Self, &'static str, &'static str, bool); 16] = [
        (Self::Overview, "/console", "Overview", false),
        (Self::Queues, queues::ADDRESS, "Queues", false),
        (Self::Jobs, "/console/jobs", "Jobs", false),
        (Self::Dead, "/console/dead", "Dead letters", false),
        (Self::Orders, "/console/orders", "Orders", false),
        (Self::Deletions, "/console/deletions", "Deletions", false),
        (Self::Cases, "/console/cases", "Cases", false),
        (Self::Sweeps, "/console/sweeps", "Sweeps", false),
        (Self::Findings, "/console/findings", "Findings", false),
        (Self::Policies, "/console/policies", "Policies", false),
        (Self::Providers, "/console/providers", "Providers", true),
        (Self::Controls, "/console/controls", "Controls", false),
        (Self::Schedules, "/console/schedules", "Schedules", true),
        (Self::Workers, "/console/workers", "Workers", true),
        (Self::Audit, "/console/audit", "Audit", true),
        (Self::Tokens, "/console/tokens", "Tokens", true),
    ];
}

/// A page for somebody who is signed in.
fn page(title: &str, place: Page, viewer: &Viewer, body: &Markup) -> Response {
    document(StatusCode::OK, title, &frame(Some(place), viewer, body), false)
}

/// A page of which a part is shown again every so many seconds; none: nothing is under way.
fn watched(title: &str, place: Page, viewer: &Viewer, head: &Markup, part: &Markup, again: Option<Again>) -> Response {
    let body = html! { (head) (refresh::part(again, part)) };
    document(StatusCode::OK, title, &frame(Some(place), viewer, &body), again.is_some())
}

/// The menu, the box that opens an id, and what is between them and the end of a page.
fn frame(place: Option<Page>, viewer: &Viewer, body: &Markup) -> Markup {
    let house = viewer.tenant().is_none();
    html! {
        a.skip href="#content" { "Skip to the content" }
        header.bar {
            div {
                a.mark href="/console" { span.lamp {} "Safelight" }
                (find::form())
                span.who { (viewer.tenant().unwrap_or("all tenants")) @if !viewer.operates() { ", read only" } }
                form method="post" action="/console/sign-out" { button.quiet type="submit" { "Sign out" } }
            }
            nav aria-label="Pages" { ul { @for (page, address, name, of_the_house) in Page::ALL {
                @if house || !of_the_house { li { a href=(address) aria-current=[(Some(page) == place).then_some("page")] { (name) } } }
            } } }
        }
        main #content tabindex="-1" { (body) }
        footer { "Ids, codes, numbers and times only. All times are UTC." }
    }
}

/// A page for who is not signed in. It tells no page where somebody came from: its own address may hold a code.
fn whole(status: StatusCode, title: &str, body: &Markup) -> Response {
    let mut response = document(status, title, body, false);
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn document(status: StatusCode, title: &str, body: &Markup, is_watched: bool) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="dark light";
                title { (title) " · Safelight" }
                link rel="stylesheet" href="/console/style.css";
                @if is_watched { script src=(refresh::ADDRESS) defer {} }
            }
            body { (body) }
        }
    };
    let mut response = (status, axum::response::Html(markup.into_string())).into_response();
    let policy = if is_watched { WATCHED } else { POLICY };
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    // Pages of ours, and nobody else, are told where somebody came from: a way back is made of it.
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}
