//! The operators' console, first form: it reads and changes nothing. Server-rendered, no scripts.
//!
//! Only ids, codes, numbers and times appear: never a face, a mail address, a link to an image, or a prompt. A tenant's
//! token sees that tenant; a token of the house sees all.

mod deletion;
mod order;
mod overview;
mod sign_in;
mod words;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use maud::{DOCTYPE, Markup, html};

pub(crate) use sign_in::Sessions;
use sign_in::Viewer;

use crate::{
    error::{Error, Problem},
    state::ApiState,
};

/// Nothing but our own style sheet and forms to ourselves.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The largest form, in bytes.
const MOST_FORM: usize = 4 * 1024;

/// All pages.
pub(crate) fn router() -> Router<ApiState> {
    Router::new()
        .route("/console", get(overview::page))
        .route("/console/find", get(overview::find))
        .route("/console/orders/{order}", get(order::page))
        .route("/console/deletions/{deletion}", get(deletion::page))
        .route("/console/deletions/{deletion}/certificate", get(deletion::certificate))
        .route("/console/sign-in", get(sign_in::form).post(sign_in::enter))
        .route("/console/sign-out", post(sign_in::leave))
        .route("/console/style.css", get(style))
        .layer(DefaultBodyLimit::max(MOST_FORM))
}

async fn style() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, include_str!("style.css")).into_response()
}

/// A page for somebody who is signed in.
fn page(title: &str, viewer: &Viewer, body: &Markup) -> Response {
    let frame = html! {
        header.bar { div {
            a.mark href="/console" { span.lamp {} "Safelight" }
            span.who { (viewer.tenant().unwrap_or("all tenants")) }
            form method="post" action="/console/sign-out" { button.quiet type="submit" { "Sign out" } }
        } }
        main { (body) }
        footer { "Ids, codes, numbers and times only. All times are UTC." }
    };
    whole(StatusCode::OK, title, &frame)
}

fn whole(status: StatusCode, title: &str, body: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="dark light";
                title { (title) " · Safelight" }
                link rel="stylesheet" href="/console/style.css";
            }
            body { (body) }
        }
    };
    let mut response = (status, axum::response::Html(markup.into_string())).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// A page that could not be made, as a page.
struct Trouble(Error);

impl<E: Into<Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        if matches!(self.0, Error::NoToken | Error::BadToken) {
            return Redirect::to("/console/sign-in").into_response();
        }
        let problem = Problem::from(&self.0);
        let body = html! {
            main.narrow {
                p.eyebrow { (problem.status.as_u16()) " · " (problem.code) }
                h1 { (problem.title) }
                p.lead { (problem.detail) }
                p { a href="/console" { "Back to the overview" } }
            }
        };
        whole(problem.status, problem.title, &body)
    }
}
