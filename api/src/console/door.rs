//! The door: the page on which somebody signs in, what it leads to afterwards, and what it says when a sign-in was refused or a form
//! came after the session had ended.
//!
//! Never: says a token back, or leads anywhere but to a page of the console ([`Way`]).

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use maud::{Markup, html};

use super::{
    oidc,
    sign_in::{COOKIE, cookie, field, says_what_for},
    way::Way,
    whole,
};
use crate::state::ApiState;

/// Where it is.
pub(super) const ADDRESS: &str = "/console/sign-in";

/// Its address for who wanted to see a page, or had sent something from one.
pub(super) fn address(to: Option<&Way>, ended: bool) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if let Some(to) = to.filter(|to| **to != Way::first()) {
        query.append_pair("to", to.as_str());
    }
    if ended {
        query.append_pair("ended", "1");
    }
    let query = query.finish();
    if query.is_empty() { ADDRESS.to_owned() } else { format!("{ADDRESS}?{query}") }
}

/// What it says before the form.
enum Says<'a> {
    Nothing,
    /// A sign-in was refused, and why.
    Refused(&'a str),
    /// Something was sent, and nobody was signed in for it.
    Ended,
    /// Somebody comes from another site, and may be signed in.
    Perhaps,
}

/// What somebody comes to the door for.
#[derive(Default)]
pub(super) struct Visit {
    /// What they wanted to see.
    to: Option<Way>,
    /// What they sign in for, as they typed it.
    why: String,
}

impl Visit {
    /// To a page that a request names, if it is one of ours.
    pub(super) fn to(page: &str, why: String) -> Self {
        Self { to: Way::checked(page), why }
    }

    /// As the form says.
    pub(super) fn of_form(body: &[u8]) -> Self {
        Self::to(&field(body, "to"), field(body, "why"))
    }

    /// What they sign in for, if these words may be kept.
    pub(super) fn why(&self) -> Option<&str> {
        Some(self.why.as_str()).filter(|why| says_what_for(why))
    }

    /// The page that opens afterwards.
    pub(super) fn leads_to(&self) -> Way {
        self.to.clone().unwrap_or_else(Way::first)
    }

    /// The form again, with what was wrong and what was typed of what may be kept.
    pub(super) fn refused(&self, state: &ApiState, status: StatusCode, why: &str) -> Response {
        whole(status, "Sign in", &self.sheet(state.operators.is_some(), Says::Refused(why)))
    }

    fn sheet(&self, by_provider: bool, says: Says<'_>) -> Markup {
        let what_for = |id: &str| {
            html! {
                label for=(id) { "What for, in a few words" }
                input id=(id) name="why" type="text" maxlength="200" placeholder="on call; ticket 1234" value=[self.why()] required;
                @if let Some(to) = &self.to { input type="hidden" name="to" value=(to); }
            }
        };
        html! {
            main.door {
                div.lamp.large {}
                h1 { "Safelight" }
                p.lead { "The operators' console. Nothing here shows a person." }
                @match says {
                    Says::Nothing => {}
                    Says::Ended => p.refusal role="alert" { "Your session had ended; nothing was done. Sign in, and do it again." },
                    Says::Refused(why) => p.refusal role="alert" { (why) },
                    Says::Perhaps => p.hint { "Signed in already? " a href=(self.leads_to()) { "Go on to the page" } },
                }
                @if by_provider {
                    form method="post" action=(oidc::ADDRESS) {
                        (what_for("why-there"))
                        button type="submit" { "Sign in at your identity provider" }
                    }
                    p.or { "or with a token" }
                }
                form method="post" action=(ADDRESS) {
                    label for="token" { "Token with the scope read or operate" }
                    input #token name="token" type="password" autocomplete="off" spellcheck="false" required autofocus[!by_provider];
                    (what_for("why"))
                    button type="submit" class=[by_provider.then_some("quiet")] { "Sign in" }
                }
                p.hint { "What you look at about a person's case is kept with your token's name" @if by_provider { ", or your id at the provider," } " and these words." }
                p.hint { "Make a token: " code { "safelight token create console --scopes read" } }
            }
        }
    }
}

/// The page.
pub(super) async fn page(State(state): State<ApiState>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    let asked = |name: &str| field(query.as_bytes(), name);
    let (visit, ended) = (Visit::to(&asked("to"), String::new()), !asked("ended").is_empty());
    // Behind a link on another site, a chat or a ticket, the browser keeps the session's `SameSite=Strict` cookie back. It brings it
    // when somebody goes on from a page of ours; that is not done for them, because what they open may be a look that is kept.
    let from_elsewhere = headers.get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"cross-site");
    let perhaps = from_elsewhere && cookie(&headers, COOKIE).is_none();
    let says = if ended {
        Says::Ended
    } else if perhaps {
        Says::Perhaps
    } else {
        Says::Nothing
    };
    whole(StatusCode::OK, "Sign in", &visit.sheet(state.operators.is_some(), says))
}

/// A page that goes on by itself, and has a link for where that does not happen.
pub(super) fn leads_to(address: &str, label: &str) -> Response {
    let body = html! {
        main.door { div.lamp.large {} h1 { "Safelight" } p.lead { a href=(address) { (label) } } }
    };
    let mut response = whole(StatusCode::OK, "Sign in", &body);
    if let Ok(value) = HeaderValue::from_str(&format!("0; url={address}")) {
        response.headers_mut().insert(header::REFRESH, value);
    }
    response
}
