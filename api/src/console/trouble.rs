//! What could not be done, as a page: in the frame with the menu for who is signed in, with a way back; for everybody else, the door.
//!
//! A handler only says what was wrong; the layer around all pages draws it, because it knows what was asked for and who asked. Never:
//! says back what somebody typed.

use std::sync::{Arc, OnceLock};

use axum::{
    extract::Request,
    http::{Extensions, Method, Uri, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};

use super::{document, door, frame, sign_in::Viewer, way::Way, whole};
use crate::error::{Error, Problem};

/// A page that could not be made.
#[derive(Clone)]
pub(super) struct Trouble(Error);

impl<E: Into<Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let mut response = self.0.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Who asks, once a page has found out.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<OnceLock<Viewer>>);

impl Seen {
    /// Tell the layer around.
    pub(super) fn note(extensions: &Extensions, viewer: &Viewer) {
        if let Some(seen) = extensions.get::<Self>() {
            // The same session each time.
            let _ = seen.0.set(viewer.clone());
        }
    }
}

/// What was asked for.
struct Asked {
    method: Method,
    address: Uri,
    came_from: Option<Way>,
}

impl Asked {
    fn opens(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    /// The door, which leads to the page afterwards. A form is not sent again: its page is opened, and says that nothing was done.
    fn door(&self) -> String {
        if self.opens() {
            return door::address(Way::of(&self.address).as_ref(), false);
        }
        let page = self.came_from.clone().or_else(|| Way::thing_of(self.address.path()));
        let page = page.unwrap_or_else(|| Way::list_of(self.address.path(), true).0);
        door::address(Some(&page), true)
    }

    /// Where somebody goes on from here, and how that is called.
    fn back(&self, viewer: &Viewer) -> (Way, String) {
        let own = Way::of(&self.address);
        let thing = if self.opens() { None } else { Way::thing_of(self.address.path()) };
        let before = self.came_from.clone().or(thing).filter(|way| Some(way) != own.as_ref());
        let list = || {
            let (list, name) = Way::list_of(self.address.path(), viewer.tenant().is_none());
            (list, format!("On to {}", name.to_lowercase()))
        };
        before.map_or_else(list, |way| (way, "Back to where you came from".to_owned()))
    }
}

/// The layer around all pages.
pub(super) async fn around(mut request: Request, next: Next) -> Response {
    // It lies around what answers for no route at all, too.
    if !Way::is_ours(request.uri().path()) {
        return next.run(request).await;
    }
    let asked = Asked {
        method: request.method().clone(),
        address: request.uri().clone(),
        came_from: Way::came_from(request.headers()),
    };
    let seen = Seen::default();
    request.extensions_mut().insert(seen.clone());
    let mut response = next.run(request).await;
    let error = match response.extensions_mut().remove::<Trouble>() {
        Some(Trouble(error)) => error,
        None if is_bare(&response) => Error::of_status(response.status()),
        None => return response,
    };
    if matches!(error, Error::NoToken | Error::BadToken) {
        return Redirect::to(&asked.door()).into_response();
    }
    let mut page = drawn(&error, &asked, seen.0.get());
    if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
        page.headers_mut().insert(header::ALLOW, allow);
    }
    page
}

/// A refusal of a layer below, which knows of no pages.
fn is_bare(response: &Response) -> bool {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_page = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    (status.is_client_error() || status.is_server_error()) && !is_page
}

fn drawn(error: &Error, asked: &Asked, viewer: Option<&Viewer>) -> Response {
    let problem = Problem::from(error);
    let (title, detail) = said(error, &problem, viewer);
    let body = |back: Markup| {
        html! {
            p.eyebrow { (problem.status.as_u16()) " · " (problem.code) }
            h1 { (title) }
            p.lead { (detail) @if !asked.opens() && problem.status.is_client_error() { " Nothing was done." } }
            p.after { (back) }
        }
    };
    match viewer {
        Some(viewer) => {
            let (way, name) = asked.back(viewer);
            let body = body(html! { a href=(way) { (name) } });
            document(problem.status, title, &frame(None, viewer, &body), false)
        }
        None => {
            let body = body(html! { a href=(door::address(None, false)) { "To the sign-in" } });
            whole(problem.status, title, &html! { main.narrow { (body) } })
        }
    }
}

/// The words of a page: those of the intake speak of tokens and of its description to who writes programs.
fn said(error: &Error, problem: &Problem, viewer: Option<&Viewer>) -> (&'static str, String) {
    let sees_all = viewer.is_some_and(|viewer| viewer.tenant().is_none());
    match error {
        Error::NotFound { what } if sees_all => {
            ("There is no such thing", format!("{what} does not exist, or not any more."))
        }
        Error::NotFound { what } => {
            ("There is no such thing", format!("{what} does not exist, or is not of this tenant."))
        }
        Error::NoRoute => ("There is no such page", "There is nothing of the console at this address.".to_owned()),
        Error::Method => ("There is no page to open here", "This address takes what a form sends.".to_owned()),
        Error::Scope { needs: "operate" } if viewer.is_some() => {
            ("You may only look", "Whoever acts needs a sign-in with the scope operate.".to_owned())
        }
        Error::OfTheHouse if viewer.is_some() => {
            ("This is for people of the house", "It is about all tenants, and this sign-in belongs to one.".to_owned())
        }
        _ => (problem.title, sentence(&problem.detail)),
    }
}

/// With a capital and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}{}", letters.as_str(), if text.ends_with('.') { "" } else { "." })
}

/// An address of the console that is none; a slash too many at its end is taken for a slip.
pub(super) async fn nowhere(_: Viewer, address: Uri) -> Response {
    let path = address.path();
    match Way::checked(path.trim_end_matches('/')).filter(|_| path.ends_with('/')) {
        Some(way) => Redirect::to(way.as_str()).into_response(),
        None => Trouble(Error::NoRoute).into_response(),
    }
}

/// An address that takes forms only.
pub(super) async fn no_method(_: Viewer) -> Trouble {
    Trouble(Error::Method)
}
